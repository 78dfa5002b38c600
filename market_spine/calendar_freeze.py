"""Freezing the calendar: writes `calendar_xnys.csv` and `holidays_xnys.csv` from `exchange_calendars`.

What it is: the one place that imports `exchange_calendars`, run by a person when the tables have to grow or a
holiday was declared: `python -m market_spine.calendar_freeze` (or `--check`, which only says what differs).
What belongs here: reading the library, writing and comparing the tables.
What does not: answering questions about sessions (`calendar.py`).
"""

import csv
import io
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from market_spine import calendar

FROM = date(2010, 1, 1)
TO = date(2027, 12, 31)
SHOWN = 20
HEADER = ("date", "open_utc", "close_utc", "note")
HOLIDAY_HEADER = ("date", "name")
CALLED: Mapping[str, str] = {
    "Christmas": "Christmas Day",
    "Dr. Martin Luther King Jr. Day": "Martin Luther King Jr. Day",
    "July 4th": "Independence Day",
    "Juneteenth National Independence Day": "Juneteenth",
    "President's Day": "Washington's Birthday",
    "Thanksgiving": "Thanksgiving Day",
}
"""What the exchange calls days that the library names otherwise."""
OBSERVED = " (observed)"
_SATURDAY = 5

Row = TypeVar("Row")


def library_sessions() -> tuple[calendar.Session, ...]:
    """The sessions as the installed library sees them."""
    table = _library().schedule
    zone = ZoneInfo(calendar.ZONE_NAME)
    rows = []
    for day, opens, closes in zip(table.index, table["open"], table["close"], strict=True):
        open_utc, close_utc = (datetime.fromtimestamp(edge.timestamp(), UTC) for edge in (opens, closes))
        half_day = close_utc.astimezone(zone).hour < 16
        rows.append(calendar.Session(day.date(), open_utc, close_utc, half_day))
    return tuple(rows)


def library_holidays() -> dict[date, str]:
    """The names of closed weekdays as the installed library has them, oldest first.

    A holiday of a fixed date that is kept on another day is called observed. The library has no name for a closing
    without a rule.
    """
    found: dict[date, str] = {}
    for rule in _library().regular_holidays.rules:
        name = CALLED.get(rule.name, rule.name)
        for day in (moment.date() for moment in rule.dates(str(FROM), str(TO))):
            moved = rule.offset is None and (day.month, day.day) != (rule.month, rule.day)
            if day.weekday() < _SATURDAY:
                found[day] = name + OBSERVED if moved else name
    return dict(sorted(found.items()))


def differences(old: Sequence[calendar.Session], new: Sequence[calendar.Session]) -> list[str]:
    """One line per date on which two tables of sessions disagree."""
    before, after = ({row.day: row for row in rows} for rows in (old, new))
    return _differences(before, after, _text)


def holiday_differences(old: Mapping[date, str], new: Mapping[date, str]) -> list[str]:
    """One line per date on which two tables of holidays disagree."""
    return _differences(old, new, lambda name: name or "no holiday")


def as_csv(rows: Sequence[calendar.Session]) -> str:
    """The sessions as the text of the frozen file."""
    return _as_csv(HEADER, (_fields(row) for row in rows))


def holidays_as_csv(names: Mapping[date, str]) -> str:
    """The names as the text of the frozen file."""
    return _as_csv(HOLIDAY_HEADER, ((day.isoformat(), name) for day, name in names.items()))


def main(arguments: Sequence[str]) -> int:
    """Compares, and writes both tables anew unless `--check` is given. Exit code 1 when a check finds a difference."""
    folder = Path(calendar.__file__).parent
    sessions, names = folder / calendar.SNAPSHOT, folder / calendar.HOLIDAYS
    rows, holidays = library_sessions(), library_holidays()
    changed = differences(calendar.frozen_sessions() if sessions.exists() else (), rows)
    renamed = holiday_differences(calendar.frozen_holidays() if names.exists() else {}, holidays)
    for line in [*changed[:SHOWN], *renamed[:SHOWN]]:
        print(line)
    print(f"{len(rows)} sessions from {rows[0].day} to {rows[-1].day}, {len(changed)} differ from the frozen table")
    print(f"{len(holidays)} names of holidays, {len(renamed)} differ from the frozen table")
    if "--check" in arguments:
        return 1 if changed or renamed else 0
    for path, text in ((sessions, as_csv(rows)), (names, holidays_as_csv(holidays))):
        path.write_text(text, encoding="utf-8", newline="\n")
        print(f"wrote {path.name}")
    return 0


def _library() -> Any:
    """The library's calendar. `start` is explicit: its default window is 20 years."""
    import exchange_calendars  # 1.5 s of imports (pandas), needed by nobody who only asks the frozen table

    return exchange_calendars.get_calendar(calendar.EXCHANGE, start=str(FROM), end=str(TO))


def _differences(before: Mapping[date, Row], after: Mapping[date, Row], text: Callable[[Row | None], str]) -> list[str]:
    return [
        f"{day}: frozen {text(before.get(day))}, library {text(after.get(day))}"
        for day in sorted(before.keys() | after.keys())
        if before.get(day) != after.get(day)
    ]


def _as_csv(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()


def _fields(row: calendar.Session) -> Sequence[str]:
    return row.day.isoformat(), _instant(row.open), _instant(row.close), calendar.HALF_DAY if row.half_day else ""


def _instant(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _text(row: calendar.Session | None) -> str:
    return "closed" if row is None else f"{_instant(row.open)} to {_instant(row.close)}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
