"""One clean-up: which parts there are, how old each may get, and what came of it.

What it is: ``clean`` runs the asked parts one after the other, for the command and for the nightly job alike; a part
that fails holds up no other.
Belongs here: the order of the parts and the settings each keeps to. Does not belong here: what may go
(``market_spine.ledger.retention``, ``market_spine.otc.raw_retention``), Dagster (``cleanup``), printing (``cli``).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import psycopg

from market_spine.calendar import ZONE_NAME
from market_spine.errors import LedgerError, SpineError
from market_spine.ledger.retention import Kept, Outcome, Removed, Retention, Say
from market_spine.ledger.storage import LedgerStorage
from market_spine.otc.raw_retention import RawRetention
from market_spine.settings import Settings
from market_spine.warehouse.engine import Warehouse

RUNS, TICKS, DEAD_LETTERS, RAW = "runs", "ticks", "dead-letters", "raw"
PARTS = (RUNS, TICKS, DEAD_LETTERS, RAW)
NEW_YORK = ZoneInfo(ZONE_NAME)
NAMED_DAYS = 10


@dataclass(frozen=True)
class PartResult:
    """What a part of the clean-up came to.

    Args:
        part: its name.
        before: everything older than this was looked at.
        removed: what was removed, or would be.
        kept: what is as old and stays, with the reason.
    """

    part: str
    before: date
    removed: tuple[Removed, ...]
    kept: tuple[Kept, ...]


@dataclass(frozen=True)
class CleanUp:
    """What a clean-up came to.

    Args:
        results: of the parts that were done, in their order.
        failed: parts that were not, each with its one line.
    """

    results: tuple[PartResult, ...]
    failed: Mapping[str, str]

    def check(self) -> None:
        """Call it when the results are told.

        Raises:
            LedgerError: a part failed; names every one that did.
        """
        if self.failed:
            raise LedgerError(self.problem)

    @property
    def problem(self) -> str:
        """One line that names every part that failed; empty when all were done."""
        named = "; ".join(f"{part} failed: {line}" for part, line in self.failed.items())
        done = ", ".join(one.part for one in self.results) or "no part"
        return f"{named} ({done} done)" if named else ""


def clean(
    settings: Settings,
    ledger: LedgerStorage,
    warehouse: Warehouse,
    say: Say,
    *,
    parts: Collection[str] = PARTS,
    dry_run: bool = False,
    now: datetime | None = None,
) -> CleanUp:
    """Run the parts in their order, each whether or not those before it could be done.

    Nothing is raised for a database that does not answer or another clean-up under way: see ``CleanUp.check``.
    """
    moment = now or datetime.now(UTC)
    retention = Retention(ledger, warehouse, say, dry_run)
    results: list[PartResult] = []
    failed: dict[str, str] = {}
    for part in (one for one in PARTS if one in parts):
        before = moment - timedelta(days=_days(settings, part))
        try:
            if part == RAW:
                raw = RawRetention(warehouse, lambda done, total: say("raw days", done, total), dry_run)
                removed, kept = _raw(raw, before)
            else:
                work = {RUNS: retention.runs, TICKS: retention.ticks, DEAD_LETTERS: retention.dead_letters}[part]
                removed, kept = work(before)
        except (SpineError, psycopg.Error) as error:
            failed[part] = str(error).strip().splitlines()[0]
        else:
            results.append(PartResult(part, before.astimezone(NEW_YORK).date(), tuple(removed), tuple(kept)))
    return CleanUp(tuple(results), failed)


def _days(settings: Settings, part: str) -> int:
    return {
        RUNS: settings.keep_runs_days,
        TICKS: settings.keep_ticks_days,
        DEAD_LETTERS: settings.keep_dead_letters_days,
        RAW: settings.keep_raw_days,
    }[part]


def _raw(retention: RawRetention, before: datetime) -> Outcome:
    result = retention.drop(before.astimezone(NEW_YORK).date())
    size = sum(day.bytes for day in result.dropped)
    removed = [
        Removed("raw days", len(result.dropped), size),
        Removed("raw reports", sum(day.rows for day in result.dropped), 0),
    ]
    reasons: dict[str, list[date]] = {}
    for day, why in result.waiting:
        reasons.setdefault(why, []).append(day)
    lost = [day for day, _ in result.lost]
    if lost:
        reasons["marked, but its reports were dropped: it stays as it is"] = lost
    return removed, [Kept(f"days {_named(days)}", len(days), why) for why, days in reasons.items()]


def _named(days: list[date]) -> str:
    more = f" and {len(days) - NAMED_DAYS} more" if len(days) > NAMED_DAYS else ""
    return ", ".join(str(day) for day in days[:NAMED_DAYS]) + more
