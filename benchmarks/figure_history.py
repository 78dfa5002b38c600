"""P6: a day costs the same whether ten or two thousand five hundred days lie before it.

Belongs here: building both histories (through the pipeline, every row real) and measuring the day on top of each.
"""

import threading
from collections.abc import Collection, Sequence
from datetime import date
from pathlib import Path
from queue import Queue

from benchmarks.arena import TEMPLATE, Arena, Steps, day_file
from benchmarks.generate import write_day
from benchmarks.measure import AT_MOST, Clock, Figure, Outcome, Sample, interleaved, steps_table, timed
from benchmarks.sizes import Sizes
from market_spine.calendar import TradingCalendar
from market_spine.warehouse.engine import in_parallel

HISTORY_FROM = date(2016, 1, 4)
HISTORY_SYMBOLS = 500
TELL_EVERY = 250


def measure(arena: Arena, sizes: Sizes, _wanted: Collection[str]) -> Outcome:
    """P6."""
    short, long = sizes.history_sessions
    *history, day = TradingCalendar(HISTORY_FROM).sessions()[: long + 1]
    landing = arena.history(history, sizes.history_reports, HISTORY_SYMBOLS)
    write_day(day_file(landing, day), day, sizes.history_day_rows, sizes.other_symbols)
    clocks = {short: Clock(), long: Clock()}
    names = {short: "template_short", long: "template_long"}
    with (
        arena.database(TEMPLATE, names[short]) as short_url,
        arena.database(TEMPLATE, names[long]) as long_url,
    ):
        _build(arena, short_url, landing, history[-short:])
        _build(arena, long_url, landing, history)

        def on_top_of(days: int) -> float:
            with arena.database(names[days]) as url:
                steps = Steps.on(arena.settings(url, landing, HISTORY_FROM))
                arena.settle()
                steps.run(day, clocks[days])
            return clocks[days].end_round()

        ways = {f"{days:,} days before": (lambda days=days: on_top_of(days)) for days in (short, long)}
        samples: dict[str, Sample] = interleaved(max(sizes.repeat, 5), ways, arena.say)
    few, many = samples.values()
    arena.forget(landing)
    figure = Figure(
        "P6",
        f"a day of {sizes.history_day_rows:,} reports with {long:,} days of history over one with {short}",
        many.median / few.median,
        AT_MOST,
        None,
        1.1,
        detail=f"{many} / {few}",
    )
    tables = [steps_table(f"P6: the day with {days:,} days of history", clock) for days, clock in clocks.items()]
    note = (
        f"P6: every day of the history went through all three steps, {sizes.history_reports} reports a day; each round "
        "measures on a fresh copy of that database."
    )
    return Outcome([figure], tables, [note])


def _build(arena: Arena, url: str, landing: Path, days: Sequence[date]) -> None:
    """Run the days in order; the metrics of a day on one core while the next day is being normalized on the other."""
    steps = Steps.on(arena.settings(url, landing, HISTORY_FROM))
    ready: Queue[date | None] = Queue()
    stop = threading.Event()

    def normalize() -> None:
        try:
            for number, day in enumerate(days, start=1):
                if stop.is_set():
                    return
                steps.intake.load_day(day)
                steps.normalizer.normalize_day(day)
                ready.put(day)
                if number % TELL_EVERY == 0:
                    arena.say(f"history: {number:,} of {len(days):,} days")
        finally:
            ready.put(None)

    def compute() -> None:
        try:
            while (day := ready.get()) is not None:
                steps.metrics.compute_day(day)
        finally:
            stop.set()

    with steps.keeping():
        taken = timed(lambda: in_parallel([normalize, compute]))
    arena.say(f"history of {len(days):,} days built in {taken:,.0f} s")
