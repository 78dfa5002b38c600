"""The schedule ``daily_session``: every morning, the sessions that should have a run and have none.

Belongs here: when to look, and at which sessions. Does not belong here: what deserves a run (``landed_days``).

Dagster's own schedule of a partitioned job knows no exclusions: it asks for Friday again on Saturday, Sunday and the
holiday. This one ticks every day and asks the TradingCalendar. The landing sensor answers a file within seconds; the
schedule is the net below it: a sensor that was stopped, a run that was lost before it was launched.

A session without a file gets no run. It could only fail, and the inventory calls the session missing from ``due_hour``
on; when the file lands, the sensor takes it. Nor does a session whose run failed with the same files: that is a dead
letter, and another try of the same files is for a person to decide.
"""

from datetime import date, timedelta
from zoneinfo import ZoneInfo

from dagster import (
    DefaultScheduleStatus,
    ResourceParam,
    RunRequest,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    SkipReason,
    schedule,
)

from market_spine.automation.closings import why_closed
from market_spine.automation.jobs import FULL_REFRESH
from market_spine.automation.landed_days import judge
from market_spine.calendar import ZONE_NAME
from market_spine.errors import CalendarError, LandingError, LedgerError, WarehouseError
from market_spine.otc.landing import is_session, survey
from market_spine.otc.steps import Steps

NAME = "daily_session"
CRON = "30 0 * * *"
"""Half past midnight in New York: the partition of the session came at midnight, and no clock change skips the hour."""


def otc_schedules() -> list[ScheduleDefinition]:
    """All schedules."""
    return [daily_session]


@schedule(
    name=NAME,
    job_name=FULL_REFRESH,
    cron_schedule=CRON,
    execution_timezone=ZONE_NAME,
    default_status=DefaultScheduleStatus.RUNNING,
    description="Yesterday's session, and those before it that were missed; a day that is none says why.",
)
def daily_session(context: ScheduleEvaluationContext, steps: ResourceParam[Steps]) -> list[RunRequest] | SkipReason:
    """Runs for the latest sessions that have files and no run."""
    today = context.scheduled_execution_time.astimezone(ZoneInfo(ZONE_NAME)).date()
    try:
        sessions = steps.calendar.previous_sessions(today, steps.settings.catch_up_sessions)
        found = survey(steps.settings.landing, steps.feeds)
        landed = [found.days[day] for day in sessions if day in found.days]
        judgement = judge(landed, context.instance, steps, holder=NAME, trigger="schedule")
    except (CalendarError, LandingError, LedgerError, WarehouseError, OSError) as error:
        return SkipReason(" ".join(str(error).split()))
    if judgement.requests:
        return judgement.requests
    told = [_of_yesterday(steps, today - timedelta(days=1)), *judgement.waiting]
    absent = [str(day) for day in sessions if day not in found.days]
    if absent:
        told.append(
            f"no file lies there for {', '.join(absent)}: landing_files asks for a run when one lands, "
            f"spine inventory calls what has no metrics missing from {steps.settings.due_hour}:00 on"
        )
    if judgement.settled:
        told.append(f"{len(judgement.settled)} of the last {len(sessions)} sessions are done or were asked for")
    return SkipReason("; ".join(filter(None, told)))


def _of_yesterday(steps: Steps, yesterday: date) -> str:
    if is_session(steps.calendar, yesterday):
        return ""
    return f"{yesterday} is no session of {steps.calendar.name}: {why_closed(yesterday)}"
