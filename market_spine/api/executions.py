"""Executions: what runs and ran, its log, handing in work, taking it back.

Belongs here: the routes and their parameters. Does not belong here: what may be submitted and when it is admitted
(``ledger.submission``, ``ledger.queue``), what an execution is (``ledger.executions``).
"""

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import ConfigDict, Field
from starlette.responses import Response

from market_spine.api import cursors, negotiation, pages
from market_spine.api.auth import may_operate
from market_spine.api.bodies import Body, done, encoded
from market_spine.api.context import context_of
from market_spine.api.parameters import WHOLE, Day, DayOrAbsent, Moment, Query, Whole
from market_spine.api.problems import Problem
from market_spine.calendar import TradingCalendar
from market_spine.errors import AlreadySubmitted, InvalidSubmission
from market_spine.ledger import tags as names
from market_spine.ledger.execution import Event, Filters
from market_spine.ledger.submission import Submission

EXECUTIONS, EVENTS = "executions", "events"
PATH = "/api/v1/executions"
PAGE, LARGEST_PAGE = 100, 1000
LAST_NUMBER = 2**31 - 1
ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,255}")
LOGICAL_KEY = r"^[a-z_]+:[A-Za-z0-9._:/+=-]{1,200}$"
JSON_ONLY = (negotiation.JSON,)
Pipeline = Literal["otc_ingest", "otc_normalize", "otc_compute_daily_metrics", "otc_full_refresh", "otc_backfill_range"]
Lane = Literal["normal", "backfill"]
Status = Literal["QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING", "SUCCESS", "FAILURE", "CANCELED"]
ID_PARAMETER: dict[str, Any] = {
    "name": "id", "in": "path", "required": True, "description": "Id of the execution.",
    "schema": {"type": "string", "format": "uuid"}, "example": "8f14e45f-ceea-4e67-9a1b-0d2c3b4a5f60",
}  # fmt: skip
KEY_PARAMETER: dict[str, Any] = {
    "name": "Idempotency-Key", "in": "header", "required": False,
    "description": "Your own word for this submission: sent again with the same body, it is answered the same.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"}, "example": "5f0c2a34-refresh-2026-03-04",
}  # fmt: skip
router = APIRouter(tags=["Executions"])
writes = APIRouter(tags=["Executions"], dependencies=[Depends(may_operate)])


class ExecutionsQuery(Query):
    """The query string of the list."""

    status: list[Status] = Field([], description="Only those of this status; may be repeated.", examples=[["QUEUED"]])
    pipeline: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,100}$")] | None = Field(
        None, description="Only those of this pipeline, or job of Dagster.", examples=["otc_full_refresh"]
    )
    lane: Lane | None = Field(None, description="Only those of this lane.")
    session: Day | None = Field(
        None, description="Only those that work on this session, ranges included.", examples=["2026-03-04"]
    )
    since: Moment | None = Field(
        None, description="Only those created then or later.", examples=["2026-03-04T18:00:00Z"]
    )
    cursor: str | None = Field(None, description="`next_cursor` of the page before, as it is.")
    limit: Whole = Field(PAGE, ge=1, le=LARGEST_PAGE, description="Executions of a page.")


class EventsQuery(Query):
    """The query string of the log."""

    after: Annotated[int, Field(ge=0, le=LAST_NUMBER), WHOLE] = Field(
        0, description="Only events with a higher number: how to go on where the log ended for now."
    )
    cursor: str | None = Field(None, description="`next_cursor` of the page before, as it is.")
    limit: Whole = Field(PAGE, ge=1, le=LARGEST_PAGE, description="Events of a page.")


class SubmissionBody(Body):
    """Work to be done: of one session, or from ``first`` to ``last``."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [{"required": ["session"]}, {"required": ["first"]}],
            "dependentRequired": {"last": ["first"]},
        }
    )

    pipeline: Pipeline = Field(description="What is to be done; otc_full_refresh is all three steps.")
    session: DayOrAbsent = Field(None, description="The session.", examples=["2026-03-04"])
    first: DayOrAbsent = Field(None, description="First session of a range.", examples=["2026-03-02"])
    last: DayOrAbsent = Field(None, description="Last session of a range, included.", examples=["2026-03-06"])
    lane: Lane = Field("normal", description="A run of lane backfill starts when none of lane normal waits.")
    logical_key: Annotated[str, Field(pattern=LOGICAL_KEY)] | None = Field(
        None,
        description="What must not be under way twice; begins with the pipeline and a colon. Pipeline and sessions "
        "unless given.",
    )

    def submission(self) -> Submission:
        """The same as the ledger takes it.

        Raises:
            Problem: members contradict each other.
        """
        first = self.session or self.first
        if first is None or (self.session and self.first):
            raise Problem("invalid_parameter", "session: give either session, or first and last", field="session")
        if self.last is not None and self.first is None:
            raise Problem("invalid_parameter", "last: it needs first", field="last")
        if self.logical_key is not None and not self.logical_key.startswith(f"{self.pipeline}:"):
            raise Problem(
                "invalid_parameter", f"logical_key: it has to begin with {self.pipeline}:", field="logical_key"
            )
        return Submission(self.pipeline, first, self.last, lane=self.lane, logical_key=self.logical_key, trigger="api")

    def check(self, submission: Submission, calendar: TradingCalendar) -> None:
        """See that its sessions exist.

        Raises:
            Problem: they do not; names the member.
        """
        field = "session" if self.session else "first"
        for part, named in ((replace(submission, last=None), field), (submission, "last")):
            try:
                part.check(calendar)
            except InvalidSubmission as error:
                raise Problem("invalid_submission", f"{named}: {error}", field=named) from error


class CancelBody(Body):
    """How it is to be ended."""

    force: bool = Field(False, description="Count it as canceled without asking its process; that may be gone.")


@router.get("/executions", summary="Executions", openapi_extra=ExecutionsQuery.documented(EXECUTIONS))
async def executions(request: Request) -> Response:
    """Executions that pass every filter, newest first."""
    negotiation.chosen(request.headers.get("accept", ""), JSON_ONLY)
    asked = ExecutionsQuery.of(request)
    below = None if asked.cursor is None else cursors.read(asked.cursor, EXECUTIONS, (int,))[0]
    filters = Filters(
        statuses=asked.status, pipeline=asked.pipeline, lane=asked.lane, session=asked.session, since=_utc(asked.since)
    )
    access = context_of(request).ledger
    found = await access.read(lambda: access.executions.find(filters, limit=asked.limit + 1, below=below))
    shown = found[: asked.limit]
    cursor = cursors.write(EXECUTIONS, [shown[-1].number]) if len(found) > asked.limit else None
    return pages.tagged(request, encoded({"data": [one.row() for one in shown], "next_cursor": cursor}))


@router.get("/executions/{id}", summary="An execution", openapi_extra={"parameters": [ID_PARAMETER]})
async def execution(request: Request) -> Response:
    """Times, steps, parent, retries, what it made, and the one line that says why it failed."""
    negotiation.chosen(request.headers.get("accept", ""), JSON_ONLY)
    Query.of(request)
    run_id = _id(request)
    access = context_of(request).ledger
    return pages.tagged(request, encoded(await access.read(lambda: access.executions.show(run_id))))


@router.get(
    "/executions/{id}/events",
    summary="The log of an execution",
    openapi_extra={"parameters": [ID_PARAMETER, *EventsQuery.documented(EVENTS)["parameters"]]},
)
async def events(request: Request) -> Response:
    """Its events, oldest first."""
    negotiation.chosen(request.headers.get("accept", ""), JSON_ONLY)
    asked = EventsQuery.of(request)
    run_id = _id(request)
    after = asked.after
    if asked.cursor is not None:
        after = max(after, cursors.read(asked.cursor, EVENTS, (int,))[0])
    access = context_of(request).ledger

    def read() -> list[Event]:
        access.executions.get(run_id)
        return access.executions.events(run_id, after=after, limit=asked.limit + 1)

    found = await access.read(read)
    shown = found[: asked.limit]
    cursor = cursors.write(EVENTS, [shown[-1].number]) if len(found) > asked.limit else None
    return pages.tagged(request, encoded({"data": [one.row() for one in shown], "next_cursor": cursor}))


@writes.post(
    "/executions",
    summary="Hand in work",
    status_code=202,
    openapi_extra={
        "parameters": [KEY_PARAMETER],
        **SubmissionBody.documented(
            required=True,
            session={"pipeline": "otc_full_refresh", "session": "2026-03-04"},
            range={"pipeline": "otc_backfill_range", "first": "2026-03-02", "last": "2026-03-06"},
        ),
    },
)
async def submit(request: Request) -> Response:
    """Queues an execution and answers with its id; nothing is run here."""
    Query.of(request)
    key = _idempotency_key(request)
    asked = await SubmissionBody.of(request)
    submission = asked.submission()
    context = context_of(request)
    asked.check(submission, context.calendar)
    digest = cursors.digest(asked.pipeline, submission.first, submission.last, asked.lane, submission.key)
    if key is not None:
        marks = {names.IDEMPOTENCY_KEY: key, names.IDEMPOTENCY_DIGEST: digest}
        submission = replace(submission, tags=marks)
    access = context.ledger

    def hand_in() -> tuple[str, bool]:
        try:
            return access.desk.submit(submission), False
        except AlreadySubmitted as before:
            if before.digest != digest:
                raise Problem(
                    "idempotency_key_reused",
                    f"Idempotency-Key: it was sent before with another body, for execution {before.run_id}; use a new "
                    "one for each submission",
                    field="Idempotency-Key",
                    execution=before.run_id,
                ) from before
            return before.run_id, True

    run_id, again = await access.order(hand_in)
    headers = {"idempotency_replayed": "true"} if again else {}
    return done({"id": run_id}, status=202, location=f"{PATH}/{run_id}", **headers)


@writes.post(
    "/executions/{id}/cancel",
    summary="Cancel an execution",
    openapi_extra={
        "parameters": [ID_PARAMETER],
        **CancelBody.documented(required=False, plain={}, hard={"force": True}),
    },
)
async def cancel(request: Request) -> Response:
    """Takes it from the queue, or has its process stop; what it committed stays."""
    Query.of(request)
    run_id = _id(request)
    asked = await CancelBody.of(request)
    access = context_of(request).ledger
    ended = await access.order(lambda: access.executions.cancel(access.webserver, run_id, force=asked.force))
    return done(ended.row())


def _id(request: Request) -> str:
    run_id = str(request.path_params["id"])
    if not ID.fullmatch(run_id):
        raise Problem("not_found", f"there is no execution {run_id!r}; an id is 36 characters long")
    return run_id


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not IDEMPOTENCY_KEY.fullmatch(key):
        raise Problem(
            "invalid_parameter",
            "Idempotency-Key: expected 1 to 255 printable characters without spaces",
            field="Idempotency-Key",
        )
    return key


def _utc(moment: datetime | None) -> datetime | None:
    try:
        return None if moment is None else moment.astimezone(UTC)
    except OverflowError:
        raise Problem("invalid_parameter", "since: that moment has no date in UTC", field="since") from None
