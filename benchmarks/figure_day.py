"""P1 and P2: one big day from its file to all three tables, against a bare COPY, pandas, and an INSERT a row.

Belongs here: what is compared with what. Does not belong here: the rivals themselves (``rivals``).
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import psycopg

from benchmarks import dagster_runs, rivals
from benchmarks.arena import SQL, Arena, Steps, day_file, megabytes
from benchmarks.generate import REPORT_DATE
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
    timed,
)
from benchmarks.sizes import Sizes

OURS, COPY, PANDAS, INSERT = "all three tables", "bare COPY", "pandas", "INSERT a row"
DAGSTER = "all three tables in a Dagster run"


@dataclass
class DayBench:
    """The ways of doing one day, each answering its seconds; databases are fresh for every round."""

    arena: Arena
    sizes: Sizes
    clock: Clock = field(default_factory=Clock)
    run_records: Sample = field(default_factory=Sample)
    market_bytes: int = 0
    pandas_rows: int | None = None

    def __post_init__(self) -> None:
        self.landing = self.arena.day(REPORT_DATE, self.sizes.day_rows, self.sizes.day_symbols)
        self.file = day_file(self.landing, REPORT_DATE)

    def ours(self) -> float:
        """The three steps in this process."""
        with self.arena.database() as url:
            steps = Steps.on(self.arena.settings(url, self.landing, REPORT_DATE))
            self.arena.settle()
            steps.run(REPORT_DATE, self.clock)
            with psycopg.connect(url) as connection:
                row = connection.execute(SQL("database_size")).fetchone()
            self.market_bytes = int(str(row[0])) if row else 0
        return self.clock.end_round()

    def copy(self) -> float:
        """The file into a table of text."""
        with self.arena.database() as url:
            self.arena.settle()
            return timed(lambda: rivals.copy_bare(url, self.file))

    def in_dagster(self) -> float:
        """The same three steps as a real run of the full-refresh job, its events in PostgreSQL."""
        with self.arena.database() as url:
            settings = self.arena.settings(url, self.landing, REPORT_DATE)
            with dagster_runs.home(self.arena, settings) as dagster:
                self.arena.settle()
                done = dagster.execute(REPORT_DATE, REPORT_DATE)
                self.run_records.add(done.record_seconds)
                return done.call_seconds

    def pandas(self) -> float:
        """The pandas script on the whole day, or on a part of it scaled up where the day would take too long."""
        with self.arena.database() as url:
            self.arena.settle()
            if self.pandas_rows is None:
                taken = timed(lambda: rivals.pandas_script(url, self.file, self.sizes.pandas_rows))
                scaled = taken * self.sizes.day_rows / self.sizes.pandas_rows
                self.pandas_rows = self.sizes.day_rows
                if scaled > self.sizes.pandas_patience_s:
                    self.pandas_rows = self.sizes.pandas_rows
                    return scaled
            taken = timed(lambda: rivals.pandas_script(url, self.file, self.pandas_rows))
            return taken * self.sizes.day_rows / self.pandas_rows

    def insert(self) -> float:
        """Rows one by one, a part of the day scaled up."""
        with self.arena.database() as url:
            self.arena.settle()
            taken = timed(lambda: rivals.insert_rows(url, self.file, self.sizes.insert_rows))
            return taken * self.sizes.day_rows / self.sizes.insert_rows


def measure(arena: Arena, sizes: Sizes, wanted: Collection[str]) -> Outcome:
    """P1, P2 or both, in the same rounds."""
    bench = DayBench(arena, sizes)
    ways: dict[str, Callable[[], float]] = {COPY: bench.copy, OURS: bench.ours}
    if "P1" in wanted and dagster_runs.available():
        ways[DAGSTER] = bench.in_dagster
    if "P2" in wanted:
        ways |= {PANDAS: bench.pandas, INSERT: bench.insert}
    samples = interleaved(sizes.repeat, ways, arena.say)
    ours, copy = samples[OURS], samples[COPY]
    day = f"{sizes.day_rows:,} reports, {sizes.day_symbols:,} symbols, {megabytes(bench.file.stat().st_size)}"
    figures, tables, notes = [], [], []
    if "P1" in wanted:
        figures.append(
            Figure(
                "P1",
                f"file to all three tables over a bare COPY ({day})",
                ours.median / copy.median,
                AT_MOST,
                3.0,
                6.0,
                detail=f"{ours} / {copy}",
            )
        )
        tables.append(steps_table("P1: where the time goes", bench.clock, copy))
        notes.append(f"P1: the three tables with their indexes take {megabytes(bench.market_bytes)} in the database.")
        if DAGSTER in samples:
            figures.append(_dagster_figure(samples[DAGSTER], bench.run_records, copy, ours))
        else:
            notes.append(dagster_runs.MISSING.format(figure="P1"))
    if "P2" in wanted:
        for name, goal, limit in ((PANDAS, 15.0, 8.0), (INSERT, 40.0, 30.0)):
            rival = samples[name]
            what = "against pandas: read_csv, to_sql, groupby, to_sql" if name == PANDAS else "against an INSERT a row"
            figures.append(
                Figure("P2", what, rival.median / ours.median, AT_LEAST, goal, limit, detail=f"{rival} / {ours}")
            )
        tables.append(_rates(sizes, samples))
        notes.append(
            "P2: pandas writes through psycopg 3 in batches; psycopg2 took twice as long. It makes a dozen of the "
            "metrics, without identity, life cycle, quarantine, indexes or rolling columns."
        )
        if bench.pandas_rows != sizes.day_rows:
            notes.append(
                f"P2: pandas was run on {bench.pandas_rows:,} reports and scaled to {sizes.day_rows:,} linearly."
            )
        notes.append(
            f"P2: the rows of INSERT were {sizes.insert_rows:,}, in one transaction, prepared, scaled linearly to "
            f"{sizes.day_rows:,}. They go into one table of text only, without index, typing or metrics."
        )
    return Outcome(figures, tables, notes)


def _dagster_figure(calls: Sample, records: Sample, copy: Sample, ours: Sample) -> Figure:
    return Figure(
        "P1",
        "the same in a Dagster run, over a bare COPY",
        calls.median / copy.median,
        detail=f"{calls}; run record {records}; without Dagster {ours}",
    )


def _rates(sizes: Sizes, samples: dict[str, Sample]) -> Breakdown:
    rows = [
        [name, str(sample), f"{sizes.day_rows / sample.median:,.0f}", f"{sample.median / samples[OURS].median:.1f} x"]
        for name, sample in samples.items()
    ]
    return Breakdown(
        f"P2: ways of getting {sizes.day_rows:,} reports into the database ({seconds(samples[OURS].median)} ours)",
        ["way", "median (min .. max)", "reports/s", "times ours"],
        rows,
    )
