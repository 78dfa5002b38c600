"""Cleaning up ten thousand runs: ``python -m benchmarks.figure_cleanup``.

What it is: a few real runs of the three assets, multiplied to ten thousand that all ended long ago; each round cleans a
fresh copy of that database. Beside it a reader asks what the UI's list of runs asks, over and over: its longest wait is
told too.
Belongs here: the measured rounds. Does not belong here: what is removed (``market_spine.ledger.retention``).
"""

import argparse
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Self

import psycopg

from benchmarks import dagster_runs, machine
from benchmarks.arena import TEMPLATE, Arena
from benchmarks.many_runs import copy_runs
from benchmarks.measure import Sample, seconds, timed
from benchmarks.telling import Teller
from market_spine.calendar import TradingCalendar
from market_spine.ledger.retention import Removed, Retention
from market_spine.ledger.storage import LedgerStorage
from market_spine.warehouse.engine import Warehouse
from market_spine.warehouse.sql import statements

SQL = statements("benchmarks", "many_runs.sql")
RUNS, ROUNDS, REPORTS, SYMBOLS = 10_000, 3, 50, 10
FIRST_SESSION, REAL_SESSIONS, SESSIONS = date(2024, 1, 2), 3, 250
OLD = timedelta(days=40)
COUNTED, CLEANED, WAITED = "dry run", "clean-up", "slowest answer to a reader beside it"


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.figure_cleanup", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--runs", type=int, default=RUNS, help=f"runs in the storage ({RUNS:,})")
    parser.add_argument("--repeat", type=int, default=ROUNDS, help=f"rounds ({ROUNDS})")
    parser.add_argument("--folder", type=Path, help="where the temporary server goes; needs some 5 GB for 10,000 runs")
    chosen = parser.parse_args(arguments)
    teller = Teller()
    say = teller.say

    say("starting an embedded server of our own")
    with Arena(say, chosen.folder) as arena:
        teller.show(machine.describe(arena.server.url(TEMPLATE)))
        _measure(arena, chosen.runs, chosen.repeat)
    return 0


def _measure(arena: Arena, runs: int, repeat: int) -> None:
    sessions = TradingCalendar(FIRST_SESSION).sessions()[:SESSIONS]
    landing = arena.history(sessions[:REAL_SESSIONS], REPORTS, SYMBOLS)
    with arena.database() as market:
        settings = arena.settings(market, landing, sessions[0])
        with dagster_runs.home(arena, settings) as home:
            url = home.environment["DAGSTER_DATABASE_URL"]
            for day in sessions[:REAL_SESSIONS]:
                home.execute(day, day)
            storage = LedgerStorage(url)
            with storage.connect() as connection:
                sources = [(str(run), str(day)) for run, day in connection.execute(SQL("finished_runs")).fetchall()]
            arena.say(f"{len(sources)} real runs become {runs:,}")
            newest = datetime.now(UTC) - OLD
            days = [str(day) for day in sessions]
            copy_runs(storage, sources, days, runs, newest=newest, span=timedelta(days=140))
            events, size = _size(storage)
            arena.say(
                f"{events:,} events, {events / (runs + len(sources)):.0f} a run; event_logs takes {size / 1e6:,.0f} MB"
            )
            samples = {name: Sample() for name in (COUNTED, CLEANED, WAITED)}
            removed: list[Removed] = []
            database = url.partition("?")[0].rpartition("/")[2]
            for number in range(1, repeat + 1):
                with arena.database(database) as copy:
                    arena.settle()
                    removed = _round(Retention(LedgerStorage(copy), Warehouse(market), lambda *_: None), samples)
                arena.say(f"round {number} of {repeat}: {seconds(samples[CLEANED].values[-1])}")
    for one in removed:
        arena.say(f"{one.what}: {one.rows:,} rows, {one.bytes / 1e6:,.1f} MB")
    for name, sample in samples.items():
        arena.say(f"{name}: {sample}")


def _round(retention: Retention, samples: Mapping[str, Sample]) -> list[Removed]:
    """Count, then clean up beside a reader."""
    before = datetime.now(UTC) - timedelta(days=30)
    counting = replace(retention, dry_run=True)
    samples[COUNTED].add(timed(lambda: counting.runs(before)))
    removed: list[Removed] = []
    with _Reader(retention.ledger.url) as reader:
        samples[CLEANED].add(timed(lambda: removed.extend(retention.runs(before)[0])))
    samples[WAITED].add(reader.longest)
    return removed


def _size(storage: LedgerStorage) -> tuple[int, int]:
    with storage.connect() as connection:
        row = connection.execute(SQL("event_log_size")).fetchone() or (0, 0)
    return int(str(row[0])), int(str(row[1]))


class _Reader:
    """Asks for the latest runs until the block ends; ``longest`` is the slowest answer in seconds."""

    def __init__(self, url: str) -> None:
        self.longest = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(url,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _read(self, url: str) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            while not self._stop.is_set():
                self.longest = max(self.longest, timed(lambda: connection.execute(SQL("latest_runs")).fetchall()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
