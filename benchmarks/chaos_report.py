"""What `make chaos` killed and found, for the terminal and for docs/chaos.md.

Belongs here: one kill's record, tables, sentences. Does not belong here: judging (``digests``).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from market_spine.cli.services import PROJECT

PAGE = PROJECT / "docs" / "chaos.md"
ENOUGH = 50
RUN, SERVER = "run process", "server"
COLUMNS = (
    "#",
    "run by",
    "day",
    "killed",
    "after",
    "in",
    "raw",
    "trades",
    "metrics",
    "left",
    "recovery",
    "next run",
    "",
)
HEAD = """# Chaos

Written by `make chaos`; do not edit. {count} times a new version of a day's file was delivered, a run set out to
compute it, and at a random moment the run process or the whole embedded server (postmaster and backends) was ended
with `kill -9`. A Dagster run does the day after as well, which it begins early where the day is small. Looked at after
every kill, in one snapshot:

- each table is the old day or the new one: raw; trades with exceptions, carried reports and counters; metrics;
- every file version is there whole or not at all, the revisions of a symbol's day follow each other without gap or
  overlap, no leaf hangs loose;
- the next run ends well, in exactly the tables of a run that nobody disturbed, and nothing is left in `otc_build`.

{verdict} Measured on {day}, seed {seed}, {minutes:.0f} minutes.
"""
TAIL = """
`after` counts from the moment the process said it begins its first step. `left` counts tables under construction that
the kill left behind; the next run removed them. `both` means that the old and the new day do not differ there.

Again: `make chaos`, or `make chaos ARGS="--kills 10 --seed 4"`.
"""


@dataclass(frozen=True)
class Kill:
    """One kill and what it led to; ``problems`` is empty when all was as it must be."""

    number: int
    runner: str
    day: str
    victim: str
    after_seconds: float
    step: str
    found: Mapping[str, str]
    leftovers: int
    recovery_seconds: float
    next_seconds: float
    problems: tuple[str, ...]


def sentence(kill: Kill) -> str:
    """A kill in one line."""
    found = ", ".join(f"{group} {state}" for group, state in kill.found.items())
    verdict = "; ".join(kill.problems) or "as it must be"
    when = f"{kill.victim} killed after {kill.after_seconds:.2f} s in {kill.step} ({kill.runner}, {kill.day})"
    return f"{when}: {found}: {verdict}"


def cells(kill: Kill) -> list[str]:
    """One row of the table."""
    return [
        str(kill.number),
        kill.runner,
        kill.day,
        kill.victim,
        f"{kill.after_seconds:.2f} s",
        kill.step,
        *(kill.found.get(group, "") for group in ("raw", "trades", "metrics")),
        str(kill.leftovers),
        f"{kill.recovery_seconds:.1f} s" if kill.recovery_seconds else "",
        f"{kill.next_seconds:.1f} s",
        "; ".join(kill.problems) or "ok",
    ]


def show(console: Console, kills: Sequence[Kill]) -> None:
    """Print the table and the counts."""
    console.width = max(console.width, 170)
    table = Table(title="make chaos")
    for column in COLUMNS:
        table.add_column(column)
    for kill in kills:
        table.add_row(*cells(kill), style="red" if kill.problems else "")
    console.print(table)
    for row in summary(kills):
        console.print("  ".join(row))
    console.print(verdict(kills))


def summary(kills: Sequence[Kill]) -> list[list[str]]:
    """How often which state was met: of what use the random moments were."""
    states = Counter((kill.victim, *kill.found.values()) for kill in kills)
    return [[*state, str(count)] for state, count in sorted(states.items())]


def verdict(kills: Sequence[Kill]) -> str:
    """The result in one sentence."""
    bad = [kill for kill in kills if kill.problems]
    if bad:
        return f"{len(bad)} of {len(kills)} kills left something that must not be."
    return f"After all {len(kills)} kills everything was as it must be."


def write(path: Path, machine: Sequence[tuple[str, str]], kills: Sequence[Kill], *, seed: int, seconds: float) -> None:
    """Write the page."""
    head = HEAD.format(
        count=len(kills),
        verdict=verdict(kills),
        day=datetime.now().astimezone().date(),  # the day on the wall of who ran it
        seed=seed,
        minutes=seconds / 60,
    )
    parts = [
        head,
        _markdown(("machine", ""), machine),
        "\n## States met\n",
        _markdown(("killed", "raw", "trades", "metrics", "times"), summary(kills)),
        "\n## Every kill\n",
        _markdown(COLUMNS, [cells(kill) for kill in kills]),
        TAIL,
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(parts), encoding="utf-8")


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
