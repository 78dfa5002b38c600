"""The trading calendar: which days are XNYS sessions, when they open and close.

What it is: one immutable `TradingCalendar` over a frozen table of sessions (`calendar_xnys.csv`), so that a
metric computed years ago can be computed again whatever the version of `exchange_calendars` says by then; beside it
the names of holidays (`holidays_xnys.csv`), which decide nothing.
What belongs here: every answer to "is this a trading day?", the session's real close, the bounds of a New York
day in UTC, and the clock changes of a time zone.
What does not: Dagster (`otc/partitions.py` turns this into partitions) and the making of the table
(`calendar_freeze.py`, the only module that imports `exchange_calendars`).
"""

import csv
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from importlib import resources
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from market_spine.errors import CalendarError

EXCHANGE = "XNYS"
ZONE_NAME = "America/New_York"
SNAPSHOT = "calendar_xnys.csv"
HOLIDAYS = "holidays_xnys.csv"
HALF_DAY = "half day"
WEEKEND_CRONS = ("0 0 * * 6", "0 0 * * 0")

_DAY = timedelta(days=1)
_SATURDAY = 5


class Session(NamedTuple):
    """A row of the frozen table; open and close are aware datetimes in UTC."""

    day: date
    open: datetime
    close: datetime
    half_day: bool


@dataclass(frozen=True)
class Transition:
    """A moment at which the clocks of a zone change, with the wall times it removes or repeats."""

    at: datetime
    before: timedelta
    after: timedelta

    @property
    def skipped(self) -> bool:
        """True when wall times in [local_start, local_end) never happened; False when they happened twice."""
        return self.after > self.before

    @property
    def local_start(self) -> datetime:
        """First wall time (naive) that is skipped or repeated."""
        return self.at.replace(tzinfo=None) + min(self.before, self.after)

    @property
    def local_end(self) -> datetime:
        """First wall time (naive) after `local_start` that is ordinary again."""
        return self.at.replace(tzinfo=None) + max(self.before, self.after)


@cache
def frozen_sessions() -> tuple[Session, ...]:
    """The frozen table, oldest first. Read once per process, on first use."""
    text = resources.files("market_spine").joinpath(SNAPSHOT).read_text(encoding="utf-8")
    return tuple(
        Session(
            date.fromisoformat(row["date"]),
            datetime.fromisoformat(row["open_utc"]),
            datetime.fromisoformat(row["close_utc"]),
            row["note"] == HALF_DAY,
        )
        for row in csv.DictReader(text.splitlines())
    )


@cache
def frozen_holidays() -> Mapping[date, str]:
    """The names of closed weekdays; a closing that nobody foresaw (a storm, a day of mourning) has none."""
    text = resources.files("market_spine").joinpath(HOLIDAYS).read_text(encoding="utf-8")
    return {date.fromisoformat(row["date"]): row["name"] for row in csv.DictReader(text.splitlines())}


@cache
def _frozen_days() -> tuple[date, ...]:
    return tuple(session.day for session in frozen_sessions())


@cache
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise CalendarError(f"time zone {name!r} is not in the IANA database: write a name like {ZONE_NAME}") from error


class TradingCalendar:
    """The sessions from `first_session` to `last_session`, both included.

    Days outside of that range are no sessions. A day after the end of the frozen table is not "no session" but
    unknown, and asking about it raises `CalendarError`: an answer would be a guess about holidays.
    """

    def __init__(self, first_session: date, last_session: date | None = None) -> None:
        known = _frozen_days()
        first = bisect_left(known, first_session)
        stop = len(known) if last_session is None else bisect_right(known, last_session)
        if last_session is not None and last_session > known[-1]:
            raise self._unknown(last_session)
        if first_session < known[0]:
            raise CalendarError(f"first session {first_session} is before the frozen calendar: use {known[0]} or later")
        if first == len(known):
            raise self._unknown(first_session)
        if known[first] != first_session:
            raise CalendarError(f"first session {first_session} is no {EXCHANGE} session: use {known[first]}")
        if first >= stop:
            raise CalendarError(f"last session {last_session} is before the first session {first_session}: swap them")
        self._days = known[first:stop]
        self._rows = frozen_sessions()[first:stop]

    def __repr__(self) -> str:
        return f"TradingCalendar({self.first_session}, {self.last_session})"

    @property
    def name(self) -> str:
        """The exchange whose sessions these are, by its market identifier."""
        return EXCHANGE

    @property
    def first_session(self) -> date:
        """The first session of this calendar."""
        return self._days[0]

    @property
    def last_session(self) -> date:
        """The last session of this calendar; without an explicit one, the last that is known at all."""
        return self._days[-1]

    def is_session(self, day: date) -> bool:
        """Whether `day` is a session of this calendar."""
        self._check_known(day)
        at = bisect_left(self._days, day)
        return at < len(self._days) and self._days[at] == day

    def sessions(self, start: date | None = None, end: date | None = None) -> list[date]:
        """The sessions in [start, end], both included; an absent bound is the calendar's own."""
        if end is not None:
            self._check_known(end)
        low = 0 if start is None else bisect_left(self._days, start)
        high = len(self._days) if end is None else bisect_right(self._days, end)
        return list(self._days[low:high])

    def partition_keys(self, start: date | None = None, end: date | None = None) -> list[str]:
        """The sessions in [start, end] as Dagster partition keys (`YYYY-MM-DD`)."""
        return [day.isoformat() for day in self.sessions(start, end)]

    def next_session(self, day: date) -> date:
        """The first session after `day`, which need not be a session itself."""
        self._check_known(day)
        at = bisect_right(self._days, day)
        if at == len(self._days):
            raise CalendarError(f"no session after {day} in the calendar, it ends at {self.last_session}")
        return self._days[at]

    def previous_session(self, day: date, n: int = 1) -> date:
        """The n-th session before `day`, which need not be a session itself."""
        if n < 1:
            raise CalendarError(f"previous_session of {day} was asked with n={n}: n must be 1 or more")
        self._check_known(day)
        at = bisect_left(self._days, day) - n
        if at < 0:
            raise CalendarError(f"no {n} sessions before {day} in the calendar, it begins at {self.first_session}")
        return self._days[at]

    def previous_sessions(self, day: date, n: int) -> list[date]:
        """The last n sessions before `day`, oldest first; fewer where the calendar begins."""
        self._check_known(day)
        at = bisect_left(self._days, day)
        return list(self._days[max(0, at - max(n, 0)) : at])

    def session_open(self, day: date) -> datetime:
        """When the session opens, in UTC (09:30 New York)."""
        return self._session(day).open

    def session_close(self, day: date) -> datetime:
        """When the session closes, in UTC (16:00 New York, 13:00 on a half day)."""
        return self._session(day).close

    def is_half_day(self, day: date) -> bool:
        """Whether the session closes early; False for a day that is no session."""
        return self.is_session(day) and self._session(day).half_day

    def holidays(self) -> list[date]:
        """Weekdays between the first and the last session on which the exchange is closed."""
        span = (self.last_session - self.first_session).days
        open_days = set(self._days)
        days = (self.first_session + timedelta(days=offset) for offset in range(span))
        return [day for day in days if day.weekday() < _SATURDAY and day not in open_days]

    def closed_midnights(self) -> list[str | datetime]:
        """What a daily schedule must leave out: the weekend as cron strings, holidays as naive New York midnights."""
        return [*WEEKEND_CRONS, *(datetime.combine(day, time.min) for day in self.holidays())]

    def day_bounds(self, day: date) -> tuple[datetime, datetime]:
        """The New York civil day as [start, end) in UTC: 23, 24 or 25 hours. Any day will do."""
        zone = _zone(ZONE_NAME)
        start, end = (datetime.combine(edge, time.min, tzinfo=zone) for edge in (day, day + _DAY))
        return start.astimezone(UTC), end.astimezone(UTC)

    def transitions(self, zone: str, start: date, end: date) -> list[Transition]:
        """The clock changes of a zone from `start` to `end`, both days included, oldest first."""
        return [
            change
            for change in _transitions(zone, start.year, end.year)
            if start <= change.local_start.date() and change.local_end.date() <= end
        ]

    def _session(self, day: date) -> Session:
        self._check_known(day)
        at = bisect_left(self._days, day)
        if at == len(self._days) or self._days[at] != day:
            raise CalendarError(f"{day} is no session of {EXCHANGE} from {self.first_session} to {self.last_session}")
        return self._rows[at]

    def _check_known(self, day: date) -> None:
        if day > _frozen_days()[-1]:
            raise self._unknown(day)

    @staticmethod
    def _unknown(day: date) -> CalendarError:
        last = _frozen_days()[-1]
        return CalendarError(
            f"{day} is after {last}, the end of the frozen calendar: "
            "extend it with python -m market_spine.calendar_freeze"
        )


@cache
def _transitions(name: str, first_year: int, last_year: int) -> Sequence[Transition]:
    zone = _zone(name)
    found = []
    at = datetime(first_year, 1, 1, tzinfo=UTC) - _DAY
    stop = datetime(last_year, 12, 31, tzinfo=UTC) + 2 * _DAY
    while at < stop:
        before, after = _offset(zone, at), _offset(zone, at + _DAY)
        if before != after:
            low, high = at, at + _DAY
            # zoneinfo does not publish its table: halve the day down to the second of the change.
            while high - low > timedelta(seconds=1):
                middle = low + timedelta(seconds=int((high - low).total_seconds()) // 2)
                low, high = (middle, high) if _offset(zone, middle) == before else (low, middle)
            found.append(Transition(high, before, after))
        at += _DAY
    return tuple(found)


def _offset(zone: ZoneInfo, at: datetime) -> timedelta:
    offset = at.astimezone(zone).utcoffset()
    return offset if offset is not None else timedelta(0)


__all__ = ["EXCHANGE", "ZONE_NAME", "Session", "TradingCalendar", "Transition", "frozen_holidays", "frozen_sessions"]
