"""``spine dead-letter``: sessions whose last try failed, and what is done about each.

Belongs here: options and the look of the answers. Does not belong here: the rules (``ledger.dead_letters``).
"""

from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from market_spine.cli.output import (
    EXIT_FAILED,
    EXIT_REFUSED,
    EXIT_USAGE,
    Json,
    console,
    notes,
    print_json,
    print_record,
    print_rows,
)
from market_spine.errors import LogicalKeyActive, QueueFull, SpineError

if TYPE_CHECKING:
    from market_spine.cli.services import Deployment
    from market_spine.ledger.dead_letters import DeadLetters, Letter

app = typer.Typer(no_args_is_help=True, help="Dead letters: sessions whose last try failed.")

Number = Annotated[int, typer.Argument(metavar="ID", help="Number of the dead letter.")]
Numbers = Annotated[list[int] | None, typer.Argument(metavar="ID...", help="Numbers of dead letters.")]
SHORT = 80
"""Characters of a reason in the list; `show` and --json have all of it."""


@app.command("list")
def list_(
    every: Annotated[bool, typer.Option("--all", help="Resolved ones too.")] = False,
    as_json: Json = False,
) -> None:
    """Open dead letters, the oldest session first."""
    with _deployed() as deployed:
        found = _letters(deployed).letters(every=every)
    if as_json:
        print_json([_record(one) for one in found])
    else:
        print_rows([_row(one, every=every) for one in found], as_json=False, nothing="no dead letters")


@app.command()
def show(number: Number, as_json: Json = False) -> None:
    """One dead letter: why, the runs and files of its session, the command that mends it."""
    with _deployed() as deployed:
        letters = _letters(deployed)
        letter = letters.letter(number)
        runs, files = letters.runs(letter), letters.files(letter)
    if as_json:
        print_json({**_record(letter), "runs": runs, "files": files})
        return
    print_record({name: value for name, value in _record(letter).items() if value is not None}, as_json=False)
    print_rows(runs, as_json=False, title="runs", nothing="its runs are no longer kept")
    print_rows(files, as_json=False, title="files", nothing="no file of that session was ever read")


@app.command()
def retry(
    numbers: Numbers = None,
    every: Annotated[bool, typer.Option("--all", help="All open ones.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also one that was retried MARKET_SPINE_DEAD_LETTER_RETRIES times.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Queue a new execution of each: the session, from the asset that failed down.

    The letter is resolved when that has materialized the session. Exit code 1 when one could not be retried, 3 when it
    was refused for now.
    """
    from market_spine.ledger.submission import Desk

    if every == bool(numbers):
        notes.print("spine: give the numbers of dead letters, or --all")
        raise typer.Exit(EXIT_USAGE)
    done: list[dict[str, Any]] = []
    code = 0
    with _deployed() as deployed:
        letters = _letters(deployed)
        limit = deployed.settings.dead_letter_retries
        desk = Desk.of(deployed.ledger, deployed.webserver, deployed.settings)
        for number in numbers or [one.id for one in letters.letters()]:
            try:
                run_id = letters.retry(number, desk, limit=limit, force=force)
            except SpineError as error:
                if numbers and len(numbers) == 1:
                    raise  # with the exit code of its kind
                notes.print(f"spine: dead letter {number}: {error}", markup=False)
                code = max(code, EXIT_REFUSED if isinstance(error, LogicalKeyActive | QueueFull) else EXIT_FAILED)
                if isinstance(error, QueueFull):
                    break
            else:
                done.append({"id": number, "execution": run_id})
    print_rows(done, as_json=as_json, nothing="nothing was retried")
    raise typer.Exit(code)


@app.command()
def discard(
    number: Number,
    by: Annotated[str, typer.Option("--by", metavar="WHO", help="Who decides it.")],
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="For those who look at it later.")],
    as_json: Json = False,
) -> None:
    """Close a dead letter without a retry. A later failure of the session opens a new one."""
    with _deployed() as deployed:
        letter = _letters(deployed).discard(number, by=by, why=why)
    if as_json:
        print_json(_record(letter))
    else:
        console.print(f"dead letter {number} ({letter.asset} {letter.partition}) is discarded", markup=False)


def _record(letter: "Letter") -> dict[str, Any]:
    return {"state": letter.state, **asdict(letter), "mend": letter.mend or None}


def _row(letter: "Letter", *, every: bool) -> dict[str, Any]:
    reason = letter.reason if len(letter.reason) <= SHORT else f"{letter.reason[: SHORT - 3]}..."
    return {
        "id": letter.id,
        "session": str(letter.partition),
        "asset": letter.asset,
        **({"state": letter.state} if every else {}),
        "tries": letter.tries,
        "retries": letter.retries,
        "last_failed_at": letter.last_failed_at,
        "reason": reason,
    }


def _deployed() -> "AbstractContextManager[Deployment]":
    from market_spine.cli.services import deployment
    from market_spine.settings import Settings

    return deployment(Settings.from_env())


def _letters(deployed: "Deployment") -> "DeadLetters":
    from market_spine.ledger.dead_letters import DeadLetters

    return DeadLetters(deployed.warehouse, deployed.ledger)
