"""Submitting work: what may be asked for, whether there is room, and the launch.

What it is: a ``Submission`` names a pipeline and its sessions; ``Desk.submit`` checks it, asks the ``queue`` for
admission and launches it. Command line, API, sensors and schedules all come here, so that one rule holds for all.
Belongs here: what may be submitted. Does not belong here: how full the queue may be (``queue``), what became of an
execution (``executions``).
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property
from types import MappingProxyType
from typing import Self

from market_spine.calendar import EXCHANGE, TradingCalendar
from market_spine.errors import CalendarError, InvalidSubmission, LedgerError
from market_spine.ledger import tags as names
from market_spine.ledger.queue import Claim, Limits, Queue
from market_spine.ledger.storage import LedgerStorage
from market_spine.ledger.webserver import Webserver, expect
from market_spine.observability import logs, traces
from market_spine.observability.traces_run import REQUEST_TAG
from market_spine.settings import Settings
from market_spine.warehouse.sql import statements

SQL = statements("market_spine.ledger", "queue.sql")
log = logging.getLogger(__name__)
BACKFILL_RANGE = "otc_backfill_range"
PIPELINES: Mapping[str, str] = MappingProxyType(
    {
        "otc_ingest": "otc_ingest",
        "otc_normalize": "otc_normalize",
        "otc_compute_daily_metrics": "otc_compute_daily_metrics",
        "otc_full_refresh": "otc_full_refresh",
        "otc_redo_dirty_days": "otc_redo_dirty_days",
        BACKFILL_RANGE: "otc_full_refresh",
    }
)
"""The job of each pipeline; ``otc_backfill_range`` is the full refresh in lane backfill."""

JOBS = """{ repositoriesOrError { __typename
  ... on RepositoryConnection { nodes { name location { name } jobs { name } } }
  ... on PythonError { message } } }"""
LAUNCH = """mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
  ... on LaunchRunSuccess { run { runId } }
  ... on RunConfigValidationInvalid { errors { message } }
  ... on Error { message } } }"""


@dataclass(frozen=True)
class Submission:
    """Work that somebody asks for.

    Args:
        pipeline: one of ``PIPELINES``.
        first: the session, or the first one of a range.
        last: last session of a range.
        lane: ``normal`` or ``backfill``; ``otc_backfill_range`` is always in lane backfill.
        logical_key: what must not be under way twice; pipeline and sessions unless given.
        trigger: who asks: cli, api, schedule, sensor, retry.
        parent: the execution this one stands in for.
        tags: further tags of the run.
    """

    pipeline: str
    first: date
    last: date | None = None
    lane: str = names.NORMAL
    logical_key: str | None = None
    trigger: str = "cli"
    parent: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def job(self) -> str:
        """Dagster's job.

        Raises:
            InvalidSubmission: there is no such pipeline.
        """
        if self.pipeline not in PIPELINES:
            raise InvalidSubmission(f"there is no pipeline {self.pipeline!r}; there are {', '.join(PIPELINES)}")
        return PIPELINES[self.pipeline]

    @property
    def key(self) -> str:
        """The logical key."""
        return self.logical_key or logical_key(self.pipeline, self.first, self.last)

    @property
    def effective_lane(self) -> str:
        """The lane it will be in."""
        return names.BACKFILL if self.pipeline == BACKFILL_RANGE else self.lane

    @property
    def claim(self) -> Claim:
        """What it lays claim to."""
        sessions = names.session_tags(self.first, self.last)
        return Claim(self.key, self.job, self.effective_lane, sessions, self.tags.get(names.IDEMPOTENCY_KEY))

    def run_tags(self) -> dict[str, str]:
        """All tags of the run."""
        parent = {names.RETRY_OF: self.parent} if self.parent else {}
        return {
            **self.tags,
            **names.session_tags(self.first, self.last),
            **names.lane_tags(self.effective_lane),
            names.LOGICAL_KEY: self.key,
            names.TRIGGER: self.trigger,
            **parent,
        }

    def check(self, calendar: TradingCalendar) -> None:
        """See that all of it exists.

        Raises:
            InvalidSubmission: pipeline, lane or session does not; says which do.
        """
        _ = self.job
        if self.lane not in names.LANES:
            raise InvalidSubmission(f"there is no lane {self.lane!r}; there are {', '.join(names.LANES)}")
        for day in (self.first, self.last or self.first):
            _check_session(calendar, day)
        if self.last is not None and self.last < self.first:
            raise InvalidSubmission(f"{self.first}..{self.last} ends before it begins; swap the two")


def logical_key(pipeline: str, first: date, last: date | None = None) -> str:
    """The key of a pipeline and its sessions, as it stands in the tag ``market_spine/logical_key``."""
    return f"{pipeline}:{first}" if last is None or last == first else f"{pipeline}:{first}..{last}"


@dataclass(frozen=True)
class Desk:
    """Where work is handed in.

    Args:
        ledger: Dagster's database.
        webserver: through which runs are launched.
        limits: as much may wait.
        calendar: the sessions there are.
    """

    ledger: LedgerStorage
    webserver: Webserver
    limits: Limits
    calendar: TradingCalendar

    @classmethod
    def of(cls, ledger: LedgerStorage, webserver: Webserver, settings: Settings) -> Self:
        """A desk with the limits and the first session of the settings."""
        return cls(ledger, webserver, Limits.of(settings), TradingCalendar(settings.first_session))

    @property
    def queue(self) -> Queue:
        """How full the queue is."""
        return Queue(self.ledger, self.limits)

    def room(self, lane: str) -> int:
        """How many more runs of the lane may be queued now."""
        return self.queue.room(lane)

    def submit(self, submission: Submission) -> str:
        """Queue a run; answers with its id.

        Raises:
            InvalidSubmission: pipeline, lane or session does not exist.
            AlreadySubmitted: its tags name an idempotency key that was used before.
            LogicalKeyActive: the same work is under way.
            QueueFull: too much waits already.
            LedgerError: database or webserver cannot do it.
        """
        submission.check(self.calendar)
        location, repository = self._places_of(submission.job)
        params = {
            "selector": {
                "repositoryLocationName": location,
                "repositoryName": repository,
                "jobName": submission.job,
            },
            "mode": "default",
            "executionMetadata": {"tags": as_graphql(submission.run_tags() | origin_tags())},
        }
        with self.queue.admission(submission.claim):
            answer = expect(self.webserver.ask(LAUNCH, {"params": params})["launchRun"], "LaunchRunSuccess")
        run_id = str(answer["run"]["runId"])
        partition = logs.partition_of(submission.run_tags())
        log.info("execution queued", extra={"run_id": run_id, "job": submission.job, "partition": partition})
        return run_id

    @cached_property
    def _places(self) -> dict[str, tuple[str, str]]:
        """Code location and repository of each job the webserver has loaded."""
        found = expect(self.webserver.ask(JOBS)["repositoriesOrError"], "RepositoryConnection")
        return {
            job["name"]: (node["location"]["name"], node["name"]) for node in found["nodes"] for job in node["jobs"]
        }

    def _places_of(self, job: str) -> tuple[str, str]:
        if job not in self._places:
            # Asked again next time: the code location may only be loading.
            known = ", ".join(sorted(self.__dict__.pop("_places"))) or "no job at all"
            raise LedgerError(
                f"{self.webserver.url}: no code location has the job {job}, it has {known}; see Deployment in the UI"
            )
        return self._places[job]


def origin_tags() -> dict[str, str]:
    """Where work that is handed in now comes from: the request and the trace that are open here."""
    request = logs.fields().get("request_id")
    return {**({REQUEST_TAG: request} if request else {}), **traces.carrier()}


def as_graphql(run_tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags as GraphQL takes them."""
    return [{"key": key, "value": value} for key, value in run_tags.items()]


def _check_session(calendar: TradingCalendar, day: date) -> None:
    try:
        if not calendar.is_session(day):
            raise InvalidSubmission(f"{day} is no session of {EXCHANGE}; {_nearest(calendar, day)}")
        if calendar.day_bounds(day)[1] > datetime.now(UTC):
            raise InvalidSubmission(f"session {day} is not over yet; it can be run from midnight New York on")
    except CalendarError as error:
        raise InvalidSubmission(str(error)) from error


def _nearest(calendar: TradingCalendar, day: date) -> str:
    before = calendar.sessions(end=day)[-1:]
    after = [calendar.next_session(day)] if day < calendar.last_session else []
    return f"nearest: {' and '.join(str(one) for one in [*before, *after])}"
