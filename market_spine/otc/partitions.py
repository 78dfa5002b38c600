"""Trading days as Dagster partitions.

What it is: the one function that turns a `TradingCalendar` into a `DailyPartitionsDefinition`; every asset, job,
schedule and sensor takes its partitions from here.
What belongs here: how Dagster spells "sessions only, New York days".
What does not: which days are sessions (`market_spine.calendar`).

Choices, each tried against Dagster 1.13.27 (`test_partitions.py`):

- A daily cron with exclusions, not the cron `0 0 * * 1-5`: there Friday's window ends on Monday.
- Time zone New York: the window of a partition is the New York civil day, so that filtering on it means the trade
  date, and other people's daily New York assets can be mapped to these (Dagster refuses mappings between zones).
- `end_date` is the day after the last session that is known, so that no holiday of a later year becomes a partition.
- The session of today becomes a partition at midnight New York, when its day is over (Dagster's `end_offset=0`).
  `end_offset=1` would offer it in the evening, and also offers the next Monday during a whole weekend
  (https://github.com/dagster-io/dagster/issues/33551): a session without a file on every status page, and runs that
  can only fail. `open_session=True` takes that trade for an installation that needs the evening; anything that
  launches runs should then ask the calendar whether the day has begun.
"""

from datetime import date, datetime, time, timedelta

from dagster import DailyPartitionsDefinition

from market_spine.calendar import ZONE_NAME, TradingCalendar


def trading_day_partitions(calendar: TradingCalendar, *, open_session: bool = False) -> DailyPartitionsDefinition:
    """One partition per session of the calendar, from its first to its last, as far as time has come."""
    return DailyPartitionsDefinition(
        start_date=_midnight(calendar.first_session),
        end_date=_midnight(calendar.last_session + timedelta(days=1)),
        timezone=ZONE_NAME,
        exclusions=calendar.closed_midnights(),
        end_offset=1 if open_session else 0,
    )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min)
