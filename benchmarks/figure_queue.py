"""Seconds a queued run takes and where they go, against Dagster's defaults: ``python -m benchmarks.figure_queue``.

What it is: some sessions are queued at once, one run each, and run one after the other; once with the executor and the
queue as Dagster has them when nobody chooses, once as ``dagster.yaml`` and ``definitions`` have them.
Belongs here: the comparison. Does not belong here: a year's backfill (``figure_backfill``).
"""

import argparse
import re
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from rich.table import Table

from benchmarks import dagster_runs, machine
from benchmarks.arena import TEMPLATE, Arena
from benchmarks.generate import HISTORY_FROM
from benchmarks.measure import Sample
from benchmarks.telling import Teller
from market_spine.calendar import TradingCalendar
from market_spine.warehouse.engine import plain_url
from market_spine.warehouse.sql import statements

SQL = statements("benchmarks", "queue.sql")
RUNS, ROUNDS, REPORTS, SYMBOLS = 6, 3, 5_000, 500
DEFAULT, OURS = "Dagster's defaults", "Market Spine"
MODULES = {DEFAULT: "benchmarks.default_definitions", OURS: dagster_runs.MODULE}
OURS_ONLY = re.compile(r"^ +(dequeue_interval_seconds|dequeue_use_threads|dequeue_num_workers):.*\n", re.MULTILINE)
PHASES = ("until it is taken from the queue", "until its process works", "until it ends")


@dataclass
class Way:
    """One way of running: seconds a run of every round, and of its phases."""

    total: Sample = field(default_factory=Sample)
    phases: tuple[Sample, ...] = field(default_factory=lambda: tuple(Sample() for _ in PHASES))


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.figure_queue")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"runs queued at once ({RUNS})")
    parser.add_argument("--repeat", type=int, default=ROUNDS, help=f"rounds ({ROUNDS})")
    chosen = parser.parse_args(arguments)
    teller = Teller()
    say = teller.say

    ways = {name: Way() for name in MODULES}
    with Arena(say) as arena:
        teller.show(machine.describe(arena.server.url(TEMPLATE)))
        for number in range(1, chosen.repeat + 1):
            for name, way in ways.items():
                _round(arena, name, way, chosen.runs)
                say(f"round {number} of {chosen.repeat}: {name} {way.total.values[-1]:.2f} s a run")
    table = Table(title=f"a queued run of one session of {REPORTS:,} reports, medians of {chosen.repeat} rounds")
    for column in ("seconds", *ways):
        table.add_column(column, justify="left" if column == "seconds" else "right")
    for number, phase in enumerate(PHASES):
        table.add_row(phase, *(str(way.phases[number]) for way in ways.values()))
    table.add_row("together", *(str(way.total) for way in ways.values()))
    teller.console.print(table)
    teller.console.print(
        f"share of the default: {ways[OURS].total.median / ways[DEFAULT].total.median:.0%} (goal at most 50 %)"
    )
    return 0


def _round(arena: Arena, name: str, way: Way, runs: int) -> None:
    days = TradingCalendar(HISTORY_FROM).sessions()[:runs]
    landing = arena.history(days, REPORTS, SYMBOLS)
    with arena.database() as url:
        settings = arena.settings(url, landing, days[0])
        with dagster_runs.home(arena, settings, concurrent_runs=1, module=MODULES[name]) as home:
            if name == DEFAULT:
                config = Path(home.environment["DAGSTER_HOME"]) / "dagster.yaml"
                config.write_text(OURS_ONLY.sub("", config.read_text(encoding="utf-8")), encoding="utf-8")
            home.singles(days[0], days[-1])
            with psycopg.connect(plain_url(home.environment["DAGSTER_DATABASE_URL"])) as connection:
                rows = [tuple(map(float, row)) for row in connection.execute(SQL("run_phases")).fetchall()]
    arena.forget(landing)
    # The first run also waits for the daemon to come up; the others begin when the one before them has ended.
    parts = [
        (taken - rows[number][3], begun - taken, ended - begun)
        for number, (_, taken, begun, ended) in enumerate(rows[1:])
    ]
    for sample, values in zip(way.phases, zip(*parts, strict=True), strict=True):
        sample.add(statistics.median(values))
    way.total.add((rows[-1][3] - rows[0][3]) / (len(rows) - 1))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
