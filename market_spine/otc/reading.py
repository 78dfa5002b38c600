"""Reading the finished tables: metrics as published now or at any moment, trades of a symbol's day.

What it is: two reads with exact values and a stable order, and the check of the names they are asked for.
Belongs here: what ``spine query`` and other readers ask. Does not belong here: how it is printed, what a metric means.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from psycopg import sql

from market_spine.errors import SpineError
from market_spine.otc.normalize import STATUSES
from market_spine.warehouse.engine import Connection
from market_spine.warehouse.schema import otc_metrics_daily, otc_trades
from market_spine.warehouse.sql import statements

SQL = statements("market_spine.otc", "reading.sql")
KEY = ("symbol", "trade_date", "revision")
METRIC_FIELDS = tuple(column.name for column in otc_metrics_daily.columns if column.name not in KEY)
USUAL_FIELDS = ("trade_count", "total_volume", "vwap", "open_price", "high_price", "low_price", "close_price")
TRADE_FIELDS = tuple(column.name for column in otc_trades.columns if column.name not in ("trade_date", "symbol"))
Row = dict[str, object]


@dataclass(frozen=True)
class Trades:
    """Trades of a symbol's day; ``is_cut`` when there are more than were asked for."""

    rows: Sequence[Row]
    is_cut: bool


def fields_of(wanted: Sequence[str]) -> tuple[str, ...]:
    """Names of metrics, checked; the usual ones when none is named, every one for ``all``.

    Raises:
        SpineError: a name is unknown; lists those there are.
    """
    if not wanted:
        return USUAL_FIELDS
    if list(wanted) == ["all"]:
        return METRIC_FIELDS
    unknown = [name for name in wanted if name not in METRIC_FIELDS]
    if unknown:
        raise SpineError(f"no field is named {', '.join(unknown)}; there are all, {', '.join(METRIC_FIELDS)}")
    return tuple(dict.fromkeys(wanted))


def metrics(
    connection: Connection,
    symbols: Sequence[str],
    start: date,
    end: date,
    *,
    fields: Sequence[str] = USUAL_FIELDS,
    as_of: datetime | None = None,
) -> list[Row]:
    """Daily metrics by symbol and day.

    Args:
        connection: to the market tables.
        symbols: which.
        start: first trade date.
        end: last trade date.
        fields: columns, as ``fields_of`` answers them; symbol, date and revision stand before them.
        as_of: what was published at that moment; now when not given.
    """
    columns = sql.SQL(", ").join(sql.Identifier(name) for name in (*KEY, *fields))
    published = SQL("published_now" if as_of is None else "published_then")
    values = {"symbols": list(symbols), "start": start, "end": end, "as_of": as_of}
    return _rows(connection, SQL("metrics", columns=columns, published=published), values)


def trades(
    connection: Connection, symbol: str, day: date, *, status: str | None = None, eligible: bool = False, limit: int
) -> Trades:
    """Trades of a symbol's day in order.

    Args:
        connection: to the market tables.
        symbol: which.
        day: trade date.
        status: live, cancelled or superseded; all when not given.
        eligible: only those that high, low and vwap are made of.
        limit: at most so many.

    Raises:
        SpineError: there is no such status.
    """
    if status is not None and status not in STATUSES:
        raise SpineError(f"no status is named {status}; there are {', '.join(STATUSES)}")
    columns = sql.SQL(", ").join(sql.Identifier(name) for name in TRADE_FIELDS)
    values = {"symbol": symbol, "day": day, "status": status, "eligible": eligible, "limit": limit + 1}
    rows = _rows(connection, SQL("trades", columns=columns), values)
    return Trades(rows[:limit], len(rows) > limit)


def _rows(connection: Connection, query: sql.Composed, values: dict[str, object]) -> list[Row]:
    cursor = connection.execute(query, values)
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
