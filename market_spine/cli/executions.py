"""``spine run``, ``spine dispatch`` and ``spine execution``: starting work and looking at what became of it.

What it is: the options of these commands, and how their answers look.
Belongs here: parsing sessions, printing. Does not belong here: the rules (``ledger.submission``), reading Dagster's
storage (``ledger.executions``), the child process of ``spine run`` (``in_process``).
"""

from contextlib import AbstractContextManager
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from market_spine.cli.output import EXIT_FAILED, Json, console, notes, print_json, print_record, print_rows

if TYPE_CHECKING:
    from market_spine.cli.services import Deployment
    from market_spine.ledger.execution import Execution
    from market_spine.ledger.executions import Executions
    from market_spine.ledger.submission import Desk, Submission

app = typer.Typer(no_args_is_help=True, help="Executions: list, look at, cancel and retry them.")


class Lane(StrEnum):
    """Lanes of the queue."""

    normal = "normal"
    backfill = "backfill"


class Status(StrEnum):
    """Dagster's words for the state of a run."""

    queued = "QUEUED"
    not_started = "NOT_STARTED"
    starting = "STARTING"
    started = "STARTED"
    canceling = "CANCELING"
    success = "SUCCESS"
    failure = "FAILURE"
    canceled = "CANCELED"


Pipeline = Annotated[
    str,
    typer.Argument(
        metavar="PIPELINE",
        help="otc_ingest, otc_normalize, otc_compute_daily_metrics, otc_full_refresh (all three), or "
        "otc_backfill_range (all three, in lane backfill).",
    ),
]
Sessions = Annotated[
    str,
    typer.Argument(metavar="SESSION[..SESSION]", help="A trading day, or a range: 2026-03-04..2026-03-12, one run."),
]
InLane = Annotated[Lane, typer.Option("--lane", help="A run of lane backfill starts when no other waits.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="The id, or its first six characters and more.")]
Wait = Annotated[bool, typer.Option("--wait", help="Show its progress on stderr until its end; exit code 1 if failed.")]


def run(pipeline: Pipeline, sessions: Sessions, lane: InLane = Lane.normal, as_json: Json = False) -> None:
    """Run a pipeline here and now: in a process of its own, past the queue. Ctrl-C ends it."""
    from market_spine.cli.in_process import run_in_process
    from market_spine.ledger.execution import Filters

    submission = _submission(pipeline, sessions, lane)
    with _deployed(market=True) as deployed:
        tag = run_in_process(deployed, submission)
        found = _executions(deployed).find(Filters(tag=tag), limit=1)[0]
        _end(_executions(deployed), found.run_id, as_json=as_json)


def dispatch(
    pipeline: Pipeline,
    sessions: Sessions,
    lane: InLane = Lane.normal,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Queue a pipeline and print the execution's id. Exit code 3: the queue is full, or the same work is under way."""
    submission = _submission(pipeline, sessions, lane)
    with _deployed() as deployed:
        run_id = _desk(deployed).submit(submission)
        _launched(_executions(deployed), run_id, wait=wait, as_json=as_json)


@app.command("list")
def list_(
    status: Annotated[list[Status] | None, typer.Option(case_sensitive=False, help="May be given again.")] = None,
    pipeline: Annotated[str | None, typer.Option(help="Pipeline, or job of Dagster.")] = None,
    lane: Annotated[Lane | None, typer.Option()] = None,
    session: Annotated[str | None, typer.Option(metavar="DATE", help="Those that work on it, ranges included.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Created then or later: 2026-03-04 or 2026-03-04T18:00, UTC.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    before: Annotated[str | None, typer.Option(metavar="ID", help="Go on after this one, the last of a page.")] = None,
    as_json: Json = False,
) -> None:
    """Executions, newest first."""
    from market_spine.ledger.execution import Filters

    filters = Filters(
        statuses=[one.value for one in status or ()],
        pipeline=pipeline,
        lane=lane.value if lane else None,
        session=_day(session) if session else None,
        since=_moment(since) if since else None,
    )
    with _deployed() as deployed:
        found = _executions(deployed).find(filters, limit=limit, before=before)
    rows = [one.row() for one in found] if as_json else [_short(one) for one in found]
    print_rows(rows, as_json=as_json, nothing="no executions")
    if len(found) == limit and not as_json:
        notes.print(f"UTC; there may be more: --before {found[-1].run_id}")


@app.command()
def show(run_id: Id, as_json: Json = False) -> None:
    """Everything about one execution: times, steps, parent, retries, what it made, why it failed."""
    with _deployed() as deployed:
        found = _executions(deployed).show(run_id)
    if as_json:
        print_json(found)
        return
    steps = found.pop("steps")
    print_record(found, as_json=False)
    print_rows(steps, as_json=False, title="steps", nothing="no step has begun")


@app.command()
def events(
    run_id: Id,
    after: Annotated[int, typer.Option(help="Number of the last event that is known.")] = 0,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 1000,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until its end, without a limit.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="An object a line with --follow, else an array.")] = False,
) -> None:
    """The log of an execution, oldest first."""
    import json

    with _deployed() as deployed:
        executions = _executions(deployed)
        whole = executions.get(run_id).run_id
        if not follow:
            rows = [event.row() for event in executions.events(whole, after=after, limit=limit)]
            print_rows(rows, as_json=as_json, nothing="no events")
            return
        for event in executions.follow(whole, after=after):
            if as_json:
                typer.echo(json.dumps({**event.row(), "at": event.at.isoformat()}, ensure_ascii=False))
            else:
                console.print(f"{event.at:%H:%M:%S} {event.level:<8} {event.kind:<24} {event.message}", markup=False)


@app.command()
def cancel(
    run_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="One or more ids, or beginnings of them.")],
    force: Annotated[
        bool, typer.Option("--force", help="Count it as canceled without asking its process; that may be gone.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Take executions from the queue, or stop them; what they committed stays."""
    with _deployed() as deployed:
        executions = _executions(deployed)
        done = [executions.cancel(deployed.webserver, run_id, force=force) for run_id in run_ids]
    rows = [{"id": one.run_id, "status": one.status} for one in done]
    print_rows(rows, as_json=as_json)


@app.command()
def retry(run_id: Id, wait: Wait = False, as_json: Json = False) -> None:
    """Do a finished execution again, as a new one whose parent it is."""
    with _deployed() as deployed:
        executions = _executions(deployed)
        _launched(executions, executions.retry(_desk(deployed), run_id), wait=wait, as_json=as_json)


def _short(one: "Execution") -> dict[str, object]:
    """What fits on a line; the first eight characters of an id are enough for every command."""
    seconds = round((one.ended - one.started).total_seconds(), 1) if one.started and one.ended else None
    return {
        "id": one.run_id[:8],
        "pipeline": one.pipeline,
        "sessions": one.sessions,
        "lane": one.lane,
        "status": one.status,
        "trigger": one.trigger,
        "created": f"{one.created:%m-%d %H:%M:%S}",
        "seconds": seconds,
    }


def parse_sessions(text: str) -> tuple[date, date | None]:
    """First and last session of ``2026-03-04`` or ``2026-03-04..2026-03-12``.

    Raises:
        typer.BadParameter: it is neither.
    """
    first, dots, last = text.partition("..")
    return _day(first), _day(last) if dots else None


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is neither a date like 2026-03-04 nor two with .. between") from error


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no time like 2026-03-04 or 2026-03-04T18:00") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _submission(pipeline: str, sessions: str, lane: Lane) -> "Submission":
    """What is asked for, checked before anything is started or looked for."""
    from market_spine.calendar import TradingCalendar
    from market_spine.ledger.submission import Submission
    from market_spine.settings import Settings

    first, last = parse_sessions(sessions)
    submission = Submission(pipeline, first, last, lane=lane.value)
    submission.check(TradingCalendar(Settings.from_env().first_session))
    return submission


def _launched(executions: "Executions", run_id: str, *, wait: bool, as_json: bool) -> None:
    """Print the id; with ``wait`` show what it logs, then how it ended."""
    if not wait:
        if as_json:
            print_json({"id": run_id})
        else:
            console.print(run_id)
            notes.print(f"queued; spine execution events -f {run_id} shows its progress")
        return
    notes.print(f"queued as {run_id}; Ctrl-C stops waiting, not the execution")
    for event in executions.follow(run_id):
        if event.kind == "LOG" or event.level in ("WARNING", "ERROR", "CRITICAL"):
            notes.print(f"{event.at:%H:%M:%S}  {event.message}", markup=False)
    _end(executions, run_id, as_json=as_json)


def _end(executions: "Executions", run_id: str, *, as_json: bool) -> None:
    found = executions.show(run_id)
    names = ("id", "pipeline", "sessions", "status", "started", "ended", "materialized_partitions", "failure")
    print_record({name: found[name] for name in names}, as_json=as_json)
    if found["status"] != "SUCCESS":
        raise typer.Exit(EXIT_FAILED)


def _deployed(*, market: bool = False) -> "AbstractContextManager[Deployment]":
    from market_spine.cli.services import deployment
    from market_spine.settings import Settings

    return deployment(Settings.from_env(), market=market)


def _executions(deployed: "Deployment") -> "Executions":
    from market_spine.ledger.executions import Executions

    return Executions(deployed.ledger)


def _desk(deployed: "Deployment") -> "Desk":
    from market_spine.ledger.submission import Desk

    return Desk.of(deployed.ledger, deployed.webserver, deployed.settings)
