"""The days that `make chaos` disturbs: two versions of a file, an old and a new state, nothing accidental in them.

What it is: a ``Scenario`` is a database with some days computed, among them one whose file is delivered again and
again, in turns with one content and another. Each delivery has other bytes (blank lines at the end, which are counted
and skipped), so that it is news every time, while the reports are exactly those of the version it repeats.
Belongs here: files and the states they lead to. Does not belong here: killing (``chaos``).
"""

import random
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from benchmarks import digests
from benchmarks.arena import Arena, Steps, day_file
from benchmarks.digests import Digests
from benchmarks.generate import REPORT_DATE, write_day
from market_spine.calendar import TradingCalendar
from market_spine.settings import Settings

BEFORE = 6
AROUND_ROWS, SYMBOLS = 300, 200
MOVED, SPOILT = 12, 12


@dataclass
class Scenario:
    """A day that changes to and fro.

    Args:
        name: how the report calls it.
        rows: reports of the day.
        slice_rows: more rows than this are cut into slices, written on two connections.
    """

    arena: Arena
    name: str
    rows: int
    slice_rows: int
    url: str
    versions: list[str] = field(default_factory=list)
    states: list[Digests] = field(default_factory=list)
    current: int = 0
    deliveries: int = 0

    def __post_init__(self) -> None:
        self.day = REPORT_DATE
        self.landing = self.arena.new_landing()
        calendar = TradingCalendar(date(2026, 1, 2))
        self.before = calendar.previous_sessions(self.day, BEFORE)
        self.after = calendar.next_session(self.day)

    @property
    def settings(self) -> Settings:
        """What the run process is started with."""
        return Settings(
            database_url=self.url,
            landing=self.landing,
            first_session=self.before[0],
            slice_rows=self.slice_rows,
            state_dir=self.arena.root / f"state-{self.landing.name}",
        )

    def prepare(self) -> None:
        """Compute the days around, then both versions undisturbed, and check that a repetition changes nothing."""
        for day in (*self.before, self.after):
            write_day(day_file(self.landing, day), day, AROUND_ROWS, SYMBOLS)
        self.versions = [self._version(seed) for seed in (1, 2)]
        steps = Steps.on(self.settings)
        for day in self.before:
            steps.run(day)
        self.deliver(0)
        steps.run(self.day)
        steps.run(self.after)
        first = digests.read(self.url)
        self.deliver(1)
        steps.run(self.day)
        second = digests.read(self.url)
        self.states = [first.digests, second.digests]
        self.deliver(0)
        steps.run(self.day)
        third = digests.read(self.url)
        broken = (*first.broken, *second.broken, *third.broken)
        assert not broken, f"{self.name}: broken before anything was killed: {broken}"
        assert third.digests == first.digests, f"{self.name}: the same reports again led to other tables"
        assert digests.judge(first.digests, first.digests, second.digests).groups == dict.fromkeys(
            digests.TOGETHER, "old"
        ), f"{self.name}: the two versions lead to the same tables, so that nothing could be told"
        self.current = 0

    def deliver(self, version: int) -> None:
        """Put a version into the landing folder, by rename as a careful sender does."""
        self.deliveries += 1
        path = day_file(self.landing, self.day)
        half = path.with_suffix(".part")
        half.write_text(self.versions[version] + "\n" * self.deliveries, encoding="utf-8")
        half.replace(path)

    def _version(self, seed: int) -> str:
        """A generated day with reports of an earlier trade date and reports nobody can read among it."""
        path = Path(self.landing / f"version{seed}.csv")
        write_day(path, self.day, self.rows, SYMBOLS, cancels=0.02, corrections=0.02, seed=seed)
        header, *lines = path.read_text(encoding="utf-8").splitlines()
        path.unlink()
        names = header.split(",")
        price, action, executed = (names.index(name) for name in ("price", "action", "executed_at"))
        plain = [number for number, line in enumerate(lines) if line.split(",")[action] == "new"]
        chosen = random.Random(seed).sample(plain, MOVED + SPOILT)
        for position, number in enumerate(chosen):
            cells = lines[number].split(",")
            if position < MOVED:
                cells[executed] = cells[executed].replace(str(self.day), str(self.before[-1]))
            else:
                cells[price] = "NaN"
            lines[number] = ",".join(cells)
        return "\n".join([header, *lines]) + "\n"
