"""What came in and what became of it: days with their files and checks, quarantined reports, symbols.

Belongs here: the routes on small views. Does not belong here: statements (``queries``).
"""

from collections.abc import Sequence
from datetime import date
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from market_spine.api import cursors, negotiation, pages, queries
from market_spine.api.context import context_of
from market_spine.api.database import Row
from market_spine.api.parameters import SYMBOL, WHOLE, Day, Paged, Whole
from market_spine.api.problems import Problem

router = APIRouter(tags=["OTC"])
DAYS_PAGE, LARGEST_DAYS_PAGE = 31, 366
QUALITY, QUARANTINE, SYMBOLS = "quality", "quarantine", "symbols"
QUALITY_MEMBERS = (
    "day", "normalized_at", "computed_at", "reports", "carried_in", "rules_version", "counts", "files", "checks",
)  # fmt: skip
QUARANTINE_COLUMNS = (
    ("day", True), ("file_id", True), ("line_no", True), ("entry", True), ("source", False), ("path", False),
    ("report_date", True), ("reason", False), ("symbol", False), ("detail", False), ("report", True),
)  # fmt: skip
SYMBOL_COLUMNS = (("symbol", False), ("first_date", True), ("last_date", True), ("days", True))
REASON = r"^[a-z]+(_[a-z]+)*$"
FIRST_FILE, LAST_FILE = 1, 2**31 - 1
JSON_ONLY = (negotiation.JSON,)


class QualityQuery(Paged):
    """The query string of quality."""

    start: Day | None = Field(None, description="First trade date.", examples=["2026-03-02"])
    end: Day | None = Field(None, description="Last trade date, included.", examples=["2026-03-06"])
    limit: Whole = Field(DAYS_PAGE, ge=1, le=LARGEST_DAYS_PAGE, description="Days of a page.")


class QuarantineQuery(Paged):
    """The query string of quarantine."""

    start: Day | None = Field(None, description="First trade date.", examples=["2026-03-02"])
    end: Day | None = Field(None, description="Last trade date, included.", examples=["2026-03-06"])
    file_id: Annotated[int, Field(ge=FIRST_FILE, le=LAST_FILE), WHOLE] | None = Field(
        None, description="Only reports of this file version."
    )
    reason: Annotated[str, Field(pattern=REASON, max_length=40)] | None = Field(
        None, description="Only those with this reason code.", examples=["bad_price"]
    )


class SymbolsQuery(Paged):
    """The query string of symbols."""

    prefix: Annotated[str, Field(pattern=rf"^{SYMBOL}$")] | None = Field(
        None, description="Only symbols that begin so.", examples=["AC"]
    )


@router.get(
    "/otc/quality",
    summary="What came in, and what became of it",
    openapi_extra=QualityQuery.documented(QUALITY),
)
async def quality(request: Request) -> Response:
    """Days with their counts of reports by disposition, their files with quarantine by reason, and their checks."""
    negotiation.chosen(request.headers.get("accept", ""), JSON_ONLY)
    asked = QualityQuery.of(request)
    values, conditions = _days(asked, asked.start, asked.end)
    if asked.cursor is not None:
        values["after_day"] = cursors.read(asked.cursor, QUALITY, (date,))[0]
    all_days = tuple(conditions)
    shown_days = (*all_days, "after_day") if asked.cursor is not None else all_days
    reader = context_of(request).reader
    rows = await reader.rows(queries.quality(shown_days), values)
    count = (await reader.rows(queries.quality(all_days, count=True), values))[0][0] if asked.count else None
    pattern = pages.template(QUALITY_MEMBERS, ("day",))
    body = pages.page(rows, limit=asked.limit, pattern=pattern, key=_first, name=QUALITY, count=count)
    return pages.tagged(request, body)


@router.get(
    "/otc/quarantine",
    summary="Reports in quarantine",
    openapi_extra=QuarantineQuery.documented(QUARANTINE),
)
async def quarantine(request: Request) -> Response:
    """Reports that could not be taken, each with file, line, reason and its text, by day, file and line."""
    negotiation.chosen(request.headers.get("accept", ""), JSON_ONLY)
    asked = QuarantineQuery.of(request)
    values, conditions = _days(asked, asked.start, asked.end)
    for name in ("file_id", "reason"):
        if getattr(asked, name) is not None:
            values[name] = getattr(asked, name)
            conditions.append("of_file" if name == "file_id" else "of_reason")
    after = ("after_day", "after_file", "after_line", "after_entry")
    if asked.cursor is not None:
        values |= dict(zip(after, cursors.read(asked.cursor, QUARANTINE, (date, int, int, int)), strict=True))
    order = ("day", "file_id", "line_no", "entry")
    return await _listed(request, asked, QUARANTINE, QUARANTINE_COLUMNS, conditions, "after_report", order, values)


@router.get(
    "/otc/symbols",
    summary="Symbols",
    openapi_extra=SymbolsQuery.documented(SYMBOLS),
)
async def symbols(request: Request) -> Response:
    """Symbols that have metrics, with the first and the last trade date and the number of days."""
    negotiation.chosen(request.headers.get("accept", ""), JSON_ONLY)
    asked = SymbolsQuery.of(request)
    values: dict[str, object] = {"limit": asked.limit + 1}
    conditions = []
    if asked.prefix is not None:
        values["prefix"] = asked.prefix
        conditions = ["from_prefix", "starts_with"]
    if asked.cursor is not None:
        values["after_symbol"] = cursors.read(asked.cursor, SYMBOLS, (str,))[0]
    return await _listed(request, asked, SYMBOLS, SYMBOL_COLUMNS, conditions, "after_symbol", ("symbol",), values)


def _days(asked: Paged, start: date | None, end: date | None) -> tuple[dict[str, object], list[str]]:
    if start and end and end < start:
        raise Problem("invalid_parameter", f"end: {end} is before start {start}", field="end")
    values: dict[str, object] = {"limit": asked.limit + 1}
    conditions = []
    for name, condition, value in (("start", "from_day", start), ("end", "to_day", end)):
        if value is not None:
            values[name] = value
            conditions.append(condition)
    return values, conditions


async def _listed(
    request: Request,
    asked: Paged,
    view: str,
    columns: tuple[tuple[str, bool], ...],
    conditions: Sequence[str],
    after: str,
    order: tuple[str, ...],
    values: dict[str, object],
) -> Response:
    """A page of a view; the view's name is the route's."""
    reader = context_of(request).reader
    everything = tuple(conditions)
    shown = (*everything, after) if asked.cursor is not None else everything
    rows = await reader.rows(queries.listing(view, columns, shown, order), values)
    count = (await reader.rows(queries.counted(view, everything), values))[0][0] if asked.count else None
    names = tuple(name for name, _ in columns)
    dates = tuple(name for name in names if name in ("day", "report_date", "first_date", "last_date"))

    def key(row: Row) -> list[str | int]:
        parts = [str(row[names.index(name)]).strip('"') for name in order]
        return [part if name in ("day", "symbol") else int(part) for name, part in zip(order, parts, strict=True)]

    body = pages.page(rows, limit=asked.limit, pattern=pages.template(names, dates), key=key, name=view, count=count)
    return pages.tagged(request, body)


def _first(row: Row) -> tuple[str]:
    return (str(row[0]),)
