"""Freezing the calendar: writes `calendar_xnys.csv` from `exchange_calendars` and says what differs from it.

What it is: the one place that imports `exchange_calendars`, run by a person when the table has to grow or a
holiday was declared: `python -m market_spine.calendar_freeze` (or `--check`, which only compares).
What belongs here: reading the library, writing and comparing the table.
What does not: answering questions about sessions (`calendar.py`).
"""

import csv
import io
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from market_spine import calendar

FROM = date(2010, 1, 1)
TO = date(2027, 12, 31)
SHOWN = 20
HEADER = ("date", "open_utc", "close_utc", "note")


def library_sessions() -> tuple[calendar.Session, ...]:
    """The sessions as the installed library sees them. `start` is explicit: its default window is 20 years."""
    import exchange_calendars  # 1.5 s of imports (pandas), needed by nobody who only asks the frozen table

    table = exchange_calendars.get_calendar(calendar.EXCHANGE, start=str(FROM), end=str(TO)).schedule
    zone = ZoneInfo(calendar.ZONE_NAME)
    rows = []
    for day, opens, closes in zip(table.index, table["open"], table["close"], strict=True):
        open_utc, close_utc = (datetime.fromtimestamp(edge.timestamp(), UTC) for edge in (opens, closes))
        half_day = close_utc.astimezone(zone).hour < 16
        rows.append(calendar.Session(day.date(), open_utc, close_utc, half_day))
    return tuple(rows)


def differences(old: Sequence[calendar.Session], new: Sequence[calendar.Session]) -> list[str]:
    """One line per date on which two tables disagree."""
    before, after = ({row.day: row for row in rows} for rows in (old, new))
    return [
        f"{day}: frozen {_text(before.get(day))}, library {_text(after.get(day))}"
        for day in sorted(before.keys() | after.keys())
        if before.get(day) != after.get(day)
    ]


def as_csv(rows: Sequence[calendar.Session]) -> str:
    """The table as the text of the frozen file."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADER)
    for row in rows:
        note = calendar.HALF_DAY if row.half_day else ""
        writer.writerow((row.day.isoformat(), _instant(row.open), _instant(row.close), note))
    return out.getvalue()


def main(arguments: Sequence[str]) -> int:
    """Compares, and writes the table anew unless `--check` is given. Exit code 1 when a check finds a difference."""
    path = Path(calendar.__file__).with_name(calendar.SNAPSHOT)
    rows = library_sessions()
    changed = differences(calendar.frozen_sessions() if path.exists() else (), rows)
    for line in changed[:SHOWN]:
        print(line)
    print(f"{len(rows)} sessions from {rows[0].day} to {rows[-1].day}, {len(changed)} differ from the frozen table")
    if "--check" in arguments:
        return 1 if changed else 0
    path.write_text(as_csv(rows), encoding="utf-8", newline="\n")
    print(f"wrote {path.name}")
    return 0


def _instant(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _text(row: calendar.Session | None) -> str:
    return "closed" if row is None else f"{_instant(row.open)} to {_instant(row.close)}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
