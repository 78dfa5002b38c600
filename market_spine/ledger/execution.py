"""One execution and one line of its log, as read from Dagster's rows.

What it is: ``Execution`` and ``Event``, and what their rows and texts mean.
Belongs here: meaning of what is stored. Does not belong here: fetching it, orders (``executions``).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from market_spine.ledger import tags as names

LEVELS = {10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL"}
WITH_ERROR = ("STEP_FAILURE", "PIPELINE_FAILURE", "STEP_UP_FOR_RETRY", "ENGINE_EVENT")


@dataclass(frozen=True)
class Execution:
    """One run.

    Args:
        number: its place in the order of all.
        run_id: Dagster's id.
        job: Dagster's job.
        status: Dagster's word.
        created: when it was asked for (UTC).
        started, ended: when its process began to work and when it was over; None before.
        tags: all of them.
    """

    number: int
    run_id: str
    job: str
    status: str
    created: datetime
    started: datetime | None
    ended: datetime | None
    tags: Mapping[str, str]

    @property
    def pipeline(self) -> str:
        """The pipeline it was submitted as; the job when it was launched past the desk."""
        return self.tags.get(names.LOGICAL_KEY, "").partition(":")[0] or self.job

    @property
    def sessions(self) -> str:
        """A session, ``first..last``, or nothing."""
        if names.RANGE_START in self.tags:
            first, last = self.tags[names.RANGE_START], self.tags.get(names.RANGE_END, "")
            return first if first == last else f"{first}..{last}"
        return self.tags.get(names.PARTITION, "")

    @property
    def lane(self) -> str:
        """Its lane."""
        return names.lane_of(self.tags)

    @property
    def trigger(self) -> str:
        """Who asked for it; ``dagster`` where the UI or a command of Dagster's did."""
        return self.tags.get(names.TRIGGER, "dagster")

    @property
    def parent(self) -> str | None:
        """The execution it retries."""
        return self.tags.get(names.PARENT) or self.tags.get(names.RETRY_OF)

    @property
    def finished(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status in names.FINISHED

    def row(self) -> dict[str, Any]:
        """What a list shows of it."""
        return {
            "id": self.run_id,
            "pipeline": self.pipeline,
            "sessions": self.sessions,
            "lane": self.lane,
            "status": self.status,
            "trigger": self.trigger,
            "created": self.created,
            "started": self.started,
            "ended": self.ended,
        }


@dataclass(frozen=True)
class Filters:
    """Which executions to list; what is None (or empty) does not matter.

    Args:
        statuses: Dagster's words, any of them.
        pipeline: pipeline or job.
        lane: ``normal`` or ``backfill``.
        session: those that work on this session, ranges included.
        since: created then or later.
        tag: key and value of a tag they carry.
        run_ids: these only.
    """

    statuses: Sequence[str] = ()
    pipeline: str | None = None
    lane: str | None = None
    session: date | None = None
    since: datetime | None = None
    tag: tuple[str, str] | None = None
    run_ids: Sequence[str] | None = None


@dataclass(frozen=True)
class Event:
    """One line of an execution's log; ``number`` is the cursor."""

    number: int
    at: datetime
    level: str
    kind: str
    step: str | None
    message: str

    def row(self) -> dict[str, Any]:
        """What a list shows of it."""
        return {
            "number": self.number,
            "at": self.at,
            "level": self.level,
            "kind": self.kind,
            "step": self.step,
            "message": self.message,
        }


def execution(row: Sequence[Any]) -> Execution:
    """From a row of the statement ``executions``."""
    number, run_id, job, status, created, started, ended, run_tags = row
    return Execution(
        number,
        run_id,
        job,
        status,
        created.replace(tzinfo=UTC),
        None if started is None else datetime.fromtimestamp(started, UTC),
        None if ended is None else datetime.fromtimestamp(ended, UTC),
        run_tags,
    )


def event(row: Sequence[Any]) -> Event:
    """From a row of the statement ``events_of``."""
    number, at, kind, step, text = row
    entry = json.loads(text)
    inner = entry.get("dagster_event") or {}
    message = entry.get("user_message") or inner.get("message") or entry.get("message") or ""
    error = ((inner.get("event_specific_data") or {}).get("error") or {}).get("message")
    if error and kind in WITH_ERROR:
        message = f"{message} {_cleaned(error)}"
    level = LEVELS.get(entry.get("level"), "INFO")
    return Event(number, at.replace(tzinfo=UTC), level, kind or "LOG", step, " ".join(message.split()))


def reason(text: str) -> str:
    """The one line in the event that says why a run failed."""
    inner = json.loads(text).get("dagster_event") or {}
    error = (inner.get("event_specific_data") or {}).get("error") or {}
    return _cleaned(error.get("message") or inner.get("message") or "no message")


def _cleaned(message: str) -> str:
    """One line, without the module of the exception's class."""
    line = " ".join(message.split())
    kind, colon, rest = line.partition(": ")
    if not colon or " " in kind or "." not in kind:
        return line
    name = kind.rpartition(".")[2]
    return rest if name == "Failure" else f"{name}: {rest}"


def in_utc(moment: object) -> datetime | None:
    """A stored timestamp with its zone; None stays None."""
    return moment.replace(tzinfo=UTC) if isinstance(moment, datetime) else None
