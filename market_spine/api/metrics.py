"""``GET /api/v1/otc/metrics/daily``: daily metrics by symbol and session, now or as published at any moment.

Belongs here: the route, its parameters and their meaning. Does not belong here: statements (``queries``), formats.
"""

from collections.abc import Mapping
from datetime import date
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import Field, WithJsonSchema
from starlette.responses import Response

from market_spine.api import cursors, negotiation, pages, queries, streams
from market_spine.api.columns import ALL, QUOTED, metric_columns, metric_fields
from market_spine.api.context import Context, context_of
from market_spine.api.database import Row
from market_spine.api.parameters import MOST_SYMBOLS, Day, Moment, Paged, SymbolList, symbols_of
from market_spine.api.problems import Problem
from market_spine.errors import CalendarError

NAME = "metrics"
router = APIRouter(tags=["OTC"])
_NAMES = "|".join((ALL, *metric_columns()))
FieldList = Annotated[str, WithJsonSchema({"type": "string", "pattern": f"^({_NAMES})(,({_NAMES}))*$"})]


class MetricsQuery(Paged):
    """The query string."""

    symbol: list[SymbolList] = Field(
        default=[],
        max_length=MOST_SYMBOLS,
        description="Symbols, with commas between them or as a repeated parameter; all of them when not given. An "
        "unknown symbol has no rows.",
        examples=[["ACME"]],
    )
    start: Day | None = Field(None, description="First trade date.", examples=["2026-03-02"])
    end: Day | None = Field(None, description="Last trade date, included.", examples=["2026-03-06"])
    fields: list[FieldList] = Field(
        default=[],
        description="Columns, with commas between them or as a repeated parameter, or `all`; symbol, trade_date and "
        "revision always come first.",
        examples=[["vwap,close_price"]],
    )
    as_of: Moment | None = Field(
        None, description="What was published at this moment.", examples=["2026-03-10T12:00:00Z"]
    )
    fill: Literal["none", "calendar"] = Field(
        "none",
        description="`calendar`: a row for every session from start to end, with nulls where nothing was published; "
        "needs symbol, start and end.",
    )


@router.get(
    "/otc/metrics/daily",
    summary="Daily metrics",
    openapi_extra=MetricsQuery.documented(NAME),
)
async def daily_metrics(request: Request) -> Response:
    """Daily metrics by symbol and trade date.

    JSON comes page by page in the order of symbol and trade date. `Accept: text/csv` and
    `Accept: application/vnd.apache.arrow.stream` stream all rows at once; without symbols day by day.
    """
    media = negotiation.chosen(request.headers.get("accept", ""))
    asked = MetricsQuery.of(request)
    context = context_of(request)
    fields = metric_fields(asked.fields)
    values, conditions = _values(asked, context)
    view = queries.REVISIONS if asked.as_of else queries.METRICS
    form = partial(queries.metrics, fields, view, conditions, filled=asked.fill == "calendar")
    if media != negotiation.JSON:
        _refuse_paging(asked, media)
        # Before the first byte of a stream its end is not known: its tag is made of the state behind it.
        state = await context.reader.rows(queries.metrics_state(view, conditions), values)
        tag = pages.etag(request, media, *state[0])
        if pages.unchanged(request, tag):
            return pages.not_modified(tag)
        return await streams.stream(
            context.reader,
            media,
            form(form=queries.TEXT, page=False),
            values,
            {name: metric_columns()[name] for name in fields},
            seconds=context.stream_seconds,
            tag=tag,
            filename="metrics_daily",
        )
    rows = await context.reader.rows(form(form=queries.JSON), values)
    count = await _count(asked, context, view, conditions, values) if asked.count else None
    pattern = pages.template(fields, QUOTED)
    return pages.tagged(request, pages.page(rows, limit=asked.limit, pattern=pattern, key=_key, name=NAME, count=count))


def _values(asked: MetricsQuery, context: Context) -> tuple[Mapping[str, object], tuple[str, ...]]:
    """Values of the statement, and the names of its conditions."""
    symbols = symbols_of(asked.symbol)
    if len(symbols) > MOST_SYMBOLS:
        raise Problem("invalid_parameter", f"symbol: at most {MOST_SYMBOLS} of them", field="symbol")
    if asked.start and asked.end and asked.end < asked.start:
        raise Problem("invalid_parameter", f"end: {asked.end} is before start {asked.start}", field="end")
    values: dict[str, object] = {"limit": asked.limit + 1}
    conditions: list[str] = []
    if len(symbols) == 1:
        values["symbol"] = symbols[0]
        conditions.append("of_symbol")
    elif symbols:
        conditions.append("of_symbols")
    values["symbols"] = symbols
    for name, condition, value in (
        ("start", "from_date", asked.start),
        ("end", "to_date", asked.end),
        ("as_of", "published_then", asked.as_of),
    ):
        if value is not None:
            values[name] = value
            conditions.append(condition)
    if asked.cursor is not None:
        symbol, day = cursors.read(asked.cursor, NAME, (str, date))
        values |= {"after_symbol": symbol, "after_date": day}
        conditions.append("after_metric")
    if asked.fill == "calendar":
        values["sessions"] = _sessions(asked, symbols, context)
    return values, tuple(conditions)


def _sessions(asked: MetricsQuery, symbols: list[str], context: Context) -> list[date]:
    if not symbols or not asked.start or not asked.end:
        missing = next(
            name for name, value in (("symbol", symbols), ("start", asked.start), ("end", asked.end)) if not value
        )
        raise Problem("invalid_parameter", f"{missing}: fill=calendar needs symbol, start and end", field=missing)
    try:
        return context.calendar.sessions(asked.start, asked.end)
    except CalendarError as error:
        raise Problem("invalid_parameter", f"end: {error}", field="end") from error


def _refuse_paging(asked: MetricsQuery, media: str) -> None:
    for name in ("cursor", "limit", "count"):
        if name in asked.model_fields_set:
            raise Problem("invalid_parameter", f"{name}: {media} streams all rows at once and has no pages", field=name)


async def _count(
    asked: MetricsQuery, context: Context, view: str, conditions: tuple[str, ...], values: Mapping[str, Any]
) -> str:
    if asked.fill == "calendar":
        return str(len(values["symbols"]) * len(values["sessions"]))
    everything = tuple(name for name in conditions if name != "after_metric")
    return str((await context.reader.rows(queries.counted(view, everything), values))[0][0])


def _key(row: Row) -> tuple[str, str]:
    """Symbol and date of a row."""
    return str(row[0]), str(row[1])
