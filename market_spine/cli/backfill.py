"""``spine backfill``: many sessions at once, in chunks, behind the day's own work.

Belongs here: options, the facts a plan needs, progress. Does not belong here: choosing sessions
(``ledger.backfill_plan``), backfills themselves (``ledger.backfills``).
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from market_spine.cli.output import EXIT_FAILED, Json, console, notes, print_json, print_record, print_rows
from market_spine.errors import LedgerError

if TYPE_CHECKING:
    from market_spine.cli.services import Deployment
    from market_spine.ledger.backfill_plan import Facts, Plan
    from market_spine.ledger.backfills import Backfill, Backfills, State

POLL_SECONDS = 2.0
SHOWN_SESSIONS = 20

app = typer.Typer(no_args_is_help=True, help="Many sessions at once: plan, launch, watch, do the failed ones again.")
Sessions = Annotated[str, typer.Argument(metavar="FIRST..LAST", help="Sessions, for example 2026-01-02..2026-03-31.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="The backfill, as status lists it.")]
Again = Annotated[
    bool, typer.Option("--all/--missing", help="Also sessions that are there already; otherwise only missing ones.")
]
Assets = Annotated[
    str, typer.Option(help="Assets, separated by commas, for example otc_trades,otc_metrics_daily; empty: all three.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Watch = Annotated[bool, typer.Option("--watch", help="Show progress until it has ended; Ctrl-C ends only the showing.")]


@app.command()
def plan(sessions: Sessions, again: Again = False, assets: Assets = "", as_json: Json = False) -> None:
    """Say what launch would do with the same arguments; start nothing."""
    with _deployed(market=True) as deployed:
        _print_plan(_plan(deployed, sessions, assets, again=again), as_json=as_json)


@app.command()
def launch(
    sessions: Sessions,
    again: Again = False,
    assets: Assets = "",
    yes: Yes = False,
    watch: Watch = False,
    as_json: Json = False,
) -> None:
    """Do what plan says, in lane backfill. Sessions that another backfill is doing are left to it."""
    with _deployed(market=True) as deployed:
        found = _plan(deployed, sessions, assets, again=again)
        if not as_json:
            _print_plan(found, as_json=False)
        if not found.to_do:
            if as_json:
                print_json({"backfill": None, "sessions": 0})
            return
        if not yes:
            typer.confirm(f"Launch a backfill of {len(found.to_do)} sessions?", abort=True, err=True)
        backfills = _backfills(deployed)
        chunk = deployed.settings.backfill_chunk
        made = backfills.launch(deployed.webserver, found.assets, found.to_do, chunk=chunk, trigger="cli")
        _launched(backfills, made, len(found.to_do), watch=watch, as_json=as_json)


@app.command()
def status(
    backfill: Annotated[str | None, typer.Argument(metavar="[ID]", help="One of them; without it, a list.")] = None,
    watch: Watch = False,
    last: Annotated[int, typer.Option(min=1, help="As many of the newest ones in the list.")] = 20,
    as_json: Json = False,
) -> None:
    """List backfills, or show one chunk by chunk; of one that has ended with failed sessions, exit code 1."""
    with _deployed() as deployed:
        backfills = _backfills(deployed)
        if backfill is None:
            rows = [_row(one) if as_json else _short_row(one) for one in backfills.latest(last)]
            print_rows(rows, as_json=as_json, nothing="no backfill yet")
            return
        found = _watch(backfills, backfill) if watch else backfills.get(backfill)
        _print_backfill(backfills, found, as_json=as_json)
        if found.is_settled and found.failed_sessions():
            raise typer.Exit(EXIT_FAILED)


@app.command(name="retry-failed")
def retry_failed(backfill: Id, yes: Yes = False, watch: Watch = False, as_json: Json = False) -> None:
    """Launch a new backfill of exactly the sessions of one that failed or were never run, linked to it."""
    with _deployed() as deployed:
        backfills = _backfills(deployed)
        parent = backfills.get(backfill)
        if not parent.is_settled:
            raise LedgerError(f"backfill {backfill} is under way; wait for it, or spine backfill cancel {backfill}")
        taken = _under_way(backfills)
        days = [day for day in parent.failed_sessions() if day not in taken]
        if not days:
            _say_nothing_to_do(parent, taken, as_json=as_json)
            return
        chosen = _in_order(parent.targets)
        if not yes:
            notes.print(f"{len(days)} sessions: {_some(days)}")
            typer.confirm("Do them again?", abort=True, err=True)
        chunk = deployed.settings.backfill_chunk
        made = backfills.launch(deployed.webserver, chosen, days, chunk=chunk, trigger="cli", parent=parent)
        _launched(backfills, made, len(days), watch=watch, as_json=as_json)


@app.command()
def cancel(backfill: Id, as_json: Json = False) -> None:
    """End a backfill: its runs are ended, no more are made. What is done stays."""
    with _deployed() as deployed:
        found = _backfills(deployed).cancel(deployed.webserver, backfill)
        if as_json:
            print_json({"backfill": found.id, "status": "canceling"})
        else:
            console.print(f"backfill {found.id} is being cancelled; the daemon ends its runs within 30 s")


def _deployed(*, market: bool = False) -> Any:
    from market_spine.cli.services import deployment
    from market_spine.settings import Settings

    return deployment(Settings.from_env(), market=market)


def _backfills(deployed: "Deployment") -> "Backfills":
    from market_spine.calendar import TradingCalendar
    from market_spine.ledger.backfills import Backfills
    from market_spine.ledger.queue import Limits

    settings = deployed.settings
    return Backfills(deployed.ledger, TradingCalendar(settings.first_session), Limits.of(settings))


def _plan(deployed: "Deployment", sessions: str, assets: str, *, again: bool) -> "Plan":
    from market_spine.calendar import ZONE_NAME
    from market_spine.ledger.backfill_plan import plan as made

    backfills = _backfills(deployed)
    first, last = read_sessions(sessions)
    days = backfills.calendar.sessions(first, last)
    if not days:
        raise LedgerError(
            f"{sessions}: no session there; the calendar begins at {backfills.calendar.first_session} "
            "(MARKET_SPINE_FIRST_SESSION)"
        )
    chosen = _chosen(assets)
    today = datetime.now(ZoneInfo(ZONE_NAME)).date()
    chunk = deployed.settings.backfill_chunk
    facts = _facts(deployed, backfills, chosen, days[0])
    return made(backfills.calendar, days, chosen, facts, today=today, chunk=chunk, again=again)


def _facts(deployed: "Deployment", backfills: "Backfills", chosen: Sequence[str], since: date) -> "Facts":
    """What the tables, the landing folder and the ledger know of sessions."""
    from market_spine.ledger.backfill_plan import Facts
    from market_spine.otc.coverage import coverage
    from market_spine.otc.landing import all_report_dates
    from market_spine.otc.quality import RAW
    from market_spine.otc.steps import Steps

    steps = Steps(deployed.settings)
    with deployed.warehouse.connect() as connection:
        held = coverage(connection, since)
    with_file = None
    if RAW in chosen:
        with_file = {*all_report_dates(deployed.settings.landing, steps.feeds)}
        with_file |= {day for day, facts in held.items() if RAW in facts.assets}
    return Facts(
        {day for day, facts in held.items() if facts.assets.issuperset(chosen)},
        with_file,
        _under_way(backfills),
        backfills.seconds_per_session(),
    )


def _under_way(backfills: "Backfills") -> dict[date, str]:
    """Sessions that an unfinished backfill still has to do, with its id."""
    from market_spine.ledger.backfills import State

    open_states = (State.RUNNING, State.QUEUED, State.WAITING)
    return {day: one.id for one in backfills.under_way() for day, state in one.states.items() if state in open_states}


def _chosen(assets: str) -> list[str]:
    from market_spine.otc.steps import STEPS

    names = [name.strip() for name in assets.split(",") if name.strip()]
    unknown = sorted(set(names) - set(STEPS))
    if unknown:
        raise typer.BadParameter(
            f"unknown: {', '.join(unknown)}; choose from {', '.join(STEPS)}", param_hint="--assets"
        )
    return _in_order(names or STEPS)


def _in_order(assets: Any) -> list[str]:
    from market_spine.otc.steps import STEPS

    chosen = [asset for asset in STEPS if asset in assets]
    if not chosen:
        raise LedgerError("this backfill was launched from a job, not from assets; do it again in Dagster's UI")
    return chosen


def read_sessions(text: str) -> tuple[date, date]:
    """``FIRST..LAST``, or one day, as two dates.

    Raises:
        typer.BadParameter: it is neither.
    """
    first, _, last = text.partition("..")
    try:
        days = date.fromisoformat(first), date.fromisoformat(last or first)
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is no day and no range of days; write 2026-01-02 or 2026-01-02..2026-03-31"
        ) from error
    if days[0] > days[1]:
        raise typer.BadParameter(f"{text!r}: the last day is before the first; swap them")
    return days


def _print_plan(found: "Plan", *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "assets": found.assets,
                "to_do": found.to_do,
                "chunks": [dict(zip(("first", "last", "sessions"), chunk, strict=True)) for chunk in found.chunks],
                "present": found.present,
                "without_file": found.without_file,
                "under_way": {str(day): backfill for day, backfill in found.under_way.items()},
                "not_over": found.not_over,
                "estimated_seconds": None if found.seconds is None else round(found.seconds),
            }
        )
        return
    print_rows(
        [
            {"run": number, "first": first, "last": last, "sessions": count}
            for number, (first, last, count) in enumerate(found.chunks, start=1)
        ],
        as_json=False,
        title=f"{', '.join(found.assets)}: {len(found.to_do)} sessions in {len(found.chunks)} runs",
        nothing="nothing to do",
    )
    left_out = (
        (found.present, "there already (--all does them again)"),
        (found.without_file, "without a file in the landing folder"),
        (list(found.under_way), f"under way in backfill {', '.join(sorted(set(found.under_way.values())))}"),
        (found.not_over, "not over yet"),
    )
    for days, why in left_out:
        if days:
            console.print(f"left out: {len(days)} {why}: {_some(days)}", markup=False)
    if found.to_do:
        console.print(f"time: {_time(found.seconds)}")


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "unknown, there is no past run to tell from"
    return (
        f"about {timedelta(seconds=max(1, round(seconds)))} one run after the other, after up to 30 s until it begins"
    )


def _some(days: Sequence[date]) -> str:
    if len(days) <= SHOWN_SESSIONS:
        return ", ".join(map(str, days))
    return f"{', '.join(map(str, days[:SHOWN_SESSIONS]))} and {len(days) - SHOWN_SESSIONS} more"


def _say_nothing_to_do(parent: "Backfill", taken: dict[date, str], *, as_json: bool) -> None:
    busy = sorted({taken[day] for day in parent.failed_sessions() if day in taken})
    why = f"backfill {', '.join(busy)} is doing them" if busy else "every session of it is done by now"
    if as_json:
        print_json({"backfill": None, "sessions": 0, "why": why})
    else:
        console.print(f"nothing to do: {why}")


def _launched(backfills: "Backfills", made: str, sessions: int, *, watch: bool, as_json: bool) -> None:
    if as_json:
        print_json({"backfill": made, "sessions": sessions})
    else:
        console.print(f"backfill {made} launched; watch it with: spine backfill status {made} --watch")
    if watch:
        found = _watch(backfills, made)
        if not as_json:
            _print_backfill(backfills, found, as_json=False)
        if found.is_settled and found.failed_sessions():
            raise typer.Exit(EXIT_FAILED)


def _watch(backfills: "Backfills", backfill_id: str) -> "Backfill":
    """Show progress until nothing changes any more, or until Ctrl-C, which harms nothing."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    found = backfills.get(backfill_id)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=notes) as progress:
            task = progress.add_task("", total=len(found.states))
            while True:
                counts = {state: count for state, count in found.counts.items() if count}
                finished = len(found.states) - sum(
                    count for state, count in counts.items() if state in ("running", "queued", "waiting")
                )
                progress.update(task, completed=finished, description=_told(counts))
                if found.is_settled:
                    return found
                time.sleep(POLL_SECONDS)
                found = backfills.get(backfill_id)
    except KeyboardInterrupt:
        notes.print(f"backfill {backfill_id} goes on; end it with: spine backfill cancel {backfill_id}")
        return found


def _row(found: "Backfill") -> dict[str, object]:
    return {
        "backfill": found.id,
        "status": found.status.lower(),
        "launched_at": found.launched_at,
        "ended_at": found.ended_at,
        "sessions": len(found.states),
        **_plain(found.counts),
        "parent": found.parent,
        "title": found.title,
    }


def _short_row(found: "Backfill") -> dict[str, object]:
    return {
        "backfill": found.id,
        "status": found.status.lower(),
        "launched_at": found.launched_at,
        "sessions": _told(found.counts),
        "parent": found.parent,
    }


def _told(states: "Mapping[State, int]") -> str:
    return ", ".join(f"{count} {state}" for state, count in states.items() if count)


def _print_backfill(backfills: "Backfills", found: "Backfill", *, as_json: bool) -> None:
    reasons = backfills.reasons(found)
    chunks = found.chunks()
    if as_json:
        failed = {str(day): reasons.get(day, "never run") for day in found.failed_sessions()}
        shown = {**_row(found), "problem": found.problem, "assets": sorted(found.targets), "failed_sessions": failed}
        print_json({**shown, "chunks": [{**asdict(one), "states": _plain(one.states)} for one in chunks]})
        return
    print_record({**_short_row(found), "title": found.title, "ended_at": found.ended_at}, as_json=False)
    rows = [
        {
            "run": (one.run_id or "")[:8],
            "status": one.status,
            "first": one.first,
            "last": one.last,
            "sessions": _told(one.states),
            "seconds": None if one.seconds is None else round(one.seconds, 1),
        }
        for one in chunks
    ]
    print_rows(rows, as_json=False)
    for day, reason in list(reasons.items())[:SHOWN_SESSIONS]:
        console.print(f"{day} failed: {reason}", markup=False)
    if len(reasons) > SHOWN_SESSIONS:
        console.print(f"and {len(reasons) - SHOWN_SESSIONS} more failed; --json shows all")
    if found.problem:
        console.print(f"the daemon gave it up: {found.problem}", markup=False)
    if found.is_settled and found.failed_sessions():
        console.print(f"do them again with: spine backfill retry-failed {found.id}")


def _plain(states: "Mapping[State, int]") -> dict[str, int]:
    return {str(state).replace(" ", "_"): count for state, count in states.items()}
