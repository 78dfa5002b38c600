"""The sensor ``landing_files``: a run for each session whose files are new or have changed.

Belongs here: looking, and remembering what was seen. Does not belong here: what deserves a run (``landed_days``).

The cursor holds eight digits for each report date that has files: of names, sizes and times (or what an object store
calls their content). It is written only for days that need nothing more, so a day that has to wait, for whatever
reason, is found again by the next tick, and after a restart. A lost cursor costs a look at every day and no run: what
is in the tables, or was asked for, is known there.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Self

from dagster import (
    DefaultSensorStatus,
    ResourceParam,
    SensorDefinition,
    SensorResult,
    SkipReason,
    sensor,
)
from dagster import SensorEvaluationContext as Context

from market_spine.automation.jobs import FULL_REFRESH
from market_spine.automation.landed_days import judge
from market_spine.errors import LandingError, LedgerError, WarehouseError
from market_spine.otc.landing import LandedDay, survey
from market_spine.otc.remote import location
from market_spine.otc.steps import Steps
from market_spine.settings import Settings

NAME = "landing_files"
DIGITS = 8
TOLD = 5
"""Lines of a skip reason."""


@dataclass
class Seen:
    """The cursor.

    Args:
        days: report date -> beginning of the version of its files.
        problems: digest of the problems that were logged last.
    """

    days: dict[date, str] = field(default_factory=dict)
    problems: str = ""

    @classmethod
    def parse(cls, cursor: str | None) -> Self:
        """As ``text`` wrote it; what cannot be read counts as nothing seen."""
        try:
            stored = json.loads(cursor or "{}")
            months: Mapping[str, str] = stored.get("days", {})
            days = {
                date.fromisoformat(f"{month}-{text[at : at + 2]}"): text[at + 2 : at + 2 + DIGITS]
                for month, text in months.items()
                for at in range(0, len(text), 2 + DIGITS)
            }
            return cls(days, str(stored.get("problems", "")))
        except (ValueError, AttributeError, TypeError):
            return cls()

    @property
    def text(self) -> str:
        """JSON: for each month, two digits of the day and eight of its files, one after the other.

        Each tick is stored with its cursor, so that every letter counts: ten years of files are 25 KB.
        """
        months: dict[str, str] = {}
        for day, digits in sorted(self.days.items()):
            months[f"{day:%Y-%m}"] = f"{months.get(f'{day:%Y-%m}', '')}{day:%d}{digits}"
        return json.dumps({"days": months, "problems": self.problems}, separators=(",", ":"))

    def knows(self, day: LandedDay) -> bool:
        """Whether the files are those that were seen."""
        return self.days.get(day.report_date) == day.version[:DIGITS]

    def keep(self, day: LandedDay) -> None:
        """These files need nothing more."""
        self.days[day.report_date] = day.version[:DIGITS]


def landing_sensor(settings: Settings) -> SensorDefinition:
    """The sensor, looking as often as the settings say."""

    @sensor(
        name=NAME,
        job_name=FULL_REFRESH,
        minimum_interval_seconds=settings.landing_seconds,
        default_status=DefaultSensorStatus.RUNNING,
        description="Files, trades and metrics of a session whose files arrived or changed.",
    )
    def landing_files(context: Context, steps: ResourceParam[Steps]) -> SensorResult | SkipReason:
        """One look at the landing folder."""
        try:
            return _look(context, steps)
        except (LandingError, LedgerError, WarehouseError, OSError) as error:
            return SkipReason(" ".join(str(error).split()))

    return landing_files


def _look(context: Context, steps: Steps) -> SensorResult | SkipReason:
    found = survey(steps.settings.landing, steps.feeds)
    before = Seen.parse(context.cursor)
    seen = Seen({day: digits for day, digits in before.days.items() if day in found.days}, before.problems)
    new = [day for day in found.days.values() if not seen.knows(day)]
    judgement = judge(new, context.instance, steps, holder=NAME)
    for day in judgement.settled:
        seen.keep(day)
    problems = found.problems(steps.calendar)
    seen.problems = _digest(problems)
    if problems and seen.problems != before.problems:
        for line in problems:
            context.log.warning(line)
    if seen != before:
        context.update_cursor(seen.text)
    if judgement.requests:
        return SensorResult(run_requests=judgement.requests)
    if not found.days and not problems:
        return SkipReason(f"no file of any feed is in {location(steps.settings.landing)}")
    nothing = f"nothing new: {len(found.days)} report dates have files"
    return SkipReason(_shortly([*judgement.waiting, *problems]) or nothing)


def _digest(lines: Iterable[str]) -> str:
    text = "\n".join(lines)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS] if text else ""


def _shortly(lines: list[str]) -> str:
    more = f"; and {len(lines) - TOLD} more" if len(lines) > TOLD else ""
    return "; ".join(lines[:TOLD]) + more
