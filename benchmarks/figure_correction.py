"""P7: a correction that arrives a session late costs its day once more, and touches nothing else.

Belongs here: the one-line file, the two measurements, and the proof that nothing else moved.
"""

import csv
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path

import psycopg

from benchmarks.arena import SQL, Arena, Steps, day_file
from benchmarks.generate import REPORT_DATE, write_day
from benchmarks.measure import AT_MOST, Breakdown, Clock, Figure, Outcome, Sample
from benchmarks.rivals import rows_of
from benchmarks.sizes import Sizes
from market_spine.calendar import TradingCalendar

EARLIER = 3
SMALL_ROWS = 300


@dataclass
class CorrectionBench:
    """The day of the trade, the days around it, and the file that arrives late."""

    arena: Arena
    sizes: Sizes
    first: Clock = field(default_factory=Clock)
    again: Clock = field(default_factory=Clock)
    arrival: Clock = field(default_factory=Clock)
    firsts: Sample = field(default_factory=Sample)
    agains: Sample = field(default_factory=Sample)
    arrivals: Sample = field(default_factory=Sample)

    def __post_init__(self) -> None:
        calendar = TradingCalendar(date(2026, 1, 2))
        self.day = REPORT_DATE
        self.before = calendar.previous_sessions(self.day, EARLIER)
        self.next = calendar.next_session(self.day)
        self.landing = self.arena.new_landing()
        for day in self.before:
            write_day(day_file(self.landing, day), day, SMALL_ROWS, self.sizes.other_symbols)
        write_day(day_file(self.landing, self.day), self.day, self.sizes.correction_rows, self.sizes.other_symbols)
        self.symbol = write_correction(day_file(self.landing, self.day), day_file(self.landing, self.next), self.next)

    def round(self) -> None:
        """The day for the first time, then the late file, then the day again."""
        with self.arena.database() as url:
            steps = Steps.on(self.arena.settings(url, self.landing, self.before[0]))
            for day in self.before:
                steps.run(day)
            steps.intake.load_day(self.day)
            self.arena.settle()
            self.firsts.add(self._pass(steps, self.first))
            before = self._others(url)
            self.arena.settle()
            steps.run(self.next, self.arrival)
            self.arrivals.add(self.arrival.end_round())
            dirty = self._rows(url, "dirty")
            assert dirty == [(self.day,)], f"the late file should have marked {self.day} alone, and marked {dirty}"
            self.agains.add(self._pass(steps, self.again))
            self._assert_nothing_else(url, before)

    def _pass(self, steps: Steps, clock: Clock) -> float:
        with clock.step("otc_trades"):
            steps.normalizer.normalize_day(self.day)
        with clock.step("otc_metrics_daily"):
            steps.metrics.compute_day(self.day)
        return clock.end_round()

    def _assert_nothing_else(self, url: str, before: list[tuple[object, ...]]) -> None:
        after = self._others(url)
        assert after == before, f"other days were worked on: {set(after) ^ set(before)}"
        revised = self._rows(url, "revised")
        assert revised == [(self.symbol, self.day, 2)], f"expected a revision of {self.symbol} alone, found {revised}"
        dirty = self._rows(url, "dirty")
        assert not dirty, f"days are still marked dirty: {dirty}"

    def _others(self, url: str) -> list[tuple[object, ...]]:
        return self._rows(url, "other_days", days=[self.day, self.next])

    @staticmethod
    def _rows(url: str, name: str, **values: object) -> list[tuple[object, ...]]:
        with psycopg.connect(url) as connection:
            return connection.execute(SQL(name), values).fetchall()


def write_correction(day_path: Path, path: Path, report_date: date) -> str:
    """A file of one correction, for a trade in the middle of the day that nothing else refers to; its symbol."""
    referred: set[str] = set()
    trades: list[dict[str, str]] = []
    for row in rows_of(day_path):
        if row["original_report_id"]:
            referred.add(row["original_report_id"])
        elif row["action"] == "new" and not row["conditions"]:
            trades.append(row)
    trade = next(row for row in trades[len(trades) // 2 :] if row["report_id"] not in referred)
    correction = {
        **trade,
        "report_id": f"{int(trade['report_id']) + 9_000_000_000_000}",
        "report_date": str(report_date),
        "reported_at": f"{report_date}T14:30:00.000000Z",
        "action": "correct",
        "original_report_id": trade["report_id"],
        "original_report_date": trade["report_date"],
        "price": str(Decimal(trade["price"]) * 2),
    }
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(trade))
        writer.writeheader()
        writer.writerow(correction)
    return trade["symbol"]


def measure(arena: Arena, sizes: Sizes, _wanted: Collection[str]) -> Outcome:
    """P7."""
    arena.say(f"generating a day of {sizes.correction_rows:,} reports and one late correction of it")
    bench = CorrectionBench(arena, sizes)
    for number in range(1, sizes.repeat + 1):
        bench.round()
        arena.say(
            f"round {number} of {sizes.repeat}: first {bench.firsts.values[-1]:.2f} s, "
            f"again {bench.agains.values[-1]:.2f} s, the small file {bench.arrivals.values[-1]:.2f} s"
        )
    arena.forget(bench.landing)
    figure = Figure(
        "P7",
        f"normalize + metrics of a day of {sizes.correction_rows:,} reports again, over the first time",
        bench.agains.median / bench.firsts.median,
        AT_MOST,
        None,
        1.2,
        detail=f"{bench.agains} / {bench.firsts}",
    )
    both = Figure(
        "P7",
        "the same with everything the small file itself cost",
        (bench.agains.median + bench.arrivals.median) / bench.firsts.median,
        detail=f"small file, all three steps: {bench.arrivals}",
    )
    rows = [
        [name, str(bench.first.steps[name]) if name in bench.first.steps else "", str(again), str(arrival)]
        for name, arrival in bench.arrival.steps.items()
        for again in [bench.again.steps.get(name, "")]
    ]
    table = Breakdown("P7: steps", ["step", "the day, first", "the day, again", "the small file's own day"], rows)
    note = (
        "P7: asserted in every round: the correction marked its day alone, no other day was computed, and one symbol "
        "got one new revision."
    )
    return Outcome([figure, both], [table], [note])
