"""Why the exchange is closed on a day, in words.

Belongs here: names for days that the calendar says are no sessions. Does not belong here: which days those are
(``market_spine.calendar``); a name that is missing here changes nothing.
"""

from datetime import date, timedelta

_DAY = timedelta(days=1)
_MONDAY, _THURSDAY, _FRIDAY, _SATURDAY, _SUNDAY = 0, 3, 4, 5, 6
_FIXED = {(1, 1): "New Year's Day", (6, 19): "Juneteenth", (7, 4): "Independence Day", (12, 25): "Christmas Day"}


def why_closed(day: date) -> str:
    """What to call a day without a session: Saturday, Thanksgiving Day, Christmas Day (observed), a closed day."""
    if day.weekday() in (_SATURDAY, _SUNDAY):
        return f"{day:%A}"
    name = _FIXED.get((day.month, day.day)) or _moving(day)
    if name:
        return name
    beside = {_FRIDAY: day + _DAY, _MONDAY: day - _DAY}.get(day.weekday())
    observed = _FIXED.get((beside.month, beside.day)) if beside else None
    return f"{observed} (observed)" if observed else "the exchange is closed"


def _moving(day: date) -> str | None:
    week = (day.day - 1) // 7 + 1
    last = (day + 7 * _DAY).month != day.month
    by_rule = {
        (1, _MONDAY, week == 3): "Martin Luther King Jr. Day",
        (2, _MONDAY, week == 3): "Washington's Birthday",
        (5, _MONDAY, last): "Memorial Day",
        (9, _MONDAY, week == 1): "Labor Day",
        (11, _THURSDAY, week == 4): "Thanksgiving Day",
    }
    if day == _easter(day.year) - 2 * _DAY:
        return "Good Friday"
    return by_rule.get((day.month, day.weekday(), True))


def _easter(year: int) -> date:
    """Easter Sunday of the Gregorian calendar (the anonymous algorithm of 1876)."""
    golden, century, rest = year % 19, year // 100, year % 100
    moon = (19 * golden + century - century // 4 - (century - (century + 8) // 25 + 1) // 3 + 15) % 30
    weekday = (32 + 2 * (century % 4) + 2 * (rest // 4) - moon - rest % 4) % 7
    month = (golden + 11 * moon + 22 * weekday) // 451
    number = moon + weekday - 7 * month + 114
    return date(year, number // 31, number % 31 + 1)
