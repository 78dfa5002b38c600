"""The landing folder: which files are there for a report date, and whose they are.

Belongs here: names of files and what they claim (source, report date, part, version).
Does not belong here: what a pattern may say (``path_pattern``), the content of a file (``reader``), which of two
versions counts (``intake``).

A call lists each folder once and keeps nothing: a file that lands a moment later is seen by the next call.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path

from market_spine.errors import FileRefused
from market_spine.otc.feeds import Feed


@dataclass(frozen=True)
class LandedFile:
    """A file as its name describes it.

    ``version`` is None where the feed's pattern has none; 0 where it has one that this name leaves out.
    ``compression`` is "", "gzip" or "zstd".
    """

    feed: Feed
    path: Path
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
    path: Path
    problem: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}; rename the file, {self.feed.name} reads {self.feed.path}"


def find_files(landing: Path, feeds: Mapping[str, Feed], report_date: date) -> list[LandedFile]:
    """The files of ``report_date`` by source, part and version.

    Raises:
        FileRefused: two files claim the same place, or two feeds the same file; the message names both.
    """
    files = [
        LandedFile(feed, found.path, report_date, found.part, found.version, found.compression)
        for feed in feeds.values()
        for found in feed.pattern.matches(landing, report_date)
    ]
    files.sort(key=lambda file: (file.place, file.path))
    for one, other in pairwise(files):
        if one.place == other.place:
            raise FileRefused(
                other.path,
                None,
                f"claims the same source, report date, part and version as {one.path}; take one of them away",
            )
    owners: dict[Path, str] = {}
    for file in files:
        owner = owners.setdefault(file.path, file.feed.name)
        if owner != file.feed.name:
            raise FileRefused(
                file.path, None, f"fits the paths of two feeds, {owner} and {file.feed.name}; it would count twice"
            )
    return files


def all_report_dates(landing: Path, feeds: Mapping[str, Feed]) -> list[date]:
    """Every report date that has a file, ascending."""
    return sorted(
        {
            found.report_date
            for feed in feeds.values()
            for found in feed.pattern.matches(landing)
            if found.report_date is not None
        }
    )


def unreadable_names(landing: Path, feeds: Mapping[str, Feed]) -> list[UnreadableName]:
    """Files no report date asks for because the date in their name does not exist (20260231), by path."""
    return sorted(
        (
            UnreadableName(feed, found.path, found.problem)
            for feed in feeds.values()
            for found in feed.pattern.matches(landing)
            if found.problem
        ),
        key=lambda name: name.path,
    )
