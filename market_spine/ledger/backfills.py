"""Backfills: many sessions asked for at once, in chunks, behind everything else.

What it is: ``Backfills`` launches, watches and cancels asset backfills of Dagster. Its daemon makes the runs, writes
down which ones before it makes them, and goes on after a restart, so that nobody has to stay at the terminal.
Belongs here: what a backfill asked for and what has become of each session. Does not belong here: which sessions to
ask for (``backfill_plan``), how it is printed (``cli``).

Dagster's own view of a backfill's partitions is as old as the daemon's last look, up to 30 s, and stands still while
the daemon is down. So what is done is asked of the events: a session is done once each of its assets was materialized
after the launch, by whatever run.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import sql

from market_spine.calendar import ZONE_NAME, TradingCalendar
from market_spine.errors import LedgerError, NotFound, QueueFull
from market_spine.ledger import tags
from market_spine.ledger.backfill_plan import chunks
from market_spine.ledger.queue import Limits, Queue
from market_spine.ledger.storage import LedgerStorage
from market_spine.ledger.submission import origin_tags
from market_spine.ledger.webserver import Webserver, expect
from market_spine.warehouse.sql import statements

SQL = statements("market_spine.ledger", "backfills.sql")
PARENT_BACKFILL = "dagster/parent_backfill_id"
ROOT_BACKFILL = "dagster/root_backfill_id"
UNFINISHED = ("REQUESTED", "CANCELING", "FAILING")
FULL_SECONDS = 300
"""When to try again a backfill whose runs do not all fit."""
ESTIMATE_RUNS = 100
"""Past runs from which the time of a session is estimated."""
_TARGETS = "$.asset_backfill_data.target_subset.partitions_subsets_by_asset_key.__mapping_items__[*]"
FAILED_SESSIONS = (
    "$.dagster_event.event_specific_data.user_failure_data.metadata_entries[*] "
    '? (@.label == "failed_sessions").entry_data.data'
)
_LAUNCH = """mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) { __typename
  ... on LaunchBackfillSuccess { backfillId } ... on Error { message } } }"""
_CANCEL = """mutation ($id: String!) { cancelPartitionBackfill(backfillId: $id) { __typename
  ... on CancelBackfillSuccess { backfillId } ... on Error { message } } }"""


class State(StrEnum):
    """What has become of a session of a backfill."""

    DONE = "done"
    RUNNING = "running"
    QUEUED = "queued"
    WAITING = "waiting"
    """The daemon has not made its run yet."""
    FAILED = "failed"
    NEVER_RUN = "never run"
    """Its run was cancelled, or the backfill ended before it had one."""


@dataclass(frozen=True)
class Run:
    """A run of a backfill; ``seconds`` until now while it works, ``will_retry`` where Dagster starts it once more."""

    run_id: str
    status: str
    sessions: tuple[date, ...]
    will_retry: bool
    started_at: datetime | None
    seconds: float | None


@dataclass(frozen=True)
class Chunk:
    """Sessions that one run has, or, where ``run_id`` is None, those that wait for one."""

    run_id: str | None
    status: str
    first: date
    last: date
    states: Mapping[State, int]
    seconds: float | None


@dataclass(frozen=True)
class Backfill:
    """A backfill and what has become of it.

    Args:
        targets: the sessions it asked for, by asset.
        made: those of them that were materialized since.
        ended_at: None while it is under way.
        problem: why the daemon gave it up.
    """

    id: str
    status: str
    launched_at: datetime
    ended_at: datetime | None
    title: str
    tags: Mapping[str, str]
    problem: str | None
    targets: Mapping[str, frozenset[date]]
    made: Mapping[str, frozenset[date]]
    runs: Sequence[Run]

    @property
    def is_under_way(self) -> bool:
        """Whether the daemon still looks after it."""
        return self.status in UNFINISHED

    @property
    def parent(self) -> str | None:
        """The backfill whose failed sessions it does again."""
        return self.tags.get(PARENT_BACKFILL)

    @cached_property
    def states(self) -> dict[date, State]:
        """What has become of each session, oldest first."""
        latest = self._latest_runs
        return {day: self._state(day, latest.get(day)) for day in sorted(frozenset().union(*self.targets.values()))}

    @property
    def counts(self) -> Mapping[State, int]:
        """Sessions by state, all states named."""
        found = Counter(self.states.values())
        return {state: found[state] for state in State}

    @property
    def is_settled(self) -> bool:
        """Whether nothing will change any more, though the daemon may not have seen it yet."""
        return not any(self.counts[state] for state in (State.RUNNING, State.QUEUED, State.WAITING))

    def failed_sessions(self) -> list[date]:
        """Sessions that failed, or were never run."""
        return [day for day, state in self.states.items() if state in (State.FAILED, State.NEVER_RUN)]

    def chunks(self) -> list[Chunk]:
        """Its runs in their order with the sessions that no later run took over; then what has no run yet."""
        latest = self._latest_runs
        found = [
            self._chunk(run, days) for run in self.runs if (days := [d for d in run.sessions if latest.get(d) is run])
        ]
        without = [day for day in self.states if day not in latest]
        return [*found, self._chunk(None, without)] if without else found

    @cached_property
    def _latest_runs(self) -> dict[date, Run]:
        return {day: run for run in self.runs for day in run.sessions}

    def _chunk(self, run: Run | None, days: Sequence[date]) -> Chunk:
        states = Counter(self.states[day] for day in days if day in self.states)
        if run is None:
            return Chunk(None, "waiting" if self.is_under_way else "never run", days[0], days[-1], states, None)
        return Chunk(run.run_id, run.status.lower(), days[0], days[-1], states, run.seconds)

    def _state(self, day: date, run: Run | None) -> State:
        if all(day in self.made.get(asset, ()) for asset, days in self.targets.items() if day in days):
            return State.DONE
        if run is None:
            return State.WAITING if self.is_under_way and self.status != "CANCELING" else State.NEVER_RUN
        if run.status == "CANCELED":
            return State.NEVER_RUN
        if run.status in tags.FINISHED and not run.will_retry:
            return State.FAILED
        return State.QUEUED if run.will_retry or run.status in tags.QUEUED else State.RUNNING


@dataclass(frozen=True)
class Backfills:
    """All backfills of the instance.

    Args:
        ledger: Dagster's storage.
        calendar: the sessions there are partitions for.
        limits: of the queue.
    """

    ledger: LedgerStorage
    calendar: TradingCalendar
    limits: Limits

    def latest(self, most: int = 20) -> list[Backfill]:
        """The newest ones first."""
        return self._read(None, None, most)

    def under_way(self) -> list[Backfill]:
        """All that the daemon still looks after."""
        return self._read(None, UNFINISHED, 1000)

    def get(self, backfill_id: str) -> Backfill:
        """One of them.

        Raises:
            NotFound: there is none of that id.
        """
        found = self._read(backfill_id, None, 1)
        if not found:
            raise NotFound(f"there is no backfill {backfill_id}; list them with spine backfill status")
        return found[0]

    def reasons(self, backfill: Backfill) -> dict[date, str]:
        """Why its failed sessions failed, as far as their runs came to say so."""
        failed = {day for day, state in backfill.states.items() if state is State.FAILED}
        runs = [run.run_id for run in backfill.runs if failed.intersection(run.sessions)]
        query = SQL("reasons", failed_sessions=sql.Literal(FAILED_SESSIONS))
        with self.ledger.connect() as connection:
            rows = connection.execute(query, {"runs": runs}).fetchall()
        found = {date.fromisoformat(str(day)): str(reason) for day, reason in rows}
        return {day: found.get(day, "its run ended before it came to this session") for day in sorted(failed)}

    def seconds_per_session(self) -> float | None:
        """What a session took in the last runs over ranges, else in the last runs at all; None: there were none."""
        with self.ledger.connect() as connection:
            rows = connection.execute(SQL("past_runs"), {**_SESSION_TAGS, "most": ESTIMATE_RUNS}).fetchall()
        runs = [(len(self._sessions(first, last)), float(str(seconds))) for first, last, seconds in rows]
        chosen = [run for run in runs if run[0] > 1] or [run for run in runs if run[0] == 1]
        sessions = sum(count for count, _ in chosen)
        return sum(seconds for _, seconds in chosen) / sessions if sessions else None

    def launch(
        self,
        webserver: Webserver,
        assets: Sequence[str],
        sessions: Sequence[date],
        *,
        chunk: int,
        trigger: str,
        parent: Backfill | None = None,
    ) -> str:
        """Ask Dagster for an asset backfill; answers with its id. Its runs inherit the tags.

        Args:
            webserver: the instance's.
            assets: what to materialize.
            sessions: for which sessions, ascending.
            chunk: sessions of one run at most, as the assets' backfill policy has it.
            trigger: who asks: cli or api.
            parent: the backfill whose failed sessions these are.

        Raises:
            QueueFull: lane backfill has no room for all its runs; Dagster's daemon queues them without asking us.
            LedgerError: the webserver is away or refuses; there is nothing to ask for.
        """
        if not sessions:
            raise LedgerError("there is no session to ask for")
        self._refuse_when_full(len(chunks(self.calendar, sessions, chunk)))
        chosen = {**tags.lane_tags(tags.BACKFILL), tags.TRIGGER: trigger, **origin_tags()}
        title = f"{len(sessions)} sessions {sessions[0]}..{sessions[-1]}"
        if parent is not None:
            chosen |= {PARENT_BACKFILL: parent.id, ROOT_BACKFILL: parent.tags.get(ROOT_BACKFILL, parent.id)}
            title = f"again: {title}"
        params = {
            "assetSelection": [{"path": [asset]} for asset in assets],
            "partitionNames": [str(day) for day in sessions],
            "tags": [{"key": key, "value": value} for key, value in chosen.items()],
            "title": title,
        }
        answer = webserver.ask(_LAUNCH, {"params": params})["launchPartitionBackfill"]
        return str(expect(answer, "LaunchBackfillSuccess")["backfillId"])

    def cancel(self, webserver: Webserver, backfill_id: str) -> Backfill:
        """Have the daemon end its runs and make no more; takes it up to 30 s to begin.

        Raises:
            NotFound: there is none of that id.
            LedgerError: it has ended already; the webserver is away.
        """
        found = self.get(backfill_id)
        if not found.is_under_way:
            raise LedgerError(f"backfill {backfill_id} has ended already: {found.status.lower()}")
        expect(webserver.ask(_CANCEL, {"id": backfill_id})["cancelPartitionBackfill"], "CancelBackfillSuccess")
        return found

    def _refuse_when_full(self, runs: int) -> None:
        of_lane, total = self.limits.lanes[tags.BACKFILL], self.limits.total
        if runs > min(of_lane, total):
            raise LedgerError(
                f"a backfill of {runs} runs never fits into lane backfill, which takes {min(of_lane, total)}; ask for "
                "fewer sessions at once, or raise MARKET_SPINE_BACKFILL_CHUNK"
            )
        depths = Queue(self.ledger, self.limits).depths()
        if depths[tags.BACKFILL] + runs > of_lane:
            raise QueueFull(f"lane {tags.BACKFILL}", depths[tags.BACKFILL], of_lane, FULL_SECONDS)
        if sum(depths.values()) + runs > total:
            raise QueueFull("the queue", sum(depths.values()), total, FULL_SECONDS)

    def _read(self, backfill_id: str | None, statuses: Sequence[str] | None, most: int) -> list[Backfill]:
        query = SQL("backfills", targets=sql.Literal(_TARGETS))
        named = {"id": backfill_id, "statuses": list(statuses) if statuses else None, "most": most}
        with self.ledger.connect() as connection:
            found = []
            for key, status, at, title, kept, ended, problem, targets, names in connection.execute(query, named):
                sessions = self._targets(targets, names)
                launched = _utc(at)
                of_it: dict[str, object] = {**_SESSION_TAGS, "will_retry": tags.WILL_RETRY, "id": key}
                runs = connection.execute(SQL("runs_of"), of_it).fetchall()
                found.append(
                    Backfill(
                        id=str(key),
                        status=str(status),
                        launched_at=launched,
                        ended_at=ended if isinstance(ended, datetime) else None,
                        title=str(title or ""),
                        tags=dict(kept) if isinstance(kept, dict) else {},
                        problem=None if problem is None else str(problem).strip().splitlines()[0],
                        targets=sessions,
                        made=_by_asset(connection.execute(SQL("made_since"), _asked(sessions, launched)).fetchall()),
                        runs=[
                            Run(str(key), str(was), tuple(self._sessions(*ends)), bool(again), *_times(started, took))
                            for key, was, *ends, again, started, took in runs
                        ],
                    )
                )
        return found

    def _targets(self, targets: object, names: object) -> dict[str, frozenset[date]]:
        """Sessions by asset; a backfill of a job has names of partitions and no assets."""
        found: dict[str, frozenset[date]] = {}
        for key, subset in targets if isinstance(targets, list) else ():
            windows = subset.get("included_time_windows", ())
            days = (day for window in windows for day in self._within(window["start"], window["end"]))
            found["/".join(key["path"])] = frozenset(days)
        if isinstance(names, list) and names:
            found[""] = frozenset(date.fromisoformat(name) for name in names)
        return found

    def _within(self, start: Mapping[str, Any], end: Mapping[str, Any]) -> Iterable[date]:
        first, after = (datetime.fromtimestamp(one["timestamp"], _NEW_YORK).date() for one in (start, end))
        return (day for day in self.calendar.sessions(first, after) if day < after)

    def _sessions(self, first: object, last: object) -> list[date]:
        return self.calendar.sessions(date.fromisoformat(str(first)), date.fromisoformat(str(last)))


_NEW_YORK = ZoneInfo(ZONE_NAME)
_SESSION_TAGS = {"range_start": tags.RANGE_START, "range_end": tags.RANGE_END, "partition": tags.PARTITION}


def _utc(moment: object) -> datetime:
    if not isinstance(moment, datetime):
        raise LedgerError(f"Dagster's storage has {moment!r} for a moment; is its schema newer than 1.13?")
    return moment.replace(tzinfo=UTC)


def _times(started: object, seconds: object) -> tuple[datetime | None, float | None]:
    return started if isinstance(started, datetime) else None, None if seconds is None else float(str(seconds))


def _asked(targets: Mapping[str, frozenset[date]], since: datetime) -> dict[str, object]:
    days = frozenset[date]().union(*targets.values())
    return {
        "keys": [asset_key(asset) for asset in targets],
        "first": str(min(days, default="")),
        "last": str(max(days, default="")),
        "since": since.replace(tzinfo=None),
    }


def asset_key(asset: str) -> str:
    """An asset as Dagster's tables spell it."""
    return f'["{asset}"]'


def _by_asset(rows: Iterable[Sequence[object]]) -> dict[str, frozenset[date]]:
    found: dict[str, set[date]] = {}
    for key, partition in rows:
        found.setdefault(str(key)[2:-2], set()).add(date.fromisoformat(str(partition)))
    return {asset: frozenset(days) for asset, days in found.items()}
