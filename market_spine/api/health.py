"""Whether the process lives, and whether it can serve: what a supervisor and a load balancer ask.

Belongs here: the two probes. Does not belong here: the health of runs and data.
"""

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from market_spine.api.context import context_of
from market_spine.api.parameters import Query
from market_spine.api.problems import Problem

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
            f"the database stands at migration {version or 'none'}, this code needs {SCHEMA}: spine db upgrade",
        )
    return JSONResponse({"status": "ready", "schema": version}, headers=FRESH)
