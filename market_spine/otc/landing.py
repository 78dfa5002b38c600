"""The landing folder: which files are there for a report date, and whose they are.

Belongs here: names of files and what they claim (source, report date, part, version), which version of them lies there,
what is wrong with them before anybody reads them.
Does not belong here: what a pattern may say (``path_pattern``), folders that are addresses (``remote``), the content of
a file (``reader``), which of two versions counts (``intake``).

A call lists each folder once and keeps nothing: a file that lands a moment later is seen by the next call.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby, pairwise
from pathlib import Path

from market_spine.calendar import TradingCalendar
from market_spine.errors import CalendarError, FileRefused
from market_spine.otc.feeds import Feed
from market_spine.otc.path_pattern import PathMatch
from market_spine.otc.remote import Location, Stamp, location, relative, stamp_of


@dataclass(frozen=True)
class LandedFile:
    """A file as its name describes it.

    ``version`` is None where the feed's pattern has none; 0 where it has one that this name leaves out.
    ``compression`` is "", "gzip" or "zstd".
    """

    feed: Feed
    path: Location
    report_date: date
    part: str = ""
    version: int | None = None
    compression: str = ""

    @property
    def place(self) -> tuple[str, date, str, int]:
        """What no second file may claim; also the order of a day's files."""
        return self.feed.name, self.report_date, self.part, -1 if self.version is None else self.version


@dataclass(frozen=True)
class UnreadableName:
    """A file that fits a feed's pattern in all but its date or version, so that no report date ever asks for it."""

    feed: Feed
    path: Location
    problem: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}; rename the file, {self.feed.name} reads {self.feed.path}"


@dataclass(frozen=True)
class LandedDay:
    """The files of a report date as they lie there now.

    Args:
        report_date: the date their names say.
        stamps: place below the landing folder -> what tells this version of the file.
        conflict: why the files cannot be taken together, or "".
    """

    report_date: date
    stamps: Mapping[str, Stamp]
    conflict: str = ""

    @property
    def version(self) -> str:
        """Sixteen digits that change when a file comes, goes or changes."""
        text = "\n".join(f"{place}:{stamp.text}" for place, stamp in sorted(self.stamps.items()))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def unsettled(self, now: float, quiet_seconds: float) -> str | None:
        """A file that changed less than ``quiet_seconds`` before ``now``, so that it may still be written.

        A time further than that in the future is a wrong clock and no reason to wait.
        """
        for place, stamp in sorted(self.stamps.items()):
            if stamp.latest is not None and abs(now - stamp.latest) < quiet_seconds:
                return place
        return None


@dataclass(frozen=True)
class Survey:
    """Everything in the landing folder that fits a feed.

    Args:
        days: by report date, ascending.
        unreadable: files that no report date asks for, by path.
    """

    days: Mapping[date, LandedDay]
    unreadable: Sequence[UnreadableName]

    def problems(self, calendar: TradingCalendar) -> list[str]:
        """What will never be loaded as it lies there, one line each.

        Names whose date does not exist, dates without a session, files that claim the same place.
        """
        lines = [str(name) for name in self.unreadable]
        for day in self.days.values():
            if not is_session(calendar, day.report_date):
                lines.append(
                    f"{_listed(day)}: {day.report_date} is no session of {calendar.name} from "
                    f"{calendar.first_session} on; is the date in the name wrong?"
                )
            elif day.conflict:
                lines.append(day.conflict)
        return lines


def is_session(calendar: TradingCalendar, day: date) -> bool:
    """Whether ``day`` is a session; a date after the end of the calendar is none."""
    try:
        return calendar.is_session(day)
    except CalendarError:
        return False


def find_files(landing: Path | str, feeds: Mapping[str, Feed], report_date: date) -> list[LandedFile]:
    """The files of ``report_date`` by source, part and version.

    Raises:
        FileRefused: two files claim the same place, or two feeds the same file; the message names both.
        LandingError: the landing folder is at an address that does not answer.
    """
    files = _in_order(
        _landed(feed, found, report_date)
        for feed in feeds.values()
        for found in feed.pattern.matches(location(landing), report_date)
    )
    conflict = _conflict(files)
    if conflict is not None:
        raise conflict
    return files


def survey(landing: Path | str, feeds: Mapping[str, Feed]) -> Survey:
    """Everything that lies there, with the versions of the files; one listing for each folder.

    Raises:
        LandingError: the landing folder is at an address that does not answer.
    """
    top = location(landing)
    files: list[LandedFile] = []
    unreadable: list[UnreadableName] = []
    for feed in feeds.values():
        for found in feed.pattern.matches(top):
            if found.report_date is None:
                unreadable.append(UnreadableName(feed, found.path, found.problem))
            else:
                files.append(_landed(feed, found, found.report_date))
    files.sort(key=lambda file: file.report_date)
    days = {}
    for report_date, found_files in groupby(files, key=lambda file: file.report_date):
        of_day = _in_order(found_files)
        stamps = dict(_stamped(of_day, top))
        if stamps:
            days[report_date] = LandedDay(report_date, stamps, str(_conflict(of_day) or ""))
    return Survey(days, sorted(unreadable, key=lambda name: str(name.path)))


def all_report_dates(landing: Path | str, feeds: Mapping[str, Feed]) -> list[date]:
    """Every report date that has a file, ascending."""
    return sorted(
        {
            found.report_date
            for feed in feeds.values()
            for found in feed.pattern.matches(location(landing))
            if found.report_date is not None
        }
    )


def unreadable_names(landing: Path | str, feeds: Mapping[str, Feed]) -> list[UnreadableName]:
    """Files no report date asks for because the date in their name does not exist (20260231), by path."""
    return sorted(
        (
            UnreadableName(feed, found.path, found.problem)
            for feed in feeds.values()
            for found in feed.pattern.matches(location(landing))
            if found.problem
        ),
        key=lambda name: str(name.path),
    )


def _landed(feed: Feed, found: PathMatch, report_date: date) -> LandedFile:
    return LandedFile(feed, found.path, report_date, found.part, found.version, found.compression)


def _in_order(files: Iterator[LandedFile]) -> list[LandedFile]:
    return sorted(files, key=lambda file: (file.place, str(file.path)))


def _conflict(files: Sequence[LandedFile]) -> FileRefused | None:
    """Why the files of one date, in their order, cannot be taken together."""
    for one, other in pairwise(files):
        if one.place == other.place:
            return FileRefused(
                other.path,
                None,
                f"claims the same source, report date, part and version as {one.path}; take one of them away",
            )
    owners: dict[Location, str] = {}
    for file in files:
        owner = owners.setdefault(file.path, file.feed.name)
        if owner != file.feed.name:
            return FileRefused(
                file.path, None, f"fits the paths of two feeds, {owner} and {file.feed.name}; it would count twice"
            )
    return None


def _stamped(files: Sequence[LandedFile], top: Location) -> Iterator[tuple[str, Stamp]]:
    for file in files:
        try:
            yield relative(file.path, top), stamp_of(file.path)
        except FileNotFoundError:
            continue  # taken away since the folder was listed


def _listed(day: LandedDay) -> str:
    """The first file of a day and how many more there are."""
    first, *more = sorted(day.stamps)
    return f"{first} (and {len(more)} more)" if more else first
