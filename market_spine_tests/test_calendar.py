"""The trading calendar: the frozen table against the library, daylight saving time, half days, neighbours.

What belongs here: `market_spine.calendar` and `market_spine.calendar_freeze` without Dagster.
What does not: partitions (`test_partitions.py`).
"""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_spine import calendar_freeze
from market_spine.calendar import TradingCalendar, Transition, frozen_holidays, frozen_sessions
from market_spine.errors import CalendarError

NEW_YORK = ZoneInfo("America/New_York")
CALENDAR = TradingCalendar(date(2010, 1, 4))
HALF_DAYS_OF_2024 = [date(2024, 7, 3), date(2024, 11, 29), date(2024, 12, 24)]

any_session = st.sampled_from(CALENDAR.sessions())
any_day = st.dates(min_value=date(2010, 1, 1), max_value=date(2027, 12, 31))


def wall(text: str) -> datetime:
    """What a clock on the wall showed: no zone, no offset."""
    return datetime.fromisoformat(text)


def new_york(at: datetime) -> time:
    return at.astimezone(NEW_YORK).time()


# exchange_calendars 4.13.2 uses what pandas 3.1 deprecates; it is theirs to mend.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_frozen_table_says_what_exchange_calendars_says() -> None:
    changed = calendar_freeze.differences(frozen_sessions(), calendar_freeze.library_sessions())
    assert not changed, "calendar_xnys.csv differs from exchange_calendars on:\n" + "\n".join(changed)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_frozen_names_of_holidays_are_those_of_exchange_calendars() -> None:
    changed = calendar_freeze.holiday_differences(frozen_holidays(), calendar_freeze.library_holidays())
    assert not changed, "holidays_xnys.csv differs from exchange_calendars on:\n" + "\n".join(changed)


def test_a_day_with_a_name_is_never_a_session() -> None:
    assert set(frozen_holidays()) & set(CALENDAR.sessions()) == set()


def test_a_name_that_differs_is_shown_with_its_date() -> None:
    day, other = date(2026, 7, 3), date(2026, 9, 7)
    before, after = {day: "Independence Day"}, {day: "Independence Day (observed)", other: "Labor Day"}
    assert calendar_freeze.holiday_differences(before, after) == [
        "2026-07-03: frozen Independence Day, library Independence Day (observed)",
        "2026-09-07: frozen no holiday, library Labor Day",
    ]
    assert calendar_freeze.holidays_as_csv(before) == "date,name\n2026-07-03,Independence Day\n"


def test_a_difference_is_shown_with_its_date() -> None:
    rows = frozen_sessions()[:3]
    shorter = (rows[0], rows[1]._replace(close=rows[1].close - timedelta(hours=3), half_day=True))
    assert calendar_freeze.differences(rows, shorter) == [
        (
            "2010-01-05: frozen 2010-01-05T14:30:00Z to 2010-01-05T21:00:00Z, "
            "library 2010-01-05T14:30:00Z to 2010-01-05T18:00:00Z"
        ),
        "2010-01-06: frozen 2010-01-06T14:30:00Z to 2010-01-06T21:00:00Z, library closed",
    ]


def test_freezing_writes_what_is_read_back() -> None:
    text = calendar_freeze.as_csv(frozen_sessions()[:300])
    lines = text.splitlines()
    assert lines[0] == "date,open_utc,close_utc,note"
    assert lines[1] == "2010-01-04,2010-01-04T14:30:00Z,2010-01-04T21:00:00Z,"
    assert "2010-11-26,2010-11-26T14:30:00Z,2010-11-26T18:00:00Z,half day" in lines


def test_the_table_covers_2010_to_2027() -> None:
    assert (CALENDAR.first_session, CALENDAR.last_session) == (date(2010, 1, 4), date(2027, 12, 31))
    assert len(CALENDAR.sessions()) == len(frozen_sessions()) == 4526


@given(any_session)
def test_every_session_opens_at_half_past_nine_and_closes_at_four_or_one(day: date) -> None:
    assert new_york(CALENDAR.session_open(day)) == time(9, 30)
    assert new_york(CALENDAR.session_close(day)) == (time(13) if CALENDAR.is_half_day(day) else time(16))
    assert CALENDAR.session_open(day).tzinfo is UTC


def test_the_open_in_utc_moves_with_daylight_saving_time() -> None:
    opens = {day: CALENDAR.session_open(day).hour for day in CALENDAR.sessions(date(2026, 1, 1), date(2026, 12, 31))}
    assert opens[date(2026, 3, 6)] == 14
    assert opens[date(2026, 3, 9)] == 13
    assert opens[date(2026, 10, 30)] == 13
    assert opens[date(2026, 11, 2)] == 14


def test_half_days_are_known() -> None:
    year = CALENDAR.sessions(date(2024, 1, 1), date(2024, 12, 31))
    assert [day for day in year if CALENDAR.is_half_day(day)] == HALF_DAYS_OF_2024
    assert not CALENDAR.is_half_day(date(2024, 12, 25))


@given(any_day)
def test_is_session_agrees_with_the_list(day: date) -> None:
    assert CALENDAR.is_session(day) == (day in CALENDAR.sessions(day, day)) == (day in set(CALENDAR.sessions()))


@given(st.sampled_from(CALENDAR.sessions()[1:-1]))
def test_next_and_previous_undo_each_other(day: date) -> None:
    assert CALENDAR.previous_session(CALENDAR.next_session(day)) == day
    assert CALENDAR.next_session(CALENDAR.previous_session(day)) == day


@given(st.dates(min_value=date(2011, 1, 1), max_value=date(2027, 12, 1)), st.integers(min_value=1, max_value=60))
def test_previous_sessions_are_the_last_n_before_the_day(day: date, n: int) -> None:
    before = CALENDAR.previous_sessions(day, n)
    assert before == [known for known in CALENDAR.sessions() if known < day][-n:]
    assert CALENDAR.previous_session(day, n) == before[0]


def test_previous_sessions_are_fewer_where_the_calendar_begins() -> None:
    calendar = TradingCalendar(date(2026, 1, 2))
    assert calendar.previous_sessions(date(2026, 1, 7), 5) == [date(2026, 1, 2), date(2026, 1, 5), date(2026, 1, 6)]
    assert calendar.previous_sessions(date(2026, 1, 2), 5) == []


@given(any_day)
def test_the_days_of_new_york_follow_each_other_without_a_gap(day: date) -> None:
    start, end = CALENDAR.day_bounds(day)
    assert new_york(start) == new_york(end) == time(0)
    assert start.astimezone(NEW_YORK).date() == day
    assert end == CALENDAR.day_bounds(day + timedelta(days=1))[0]


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 8), 23), (date(2026, 3, 9), 24), (date(2026, 11, 1), 25)])
def test_a_day_of_new_york_has_23_24_or_25_hours(day: date, hours: int) -> None:
    start, end = CALENDAR.day_bounds(day)
    assert end - start == timedelta(hours=hours)


def test_the_clock_changes_of_2026_are_found_with_the_hours_they_skip_and_repeat() -> None:
    spring, autumn = CALENDAR.transitions("America/New_York", date(2026, 1, 1), date(2026, 12, 31))
    assert spring == Transition(datetime(2026, 3, 8, 7, tzinfo=UTC), timedelta(hours=-5), timedelta(hours=-4))
    assert spring.skipped
    assert (spring.local_start, spring.local_end) == (wall("2026-03-08 02:00"), wall("2026-03-08 03:00"))
    assert not autumn.skipped
    assert (autumn.local_start, autumn.local_end) == (wall("2026-11-01 01:00"), wall("2026-11-01 02:00"))


def test_a_clock_that_changes_at_midnight_or_by_half_an_hour_or_never() -> None:
    year = (date(2026, 1, 1), date(2026, 12, 31))
    assert CALENDAR.transitions("UTC", *year) == []
    lord_howe = CALENDAR.transitions("Australia/Lord_Howe", *year)
    assert {change.local_end - change.local_start for change in lord_howe} == {timedelta(minutes=30)}
    assert CALENDAR.transitions("America/New_York", date(2026, 3, 9), date(2026, 10, 31)) == []


@settings(max_examples=30)
@given(st.sampled_from(["America/New_York", "Europe/London", "Australia/Sydney"]), st.integers(2010, 2027))
def test_a_wall_time_inside_a_transition_is_skipped_or_repeated(zone: str, year: int) -> None:
    for change in CALENDAR.transitions(zone, date(year, 1, 1), date(year, 12, 31)):
        middle = change.local_start + (change.local_end - change.local_start) / 2
        first, second = (middle.replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC) for fold in (0, 1))
        back = {at.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for at in (first, second)}
        assert back.isdisjoint({middle}) if change.skipped else (back == {middle} and first < second)


def test_a_calendar_knows_nothing_before_its_first_session_or_after_its_last() -> None:
    calendar = TradingCalendar(date(2026, 3, 4), date(2026, 3, 12))
    assert calendar.sessions() == calendar.sessions(date(2020, 1, 1), date(2027, 1, 1))
    assert calendar.partition_keys(date(2026, 3, 6), date(2026, 3, 9)) == ["2026-03-06", "2026-03-09"]
    assert not calendar.is_session(date(2026, 3, 3))
    assert not calendar.is_session(date(2026, 3, 13))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: TradingCalendar(date(2026, 1, 1)), "first session 2026-01-01 is no XNYS session: use 2026-01-02"),
        (lambda: TradingCalendar(date(2009, 12, 31)), "before the frozen calendar: use 2010-01-04 or later"),
        (lambda: TradingCalendar(date(2028, 1, 3)), "2028-01-03 is after 2027-12-31, the end of the frozen calendar"),
        (lambda: TradingCalendar(date(2026, 1, 2), date(2028, 1, 3)), "2028-01-03 is after 2027-12-31"),
        (lambda: TradingCalendar(date(2026, 1, 2), date(2025, 1, 3)), "is before the first session 2026-01-02"),
        (lambda: CALENDAR.is_session(date(2099, 1, 1)), "extend it with python -m market_spine.calendar_freeze"),
        (lambda: CALENDAR.session_open(date(2026, 3, 8)), "2026-03-08 is no session of XNYS"),
        (lambda: CALENDAR.next_session(date(2027, 12, 31)), "no session after 2027-12-31"),
        (lambda: CALENDAR.previous_session(date(2010, 1, 4)), "it begins at 2010-01-04"),
        (lambda: CALENDAR.previous_session(date(2026, 3, 4), 0), "n must be 1 or more"),
        (lambda: CALENDAR.transitions("Mars/Olympus", date(2026, 1, 1), date(2026, 2, 1)), "'Mars/Olympus'"),
    ],
)
def test_a_wrong_question_is_answered_by_one_clear_line(ask: object, message: str) -> None:
    assert callable(ask)
    with pytest.raises(CalendarError) as caught:
        ask()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
