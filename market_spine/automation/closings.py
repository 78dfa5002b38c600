"""Why the exchange is closed on a day, in words.

Belongs here: what to call a day that the calendar says is no session. Does not belong here: which days those are, and
the names of holidays (``market_spine.calendar``).
"""

from datetime import date

from market_spine.calendar import frozen_holidays

_SATURDAY = 5


def why_closed(day: date) -> str:
    """What to call a day without a session: Saturday, Thanksgiving Day, Christmas Day (observed), a closed day."""
    if day.weekday() >= _SATURDAY:
        return f"{day:%A}"
    return frozen_holidays().get(day, "the exchange is closed")
