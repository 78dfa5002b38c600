"""The schedule `daily_session` asks the calendar, catches up on what was missed, and doubles nothing."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from dagster import (
    DefaultScheduleStatus,
    RunRequest,
    SensorResult,
    SkipReason,
    build_schedule_context,
    build_sensor_context,
)

from market_spine.automation.closings import why_closed
from market_spine.automation.jobs import FULL_REFRESH
from market_spine.automation.landing_sensor import landing_sensor
from market_spine.automation.schedules import daily_session
from market_spine.calendar import ZONE_NAME, TradingCalendar
from market_spine.ledger import tags
from market_spine.otc.quality import METRICS, RAW, TRADES
from market_spine.otc.steps import Steps
from market_spine_tests.orchestrated import Orchestra, break_file, deliver
from market_spine_tests.played_daemon import PlayedDaemon, ledger_tables

CALENDAR = TradingCalendar(date(2026, 1, 2))
WED, THU, FRI = date(2026, 3, 4), date(2026, 3, 5), date(2026, 3, 6)
SAT, SUN, MON = date(2026, 3, 7), date(2026, 3, 8), date(2026, 3, 9)
GOOD_FRIDAY = date(2026, 4, 3)


class Night(PlayedDaemon):
    """A landing folder of its own, and what the schedule says on a morning."""

    def __init__(self, world: Orchestra, landing: Path) -> None:
        super().__init__(world, replace(world.settings, landing=landing, landing_quiet_seconds=0, catch_up_sessions=3))

    def evaluate(self, morning: date, **settings: Any) -> list[RunRequest] | SkipReason:
        """Half past midnight of a day in New York."""
        moment = datetime(morning.year, morning.month, morning.day, 0, 30, tzinfo=ZoneInfo(ZONE_NAME))
        steps = Steps(replace(self.settings, **settings))
        with build_schedule_context(
            instance=self.world.instance, scheduled_execution_time=moment, resources={"steps": steps}
        ) as context:
            answer = daily_session(context)
        assert isinstance(answer, list | SkipReason)
        return answer

    def asked(self, morning: date, **settings: Any) -> list[str | None]:
        """The sessions it asks for."""
        answer = self.evaluate(morning, **settings)
        return [one.partition_key for one in answer] if isinstance(answer, list) else []

    def reason(self, morning: date) -> str:
        answer = self.evaluate(morning)
        assert isinstance(answer, SkipReason), answer
        return answer.skip_message or ""

    def sensor(self) -> list[RunRequest]:
        """What the landing sensor asks for, without a cursor."""
        with build_sensor_context(
            instance=self.world.instance, definitions=self.world.defs, resources={"steps": Steps(self.settings)}
        ) as context:
            answer = landing_sensor(self.settings)(context)
        return list(answer.run_requests or ()) if isinstance(answer, SensorResult) else []


@pytest.fixture
def night(unasked: Orchestra, tmp_path: Path) -> Night:
    return Night(unasked, tmp_path / "landing")


def test_it_ticks_every_day_after_midnight_in_new_york_and_is_on() -> None:
    assert (daily_session.cron_schedule, daily_session.execution_timezone) == ("30 0 * * *", ZONE_NAME)
    assert daily_session.default_status == DefaultScheduleStatus.RUNNING
    assert daily_session.job_name == FULL_REFRESH


def test_the_morning_after_a_session_asks_for_it(night: Night) -> None:
    deliver(night.settings, FRI)
    answer = night.evaluate(SAT)
    assert isinstance(answer, list)
    (request,) = answer
    assert request.partition_key == str(FRI)
    assert request.tags[tags.TRIGGER] == "schedule"
    assert request.tags[tags.LOGICAL_KEY] == f"otc_full_refresh:{FRI}"


def test_the_lane_goes_by_the_age_of_the_session_not_of_the_tick(night: Night) -> None:
    recent = CALENDAR.previous_session(datetime.now(UTC).date(), 2)
    deliver(night.settings, recent)
    answer = night.evaluate(recent + timedelta(days=1))
    assert isinstance(answer, list)
    assert [one.tags[tags.LANE] for one in answer] == ["normal"]


@pytest.mark.parametrize(
    ("morning", "said"),
    [
        (SUN, f"{SAT} is no session of XNYS: Saturday"),
        (MON, f"{SUN} is no session of XNYS: Sunday"),
        (GOOD_FRIDAY + timedelta(days=1), f"{GOOD_FRIDAY} is no session of XNYS: Good Friday"),
    ],
)
def test_a_day_without_a_session_is_skipped_and_the_tick_says_why(night: Night, morning: date, said: str) -> None:
    assert night.reason(morning).startswith(said)


def test_a_session_without_a_file_gets_no_run_and_is_named(night: Night) -> None:
    told = night.reason(SAT)
    assert told.startswith(f"no file lies there for {WED}, {THU}, {FRI}: landing_files asks")
    assert "missing from 6:00 on" in told


def test_sessions_that_were_missed_are_caught_up_even_on_a_weekend(night: Night) -> None:
    for day in (WED, THU, FRI):
        deliver(night.settings, day)
    assert night.asked(SUN) == [str(WED), str(THU), str(FRI)]


def test_it_looks_back_as_far_as_the_settings_say(night: Night) -> None:
    for day in (WED, THU, FRI):
        deliver(night.settings, day)
    assert night.asked(SAT, catch_up_sessions=2) == [str(THU), str(FRI)]


def test_two_ticks_never_double_a_run(night: Night) -> None:
    for day in (THU, FRI):
        deliver(night.settings, day)
    first = night.evaluate(SAT)
    again = night.evaluate(SAT)
    assert isinstance(first, list)
    assert isinstance(again, list)
    assert [one.run_key for one in first] == [one.run_key for one in again]  # Dagster starts a key of a tick once
    started = [night.launch(one) for one in first]
    assert night.asked(SUN) == []
    for run_id in started:
        night.end(run_id)
    assert night.asked(MON) == []


def test_a_session_whose_run_failed_is_asked_for_again_when_its_file_changed(night: Night) -> None:
    break_file(deliver(night.settings, FRI))
    answer = night.evaluate(SAT)
    assert isinstance(answer, list)
    night.end(night.launch(answer[0]))
    assert "1 of the last 3 sessions are done or were asked for" in night.reason(SUN)
    deliver(night.settings, FRI)
    assert night.asked(MON) == [str(FRI)]


def test_a_session_that_somebody_computed_by_hand_needs_no_run(night: Night) -> None:
    day = date(2026, 2, 6)
    deliver(night.settings, day)
    for _ in Steps(night.settings).run_session(day, (RAW, TRADES, METRICS)):
        pass
    assert night.asked(day + timedelta(days=1)) == []


def test_a_session_that_was_only_ingested_needs_one(night: Night) -> None:
    day = date(2026, 2, 13)
    deliver(night.settings, day)
    for _ in Steps(night.settings).run_session(day, (RAW,)):
        pass
    assert night.asked(day + timedelta(days=1)) == [str(day)]


def test_sensor_and_schedule_never_both_ask_whoever_is_first(night: Night) -> None:
    for day in (THU, FRI):
        deliver(night.settings, day)
    (of_thu, of_fri) = night.sensor()
    # Before the daemon made the runs, while they work, and after they ended.
    assert "was asked for by landing_files a moment ago" in night.reason(SAT)
    started = [night.launch(of_thu), night.launch(of_fri)]
    assert night.asked(SAT) == []
    for run_id in started:
        night.end(run_id)
    assert night.asked(SAT) == []
    deliver(night.settings, FRI, count=12)
    answer = night.evaluate(SAT)
    assert isinstance(answer, list)
    assert [one.partition_key for one in answer] == [str(FRI)]
    assert night.sensor() == []
    night.end(night.launch(answer[0]))
    assert night.sensor() == []


def test_a_request_that_never_became_a_run_binds_nobody_for_ever(night: Night) -> None:
    deliver(night.settings, FRI)
    assert len(night.sensor()) == 1
    assert night.asked(SAT) == []
    with ledger_tables(night.world) as connection:
        connection.execute("UPDATE kvs SET value = jsonb_set(value::jsonb, '{at}', '1')")
    assert night.asked(SAT) == [str(FRI)]


def test_a_database_that_does_not_answer_is_the_reason_to_skip(night: Night, tmp_path: Path) -> None:
    deliver(night.settings, FRI)
    answer = night.evaluate(SAT, database_url=f"postgresql://postgres@/gone?host={tmp_path}")
    assert isinstance(answer, SkipReason)
    assert "the market database does not answer" in (answer.skip_message or "")


# --- names of closed days


def test_every_closed_weekday_of_the_calendar_but_the_unforeseen_ones_has_a_name() -> None:
    calendar = TradingCalendar(date(2010, 1, 4))
    nameless = [day for day in calendar.holidays() if why_closed(day) == "the exchange is closed"]
    # Hurricane Sandy, and the days of mourning for two presidents.
    assert nameless == [date(2012, 10, 29), date(2012, 10, 30), date(2018, 12, 5), date(2025, 1, 9)]


@pytest.mark.parametrize(
    ("day", "name"),
    [
        (date(2026, 1, 19), "Martin Luther King Jr. Day"),
        (date(2026, 2, 16), "Washington's Birthday"),
        (date(2026, 5, 25), "Memorial Day"),
        (date(2026, 7, 3), "Independence Day (observed)"),
        (date(2026, 9, 7), "Labor Day"),
        (date(2026, 11, 26), "Thanksgiving Day"),
        (date(2022, 12, 26), "Christmas Day (observed)"),
        (date(2026, 11, 21), "Saturday"),
    ],
)
def test_closed_days_are_called_by_their_names(day: date, name: str) -> None:
    assert why_closed(day) == name
