"""P3: a year of small sessions by backfill, against the same work without Dagster and against one run a partition.

Belongs here: the comparison. Does not belong here: how a backfill is launched (``dagster_child``).
"""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import date

import psycopg

from benchmarks import dagster_runs
from benchmarks.arena import SQL, Arena
from benchmarks.generate import HISTORY_FROM
from benchmarks.measure import (
    AT_LEAST,
    AT_MOST,
    Breakdown,
    Clock,
    Figure,
    Outcome,
    Sample,
    interleaved,
    seconds,
    steps_table,
)
from benchmarks.sizes import Sizes
from market_spine.calendar import TradingCalendar
from market_spine.otc.session_order import Sessions
from market_spine.otc.steps import STEPS, Steps

LOOP, BACKFILL = "a loop without Dagster", "a backfill through the daemon (sum of its runs)"
IN_TURN = "a loop that begins no session early"


@dataclass
class BackfillBench:
    """The year, done in both ways; databases are fresh for every round."""

    arena: Arena
    sizes: Sizes
    clock: Clock = field(default_factory=Clock)
    walls: Sample = field(default_factory=Sample)
    spans: Sample = field(default_factory=Sample)
    runs: int = 0
    event_bytes: int = 0

    def __post_init__(self) -> None:
        sessions = TradingCalendar(HISTORY_FROM).sessions()
        self.days = sessions[: self.sizes.backfill_sessions]
        # Runs of one partition come after the others, so that they find as many days before them.
        self.landing = self.arena.history(self.days, self.sizes.backfill_reports, self.sizes.backfill_symbols)

    def loop(self) -> float:
        """The sessions in this process, in the way of a run: gates and checks included, the next one begun early."""

        def work(steps: Steps) -> None:
            with Sessions(steps, self.days, STEPS) as sessions:
                for session in sessions:
                    for done in session:
                        self.clock.add(done.asset, done.seconds)
                    assert session.error is None, session.error

        seconds = self._in_this_process(work)
        self.clock.end_round()
        return seconds

    def in_turn(self) -> float:
        """The same, none begun before the one before it is done."""

        def work(steps: Steps) -> None:
            for day in self.days:
                for _ in steps.run_session(day, STEPS, preview=False):
                    pass

        return self._in_this_process(work)

    def _in_this_process(self, work: Callable[[Steps], None]) -> float:
        with self.arena.database() as url:
            steps = Steps(self.arena.settings(url, self.landing, self.days[0]))
            self.arena.settle()
            start = time.perf_counter()
            with steps.warehouse.keeping():
                work(steps)
            seconds = time.perf_counter() - start
            self._assert_complete(url, len(self.days))
        return seconds

    def backfill(self) -> float:
        """A real backfill; answers the time its runs took."""
        done = self._through_daemon(self.days, singles=False)
        self.walls.add(done.wall_seconds)
        self.spans.add(done.span_seconds)
        self.runs = done.runs
        self.event_bytes = done.event_bytes
        return done.record_seconds

    def singles(self) -> dagster_runs.RunReport:
        """Some partitions, one run each."""
        count = 1 if self.sizes.quick else self.sizes.single_runs
        return self._through_daemon(self.days[:count], singles=True)

    def _through_daemon(self, days: list[date], *, singles: bool) -> dagster_runs.RunReport:
        with self.arena.database() as url:
            settings = self.arena.settings(url, self.landing, self.days[0])
            # One run at a time: two at once would share the cores, and their times would add up to more than they are.
            with dagster_runs.home(self.arena, settings, concurrent_runs=1) as dagster:
                self.arena.settle()
                if self.sizes.quick:  # the backfill daemon's pause alone would be half of a quick run's minute
                    done = dagster.execute(days[0], days[-1])
                else:
                    done = (dagster.singles if singles else dagster.backfill)(days[0], days[-1])
            self._assert_complete(url, len(days))
            return done

    def _assert_complete(self, url: str, days: int) -> None:
        with psycopg.connect(url) as connection:
            row = connection.execute(SQL("computed_days")).fetchone()
        assert row is not None
        assert row[0] == days, f"{row[0]} of {days} days were computed"


def measure(arena: Arena, sizes: Sizes, _wanted: Collection[str]) -> Outcome:
    """P3."""
    bench = BackfillBench(arena, sizes)
    ways = {LOOP: bench.loop, IN_TURN: bench.in_turn}
    if dagster_runs.available():
        ways[BACKFILL] = bench.backfill
    samples = interleaved(sizes.repeat, ways, arena.say)
    loop = samples[LOOP]
    shape = f"{len(bench.days)} sessions of {sizes.backfill_reports:,} reports"
    tables = [steps_table(f"P3: {shape} without Dagster, two at a time", bench.clock)]
    if BACKFILL not in samples:
        figure = Figure("P3", f"{shape} without Dagster", loop.median, unit="s", detail=str(loop))
        return Outcome([figure], tables, [dagster_runs.MISSING.format(figure="P3")])
    runs = samples[BACKFILL]
    arena.say("runs of one partition")
    single = bench.singles()
    scaled = single.span_seconds / single.runs * len(bench.days)
    total = bench.event_bytes / 1000
    figures = [
        Figure(
            "P3",
            f"time orchestration adds to {shape} by backfill",
            (runs.median / loop.median - 1) * 100,
            AT_MOST,
            None,
            30.0,
            "%",
            f"{runs} / {loop}",
        ),
        Figure(
            "P3",
            "the backfill against one run a partition",
            scaled / bench.spans.median,
            AT_LEAST,
            None,
            10.0,
            detail=f"{seconds(scaled)} / {bench.spans}, from the first run's creation to the last one's end",
        ),
        Figure(
            "P3",
            "event log of that backfill, for each partition of each of the three assets",
            total / len(bench.days) / len(STEPS),
            AT_MOST,
            5.0,
            None,
            "KB",
            f"{total:,.0f} KB of rows, {total / len(bench.days):.1f} KB a session",
        ),
    ]
    rows = [
        ["without Dagster", str(loop), str(loop), "", "1"],
        ["without Dagster, no session begun early", str(samples[IN_TURN]), str(samples[IN_TURN]), "", "1"],
        ["backfill", str(runs), str(bench.spans), str(bench.walls), str(bench.runs)],
        [
            f"one run a partition, {single.runs} measured",
            seconds(single.record_seconds),
            seconds(single.span_seconds),
            seconds(single.wall_seconds),
            str(single.runs),
        ],
    ]
    tables.append(Breakdown("P3: ways", ["way", "runs' own time", "first to last", "wall as asked", "runs"], rows))
    notes = [
        "P3: 'wall as asked' includes the daemon's start and up to 30 s until the backfill daemon's loop comes round.",
        f"P3: one run a partition was measured on {single.runs} sessions and scaled to {len(bench.days)} linearly.",
        "P3: both ways through the daemon ran one run at a time.",
    ]
    if sizes.quick:
        notes.append("P3: --quick goes without the daemon: one run in a process for all sessions, and one for one.")
    return Outcome(figures, tables, notes)
