"""What may be asked for, by name: the columns of the views, how each is read, and the type it has in Arrow.

What it is: made from the declared tables, so that a column has one type and one meaning wherever it shows.
Belongs here: names and types of columns. Does not belong here: conditions and order (``queries``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import pyarrow as pa
from sqlalchemy import Boolean, Column, Double, Integer, Numeric, Table

from market_spine.api.problems import Problem
from market_spine.warehouse.arrow import arrow_type
from market_spine.warehouse.schema import otc_metrics_daily, otc_trades

METRIC_KEY = ("symbol", "trade_date", "revision")
USUAL_METRICS = ("trade_count", "total_volume", "vwap", "open_price", "high_price", "low_price", "close_price")
TRADE_KEY = ("symbol", "executed_at", "trade_seq")
QUOTED = ("symbol", "trade_date")
"""Columns whose text needs quotes in JSON and nothing else: a report with any other letter is quarantined."""
ALL = "all"


@dataclass(frozen=True)
class Known:
    """A column: its meaning, and whether its text as PostgreSQL writes it is JSON too (a number that is never NaN)."""

    meaning: str
    is_number: bool
    is_boolean: bool
    arrow: pa.DataType


def _known(column: "Column[object]") -> Known:
    kind = column.type
    # A double may be NaN, which JSON has no number for; decimals of these tables are finite by their rules of validity.
    number = isinstance(kind, Numeric | Integer) and not isinstance(kind, Double)
    return Known(str(column.comment), number, isinstance(kind, Boolean), arrow_type(column))


def _columns(table: Table, *without: str) -> dict[str, Known]:
    return {str(column.name): _known(column) for column in table.columns if column.name not in without}


@cache
def metric_columns() -> Mapping[str, Known]:
    """Columns of the metrics."""
    return _columns(otc_metrics_daily, "known_to")


@cache
def trade_columns() -> Mapping[str, Known]:
    """Columns of a trade."""
    return _columns(otc_trades)


def metric_fields(wanted: Sequence[str]) -> tuple[str, ...]:
    """The columns of a metrics answer: the key, then what is wanted, in that order; each element may hold commas.

    Raises:
        Problem: a name is unknown; lists those there are.
    """
    names = [name for text in wanted for name in text.split(",")] or list(USUAL_METRICS)
    known = metric_columns()
    if ALL in names:
        names = list(known)
    unknown = [name for name in names if name not in known]
    if unknown:
        said = ", ".join(name or repr(name) for name in unknown)
        raise Problem("unknown_field", f"no field is named {said}; there are {ALL}, {', '.join(known)}", field="fields")
    return tuple(dict.fromkeys((*METRIC_KEY, *names)))
