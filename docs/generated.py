"""Writes docs/settings.md and docs/commands.md from the code: ``python docs/generated.py``.

Belongs here: the pages that say again what the code says, and the exit codes of each command.
Does not belong here: pages written by hand; whether what stands there is current (``check.py``).
"""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import typer

from market_spine.cli.main import app
from market_spine.cli.output import EXIT_FAILED, EXIT_NOT_FOUND, EXIT_REFUSED, EXIT_USAGE
from market_spine.settings import Settings, variable_of

DOCS = Path(__file__).resolve().parent
HOW = "`python docs/generated.py` writes this page from the code; `make check` holds the two together."

REFUSED = "the queue is full, or the same work is under way; the line says when to try again"
NO_EXECUTION, NO_FILE, NO_LETTER = "there is no such execution", "there is no such file", "there is no such dead letter"
NO_BACKFILL = "there is no such backfill"
ENDED_BADLY = "also when it is watched to its end and sessions failed"

EXITS: dict[str, dict[int, str]] = {
    "spine run": {EXIT_FAILED: "also when the execution failed", EXIT_REFUSED: "the same work is under way"},
    "spine dispatch": {EXIT_FAILED: "also, with `--wait`, when the execution failed", EXIT_REFUSED: REFUSED},
    "spine inventory": {EXIT_FAILED: "also when a session failed or is missing"},
    "spine doctor": {EXIT_FAILED: "also when something fails; a warning is none"},
    "spine health": {EXIT_FAILED: "also when the service does not work"},
    "spine db status": {EXIT_FAILED: "also when migrations are missing"},
    "spine backfill launch": {EXIT_FAILED: ENDED_BADLY, EXIT_REFUSED: "the queue has no room for all its runs"},
    "spine backfill status": {EXIT_FAILED: "also when it has ended with failed sessions", EXIT_NOT_FOUND: NO_BACKFILL},
    "spine backfill retry-failed": {
        EXIT_FAILED: ENDED_BADLY,
        EXIT_REFUSED: "the queue has no room for all its runs",
        EXIT_NOT_FOUND: NO_BACKFILL,
    },
    "spine backfill cancel": {EXIT_NOT_FOUND: NO_BACKFILL},
    "spine file void": {EXIT_NOT_FOUND: NO_FILE},
    "spine file restore": {EXIT_NOT_FOUND: NO_FILE},
    "spine execution show": {EXIT_NOT_FOUND: NO_EXECUTION},
    "spine execution events": {EXIT_NOT_FOUND: NO_EXECUTION},
    "spine execution cancel": {EXIT_NOT_FOUND: NO_EXECUTION},
    "spine execution retry": {
        EXIT_FAILED: "also, with `--wait`, when the execution failed",
        EXIT_REFUSED: REFUSED,
        EXIT_NOT_FOUND: NO_EXECUTION,
    },
    "spine dead-letter show": {EXIT_NOT_FOUND: NO_LETTER},
    "spine dead-letter retry": {
        EXIT_FAILED: "also when one of several could not be retried",
        EXIT_REFUSED: REFUSED,
        EXIT_NOT_FOUND: "one number was given, and " + NO_LETTER,
    },
    "spine dead-letter discard": {EXIT_NOT_FOUND: NO_LETTER},
}
"""What a command's exit codes say beyond what 0, 1 and 2 say of every command."""


def commands(group: Any = None, name: str = "spine") -> Iterator[tuple[str, Any]]:
    """Every command that can be run, by its whole name, in the order of ``spine --help``."""
    found = typer.main.get_command(app) if group is None else group
    for word, command in getattr(found, "commands", {}).items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command


def commands_page() -> str:
    """The text of docs/commands.md."""
    lines = [
        "# Commands",
        "",
        HOW,
        "",
        "`spine COMMAND --help` prints the same. Settings come from the environment ([settings.md](settings.md)).",
        "Answers go to stdout, progress and complaints to stderr, so that `spine ... --json | jq` always works.",
        "",
        "| exit code | of every command |",
        "|---|---|",
        "| 0 | done |",
        f"| {EXIT_FAILED} | it could not be done; one line on stderr says why |",
        f"| {EXIT_USAGE} | an option or a setting has a value it cannot have |",
        "",
        "Other codes, and what 1 says besides, stand with the command.",
    ]
    for name, command in commands():
        context = command.make_context(name, [], resilient_parsing=True)
        lines += ["", f"## {name}", "", _paragraphs(command.help)]
        records = [one.get_help_record(context) for one in command.get_params(context) if one.name != "help"]
        if records:
            lines += ["", "| argument or option | meaning |", "|---|---|"]
            lines += [f"| `{_cell(left)}` | {_cell(right)} |" for left, right in records]
        if name in EXITS:
            codes = "; ".join(f"{code}: {meaning}" for code, meaning in sorted(EXITS[name].items()))
            lines += ["", f"Exit code {codes}."]
    return "\n".join(lines) + "\n"


def settings_page() -> str:
    """The text of docs/settings.md."""
    lines = [
        "# Settings",
        "",
        HOW,
        "",
        "Every setting is an environment variable; one that is set to nothing counts as not set. A value that",
        "cannot be used ends the command with exit code 2 and a line that names the variable and what is expected. The",
        "same as a file to copy: [.env.example](../.env.example).",
        "",
        "| variable | default | least | meaning |",
        "|---|---|---|---|",
    ]
    for setting in fields(Settings):
        default = "" if setting.default is None else str(setting.default)
        least = setting.metadata["least"]
        cells = (
            f"`{variable_of(setting)}`",
            f"`{default}`" if default else "",
            "" if least is None else str(least),
            _cell(setting.metadata["meaning"]),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def pages() -> dict[Path, str]:
    """Each page with the text it has to have."""
    return {DOCS / "settings.md": settings_page(), DOCS / "commands.md": commands_page()}


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
