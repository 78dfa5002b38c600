"""Whether the process lives, whether it can serve, and how the ledger is: what supervisors, balancers and people ask.

Belongs here: the two probes, and the health of runs and data as JSON. Does not belong here: reading it
(``market_spine.observability``, ``market_spine.ledger.health``), the same for Prometheus (``prometheus``).
"""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from market_spine.api import negotiation
from market_spine.api.bodies import encoded
from market_spine.api.context import context_of
from market_spine.api.parameters import Query
from market_spine.api.problems import Problem
from market_spine.ledger.health import FAIL, OK, WARN, unreachable
from market_spine.observability.metrics_reading import Away, LedgerFigures, MarketFigures, NewestSession
from market_spine.observability.metrics_scrape import Scraper
from market_spine.observability.metrics_sessions import STATES
from market_spine.warehouse.version import MIGRATE

SCHEMA = "0005"
"""The first migration that has every view the routes read. A newer one is fine: migrations only add at first."""
FRESH = {"Cache-Control": "no-store"}
router = APIRouter(tags=["Health"])


@router.get("/health/live", summary="Does the process live?")
async def live(request: Request) -> Response:
    """Answers without asking anybody; a failure is a reason to restart the process."""
    Query.of(request)
    return JSONResponse({"status": "live"}, headers=FRESH)


@router.get("/health/ready", summary="Can it serve?")
async def ready(request: Request) -> Response:
    """The database answers as the reading role, and its schema is new enough; otherwise says what is wrong."""
    Query.of(request)
    reader = context_of(request).reader
    try:
        version = await reader.schema_version()
    except Problem as problem:
        why = await reader.trouble() or problem.detail
        raise Problem("not_ready", f"the market database cannot be used: {why}") from problem
    if version < SCHEMA:
        raise Problem(
            "not_ready",
            f"the database stands at migration {version or 'none'}, this code needs {SCHEMA}: {MIGRATE}",
        )
    return JSONResponse({"status": "ready", "schema": version}, headers=FRESH)


@router.get("/health/metrics", summary="How are the ledger and the sessions?")
async def ledger_health(request: Request) -> Response:
    """The figures of ``/metrics`` that have no history, and in ``findings`` what ``spine doctor`` says of them.

    What is read from the market database is null while that is away.
    """
    Query.of(request)
    scraper: Scraper = request.app.state.scraper
    snapshot, findings = await scraper.snapshot(), await scraper.findings()
    ledger, market, sessions = snapshot.ledger, snapshot.market, snapshot.sessions
    if isinstance(ledger, Away):
        raise Problem("dagster_unavailable", f"Dagster's database cannot be read: {ledger.why}")
    if isinstance(market, Away):
        findings.append(unreachable("market database", ConnectionError(market.why), "check DATABASE_URL"))
    states = {one.state for one in findings}
    body = {
        "status": next(state for state in (FAIL, WARN, OK) if state in states or state == OK),
        **_of_ledger(ledger),
        **_of_market(None if isinstance(market, Away) else market),
        "sessions": None if isinstance(sessions, Away) else {state: sessions[state] for state in STATES},
        "findings": [asdict(one) for one in findings],
    }
    return Response(encoded(body), media_type=negotiation.JSON, headers=FRESH)


def _of_ledger(ledger: LedgerFigures) -> dict[str, Any]:
    return {
        "lanes": {name: asdict(lane) for name, lane in ledger.runs.lanes.items()},
        "daemons": {name: round(age, 3) for name, age in ledger.heartbeats.items()},
        "slots_held_by_dead_runs": ledger.dead_slots,
        "event_log_bytes": ledger.event_log_bytes,
    }


def _of_market(market: MarketFigures | None) -> dict[str, Any]:
    if market is None:
        return dict.fromkeys(("dead_letters", "sessions_overdue", "newest_session"))
    return {
        "dead_letters": {"unresolved": market.unresolved, "oldest_seconds": market.oldest_letter_seconds},
        "sessions_overdue": market.overdue,
        "newest_session": market.newest and _of_session(market.newest),
    }


def _of_session(newest: NewestSession) -> dict[str, Any]:
    return {
        "day": newest.day,
        "published_at": newest.published_at,
        "reports": newest.reports,
        "quarantine_ratio": newest.quarantine_ratio,
    }
