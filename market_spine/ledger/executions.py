"""Executions: Dagster's runs as those who operate them ask about them, and the orders one may give them.

What it is: ``Executions`` lists and shows runs and their events, cancels them, and retries them as new ones.
Belongs here: one execution or a list of them. Does not belong here: launching new work (``submission``), dead letters,
backfills as a whole.

Reads are SQL on Dagster's tables: 2 to 5 ms where the webserver's own answer takes 20 to 200.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from market_spine.errors import NotFound, WrongState
from market_spine.ledger import tags as names
from market_spine.ledger.execution import Event, Execution, Filters, event, execution, in_utc, reason
from market_spine.ledger.queue import Claim
from market_spine.ledger.storage import LedgerStorage
from market_spine.ledger.submission import Desk, as_graphql
from market_spine.ledger.webserver import Webserver, expect
from market_spine.warehouse.sql import statements

SQL = statements("market_spine.ledger", "executions.sql")
LEAST_OF_ID = 6
"""Characters of an id that may stand for the whole."""
OVERLAP = 50
"""Events a follower reads again: ids are given out before they are committed, so a lower one can appear later."""
STEP_STATES = {
    "STEP_START": "running",
    "STEP_RESTARTED": "running",
    "STEP_UP_FOR_RETRY": "waits for its next try",
    "STEP_SUCCESS": "succeeded",
    "STEP_FAILURE": "failed",
    "STEP_SKIPPED": "skipped",
}

TERMINATE = """mutation ($id: String!, $policy: TerminateRunPolicy!) {
  terminateRun(runId: $id, terminatePolicy: $policy) { __typename
    ... on TerminateRunFailure { message } ... on Error { message } } }"""
REEXECUTE = """mutation ($params: ReexecutionParams!) { launchRunReexecution(reexecutionParams: $params) { __typename
  ... on LaunchRunSuccess { run { runId } }
  ... on RunConfigValidationInvalid { errors { message } }
  ... on Error { message } } }"""


@dataclass(frozen=True)
class Executions:
    """All executions of an instance.

    Args:
        ledger: Dagster's database.
    """

    ledger: LedgerStorage

    def has_tables(self) -> bool:
        """Whether Dagster has made its tables in this database."""
        with self.ledger.connect() as connection:
            return connection.execute(SQL("has_tables")).fetchone() == (True,)

    def find(
        self,
        filters: Filters | None = None,
        *,
        limit: int = 20,
        before: str | None = None,
        below: int | None = None,
    ) -> list[Execution]:
        """Newest first.

        Args:
            filters: which; all unless given.
            limit: at most so many.
            before: go on after this execution, the last one of the page before.
            below: the same by its number, which stands for its place even when it is no longer kept.

        Raises:
            NotFound: there is no execution ``before``.
        """
        chosen = filters or Filters()
        tag_key, tag_value = chosen.tag or (None, None)
        with self.ledger.connect() as connection:
            place = connection.execute(SQL("place_of"), {"run_id": before}).fetchone() if before else None
            if before and place is None:
                raise _unknown(before)
            values = {
                "statuses": list(chosen.statuses) or None,
                "run_ids": None if chosen.run_ids is None else list(chosen.run_ids),
                "pipeline": chosen.pipeline,
                "lane": chosen.lane,
                "session": str(chosen.session) if chosen.session else None,
                "since": chosen.since.astimezone(UTC).replace(tzinfo=None) if chosen.since else None,
                "tag_key": tag_key,
                "tag_value": tag_value,
                "before": place[0] if place else below,
                "limit": limit,
            }
            return [execution(row) for row in connection.execute(SQL("executions"), values).fetchall()]

    def get(self, run_id: str) -> Execution:
        """One execution.

        Args:
            run_id: its id, or the beginning of it.

        Raises:
            NotFound: there is none, or several begin so.
        """
        if found := self.find(Filters(run_ids=[run_id]), limit=1):
            return found[0]
        if len(run_id) < LEAST_OF_ID:
            raise _unknown(run_id)
        with self.ledger.connect() as connection:
            rows = connection.execute(SQL("ids_like"), {"start": run_id}).fetchall()
        if len(rows) > 1:
            raise NotFound(f"several executions begin with {run_id}; write more of the id")
        if not rows:
            raise _unknown(run_id)
        return self.get(str(rows[0][0]))

    def show(self, run_id: str) -> dict[str, Any]:
        """Everything worth knowing about one execution, by name.

        Raises:
            NotFound: there is none of that id.
        """
        one = self.get(run_id)
        values = {"run_id": one.run_id}
        with self.ledger.connect() as connection:
            queued, dequeued, partitions = connection.execute(SQL("figures_of"), values).fetchone() or (None, None, 0)
            steps: list[tuple[Any, ...]] = connection.execute(SQL("steps_of"), values).fetchall()
            failure = connection.execute(SQL("failure_of"), values).fetchone() if one.status == "FAILURE" else None
            children = connection.execute(
                SQL("children_of"), {**values, "keys": [names.PARENT, names.RETRY_OF]}
            ).fetchall()
        return {
            **one.row(),
            "job": one.job,
            "queued": in_utc(queued),
            "dequeued": in_utc(dequeued),
            "parent": one.parent,
            "children": [str(child) for _, child in children],
            "materialized_partitions": partitions,
            "failure": reason(str(failure[0])) if failure else None,
            "steps": [
                {
                    "step": step,
                    "state": STEP_STATES.get(last, last),
                    "started": in_utc(started),
                    "ended": in_utc(ended),
                    "tries": tries,
                }
                for step, started, ended, last, tries in steps
            ],
            "tags": dict(sorted(one.tags.items())),
        }

    def failure(self, run_id: str) -> str | None:
        """The one line that says why it failed; None when nothing does."""
        with self.ledger.connect() as connection:
            row = connection.execute(SQL("failure_of"), {"run_id": run_id}).fetchone()
        return reason(str(row[0])) if row else None

    def events(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Event]:
        """Events of an execution, oldest first.

        Args:
            run_id: the whole id.
            after: number of the last event that is known.
            limit: at most so many.
        """
        values = {"run_id": run_id, "after": after, "limit": limit}
        with self.ledger.connect() as connection:
            return [event(row) for row in connection.execute(SQL("events_of"), values).fetchall()]

    def follow(self, run_id: str, *, after: int = 0, every: float = 0.5) -> Iterator[Event]:
        """Events as they come, until the execution is finished.

        Args:
            run_id: the whole id.
            after: number of the last event that is known.
            every: seconds between two looks.
        """
        seen: set[int] = set()
        while True:
            finished = self.get(run_id).finished
            start = max(after, max(seen, default=0) - OVERLAP)
            fresh = [one for one in self.events(run_id, after=start) if one.number not in seen]
            seen.update(one.number for one in fresh)
            yield from fresh
            if finished and not fresh:
                return
            if not fresh:
                time.sleep(every)

    def cancel(self, webserver: Webserver, run_id: str, *, force: bool = False) -> Execution:
        """Take it from the queue, or have its process stop; answers with what it is then.

        Args:
            webserver: through which it is ended.
            run_id: its id, or the beginning of it.
            force: count it as canceled without asking its process, for when that cannot be reached.

        Raises:
            NotFound: there is none of that id.
            WrongState: it is finished already.
            LedgerError: its process cannot be reached.
        """
        one = self.get(run_id)
        if one.finished:
            raise WrongState(f"execution {one.run_id} is finished ({one.status}); there is nothing to cancel")
        policy = "MARK_AS_CANCELED_IMMEDIATELY" if force else "SAFE_TERMINATE"
        answer = webserver.ask(TERMINATE, {"id": one.run_id, "policy": policy})["terminateRun"]
        expect(answer, "TerminateRunSuccess")
        return self.get(one.run_id)

    def retry(self, desk: Desk, run_id: str) -> str:
        """Do it again as a new execution whose parent it is; answers with the new id.

        All steps are done again, not only the failed ones: our jobs have one, which knows itself what is done already,
        and Dagster refuses to go on from a failure where a run was canceled or never began.

        Args:
            desk: the rules of admission hold for a retry too.
            run_id: its id, or the beginning of it.

        Raises:
            NotFound: there is none of that id.
            LogicalKeyActive, QueueFull: not now.
            WrongState: it is not finished.
        """
        one = self.get(run_id)
        if not one.finished:
            raise WrongState(f"execution {one.run_id} is {one.status}; wait for its end, or cancel it first")
        claim = _claim(one)
        extra = {**names.lane_tags(claim.lane), names.LOGICAL_KEY: claim.key, names.TRIGGER: "retry"}
        extra[names.PRIORITY] = one.tags.get(names.PRIORITY, extra[names.PRIORITY])
        params = {"parentRunId": one.run_id, "strategy": "ALL_STEPS", "extraTags": as_graphql(extra)}
        with desk.queue.admission(claim):
            answer = desk.webserver.ask(REEXECUTE, {"params": params})["launchRunReexecution"]
            return str(expect(answer, "LaunchRunSuccess")["run"]["runId"])


def _claim(one: Execution) -> Claim:
    sessions = {key: one.tags[key] for key in (names.PARTITION, names.RANGE_START, names.RANGE_END) if key in one.tags}
    # Materializations from the UI all share one job of Dagster's own, whatever their assets are.
    same_job = {} if one.job.startswith("__") else sessions
    return Claim(one.tags.get(names.LOGICAL_KEY) or f"{one.job}:{one.sessions}", one.job, one.lane, same_job)


def _unknown(run_id: str) -> NotFound:
    return NotFound(f"there is no execution {run_id}; see spine execution list")
