"""The queue of runs: how full it may become, and what may enter it.

What it is: ``Queue`` counts the queued runs of each lane and lets one run at a time in, when its work is not under way
and its lane has room.
Belongs here: figures and limits of the queue. Does not belong here: what is launched (``submission``, ``executions``),
the order in which queued runs start (``dagster.yaml``).

Whoever launches holds one advisory lock in Dagster's database from the count to the launch: two submitters can never
both see the last free place. Runs launched past us (the UI, Dagster's commands) count, but are not refused.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from types import MappingProxyType
from typing import Any, Self

import psycopg
from psycopg.types.json import Jsonb

from market_spine.errors import AlreadySubmitted, LedgerError, LogicalKeyActive, QueueFull
from market_spine.ledger import tags as names
from market_spine.ledger.storage import LedgerStorage
from market_spine.settings import Settings
from market_spine.warehouse.engine import Connection
from market_spine.warehouse.sql import statements

SQL = statements("market_spine.ledger", "queue.sql")
ADMISSION_LOCK = 41_010
ADMISSION_TIMEOUT = "60s"
RATE_EVENTS = 200
"""Latest runs that left the queue (Dagster notes RUN_STARTING then) from which the rate is taken."""
RATE_WINDOW_SECONDS = 900.0
RATE_LEAST_SECONDS = 30.0
"""A rate is not taken from less time than this: one run that left a second ago does not make 60 a minute."""
RETRY_SECONDS = (5, 300)
_LANE_VALUES: Mapping[str, str] = MappingProxyType(
    {
        "lane_tag": names.LANE,
        "backfill_tag": names.BACKFILL_ID,
        "backfill": names.BACKFILL,
        "normal": names.NORMAL,
    }
)


@dataclass(frozen=True)
class Claim:
    """What a run that is to be launched lays claim to.

    Args:
        key: logical key.
        job: Dagster's job.
        lane: lane.
        sessions: the tags that name its sessions; a run of the same job and sessions without a logical key is the same
            work. Empty: only the key is compared.
        once: idempotency key: whoever comes with one that is known is told what came of it the first time.
    """

    key: str
    job: str
    lane: str
    sessions: Mapping[str, str]
    once: str | None = None


@dataclass(frozen=True)
class Limits:
    """Queued runs at which no more are accepted.

    Args:
        total: of all lanes together.
        lanes: of each lane.
    """

    total: int
    lanes: Mapping[str, int]

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Those of the settings."""
        lanes = {names.NORMAL: settings.queue_limit_normal, names.BACKFILL: settings.queue_limit_backfill}
        return cls(settings.queue_limit, lanes)


@dataclass(frozen=True)
class Queue:
    """How full the queue is; needs the database only.

    Args:
        ledger: Dagster's database.
        limits: as much may wait.
    """

    ledger: LedgerStorage
    limits: Limits

    def depths(self) -> dict[str, int]:
        """Queued runs of each lane."""
        with self.ledger.connect() as connection:
            return _depths(connection)

    def room(self, lane: str) -> int:
        """How many more runs of the lane may be queued now."""
        depths = self.depths()
        of_lane = self.limits.lanes.get(lane, self.limits.total) - depths.get(lane, 0)
        return max(0, min(self.limits.total - sum(depths.values()), of_lane))

    def refuse_double(self, claim: Claim) -> None:
        """See that the same work is not under way, for what is run past the queue.

        Raises:
            LogicalKeyActive: it is.
        """
        with self.ledger.connect() as connection:
            _refuse_double(connection, claim)

    @contextmanager
    def admission(self, claim: Claim) -> Iterator[None]:
        """Hold the door for one run: launch it within the block.

        Raises:
            AlreadySubmitted: it was admitted before, under the same idempotency key.
            LogicalKeyActive, QueueFull: it is not admitted.
            LedgerError: other submitters held the door for a minute.
        """
        with self.ledger.connect() as connection:
            try:
                connection.execute(SQL("lock_admission"), {"lock": ADMISSION_LOCK, "timeout": ADMISSION_TIMEOUT})
            except psycopg.errors.LockNotAvailable as error:
                raise LedgerError(
                    f"{claim.key}: other submissions did not come to an end within {ADMISSION_TIMEOUT}; see "
                    "whether the webserver answers, and submit again"
                ) from error
            _refuse_again(connection, claim)
            _refuse_double(connection, claim)
            self.refuse_when_full(connection, claim.lane)
            yield

    def refuse_when_full(self, connection: Connection, lane: str, runs: int = 1) -> None:
        """See that so many more runs of the lane may be queued.

        Args:
            connection: to Dagster's database; the answer holds for as long as it holds the lock of ``admission``.
            lane: their lane.
            runs: how many.

        Raises:
            QueueFull: they may not; carries the figures, and when to try again by the rate at which runs left lately.
        """
        depths = _depths(connection)
        total, of_lane = sum(depths.values()), depths.get(lane, 0)
        over = total + runs - self.limits.total
        if over > 0:
            raise QueueFull("the queue", total, self.limits.total, _retry_after(connection, over, list(names.LANES)))
        limit = self.limits.lanes.get(lane, self.limits.total)
        over = of_lane + runs - limit
        if over > 0:
            raise QueueFull(f"lane {lane}", of_lane, limit, _retry_after(connection, over, [lane]))


def _refuse_again(connection: Connection, claim: Claim) -> None:
    if claim.once is None:
        return
    values = {"key_tag": names.IDEMPOTENCY_KEY, "key": claim.once, "digest_tag": names.IDEMPOTENCY_DIGEST}
    before = connection.execute(SQL("submitted_before"), values).fetchone()
    if before:
        raise AlreadySubmitted(str(before[0]), str(before[1]))


def _refuse_double(connection: Connection, claim: Claim) -> None:
    values = {
        "statuses": list(names.UNDER_WAY),
        "key_tag": names.LOGICAL_KEY,
        "key": claim.key,
        "job": claim.job if claim.sessions else None,
        "session_tags": Jsonb(dict(claim.sessions)),
    }
    holder = connection.execute(SQL("under_way"), values).fetchone()
    if holder:
        raise LogicalKeyActive(claim.key, str(holder[0]))


def _depths(connection: Connection) -> dict[str, int]:
    rows: list[tuple[Any, ...]] = connection.execute(SQL("queued_by_lane"), _LANE_VALUES).fetchall()
    return dict.fromkeys(names.LANES, 0) | {str(lane): int(count) for lane, count in rows}


def _retry_after(connection: Connection, needed: int, lanes: list[str]) -> int:
    """Seconds until ``needed`` runs of these lanes will have left the queue, if it goes on as lately."""
    values = {**_LANE_VALUES, "events": RATE_EVENTS, "window": RATE_WINDOW_SECONDS, "lanes": lanes}
    row: tuple[Any, ...] | None = connection.execute(SQL("left_the_queue"), values).fetchone()
    count, seconds = row or (0, None)
    shortest, longest = RETRY_SECONDS
    if not count:
        return longest
    wait: float = needed * max(seconds, RATE_LEAST_SECONDS) / count
    return min(longest, max(shortest, ceil(wait)))
