"""Finds dead letters in Dagster's event log, and those that were resolved.

What it is: ``DeadLetterWatch.look`` reads the runs that failed since the last look, from whatever cause: a session that
failed, a killed process, a code server that was away. It opens a letter for each session that was asked for and is not
there, and closes the letters whose session was materialized since.
Belongs here: what makes a letter and what closes it. Does not belong here: what people do with letters
(``dead_letters``), when it is looked (``automation``).

- Of a session only the first asset that failed gets a letter: those below it could not be built, and a retry of the
  letter builds them too.
- A session's own failure stands in the event log as an observation with the metadata ``failed_because``; a session
  without one was not reached, and takes the reason of its run.
- A run that Dagster starts again makes no letter; its last try does. A cancelled run makes none.
- Nothing depends on the cursor being right: what was seen before changes nothing when it is seen again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import Any

from psycopg.types.json import Jsonb

from market_spine.ledger import tags as names
from market_spine.ledger.storage import LedgerStorage
from market_spine.warehouse.engine import Connection, Warehouse
from market_spine.warehouse.sql import statements

SQL = statements("market_spine.ledger", "dead_letters.sql")
FAILED_BECAUSE = "failed_because"
"""Metadata of the observation that tells of a failed session; ``market_spine.otc`` writes it under the same name."""
LETTER_TAG = "market_spine/dead_letter"
"""Number of the letter that a run is a retry of; a run that Dagster starts again takes it over."""
RETRIED_BY = "dagster/auto_retry_run_id"
LOOK_BEHIND = 1000
"""Events this far behind the cursor are read again: an event may be committed after one with a higher number."""
RUNS_A_LOOK = 1200
"""More than can end within ``LOOK_BEHIND`` events, or a look would never come past them."""
TAG_SECONDS = 60
"""Dagster says within a moment of the failure whether it starts the run again; a process that dies there never does."""
RETRY_SECONDS = 600
"""A run that Dagster was to start again and has not for so long failed for good: its backfill is over."""
LONGEST_REASON = 500


@dataclass(frozen=True)
class Failure:
    """A session that a run could not do.

    Args:
        asset: the first asset that failed.
        partition: the session.
        run_id: the run.
        reason: one line.
        failed_at: when.
        since: number of the event; a materialization by another run after it makes the failure void.
    """

    asset: str
    partition: date
    run_id: str
    reason: str
    failed_at: datetime
    since: int


@dataclass(frozen=True)
class Look:
    """What a look has found.

    Args:
        cursor: where the next one begins.
        opened: letters opened.
        repeated: failures counted on open letters.
        resolved: letters closed.
        waiting: runs that Dagster may start again.
    """

    cursor: int
    opened: int
    repeated: int
    resolved: int
    waiting: int


@dataclass(frozen=True)
class DeadLetterWatch:
    """Keeps the letters in step with the event log.

    Args:
        warehouse: holds the letters.
        ledger: Dagster's database.
        chain: the assets in the order in which a session builds them.
        run_retries: whether the instance starts crashed runs again.
    """

    warehouse: Warehouse
    ledger: LedgerStorage
    chain: Sequence[str]
    run_retries: bool = True

    def look(self, cursor: int = 0) -> Look:
        """Read on from ``cursor``; 0 reads everything there is.

        Raises:
            LedgerError, WarehouseError: one of the databases does not answer.
        """
        with self.ledger.connect() as dagster:
            after, waiting, failures = self._failures(dagster, cursor)
            failures = self._not_made_since(dagster, failures)
        with self.warehouse.connect() as market:
            opened, repeated = self._record(market, failures)
            letters = market.execute(SQL("open_letters")).fetchall()
        return Look(after, opened, repeated, self._resolve(letters), waiting)

    @cached_property
    def _assets(self) -> dict[str, str]:
        """Each asset by its key, as Dagster writes it."""
        return {asset_key(asset): asset for asset in self.chain}

    def _failures(self, dagster: Connection, cursor: int) -> tuple[int, int, list[Failure]]:
        values = {
            "after": max(0, cursor - LOOK_BEHIND),
            "most": RUNS_A_LOOK,
            "run_retries": self.run_retries,
            "retry_seconds": RETRY_SECONDS,
            "tag_seconds": TAG_SECONDS,
            "will_retry": names.WILL_RETRY,
            "retried_by": RETRIED_BY,
        }
        rows: Sequence[Sequence[Any]] = dagster.execute(SQL("failed_runs"), values).fetchall()
        found: list[Failure] = []
        waiting = 0
        for number, run_id, ended_at, event, state in rows:
            if state == "failed":
                found += self._failures_of(dagster, str(run_id), ended_at, str(event))
            waiting += state == "waits"
            if not waiting:
                # What waits now is read again until it is known, also when later runs are dealt with.
                cursor = max(cursor, int(number))
        return cursor, waiting, found

    def _failures_of(self, dagster: Connection, run_id: str, ended_at: datetime, event: str) -> list[Failure]:
        values = {"run_id": run_id, "keys": list(self._assets), "mark": f'"{FAILED_BECAUSE}"'}
        sessions: dict[date, list[_Partition]] = {}
        rows: Sequence[Sequence[Any]] = dagster.execute(SQL("partitions_of_run"), values).fetchall()
        for key, partition, *events in rows:
            sessions.setdefault(date.fromisoformat(partition), []).append(_Partition(self._assets[key], *events))
        reason = reason_of_run(json.loads(event))
        found = []
        for day, parts in sorted(sessions.items()):
            parts.sort(key=lambda one: self.chain.index(one.asset))
            told = max(parts, key=lambda one: one.told or 0)
            if told.told and told.told_at and told.told > max(one.made or 0 for one in parts):
                line = _told_reason(json.loads(told.event or "{}"))
                found.append(Failure(told.asset, day, run_id, line, told.told_at, told.told))
            elif missing := [one for one in parts if one.planned and not one.made]:
                first = missing[0]
                found.append(Failure(first.asset, day, run_id, reason, ended_at, first.planned or 0))
        return found

    def _not_made_since(self, dagster: Connection, failures: Sequence[Failure]) -> list[Failure]:
        """Those whose partition no other run has made since, while the failed one still counted as alive."""
        if not failures:
            return []
        values = {
            "numbers": list(range(len(failures))),
            "keys": [asset_key(one.asset) for one in failures],
            "partitions": [str(one.partition) for one in failures],
            "since": [one.since for one in failures],
            "runs": [one.run_id for one in failures],
        }
        made = {row[0] for row in dagster.execute(SQL("made_since"), values)}
        return [one for number, one in enumerate(failures) if number not in made]

    def _record(self, market: Connection, failures: Sequence[Failure]) -> tuple[int, int]:
        tries: list[int] = []
        # One by one, in order: a partition that failed twice since the last look is counted twice.
        for one in sorted(failures, key=lambda one: one.failed_at):
            shown = {
                "asset": one.asset,
                "partition": str(one.partition),
                "run_id": one.run_id,
                "reason": one.reason,
                "failed_at": one.failed_at.isoformat(),
            }
            rows = market.execute(SQL("record"), {"failures": Jsonb([shown])}).fetchall()
            tries += [int(str(row[0])) for row in rows]
        return tries.count(1), len(tries) - tries.count(1)

    def _resolve(self, letters: Sequence[Sequence[Any]]) -> int:
        if not letters:
            return 0
        values = {
            "ids": [row[0] for row in letters],
            "keys": [asset_key(row[1]) for row in letters],
            "partitions": [str(row[2]) for row in letters],
            "failed": [row[3] for row in letters],
            "finished": list(names.FINISHED),
            "letter_tag": LETTER_TAG,
            "mark": f'"{FAILED_BECAUSE}"',
        }
        retries = {row[0]: row[4] for row in letters}
        with self.ledger.connect() as dagster:
            rows: Sequence[Sequence[Any]] = dagster.execute(SQL("materialized"), values).fetchall()
        made = [
            {
                "id": number,
                "run_id": run_id,
                "made_at": made_at.isoformat(),
                "resolution": "retried" if tag == str(number) or run_id == retries[number] else "materialized",
            }
            for number, run_id, made_at, tag in rows
        ]
        if not made:
            return 0
        with self.warehouse.connect() as market:
            return len(market.execute(SQL("resolve"), {"letters": Jsonb(made)}).fetchall())


@dataclass(frozen=True)
class _Partition:
    asset: str
    planned: int | None
    made: int | None
    told: int | None
    told_at: datetime | None
    event: str | None


def asset_key(asset: str) -> str:
    """An asset's key as Dagster writes it into its tables."""
    return json.dumps([asset])


def reason_of_run(event: Mapping[str, Any]) -> str:
    """The line of a run that failed as a whole: what it said itself, else its innermost error, else Dagster's words."""
    told = event.get("dagster_event") or {}
    data = told.get("event_specific_data") or {}
    step = ((data.get("first_step_failure_event") or {}).get("event_specific_data")) or {}
    said = (step.get("user_failure_data") or {}).get("description")
    error = data.get("error") or {}
    while error.get("cause"):
        error = error["cause"]
    return one_line(said or error.get("message") or told.get("message") or "the run failed without a word")


def one_line(text: str) -> str:
    """Text as one line of bounded length, without what a text column cannot hold."""
    line = " ".join(text.replace("\x00", " ").split())
    return line if len(line) <= LONGEST_REASON else f"{line[: LONGEST_REASON - 3]}..."


def _told_reason(event: Mapping[str, Any]) -> str:
    return one_line(event["dagster_event"]["event_specific_data"]["asset_observation"]["description"] or "")
