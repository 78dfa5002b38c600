"""``GET /api/v1/otc/metrics/revisions``: what was published of one symbol, from when until when.

Belongs here: the route and its parameters. Does not belong here: what is published now (``metrics``), statements.
"""

from collections.abc import Mapping
from datetime import date

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from market_spine.api import cursors, negotiation, pages, queries
from market_spine.api.columns import metric_columns, metric_fields
from market_spine.api.context import context_of
from market_spine.api.database import Row
from market_spine.api.metrics import FieldList
from market_spine.api.parameters import Day, Paged, Symbol
from market_spine.api.problems import Problem

NAME = "revisions"
PUBLISHED = ("known_from", "known_to")
ORDER = ("trade_date", "revision")
router = APIRouter(tags=["OTC"])


class RevisionsQuery(Paged):
    """The query string."""

    symbol: Symbol = Field(description="One symbol.", examples=["ACME"])
    start: Day | None = Field(None, description="First trade date.", examples=["2026-03-02"])
    end: Day | None = Field(None, description="Last trade date, included.", examples=["2026-03-06"])
    fields: list[FieldList] = Field(
        default=[],
        description="Columns, with commas between them or as a repeated parameter, or `all`; symbol, trade_date, "
        "revision, known_from and known_to are always there.",
        examples=[["vwap,close_price"]],
    )


@router.get("/otc/metrics/revisions", summary="Every revision", openapi_extra=RevisionsQuery.documented(NAME))
async def metric_revisions(request: Request) -> Response:
    """Every revision of a symbol's daily metrics, by trade date and revision.

    `known_from` and `known_to` say when it was published; the one that still is has no `known_to`, and a trade date
    whose last revision has one is published no more.
    """
    negotiation.chosen(request.headers.get("accept", ""), (negotiation.JSON,))
    asked = RevisionsQuery.of(request)
    values, conditions = _values(asked)
    names = tuple(dict.fromkeys((*metric_fields(asked.fields), *PUBLISHED)))
    known = metric_columns()
    columns = tuple((name, name == "trade_date" or (name in known and known[name].is_number)) for name in names)
    reader = context_of(request).reader
    shown = (*conditions, "after_revision") if asked.cursor is not None else conditions
    rows = await reader.rows(queries.listing(queries.REVISIONS, columns, shown, ORDER), values)
    count = (await reader.rows(queries.counted(queries.REVISIONS, conditions), values))[0][0] if asked.count else None
    places = [names.index(name) for name in ORDER]

    def key(row: Row) -> tuple[str, int]:
        return str(row[places[0]]), int(str(row[places[1]]))

    pattern = pages.template(names, ("trade_date",))
    return pages.tagged(request, pages.page(rows, limit=asked.limit, pattern=pattern, key=key, name=NAME, count=count))


def _values(asked: RevisionsQuery) -> tuple[Mapping[str, object], tuple[str, ...]]:
    """Values of the statement, and the names of its conditions without the cursor's."""
    if asked.start and asked.end and asked.end < asked.start:
        raise Problem("invalid_parameter", f"end: {asked.end} is before start {asked.start}", field="end")
    values: dict[str, object] = {"limit": asked.limit + 1, "symbol": asked.symbol}
    conditions = ["of_symbol"]
    for name, condition, value in (("start", "from_date", asked.start), ("end", "to_date", asked.end)):
        if value is not None:
            values[name] = value
            conditions.append(condition)
    if asked.cursor is not None:
        values |= dict(
            zip(("after_date", "after_revision"), cursors.read(asked.cursor, NAME, (date, int)), strict=True)
        )
    return values, tuple(conditions)
