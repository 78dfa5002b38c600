"""The plan of a backfill: which sessions it would do, which not and why, and about how long it takes.

What it is: ``plan`` sorts the sessions that are asked for; it reads and starts nothing.
Belongs here: that choice. Does not belong here: doing it (``backfills``), where the facts come from (the callers).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from market_spine.calendar import TradingCalendar


@dataclass(frozen=True)
class Plan:
    """What a backfill would do.

    Args:
        assets: what it materializes.
        to_do: sessions it does, ascending.
        present: sessions left out because they are there already.
        without_file: sessions left out because no file of theirs has landed.
        under_way: sessions left out because an unfinished backfill has them, with its id.
        not_over: sessions left out because their day is not over.
        chunks: first and last session and number of sessions of each run.
        seconds: estimate for one run after the other; None: there is nothing to estimate it from.
    """

    assets: Sequence[str]
    to_do: Sequence[date]
    present: Sequence[date]
    without_file: Sequence[date]
    under_way: Mapping[date, str]
    not_over: Sequence[date]
    chunks: Sequence[tuple[date, date, int]]
    seconds: float | None


@dataclass(frozen=True)
class Facts:
    """What is known about sessions.

    Args:
        present: those that have all that is asked for.
        with_file: those that have a file, landed or loaded; None: no file is needed for what is asked for.
        under_way: those that an unfinished backfill has, with its id.
        seconds_per_session: from past runs.
    """

    present: Collection[date]
    with_file: Collection[date] | None
    under_way: Mapping[date, str]
    seconds_per_session: float | None


def plan(
    calendar: TradingCalendar,
    sessions: Sequence[date],
    assets: Sequence[str],
    facts: Facts,
    *,
    today: date,
    chunk: int,
    again: bool = False,
) -> Plan:
    """Sort ``sessions``.

    Args:
        calendar: says which sessions follow each other.
        sessions: what was asked for, ascending.
        assets: what to materialize.
        facts: what is known.
        today: the day in New York; its session is not over.
        chunk: sessions of one run at most.
        again: do sessions too that are there already.
    """
    not_over = [day for day in sessions if day >= today]
    over = sessions[: len(sessions) - len(not_over)]
    under_way = {day: facts.under_way[day] for day in over if day in facts.under_way}
    rest = [day for day in over if day not in under_way]
    present = [] if again else [day for day in rest if day in facts.present]
    absent = [day for day in rest if day not in set(present)]
    without_file = [] if facts.with_file is None else [day for day in absent if day not in facts.with_file]
    to_do = [day for day in absent if day not in set(without_file)]
    seconds = None if facts.seconds_per_session is None else facts.seconds_per_session * len(to_do)
    return Plan(assets, to_do, present, without_file, under_way, not_over, chunks(calendar, to_do, chunk), seconds)


def chunks(calendar: TradingCalendar, days: Sequence[date], most: int) -> list[tuple[date, date, int]]:
    """Days cut as Dagster cuts them: sessions that follow each other, at most so many in a run."""
    return [
        (part[0], part[-1], len(part))
        for run in consecutive(calendar, days)
        for part in (run[start : start + most] for start in range(0, len(run), most))
    ]


def consecutive(calendar: TradingCalendar, days: Sequence[date]) -> list[list[date]]:
    """Ascending days, parted where a session between two of them is left out."""
    place = {day: number for number, day in enumerate(calendar.sessions(days[0], days[-1]))} if days else {}
    found: list[list[date]] = []
    for day in days:
        if found and place[day] == place[found[-1][-1]] + 1:
            found[-1].append(day)
        else:
            found.append([day])
    return found
