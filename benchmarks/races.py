"""Pairs of runs on one session at once, and a reader beside them: the day is one of two whole days, never a mixture.

What it is: ``race`` delivers a new version of a day's file, lets two runs loose on it together, looks at what is left,
and asks a reader what it saw meanwhile. ``python -m benchmarks.races --pairs 100`` does it on a server of its own.
Belongs here: what the advisory lock of a day and the swap of its partition promise together. Does not belong here: the
limits of Dagster's queue, which keep most such pairs from starting at all.
"""

import argparse
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Self

import psycopg

from benchmarks.arena import SQL, Arena, day_file
from benchmarks.generate import write_day
from market_spine.otc.steps import STEPS, Steps
from market_spine.settings import Settings
from market_spine.warehouse.engine import plain_url

DAY = date(2026, 3, 4)
FEWEST = 50
"""Reports of the first version; each further version has one more, so that a mixture of two would show."""


@dataclass
class Race:
    """What came of it; ``problems`` is empty when all was as it must be."""

    pairs: int
    seconds: float = 0.0
    looks: int = 0
    days_seen: int = 0
    problems: list[str] = field(default_factory=list)


class Reader:
    """Reads the day in a loop, as a query of somebody else would, and keeps what it saw."""

    def __init__(self, url: str) -> None:
        self.looks = 0
        self.seen: set[tuple[object, ...]] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(url,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _read(self, url: str) -> None:
        with psycopg.connect(plain_url(url), autocommit=True) as connection:
            while not self._over.wait(0.002):
                self.seen.add(look(connection))
                self.looks += 1


def look(connection: psycopg.Connection[tuple[object, ...]]) -> tuple[object, ...]:
    """Number of file versions, the first of them, trades, their volume, and the volume of the metrics."""
    return tuple(connection.execute(SQL("look_at_day"), {"day": DAY}).fetchone() or ())


def race(settings: Settings, pairs: int) -> Race:
    """Run the pairs one after the other on a migrated, empty database with an empty landing folder."""
    result = Race(pairs)
    started = time.monotonic()
    settings = replace(settings, first_session=min(settings.first_session, DAY))
    (settings.landing / "otc").mkdir(parents=True, exist_ok=True)
    with Reader(settings.database_url) as reader, psycopg.connect(plain_url(settings.database_url)) as connection:
        connection.autocommit = True
        for number in range(pairs):
            path = day_file(settings.landing, DAY)
            write_day(path.with_suffix(f".v{number + 1}.csv"), DAY, FEWEST + number, 5)
            result.problems += _run_pair(settings)
            versions, _, _, volume, published = look(connection)
            if versions != 1 or volume != published:
                result.problems.append(f"pair {number + 1} left {versions} versions, {volume} traded, {published} told")
        result.looks = reader.looks
    result.days_seen = len(reader.seen)
    result.problems += [
        f"a reader saw {one[0]} versions in one day: {one}" for one in reader.seen if one[0] not in (0, 1)
    ]
    sizes: dict[object, object] = {}
    for versions, version, trades, volume, _ in reader.seen:
        if versions and sizes.setdefault(version, (trades, volume)) != (trades, volume):
            result.problems.append(f"a reader saw file version {version} in two sizes, one of them of {trades} trades")
    result.seconds = time.monotonic() - started
    return result


def _run_pair(settings: Settings) -> list[str]:
    """Two runs with connections of their own, started together; answers what they raised."""
    together = threading.Barrier(2)

    def run() -> None:
        steps = Steps(settings)
        together.wait()
        for _ in steps.run_session(DAY, STEPS, preview=False):
            pass

    with ThreadPoolExecutor(2) as threads:
        raised = [one.exception() for one in [threads.submit(run) for _ in range(2)]]
    return [f"a run ended with {type(error).__name__}: {error}" for error in raised if error]


def main(arguments: Sequence[str]) -> int:
    """The command line; 0 when nothing mixed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.races")
    parser.add_argument("--pairs", type=int, default=100)
    chosen = parser.parse_args(arguments)
    with Arena(lambda line: print(line, file=sys.stderr)) as arena, arena.database() as url:
        result = race(arena.settings(url, arena.new_landing(), DAY), chosen.pairs)
    print(
        f"{result.pairs} pairs of runs on one session in {result.seconds:.0f} s; a reader looked {result.looks:,} "
        f"times and saw {result.days_seen} states; {len(result.problems)} problems"
    )
    print("\n".join(result.problems), end="\n" if result.problems else "")
    return 1 if result.problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
