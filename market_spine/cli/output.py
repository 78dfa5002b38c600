"""How commands print: tables for people, JSON for programs, and what each exit code says.

Belongs here: the look of every command's answer. Does not belong here: what is answered.
Answers go to stdout; progress and complaints go to stderr, so that ``spine ... --json | jq`` always works.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

EXIT_FAILED = 1
"""It could not be done, or what was looked at is not in order."""
EXIT_USAGE = 2
"""An option or a setting has a value it cannot have."""
EXIT_REFUSED = 3
"""Refused for now: the queue is full, or the same work is under way. The line says when to try again."""
EXIT_NOT_FOUND = 4
"""There is nothing of that id."""

PIPE_WIDTH = 200
"""Where there is no terminal: rich would fold everything to 80."""

Row = Mapping[str, Any]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else PIPE_WIDTH)
notes = Console(stderr=True, highlight=False, soft_wrap=True)


def print_rows(rows: Sequence[Row], *, as_json: bool, title: str = "", nothing: str = "nothing") -> None:
    """A list: a JSON array, or a table whose columns are the keys of the first row.

    Args:
        rows: all with the same keys.
        as_json: an array of objects; decimals and times as text, so that no digit is lost.
        title: over the table.
        nothing: said instead of an empty table.
    """
    if as_json:
        print_json(rows)
    elif not rows:
        console.print(nothing)
    else:
        table = Table(title=title or None, title_justify="left")
        for name in rows[0]:
            numeric = all(isinstance(row[name], int | float | Decimal) or row[name] is None for row in rows)
            table.add_column(name.replace("_", " "), justify="right" if numeric else "left", overflow="fold")
        for row in rows:
            table.add_row(*(_shown(value) for value in row.values()))
        console.print(table)


def print_record(record: Row, *, as_json: bool) -> None:
    """One thing: a JSON object, or a line a field."""
    if as_json:
        print_json(record)
        return
    width = max((len(name) for name in record), default=0)
    for name, value in record.items():
        console.print(f"{name.replace('_', ' '):<{width}}  {_shown(value)}", markup=False)


def print_json(value: object) -> None:
    """As JSON, to stdout, without colours or wrapping."""
    typer.echo(json.dumps(value, default=_plain, indent=2, ensure_ascii=False))


def _plain(value: object) -> object:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"  # str() would write 0.0000000000 as 0E-10
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence | set | frozenset):
        return list(value)
    raise TypeError(f"no JSON for {type(value).__name__}")


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_shown(one)}" for key, one in value.items())
    if isinstance(value, list | tuple | set):
        return ", ".join(_shown(one) for one in value)
    return str(value)
