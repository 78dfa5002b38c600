"""What was measured, for the terminal and for docs/benchmarks.md.

Belongs here: tables and sentences. Does not belong here: numbers of its own.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Breakdown, Figure, Outcome

COLUMNS = ("figure", "what", "goal", "limit", "measured", "medians (min .. max)", "reached")
HEAD = """# Benchmarks

Written by `make bench`; do not edit. A ratio is one of medians: the ways compared ran in turns on one embedded server,
each on a fresh database, after a checkpoint. Rounds: {rounds}; P6 at least 5; one for P5 and for P3's runs of one
partition.

Measured on {day}. What operating it costs (queue, backfills, event log, clean-up, killed runs) stands in
[benchmarks-operating.md](benchmarks-operating.md).
"""
TAIL = """
## How to run it again

```
make bench                          # everything, about {minutes} minutes on the machine above
make bench ARGS="--quick"           # small sizes, in a minute: does the harness work
make bench ARGS="--only P1,P7"      # some figures
make bench ARGS="--repeat 5"        # more rounds
```

`--quick` and `--only` print their tables and leave this page alone (`--write` changes that). Sizes stand in
`benchmarks/sizes.py`. The generated input is a function of its seed: the same bytes on every machine.
"""


def show(console: Console, machine: Sequence[tuple[str, str]], outcomes: Sequence[Outcome]) -> None:
    """Print the machine, the table and the breakdowns."""
    for name, value in machine:
        console.print(f"{name:<11}{value}")
    table = Table(title="make bench")
    for column in COLUMNS:
        table.add_column(column, justify="right" if column in ("goal", "limit", "measured") else "left")
    for figure in _figures(outcomes):
        style = "red" if figure.reached == "no" else "green" if figure.reached else ""
        table.add_row(*cells(figure), style=style)
    console.print(table)
    for breakdown in _breakdowns(outcomes):
        inner = Table(title=breakdown.title)
        for number, column in enumerate(breakdown.columns):
            inner.add_column(column, justify="left" if number == 0 else "right")
        for row in breakdown.rows:
            inner.add_row(*row)
        console.print(inner)
    for outcome in outcomes:
        for note in outcome.notes:
            console.print(note)


def write(
    path: Path, machine: Sequence[tuple[str, str]], outcomes: Sequence[Outcome], *, rounds: int, minutes: float
) -> None:
    """Write the page."""
    # The day on the wall of who ran it.
    parts = [HEAD.format(rounds=rounds, day=datetime.now().astimezone().date())]
    parts.append(_markdown(("machine", ""), [list(row) for row in machine]))
    parts.append("\n## Figures\n")
    parts.append(_markdown(COLUMNS, [cells(figure) for figure in _figures(outcomes)]))
    missed = [figure for figure in _figures(outcomes) if figure.reached in ("no", "limit")]
    parts.append(_missed(missed))
    parts.append("\n## Where the time goes\n")
    parts += [
        f"\n### {breakdown.title}\n\n{_markdown(breakdown.columns, breakdown.rows)}"
        for breakdown in _breakdowns(outcomes)
    ]
    notes = [f"- {note}" for outcome in outcomes for note in outcome.notes]
    parts.append("\n## Notes\n\n" + "\n".join(notes) + "\n")
    parts.append(TAIL.format(minutes=max(1, round(minutes))))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(part.strip("\n") + "\n" for part in parts), encoding="utf-8")


def cells(figure: Figure) -> list[str]:
    """One row of the main table."""
    bounds = [f"{figure.direction} {figure.number(bound)}" if bound is not None else "" for bound in _bounds(figure)]
    return [figure.key, figure.what, *bounds, figure.number(figure.value), figure.detail, figure.reached]


def _bounds(figure: Figure) -> tuple[float | None, float | None]:
    return figure.goal, figure.limit


def _missed(figures: Sequence[Figure]) -> str:
    if not figures:
        return "\nEvery goal and every limit is reached."
    lines = []
    for figure in figures:
        short = figure.goal if figure.reached == "limit" else figure.limit
        word = "goal" if figure.reached == "limit" else "limit"
        lines.append(
            f"- {figure.key}, {figure.what}: {figure.number(figure.value)}, {word} {figure.direction} "
            f"{figure.number(short)}."
        )
    return "\nNot reached (the breakdowns below say where the time goes):\n\n" + "\n".join(lines)


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _figures(outcomes: Sequence[Outcome]) -> list[Figure]:
    return [figure for outcome in outcomes for figure in outcome.figures]


def _breakdowns(outcomes: Sequence[Outcome]) -> list[Breakdown]:
    return [breakdown for outcome in outcomes for breakdown in outcome.breakdowns]
