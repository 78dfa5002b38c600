"""Sensors: what starts runs without anybody asking.

What it is: ``dirty_days`` has the trades and metrics of a session computed again when reports about it came on another
day or its files changed.
Belongs here: deciding which runs to ask for. Does not belong here: marking days (``otc``), what a run does (``jobs``).

A mark is answered by the next pass of its day that begins after it. So the sensor asks for a run only while no run of
that day waits or works, whoever started it, and by the number of the last mark: a mark set while a run waits is
answered by that run, one set while it works stays and is asked for at the next tick, and a day whose run failed is not
asked for again until something new is known about it.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from dagster import (
    DefaultSensorStatus,
    ResourceParam,
    RunRequest,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from market_spine.automation.jobs import REDO, REDO_PRIORITY
from market_spine.automation.landing_sensor import landing_sensor
from market_spine.automation.requests import Book, is_over, open_book
from market_spine.errors import LedgerError, WarehouseError
from market_spine.otc.landing import is_session
from market_spine.otc.steps import Steps
from market_spine.settings import Settings
from market_spine.warehouse.sql import statements

SQL = statements("market_spine.automation", "sensors.sql")
NAME = "dirty_days"
RUNS_A_TICK = 50
INTERVAL_SECONDS = 10
Row = tuple[Any, ...]


def otc_sensors(settings: Settings) -> list[SensorDefinition]:
    """All sensors that ask for runs."""
    return [dirty_days, landing_sensor(settings)]


@sensor(
    job_name=REDO,
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=DefaultSensorStatus.RUNNING,
    description="Computes the trades and metrics of a session again when something new is known about it.",
)
def dirty_days(context: SensorEvaluationContext, steps: ResourceParam[Steps]) -> SensorResult | SkipReason:
    """A run for each marked session, at most ``RUNS_A_TICK`` at once."""
    try:
        with steps.warehouse.connect() as connection:
            marked = connection.execute(SQL("dirty_days")).fetchall()
        if not marked:
            return SkipReason("no session is marked")
        with open_book(context.instance, steps.settings, steps.calendar, holder=NAME) as book:
            requests, notes = _decide(book, marked, context)
    except (WarehouseError, LedgerError) as error:
        return SkipReason(str(error))
    if not requests:
        return SkipReason(_shortly(notes))
    return SensorResult(run_requests=requests)


def _decide(book: Book, marked: Sequence[Row], context: SensorEvaluationContext) -> tuple[list[RunRequest], list[str]]:
    """Runs to ask for, and why the other sessions get none."""
    requests: list[RunRequest] = []
    notes: list[str] = []
    asked = book.asked([f"{day}:{mark}" for day, mark, _, _ in marked])
    for day, mark, count, reason in marked:
        key = f"{day}:{mark}"
        against = book.why_not(day)
        if key in asked and day not in book.busy:
            notes.append(f"the run for the last mark of {day} did not answer it: see its dead letter")
        elif not is_session(book.calendar, day) or not is_over(book.calendar, day):
            notes.append(f"{day} is no session, or is not over yet")
        elif against is not None:
            notes.append(against)
        elif len(requests) == RUNS_A_TICK:
            notes.append(f"{day} and later ones wait for the next tick")
            break
        else:
            context.log.info(f"{day}: {count} marks, the last one: {reason}")
            requests.append(book.request(day, key, REDO, priority=REDO_PRIORITY))
    return requests, notes


def _shortly(notes: Iterable[str], most: int = 5) -> str:
    known = list(notes)
    return "; ".join(known[:most]) + (f"; and {len(known) - most} more" if len(known) > most else "")
