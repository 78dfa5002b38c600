"""Which sessions deserve a run because of what lies in the landing folder.

What it is: ``judge`` takes days with their files and says of each: a run, wait (and why), or nothing to do. Sensor and
schedule both ask it, with the same run keys.
Belongs here: that judgement. Does not belong here: remembering what was judged (``landing_sensor``), when to look
(``schedules``), admission to the queue (``requests``).
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from dagster import DagsterInstance, RunRequest

from market_spine.automation.jobs import FULL_REFRESH
from market_spine.automation.requests import Book, is_over, open_book, recent_sessions
from market_spine.otc.landing import LandedDay, is_session
from market_spine.otc.steps import Steps
from market_spine.warehouse.sql import statements

SQL = statements("market_spine.automation", "sensors.sql")
RUNS_A_TICK = 25

Loaded = Mapping[tuple[str, int], datetime]
"""Place and size of a file -> since when its content is known."""


@dataclass
class Judgement:
    """What becomes of the days.

    Args:
        requests: runs to ask for now.
        settled: days that need nothing more as their files are now: asked for, or in the tables already.
        waiting: days that are looked at again, one line each that says why.
    """

    requests: list[RunRequest] = field(default_factory=list)
    settled: list[LandedDay] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)


def run_key(day: LandedDay) -> str:
    """The same for the same versions of the same files."""
    return f"{day.report_date}:{day.version}"


def judge(
    days: Sequence[LandedDay], instance: DagsterInstance, steps: Steps, *, holder: str, trigger: str = "sensor"
) -> Judgement:
    """Decide about each of the days; those without a session are nobody's business here.

    Raises:
        LedgerError, WarehouseError: a database does not answer.
    """
    found = Judgement()
    ready = _ready(days, steps, found)
    if not ready:
        return found
    loaded = _loaded(steps, [day.report_date for day in ready])
    left = [day for day in ready if not _is_loaded(day, loaded.get(day.report_date, {}))]
    found.settled += [day for day in ready if day not in left]
    if left:
        with open_book(instance, steps.settings, steps.calendar, holder=holder, trigger=trigger) as book:
            _ask(book, left, found)
    return found


def _ready(days: Sequence[LandedDay], steps: Steps, found: Judgement) -> list[LandedDay]:
    """Days whose files can be read now: the latest sessions first, each group from the oldest on."""
    recent = recent_sessions(steps.calendar, steps.settings.catch_up_sessions)
    ready = []
    for day in sorted(days, key=lambda one: (one.report_date not in recent, one.report_date)):
        if not is_session(steps.calendar, day.report_date):
            continue
        unsettled = day.unsettled(time.time(), steps.settings.landing_quiet_seconds)
        if not is_over(steps.calendar, day.report_date):
            found.waiting.append(f"{day.report_date} is not over yet")
        elif unsettled is not None:
            found.waiting.append(f"{unsettled} may still be written")
        else:
            ready.append(day)
    return ready


def _ask(book: Book, days: Iterable[LandedDay], found: Judgement) -> None:
    days = list(days)
    asked = book.asked([run_key(day) for day in days])
    for number, day in enumerate(days):
        if run_key(day) in asked:
            found.settled.append(day)
            continue
        reason = book.why_not(day.report_date)
        if reason is not None:
            found.waiting.append(reason)
        elif len(found.requests) == RUNS_A_TICK:
            found.waiting.append(f"{len(days) - number} more wait for the next tick")
            return
        else:
            found.requests.append(book.request(day.report_date, run_key(day), FULL_REFRESH))
            found.settled.append(day)


def _loaded(steps: Steps, days: Sequence[date]) -> dict[date, dict[tuple[str, int], datetime]]:
    with steps.warehouse.connect() as connection:
        rows: list[tuple[Any, ...]] = connection.execute(SQL("loaded_files"), {"days": list(days)}).fetchall()
    found: dict[date, dict[tuple[str, int], datetime]] = {}
    for day, path, size, known_at in rows:
        found.setdefault(day, {})[path, size] = known_at
    return found


def _is_loaded(day: LandedDay, known: Loaded) -> bool:
    """Whether every file was read after it last changed: loaded by hand, or before the cursor was lost."""
    for place, stamp in day.stamps.items():
        known_at = known.get((place, stamp.size)) if stamp.size is not None else None
        if known_at is None or stamp.touched is None or known_at.timestamp() < stamp.touched:
            return False
    return True
