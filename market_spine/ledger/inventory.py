"""Inventory: every session of every asset against the calendar, and the command that mends what is not there.

What it is: ``take`` holds what the market tables have against what Dagster recorded. The tables say what is there;
Dagster says what was tried, what failed and what is under way; where the two do not agree, both are told.
Belongs here: that judgement. Does not belong here: what the tables have (``market_spine.otc.coverage``), printing,
the standing check in the UI (``automation``).
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from typing import Protocol
from zoneinfo import ZoneInfo

from psycopg import sql

from market_spine.calendar import ZONE_NAME, TradingCalendar
from market_spine.ledger import backfills, tags
from market_spine.ledger.backfill_plan import consecutive
from market_spine.ledger.storage import LedgerStorage
from market_spine.warehouse.sql import statements

SQL = statements("market_spine.ledger", "inventory.sql")
_NEW_YORK = ZoneInfo(ZONE_NAME)


class Status(StrEnum):
    """What a session of an asset is."""

    PRESENT = "present"
    STALE = "stale"
    """There, and marked to be computed again; the sensor dirty_days does that."""
    FAILED = "failed"
    """Its last run failed, or a blocking check of it did."""
    BLOCKED = "blocked"
    """A blocking check of an asset above failed."""
    MISSING = "missing"
    """Past its due hour, nothing is there, and nothing is under way or has failed."""
    EXPECTED = "expected"
    """Over, and not due yet."""
    QUEUED = "queued"
    RUNNING = "running"


BAD = (Status.FAILED, Status.BLOCKED, Status.MISSING)
"""What somebody has to do something about."""


class SessionFacts(Protocol):
    """What the market tables have of a session; ``otc.coverage`` has it."""

    @property
    def assets(self) -> Collection[str]:
        """Tables that have it."""

    @property
    def refused(self) -> str | None:
        """A file of it that was refused, and why."""

    @property
    def marked(self) -> str | None:
        """Why it has to be computed again."""

    @property
    def blocked(self) -> Mapping[str, str]:
        """Tables whose blocking check failed, and how."""


@dataclass(frozen=True)
class Recorded:
    """What Dagster has of a session of an asset: ``active`` and ``failed`` are runs after its last materialization."""

    is_materialized: bool
    active: str | None
    status: str | None
    failed: str | None


@dataclass(frozen=True)
class Item:
    """A session of an asset; ``disagreement`` says how Dagster and the tables contradict each other."""

    asset: str
    day: date
    status: Status
    is_there: bool
    reason: str
    run_id: str | None
    disagreement: str | None


@dataclass(frozen=True)
class Problem:
    """Sessions that follow each other with the same thing wrong, and the command that mends it."""

    asset: str
    status: str
    first: date
    last: date
    sessions: int
    reason: str
    command: str


@dataclass(frozen=True)
class Inventory:
    """The state of every session from ``first`` to ``last``; both None when there is nothing at all yet."""

    first: date | None
    last: date | None
    items: Sequence[Item]
    problems: Sequence[Problem]

    @property
    def counts(self) -> dict[str, dict[Status, int]]:
        """Sessions by asset and status, all statuses named."""
        found: dict[str, Counter[Status]] = {}
        for item in self.items:
            found.setdefault(item.asset, Counter())[item.status] += 1
        return {asset: {status: counter[status] for status in Status} for asset, counter in found.items()}

    def only(self, asset: str) -> "Inventory":
        """The same of one asset."""
        return Inventory(
            self.first,
            self.last,
            [item for item in self.items if item.asset == asset],
            [problem for problem in self.problems if problem.asset == asset],
        )

    @property
    def bad(self) -> list[Item]:
        """What somebody has to do something about."""
        return [item for item in self.items if item.status in BAD]


@dataclass(frozen=True)
class Taking:
    """How an inventory is taken.

    Args:
        ledger: Dagster's storage.
        calendar: the sessions there are partitions for.
        assets: all assets in the order in which they are built.
        due_hour: hour of the next morning, New York, from which on a session counts as missing.
    """

    ledger: LedgerStorage
    calendar: TradingCalendar
    assets: Sequence[str]
    due_hour: int

    def take(
        self,
        held: Mapping[date, SessionFacts],
        now: datetime,
        *,
        since: date | None = None,
        landed: Collection[date] | None = None,
    ) -> Inventory:
        """Judge every session.

        Args:
            held: what the market tables have.
            now: the moment; sessions whose New York day is not over are left out.
            since: first session; the first that has anything, by default.
            landed: report dates that have a file in the landing folder; None: nobody looked.

        Raises:
            LedgerError: Dagster's database does not answer.
        """
        recorded, reasons = self._recorded(since or date.min)
        anything = {*held, *(day for _, day in recorded)}
        first = since or min((day for day in anything if self.calendar.is_session(day)), default=None)
        local = now.astimezone(_NEW_YORK)
        if first is None or first >= local.date():
            return Inventory(None, None, (), ())
        sessions = self.calendar.sessions(first, local.date() - timedelta(days=1))
        due = {day for day in sessions if self.due_at(day) <= local}
        judge = _Judge(self.assets, held, recorded, reasons, due, landed)
        items = [judge.item(asset, day) for asset in self.assets for day in sessions]
        if not sessions:
            return Inventory(None, None, (), ())
        return Inventory(sessions[0], sessions[-1], items, self._problems(items))

    def due_at(self, day: date) -> datetime:
        """The moment from which on a session counts as missing."""
        return datetime.combine(day + timedelta(days=1), time(self.due_hour), tzinfo=_NEW_YORK)

    def _recorded(self, since: date) -> tuple[dict[tuple[str, date], Recorded], dict[date, str]]:
        named = {
            "keys": [backfills.asset_key(asset) for asset in self.assets],
            "since": str(since),
            "under_way": list(tags.UNDER_WAY),
        }
        with self.ledger.connect() as connection:
            rows = connection.execute(SQL("partitions"), named).fetchall()
            failed = sorted({str(row[5]) for row in rows if row[5] is not None})
            query = backfills.SQL("reasons", failed_sessions=sql.Literal(backfills.FAILED_SESSIONS))
            reasons = connection.execute(query, {"runs": failed}).fetchall() if failed else []
        found = {
            (str(key)[2:-2], date.fromisoformat(str(partition))): Recorded(bool(made), *map(_text, runs))
            for key, partition, made, *runs in rows
        }
        return found, {date.fromisoformat(str(day)): str(reason) for day, reason in reasons}

    def _problems(self, items: Sequence[Item]) -> list[Problem]:
        found: list[Problem] = []
        for asset in self.assets:
            mine = [item for item in items if item.asset == asset]
            for status in BAD:
                same = [item for item in mine if item.status is status]
                # What lacks a file waits for somebody else than what only was not run.
                why = sorted({item.reason for item in same}) if status is Status.MISSING else [None]
                for reason in why:
                    found += self._ranges([item for item in same if reason in (None, item.reason)])
            found += self._ranges([item for item in mine if item.disagreement and item.status not in BAD])
        return sorted(found, key=lambda one: (self.assets.index(one.asset), one.first))

    def _ranges(self, items: Sequence[Item]) -> list[Problem]:
        by_day = {item.day: item for item in items}
        found = []
        for days in consecutive(self.calendar, sorted(by_day)):
            first = by_day[days[0]]
            disagrees = first.status not in BAD
            reason = (first.disagreement or "") if disagrees else first.reason
            found.append(
                Problem(
                    first.asset,
                    "disagreement" if disagrees else first.status,
                    days[0],
                    days[-1],
                    len(days),
                    reason if len(days) == 1 else f"{reason} (first of {len(days)})",
                    mending(days[0], days[-1], again=any(by_day[day].is_there for day in days)),
                )
            )
        return found


@dataclass(frozen=True)
class _Judge:
    """Everything known, to judge a session of an asset by."""

    assets: Sequence[str]
    held: Mapping[date, SessionFacts]
    recorded: Mapping[tuple[str, date], Recorded]
    reasons: Mapping[date, str]
    due: Collection[date]
    landed: Collection[date] | None

    def item(self, asset: str, day: date) -> Item:
        """What a session of an asset is, and why."""
        facts = self.held.get(day)
        known = self.recorded.get((asset, day), _UNTRIED)
        is_there = facts is not None and asset in facts.assets
        status, reason, run_id = self._judged(asset, day, facts, known, is_there=is_there)
        contradiction = None if known.active else _disagreement(is_there, known)
        return Item(asset, day, status, is_there, reason, run_id, contradiction)

    def _judged(
        self, asset: str, day: date, facts: SessionFacts | None, known: Recorded, *, is_there: bool
    ) -> tuple[Status, str, str | None]:
        if known.active:
            is_queued = known.status in tags.QUEUED
            return (Status.QUEUED if is_queued else Status.RUNNING), f"execution {known.active}", known.active
        blocked = facts.blocked if facts else {}
        if is_there and asset in blocked:
            return Status.FAILED, f"blocking check failed: {blocked[asset]}", known.failed
        for above in self.assets[: self.assets.index(asset)]:
            if above in blocked:
                return Status.BLOCKED, f"blocking check of {above} failed: {blocked[above]}", known.failed
        if known.failed:
            reason = (facts.refused if facts else None) or self.reasons.get(day)
            return Status.FAILED, reason or f"execution {known.failed} ended before it came to it", known.failed
        if is_there:
            marked = facts.marked if facts else None
            is_first = asset == self.assets[0]
            return (Status.STALE, marked, None) if marked and not is_first else (Status.PRESENT, "", None)
        if day not in self.due:
            return Status.EXPECTED, "", None
        return Status.MISSING, self._why_missing(day, facts), None

    def _why_missing(self, day: date, facts: SessionFacts | None) -> str:
        if facts is not None and self.assets[0] in facts.assets:
            return "its files are loaded, nothing was made of them"
        if facts is not None and facts.refused:
            return facts.refused
        if self.landed is None:
            return "nothing is there"
        return "a file has landed, nothing has read it" if day in self.landed else "no file has landed: ask the source"


_UNTRIED = Recorded(is_materialized=False, active=None, status=None, failed=None)


def _disagreement(is_there: bool, known: Recorded) -> str | None:
    if is_there == known.is_materialized:
        return None
    return (
        "the table has it, Dagster knows of no materialization"
        if is_there
        else "Dagster says materialized, the table has nothing"
    )


def mending(first: date, last: date, *, again: bool) -> str:
    """The command that does sessions again: one goes before all backfills, several are one.

    Args:
        first: the first session.
        last: the last one.
        again: some are there already and have to be done all the same.
    """
    if first == last:
        return f"spine dispatch otc_full_refresh {first}"
    return f"spine backfill launch {first}..{last}{' --all' if again else ''} --yes"


def _text(value: object) -> str | None:
    return None if value is None else str(value)
