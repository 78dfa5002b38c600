"""``GET /api/v1/otc/trades``: the trades of a day, in the order in which the metrics take them.

Belongs here: the route and its parameters. Does not belong here: statements (``queries``), formats.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from market_spine.api import cursors, negotiation, pages, queries, streams
from market_spine.api.columns import QUOTED, trade_columns
from market_spine.api.context import context_of
from market_spine.api.database import Row
from market_spine.api.parameters import Day, Flag, Paged, Symbol
from market_spine.api.problems import Problem

NAME = "trades"
router = APIRouter(tags=["OTC"])


class TradesQuery(Paged):
    """The query string."""

    date: Day = Field(description="Trade date.", examples=["2026-03-04"])
    symbol: Symbol | None = Field(None, description="One symbol; all of them when not given.", examples=["ACME"])
    status: Literal["live", "cancelled", "superseded"] | None = Field(None, description="Only those of this status.")
    eligible: Flag | None = Field(
        None, description="`true`: only what high, low and vwap are made of; `false`: only the others."
    )


@router.get(
    "/otc/trades",
    summary="Trades of a day",
    openapi_extra=TradesQuery.documented(NAME),
)
async def day_trades(request: Request) -> Response:
    """Trades of a trade date by symbol, moment of execution and sequence, dead ones with their status.

    JSON comes page by page; `Accept: text/csv` and `Accept: application/vnd.apache.arrow.stream` stream the day.
    """
    media = negotiation.chosen(request.headers.get("accept", ""))
    asked = TradesQuery.of(request)
    context = context_of(request)
    values, conditions = _values(asked)
    state = await context.reader.rows(queries.TRADES_STATE, values)
    tag = pages.etag(request, media, state)
    if pages.unchanged(request, tag):
        return pages.not_modified(tag)
    if media != negotiation.JSON:
        for name in ("cursor", "limit", "count"):
            if name in asked.model_fields_set:
                raise Problem("invalid_parameter", f"{name}: {media} streams the day and has no pages", field=name)
        query = queries.trades(conditions, form=queries.TEXT, page=False)
        return await streams.stream(
            context.reader,
            media,
            query,
            values,
            trade_columns(),
            seconds=context.day_seconds,
            tag=tag,
            filename=f"trades_{asked.date}",
        )
    # Planned for this very day: a plan for any day would open every partition there is.
    rows = await context.reader.rows(queries.trades(conditions, form=queries.JSON), values, prepare=False)
    count = None
    if asked.count:
        everything = tuple(name for name in conditions if name != "after_trade")
        query = queries.counted(queries.TRADES, everything)
        count = str((await context.reader.rows(query, values, prepare=False))[0][0])
    pattern = pages.template(tuple(trade_columns()), QUOTED)
    return pages.json_response(
        pages.page(rows, limit=asked.limit, pattern=pattern, key=_key, name=NAME, count=count), tag
    )


def _values(asked: TradesQuery) -> tuple[Mapping[str, object], tuple[str, ...]]:
    values: dict[str, object] = {"day": asked.date, "limit": asked.limit + 1}
    conditions = ["on_date"]
    if asked.symbol is not None:
        values["symbol"] = asked.symbol
        conditions.append("of_symbol")
    if asked.status is not None:
        values["status"] = asked.status
        conditions.append("of_status")
    if asked.eligible is not None:
        conditions.append("eligible" if asked.eligible else "not_eligible")
    if asked.cursor is not None:
        key = cursors.read(asked.cursor, NAME, (str, datetime, int))
        values |= dict(zip(("after_symbol", "after_at", "after_seq"), key, strict=True))
        conditions.append("after_trade")
    return values, tuple(conditions)


_SYMBOL, _AT, _SEQ = (tuple(trade_columns()).index(name) for name in ("symbol", "executed_at", "trade_seq"))


def _key(row: Row) -> tuple[str, str, int]:
    return str(row[_SYMBOL]), str(row[_AT]).strip('"'), int(str(row[_SEQ]))
