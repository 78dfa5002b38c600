"""What a route needs and no request brings: the database, the calendar, limits, the ledger.

Belongs here: that, and how a route gets it. Does not belong here: making it (``app``).
"""

from dataclasses import dataclass

from fastapi import Request

from market_spine.api.database import Reader
from market_spine.api.ledger_access import LedgerAccess
from market_spine.calendar import TradingCalendar


@dataclass(frozen=True)
class Context:
    """Made once a process.

    Args:
        reader: the database.
        calendar: the sessions.
        stream_seconds: how long a stream may last.
        day_seconds: how long one may last that holds a day's partition: a run that replaces the day waits for it.
        ledger: executions and dead letters.
    """

    reader: Reader
    calendar: TradingCalendar
    stream_seconds: int
    day_seconds: int
    ledger: LedgerAccess


def context_of(request: Request) -> Context:
    """The context of the application that answers this request."""
    context: Context = request.app.state.context
    return context
