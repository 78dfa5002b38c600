"""``spine cleanup``: remove what is past its time, or say what would be.

Belongs here: options and printing. Does not belong here: what is removed (``automation.cleaning``).
"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from market_spine.cli.output import Json, console, notes, print_json, print_rows

if TYPE_CHECKING:
    from market_spine.automation.cleaning import CleanUp


def cleanup(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count; change nothing.")] = False,
    only: Annotated[str, typer.Option(help="Parts to do, with commas: runs,ticks,dead-letters,raw.")] = "",
    as_json: Json = False,
) -> None:
    """Remove finished runs, ticks, resolved dead letters and raw reports that are older than the settings keep them.

    The status of every partition stays as it is. Safe to end at any moment; run it again, and it goes on. A part that
    fails holds up no other; exit code 1 then.
    """
    from market_spine.automation.cleaning import PARTS, clean
    from market_spine.cli.services import deployment
    from market_spine.settings import Settings

    parts = [part.strip() for part in only.split(",") if part.strip()] or list(PARTS)
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise typer.BadParameter(f"unknown: {', '.join(unknown)}; choose from {', '.join(PARTS)}", param_hint="--only")
    settings = Settings.from_env()
    # Each part says for itself what it misses.
    with deployment(settings, market=False) as deployed, _Told() as told:
        done = clean(settings, deployed.ledger, deployed.warehouse, told, parts=parts, dry_run=dry_run)
    _print(done, dry_run=dry_run, as_json=as_json)
    done.check()


class _Told(Progress):
    """Progress on stderr, a bar for each kind of rows."""

    def __init__(self) -> None:
        super().__init__(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=notes)
        self._bars: dict[str, TaskID] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        if what not in self._bars:
            self._bars[what] = self.add_task(what, total=total)
        self.update(self._bars[what], completed=done, total=total)


def _print(done: "CleanUp", *, dry_run: bool, as_json: bool) -> None:
    results = done.results
    if as_json:
        print_json({"dry_run": dry_run, "parts": [asdict(one) for one in results], "failed": done.failed})
        return
    verb = "would be removed" if dry_run else "removed"
    rows = [
        {"part": result.part, "older than": result.before, "what": one.what, verb: one.rows, "bytes": one.bytes}
        for result in results
        for one in result.removed
    ]
    print_rows(rows, as_json=False)
    for result in results:
        for one in result.kept:
            console.print(f"kept: {one.rows:,} {one.what}: {one.why}", markup=False)
    console.print("bytes: rows as stored, without indexes; of raw days what is freed on disk")
