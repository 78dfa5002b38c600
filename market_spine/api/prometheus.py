"""``GET /metrics``: everything that is measured, for Prometheus.

Belongs here: the route. Does not belong here: the metrics (``market_spine.observability``), the same for people and
programs (``GET /health/metrics`` in ``health``).
"""

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import Response

from market_spine.api.parameters import Query
from market_spine.observability.metrics import Process, exposition
from market_spine.observability.metrics_scrape import Scraper

FRESH = {"Cache-Control": "no-store", "Vary": "Accept"}
router = APIRouter(tags=["Health"])


@router.get("/metrics", summary="What is measured, for Prometheus")
async def metrics(request: Request) -> Response:
    """Always 200: a database that is away is told by ``spine_ledger_up`` and ``spine_warehouse_up``."""
    Query.of(request)
    scraper: Scraper = request.app.state.scraper
    process: Process = request.app.state.process
    snapshot = await scraper.snapshot()
    accept = request.headers.get("accept", "")
    # In a thread: some milliseconds of text that no other request should wait for.
    body, media = await asyncio.to_thread(exposition, process, snapshot, accept)
    return Response(body, headers={**FRESH, "Content-Type": media})
