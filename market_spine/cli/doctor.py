"""``spine doctor``: a line for each part of the deployment, whether it is well, and what to do.

Belongs here: the command and how it prints. Does not belong here: what is looked at (``examination``).
"""

from typing import Annotated

import typer

from market_spine.cli.output import EXIT_FAILED, Json, console, notes, print_json

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def doctor(
    as_json: Json = False,
    fix: Annotated[
        bool, typer.Option("--fix", help="End runs whose process is gone and free what they hold; takes 15 s.")
    ] = False,
) -> None:
    """Look at every part: databases, daemon, code location, queue, dead letters, runs, disk, clock, connections.

    Exit code 1 when a part fails; a warning is no failure.
    """
    from market_spine.cli.examination import examine, mend
    from market_spine.settings import Settings

    settings = Settings.from_env()
    if fix:
        for line in mend(settings):
            notes.print(line, markup=False)
    findings = examine(settings)
    if as_json:
        print_json([vars(one) for one in findings])
    else:
        width = max(len(one.what) for one in findings)
        for one in findings:
            console.print(f"[{COLOURS[one.state]}]{one.state:<4}[/]  {one.what:<{width}}  ", end="")
            console.print(one.says + (f"; {one.do}" if one.do else ""), markup=False)
    raise typer.Exit(EXIT_FAILED if any(one.state == "fail" for one in findings) else 0)
