"""Counts of runs that never fall: what was submitted, what ended how and after how long, cleaned-up runs included.

What it is: ``RunCounts`` of the whole ledger. Runs are added to totals that stand beside Dagster's tables, each once
and for good; what the totals lack is counted from Dagster's rows on top. Whoever asks (several APIs, a restarted one)
gets the same numbers, and reading them costs the same whether there were a thousand runs or a million.
Belongs here: counting. Does not belong here: deleting runs (``retention``, which counts what it deletes by fragments of
``sql/tally.sql``), what the counts are called outside (``market_spine.observability``).
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import psycopg
from psycopg import IsolationLevel, sql

from market_spine.ledger import tags
from market_spine.ledger.submission import PIPELINES
from market_spine.warehouse.engine import Connection
from market_spine.warehouse.sql import statements

SQL = statements("market_spine.ledger", "tally.sql")
BUCKETS = (1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, math.inf)
"""Bounds of the durations, in seconds. Totals keep the bound itself: after a change of this line old runs stay in the
next bucket that has their bound or a higher one."""
RUNNING = ("STARTING", "STARTED", "CANCELING")
"""Statuses of runs that hold a place in the queue's limit."""
TRIGGERS = ("api", "cli", "schedule", "sensor", "retry")
"""What our own tag may say; beside these there are ``backfill`` and ``ui``."""
SETTLED_SECONDS = 60.0
"""A younger run is not added to the totals yet: well beyond what a commit takes and clocks differ by."""
RUNS_AT_ONCE = 20_000
ADD_TIMEOUT = "120s"
"""Of one statement that adds: the first time, all runs there are have to be read (20,000 in 2 s)."""

VALUES: Mapping[str, object] = MappingProxyType(
    {
        "pipelines": list(PIPELINES),
        "lanes": list(tags.LANES),
        "normal": tags.NORMAL,
        "backfill": tags.BACKFILL,
        "triggers": list(TRIGGERS),
        "ended": list(tags.FINISHED),
        "under_way": list(tags.UNDER_WAY),
        "bounds": list(BUCKETS),
        "key_tag": tags.LOGICAL_KEY,
        "lane_tag": tags.LANE,
        "trigger_tag": tags.TRIGGER,
        "backfill_tag": tags.BACKFILL_ID,
        "schedule_tag": "dagster/schedule_name",
        "sensor_tag": "dagster/sensor_name",
    }
)
"""Values of the statement's fragments."""


@dataclass
class Durations:
    """How long runs took: how many fall into each bucket (not cumulated), by its bound, and all their seconds."""

    buckets: Counter[float] = field(default_factory=Counter)
    seconds: float = 0.0


@dataclass
class Lane:
    """A lane now: runs queued, seconds since the oldest of them was submitted, runs that hold a place."""

    queued: int = 0
    oldest_seconds: float = 0.0
    running: int = 0


@dataclass
class RunCounts:
    """Runs since the first one; keys are pipeline first.

    Args:
        submitted: by pipeline, lane and trigger source.
        ended: by pipeline, Dagster's job, and Dagster's status.
        present: runs that have not ended, by pipeline and Dagster's status.
        durations: of runs that started and ended, by pipeline.
        lanes: what is queued and what runs, by lane.
    """

    submitted: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    ended: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    present: Counter[tuple[str, str]] = field(default_factory=Counter)
    durations: dict[str, Durations] = field(default_factory=lambda: defaultdict(Durations))
    lanes: dict[str, Lane] = field(default_factory=lambda: {lane: Lane() for lane in tags.LANES})

    def add_ended(self, pipeline: str, job: str, status: str, le: float | None, *, runs: int, seconds: float) -> None:
        """Runs that ended in one way within one bucket; ``le`` is None where they never started."""
        self.ended[pipeline, job, status] += runs
        if le is not None:
            self.durations[pipeline].buckets[le] += runs
            self.durations[pipeline].seconds += seconds

    def add_present(self, pipeline: str, lane: str, status: str, *, runs: int, oldest_seconds: float) -> None:
        """Runs that have not ended."""
        self.present[pipeline, status] += runs
        here = self.lanes[lane]
        if status in tags.QUEUED:
            here.queued += runs
            here.oldest_seconds = max(here.oldest_seconds, oldest_seconds)
        elif status in RUNNING:
            here.running += runs


def ensure(connection: Connection) -> None:
    """Make the tables where they are missing.

    Args:
        connection: to Dagster's database, each statement a transaction.

    Raises:
        psycopg.Error: the login may not make a schema, or the database does not answer.
    """
    if not (connection.execute(SQL("is_made")).fetchone() or (False,))[0]:
        connection.execute(SQL("make"))


def facts_of_deleted() -> sql.Composed:
    """The fragment of a statement that deletes runs (its ``gone``): what the totals lack of them; with ``VALUES``."""
    return SQL("facts", up_to=SQL("up_to_now"), which=SQL("deleted"))


def add(connection: Connection, *, settled_seconds: float = SETTLED_SECONDS) -> int:
    """Add to the totals what they lack; answers with how many runs. Whoever comes while another is at it does nothing.

    Args:
        connection: as ``ensure``.
        settled_seconds: how old a run has to be.
    """
    statement = SQL("add", facts=SQL("facts", up_to=SQL("up_to"), which=SQL("addable")), adding=SQL("adding"))
    total, seen = 0, RUNS_AT_ONCE
    while seen == RUNS_AT_ONCE:
        with connection.transaction():
            counted: tuple[Any, ...] | None = connection.execute(SQL("lock_if_free")).fetchone()
            if counted is None:
                break
            up_to, not_ended = counted
            limits = {"up_to": up_to, "settled": settled_seconds, "most": RUNS_AT_ONCE}
            last, seen = _row(connection.execute(SQL("next"), limits))
            if last is None and not not_ended:
                break
            connection.execute(SQL("allow"), {"timeout": ADD_TIMEOUT})
            values = {**VALUES, "up_to": up_to, "not_ended": not_ended, "next": up_to if last is None else last}
            connection.execute(statement, values, prepare=False)
            total += seen if last is not None else 0
    return total


def read(connection: Connection) -> RunCounts:
    """All counts, of one moment.

    Args:
        connection: as ``ensure``; no transaction is open on it.
    """
    before, connection.isolation_level = connection.isolation_level, IsolationLevel.REPEATABLE_READ
    try:
        with connection.transaction():
            up_to, not_ended = _row(connection.execute(SQL("counted")))
            submitted: list[tuple[Any, ...]] = connection.execute(SQL("submitted")).fetchall()
            ended: list[tuple[Any, ...]] = connection.execute(SQL("ended")).fetchall()
            statement = SQL("present", facts=SQL("facts", up_to=SQL("up_to"), which=SQL("present_runs")))
            values = {**VALUES, "up_to": up_to, "not_ended": not_ended}
            present: list[tuple[Any, ...]] = connection.execute(statement, values, prepare=False).fetchall()
    finally:
        connection.isolation_level = before
    counts = RunCounts()
    for pipeline, lane, trigger, runs in submitted:
        counts.submitted[pipeline, lane, trigger] += runs
    for pipeline, job, status, le, runs, seconds in ended:
        counts.add_ended(pipeline, job, status, le, runs=runs, seconds=seconds)
    for pipeline, job, lane, trigger, status, le, is_new, has_ended, runs, seconds, oldest in present:
        if is_new:
            counts.submitted[pipeline, lane, trigger] += runs
        if has_ended:
            counts.add_ended(pipeline, job, status, le, runs=runs, seconds=seconds)
        else:
            counts.add_present(pipeline, lane, status, runs=runs, oldest_seconds=oldest)
    return counts


def _row(cursor: psycopg.Cursor[tuple[object, ...]]) -> tuple[Any, ...]:
    return cursor.fetchone() or (0, [])
