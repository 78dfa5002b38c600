"""``GET /api/v1/inventory``: every session of every asset against the calendar.

Belongs here: the route and its parameters. Does not belong here: the judgement (``ledger.inventory``).
"""

from collections.abc import Collection
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from market_spine.api import negotiation, pages
from market_spine.api.bodies import encoded
from market_spine.api.context import Context, context_of
from market_spine.api.executions import JSON_ONLY
from market_spine.api.parameters import Day, Flag, Query
from market_spine.errors import LandingError
from market_spine.ledger.inventory import Taking
from market_spine.otc.coverage import coverage
from market_spine.otc.landing import survey
from market_spine.otc.steps import STEPS, Steps

NAME = "inventory"
router = APIRouter(tags=["Executions"])


class InventoryQuery(Query):
    """The query string."""

    asset: Literal["otc_trades_raw", "otc_trades", "otc_metrics_daily"] | None = Field(
        None, description="Only this asset."
    )
    since: Day | None = Field(
        None, description="First session; the first that has anything when not given.", examples=["2026-03-02"]
    )
    sessions: Flag = Field(False, description="`true`: also every session of every asset, whatever it is.")


@router.get("/inventory", summary="Sessions against the calendar", openapi_extra=InventoryQuery.documented(NAME))
async def inventory(request: Request) -> Response:
    """How many sessions are present, stale, failed, missing ..., and for each problem the command that mends it."""
    negotiation.chosen(request.headers.get("accept", ""), JSON_ONLY)
    asked = InventoryQuery.of(request)
    context = context_of(request)
    found = await context.ledger.read(lambda: _taken(context, asked))
    return pages.tagged(request, encoded(found))


def _taken(context: Context, asked: InventoryQuery) -> dict[str, Any]:
    access = context.ledger
    settings = access.settings
    with access.warehouse.connect() as connection:
        held = coverage(connection, asked.since or settings.first_session)
    landed: Collection[date] | None = None
    unasked: list[str] = []
    try:
        seen = survey(settings.landing, Steps(settings).feeds)
        landed, unasked = seen.days, list(seen.problems(context.calendar))
    except LandingError as error:
        unasked = [str(error)]
    taking = Taking(access.ledger, context.calendar, STEPS, settings.due_hour)
    found = taking.take(held, datetime.now(UTC), since=asked.since, landed=landed)
    found = found.only(asked.asset) if asked.asset else found
    counts = [
        {"asset": name, **{str(status): count for status, count in counted.items()}}
        for name, counted in found.counts.items()
    ]
    answer: dict[str, Any] = {
        "first": found.first,
        "last": found.last,
        "counts": counts,
        "problems": [{**asdict(one), "status": str(one.status)} for one in found.problems],
        "files_nobody_asks_for": unasked,
    }
    if asked.sessions:
        answer["sessions"] = [
            {
                "asset": one.asset, "session": one.day, "status": str(one.status), "is_there": one.is_there,
                "reason": one.reason, "execution": one.run_id,
            }
            for one in found.items
        ]  # fmt: skip
    return answer
