"""Timing: interleaved repeats, medians, ratios, and what a figure says in the end.

What it is: two ways of doing the same work are timed in turns, A B A B, so that whatever else the machine does meets
both; a figure is the ratio of their medians.
Belongs here: numbers. Does not belong here: what is timed, how it is shown (``report``).
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

Say = Callable[[str], None]
AT_MOST, AT_LEAST, NOTED = "at most", "at least", "noted"


@dataclass
class Sample:
    """Seconds (or any other number) of one way of doing something, a value for each round."""

    values: list[float] = field(default_factory=list)

    def add(self, value: float) -> float:
        """Remember a round."""
        self.values.append(value)
        return value

    @property
    def median(self) -> float:
        """The middle round."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        return spread(self.values)


@dataclass
class Clock:
    """Named steps of a round, summed where a step comes more than once; ``steps`` keeps a sample for each."""

    steps: dict[str, Sample] = field(default_factory=dict)
    _round: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time the block as (part of) the step."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - start)

    def add(self, name: str, seconds: float) -> None:
        """Count seconds that somebody else timed as (part of) the step."""
        self._round[name] = self._round.get(name, 0.0) + seconds

    def end_round(self) -> float:
        """Close the round; answers its sum."""
        total = sum(self._round.values())
        for name, seconds in self._round.items():
            self.steps.setdefault(name, Sample()).add(seconds)
        self._round.clear()
        return total


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Args:
        key: P1, P2, ...
        what: what is compared with what.
        value: the number measured.
        direction: AT_MOST or AT_LEAST, which goal and limit share; NOTED has neither.
        goal: what it should reach, None where only a limit is set.
        limit: what it must reach.
        unit: written behind numbers: times, MB, %.
        detail: medians and spread behind the number.
    """

    key: str
    what: str
    value: float
    direction: str = NOTED
    goal: float | None = None
    limit: float | None = None
    unit: str = "x"
    detail: str = ""

    def meets(self, bound: float | None) -> bool:
        """Whether the value is on the right side of a bound."""
        if bound is None:
            return True
        return self.value <= bound if self.direction == AT_MOST else self.value >= bound

    @property
    def reached(self) -> str:
        """The last column: goal, limit, no; empty where nothing was asked."""
        if self.direction == NOTED:
            return ""
        if not self.meets(self.limit):
            return "no"
        return "yes" if self.goal is None else "goal" if self.meets(self.goal) else "limit"

    def number(self, value: float | None) -> str:
        """A number in the figure's unit."""
        if value is None:
            return ""
        return f"{value:,.0f} {self.unit}" if abs(value) >= 100 else f"{value:,.2f} {self.unit}"


@dataclass(frozen=True)
class Breakdown:
    """Where the time of a figure goes: a small table of its own below the main one."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Outcome:
    """What a figure's module hands back."""

    figures: Sequence[Figure]
    breakdowns: Sequence[Breakdown] = ()
    notes: Sequence[str] = ()


def interleaved(repeat: int, ways: Mapping[str, Callable[[], float]], say: Say) -> dict[str, Sample]:
    """Run every way once a round, in turns; each answers its own number."""
    samples = {name: Sample() for name in ways}
    for number in range(1, repeat + 1):
        for name, way in ways.items():
            value = samples[name].add(way())
            say(f"round {number} of {repeat}: {name} {seconds(value)}")
    return samples


def timed(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def seconds(value: float) -> str:
    """Seconds as people read them."""
    return f"{value:,.3f} s" if value < 1 else f"{value:,.2f} s" if value < 100 else f"{value:,.0f} s"


def spread(values: Sequence[float]) -> str:
    """Median and the range of the rounds."""
    middle = seconds(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({seconds(min(values))} .. {seconds(max(values))})"


def steps_table(title: str, clock: Clock, against: Sample | None = None) -> Breakdown:
    """Where the time of a clock's rounds goes."""
    total = sum(sample.median for sample in clock.steps.values())
    rows = [
        [
            name,
            str(sample),
            f"{sample.median / total:.0%}",
            *([f"{sample.median / against.median:.2f} x"] if against else []),
        ]
        for name, sample in clock.steps.items()
    ]
    rows.append(["sum", seconds(total), "100%", *([f"{total / against.median:.2f} x"] if against else [])])
    return Breakdown(title, ["step", "median (min .. max)", "share", *(["over COPY"] if against else [])], rows)
