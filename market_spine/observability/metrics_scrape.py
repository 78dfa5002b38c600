"""One reading of both databases for all who ask at the same time, off the event loop, never waited for for long.

What it is: ``Scraper.snapshot`` reads either database in a thread of its own. A reading that is under way is shared by
whoever comes meanwhile; one that takes too long is answered for as away, and no second one is started beside it.
Belongs here: threads and deadlines. Does not belong here: what is read (``metrics_reading``).
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from market_spine.calendar import TradingCalendar
from market_spine.ledger.health import Finding
from market_spine.observability.metrics_reading import (
    Away,
    Kept,
    LedgerFigures,
    LedgerReader,
    MarketFigures,
    MarketReader,
)
from market_spine.settings import Settings

PATIENCE_SECONDS = 2.5
"""For one reading; Prometheus gives up after 10 s."""
Answer = TypeVar("Answer")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Snapshot:
    """What one reading found.

    Args:
        ledger: Dagster's database.
        market: the market database.
        sessions: sessions by state; needs both.
    """

    ledger: LedgerFigures | Away
    market: MarketFigures | Away
    sessions: Counter[str] | Away


@dataclass
class Shared(Generic[Answer]):
    """A reading that is made once for all who wait for it.

    Args:
        threads: where it runs.
        what: what is read, for the log.
    """

    threads: ThreadPoolExecutor
    what: str
    _reading: "Future[Answer | Away] | None" = field(default=None, init=False)
    _began: float = field(default=0.0, init=False)
    _why: str = field(default="", init=False)

    async def read(self, call: Callable[[], Answer | Away]) -> Answer | Away:
        """The answer of the reading under way, or of a new one."""
        if self._reading is None or self._reading.done():
            self._reading = self.threads.submit(call)
            self._began = time.monotonic()
        left = self._began + PATIENCE_SECONDS - time.monotonic()
        waiting = asyncio.wrap_future(self._reading)
        done, _ = await asyncio.wait([waiting], timeout=max(0.0, left))
        answer = waiting.result() if done else Away(f"no answer within {PATIENCE_SECONDS} s")
        self._tell(answer.why if isinstance(answer, Away) else "")
        return answer

    def _tell(self, why: str) -> None:
        """Say it once when it goes away and once when it is back, not at every scrape."""
        if why and why != self._why:
            log.warning("%s cannot be read for metrics: %s", self.what, why)
        elif self._why and not why:
            log.info("%s can be read for metrics again", self.what)
        self._why = why


class Scraper:
    """Reads for metrics; ``open`` before the first reading and ``close`` after the last.

    Args:
        settings: limits and hours.
        calendar: the sessions.
        market_url: the market database; empty: not known.
        ledger_url: Dagster's database; empty: not known.
    """

    def __init__(self, settings: Settings, calendar: TradingCalendar, *, market_url: str, ledger_url: str) -> None:
        self._ledger = LedgerReader(Kept(ledger_url, "DAGSTER_DATABASE_URL"), settings, calendar)
        self._market = MarketReader(Kept(market_url, "DATABASE_URL"), settings, calendar)

    def open(self) -> None:
        """Make the threads: one for either database, which has one connection."""
        ledger, market = (ThreadPoolExecutor(1, f"metrics-{name}") for name in ("ledger", "market"))
        self._threads = (ledger, market)
        self._ledger_figures: Shared[LedgerFigures] = Shared(ledger, "Dagster's database")
        self._market_figures: Shared[MarketFigures] = Shared(market, "the market database")
        self._sessions: Shared[Counter[str]] = Shared(ledger, "the inventory of sessions")
        self._findings = {
            ledger: (Shared[list[Finding]](ledger, "the health of the ledger"), self._ledger.findings),
            market: (Shared[list[Finding]](market, "the state of the dead letters"), self._market.findings),
        }

    def close(self) -> None:
        """End the threads and close the connections."""
        for threads, kept in zip(self._threads, (self._ledger.kept, self._market.kept), strict=True):
            kept.cancel()
            threads.submit(kept.close)
            threads.shutdown(wait=False)

    async def snapshot(self) -> Snapshot:
        """What both databases say now; what cannot be read within ``PATIENCE_SECONDS`` is away."""
        ledger, market = await asyncio.gather(
            self._ledger_figures.read(self._ledger.figures), self._market_figures.read(self._market.figures)
        )
        sessions: Counter[str] | Away
        if isinstance(ledger, Away):
            sessions = ledger
        elif isinstance(market, Away):
            sessions = market
        else:
            held = market.held
            sessions = await self._sessions.read(lambda: self._ledger.sessions(held))
        return Snapshot(ledger, market, sessions)

    async def findings(self) -> list[Finding]:
        """What ``spine doctor`` would say of the ledger and the dead letters, as far as they can be read."""
        found = await asyncio.gather(*(shared.read(call) for shared, call in self._findings.values()))
        return [finding for part in found if not isinstance(part, Away) for finding in part]
