"""``spine inventory``: every session against the calendar, and the command that mends what is not there.

Belongs here: options and printing. Does not belong here: the judgement (``ledger.inventory``).
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from market_spine.cli.output import EXIT_FAILED, Json, console, print_json, print_rows

if TYPE_CHECKING:
    from market_spine.ledger.inventory import Inventory, Problem

SHOWN_PROBLEMS = 50


def inventory(
    asset: Annotated[str, typer.Option(help="Only this asset.")] = "",
    since: Annotated[str, typer.Option(help="First session; by default the first that has anything.")] = "",
    as_json: Json = False,
) -> None:
    """Say which sessions failed or are missing, and what mends them; exit code 1 when there are any."""
    from market_spine.calendar import TradingCalendar
    from market_spine.cli.services import deployment
    from market_spine.ledger.inventory import Taking
    from market_spine.otc.coverage import coverage
    from market_spine.otc.landing import survey
    from market_spine.otc.steps import STEPS, Steps
    from market_spine.settings import Settings

    if asset and asset not in STEPS:
        raise typer.BadParameter(f"unknown: {asset}; choose from {', '.join(STEPS)}", param_hint="--asset")
    first = _day(since)
    settings = Settings.from_env()
    calendar = TradingCalendar(settings.first_session)
    with deployment(settings) as deployed:
        with deployed.warehouse.connect() as connection:
            held = coverage(connection, first or settings.first_session)
        landed = survey(settings.landing, Steps(settings).feeds)
        taking = Taking(deployed.ledger, calendar, STEPS, settings.due_hour)
        found = taking.take(held, datetime.now(UTC), since=first, landed=landed.days)
    found = found.only(asset) if asset else found
    _print(found, landed.problems(calendar), as_json=as_json)
    if found.bad:
        raise typer.Exit(EXIT_FAILED)


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no day; write 2026-01-02", param_hint="--since") from error


def _print(found: "Inventory", unasked: Collection[str], *, as_json: bool) -> None:
    counts = [
        {"asset": asset, **{str(status): count for status, count in counted.items()}}
        for asset, counted in found.counts.items()
    ]
    if as_json:
        shown = {"first": found.first, "last": found.last, "counts": counts}
        problems = [{**asdict(one), "status": str(one.status)} for one in found.problems]
        print_json({**shown, "problems": problems, "files_nobody_asks_for": list(unasked)})
        return
    if found.first is None:
        console.print("nothing is there yet, and nothing was tried")
    else:
        print_rows([_without_zeros(one, counts) for one in counts], as_json=False, title=_title(found))
        _print_problems(found)
    for line in unasked:
        console.print(f"landed, and nobody asks for it: {line}", markup=False)


def _title(found: "Inventory") -> str:
    return f"sessions {found.first}..{found.last}"


def _without_zeros(row: dict[str, object], rows: Sequence[dict[str, object]]) -> dict[str, object]:
    """A row without the statuses that no session of any asset has."""
    return {name: value for name, value in row.items() if any(one[name] for one in rows)}


def _print_problems(found: "Inventory") -> None:
    """What one command mends is one paragraph, whichever assets it is about."""
    grouped: dict[tuple[str, ...], list[Problem]] = {}
    for one in found.problems:
        grouped.setdefault((str(one.status), str(one.first), str(one.last), one.reason, one.command), []).append(one)
    for number, ((status, first, last, reason, command), same) in enumerate(grouped.items()):
        if number == SHOWN_PROBLEMS:
            console.print(f"and {len(grouped) - SHOWN_PROBLEMS} more; --json shows all")
            return
        days = first if first == last else f"{first}..{last} ({same[0].sessions} sessions)"
        console.print(f"{days} {status}: {', '.join(one.asset for one in same)}", markup=False)
        console.print(f"    {reason}\n    {command}", markup=False)
    if not grouped:
        console.print("every session is there")
