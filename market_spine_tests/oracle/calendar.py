"""Sessions of the New York market, straight from exchange_calendars.

Belongs here: which days are sessions, when they open and close, the New York date of an instant.
Does not belong here: anything of market_spine (this package judges it), any rule about trades.
"""

from __future__ import annotations

from bisect import bisect_left
from datetime import date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import exchange_calendars

NEW_YORK = ZoneInfo("America/New_York")


class Sessions:
    """The sessions of XNYS from the first to the last day, both included."""

    def __init__(self, first: date, last: date) -> None:
        # The library refuses bounds without a session between them and trims the day of the bound
        # itself in some versions, so it is asked for a wider window than is kept.
        wide = exchange_calendars.get_calendar(
            "XNYS", start=(first - timedelta(days=14)).isoformat(), end=(last + timedelta(days=14)).isoformat()
        )
        self._first, self._last = first, last
        self._hours: dict[date, tuple[datetime, datetime]] = {}
        for label, opening, closing in zip(wide.sessions, wide.opens, wide.closes, strict=True):
            day = label.date()
            if first <= day <= last:
                self._hours[day] = (opening.to_pydatetime(), closing.to_pydatetime())
        self.days: list[date] = sorted(self._hours)

    def __contains__(self, day: date) -> bool:
        return day in self._hours

    def dead(self, day: date) -> bool:
        """No file of this date can ever come. Dates after the last session are not judged."""
        return day <= self._last and (day < self._first or day not in self._hours)

    def opens(self, day: date) -> datetime:
        return self._hours[day][0]

    def closes(self, day: date) -> datetime:
        return self._hours[day][1]

    def before(self, day: date, count: int) -> list[date] | None:
        """The `count` sessions before the day, or None when the calendar does not reach back so far."""
        position = bisect_left(self.days, day)
        return None if position < count else self.days[position - count : position]


@lru_cache(maxsize=32)
def sessions_between(first: date, last: date) -> Sessions:
    return Sessions(first, last)


def new_york_date(instant: datetime) -> date:
    return instant.astimezone(NEW_YORK).date()
