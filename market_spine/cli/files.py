"""``spine file``: the file versions there are, taking one back, and counting one again.

Belongs here: options and printing. Does not belong here: what becomes of a version (``market_spine.otc.void``).
"""

from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

import typer

from market_spine.cli.output import Json, notes, print_record, print_rows

if TYPE_CHECKING:
    from market_spine.otc.void import Changed

app = typer.Typer(no_args_is_help=True, help="Source files: which were loaded, which count, taking one back.")
Which = Annotated[str, typer.Argument(metavar="FILE_ID|PATH", help="Its number, or its path below the landing folder.")]
SHOWN = ("file_id", "report_date", "source", "path", "rows", "status", "known_at", "problem")


@app.command("list")
def list_files(
    session: Annotated[str, typer.Option(help="Only those of this session.")] = "",
    limit: Annotated[int, typer.Option(help="At most so many.", min=1)] = 100,
    as_json: Json = False,
) -> None:
    """File versions ever received, newest session first; JSON has every field."""
    from market_spine.cli.services import deployment
    from market_spine.otc import void as versions
    from market_spine.settings import Settings

    day = _day(session) if session else None
    with deployment(Settings.from_env()) as deployed, deployed.warehouse.connect() as connection:
        rows = versions.files(connection, day, limit=limit)
    shown = rows if as_json else [{name: row[name] for name in SHOWN} for row in rows]
    print_rows(shown, as_json=as_json, nothing="no file was received yet")


@app.command()
def void(
    which: Which,
    by: Annotated[str, typer.Option(help="Who takes it back.")],
    why: Annotated[str, typer.Option(help="Why, in one line.")],
    as_json: Json = False,
) -> None:
    """Take a file back (test data, a wrong delivery): its reports stop counting, the days it touched are done again.

    The version it had superseded does not come back by itself; see spine file restore.
    """
    from market_spine.cli.services import deployment
    from market_spine.otc import void as versions
    from market_spine.settings import Settings

    for option, text in (("--by", by), ("--why", why)):
        if not text.strip():
            raise typer.BadParameter("is empty", param_hint=option)
    with deployment(Settings.from_env()) as deployed:
        done = versions.void(deployed.warehouse, which, by=by.strip(), why=why)
    _print(done, "voided", as_json=as_json)
    if done.previous is not None:
        notes.print(
            f"file {done.previous}, which it had superseded, does not count either; if it should: "
            f"spine file restore {done.previous}"
        )


@app.command()
def restore(which: Which, as_json: Json = False) -> None:
    """Let a version count again that was voided or superseded, where no other one counts in its place."""
    from market_spine.cli.services import deployment
    from market_spine.otc import void as versions
    from market_spine.settings import Settings

    with deployment(Settings.from_env()) as deployed:
        done = versions.restore(deployed.warehouse, which)
    _print(done, "live", as_json=as_json)


def _print(done: "Changed", status: str, *, as_json: bool) -> None:
    record: dict[str, Any] = {
        "file_id": done.file_id,
        "path": done.path,
        "report_date": done.report_date,
        "status": status,
        "days_to_compute_again": list(done.days),
    }
    print_record(record, as_json=as_json)
    if done.days:
        notes.print("the sensor dirty_days computes them again within a minute while the daemon runs")


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no day; write 2026-03-04", param_hint="--session") from error
