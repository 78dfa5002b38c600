"""Dead letters as people see them: list, show, retry, discard.

What it is: ``DeadLetters`` reads ``otc_dead_letters`` with what Dagster and the market tables know about each session.
A retry is a new execution, queued like any other; the letter stays open until that run has materialized the session.
Belongs here: what may be done with a letter. Does not belong here: how letters come and go by themselves
(``dead_letter_watch``), how they are printed (``cli``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from market_spine.errors import LedgerError, NotFound, WrongState
from market_spine.ledger import tags as names
from market_spine.ledger.dead_letter_watch import LETTER_TAG, SQL, asset_key, one_line
from market_spine.ledger.storage import LedgerStorage
from market_spine.ledger.submission import Desk, Submission
from market_spine.warehouse.engine import Connection, Warehouse

SHOWN = 20
"""Runs and files of a session that are shown."""
REDO_FROM = (
    ("otc_trades_raw", "otc_full_refresh"),
    ("otc_trades", "otc_redo_dirty_days"),
    ("otc_metrics_daily", "otc_compute_daily_metrics"),
)
"""The pipeline that builds a session from an asset down, the most complete first."""


@dataclass(frozen=True)
class Letter:
    """A dead letter; ``otc_dead_letters`` says what each column means."""

    id: int
    asset: str
    partition: date
    reason: str
    tries: int
    retries: int
    first_failed_at: datetime
    last_failed_at: datetime
    run_id: str
    retry_run_id: str | None
    resolved_at: datetime | None
    resolution: str | None
    resolved_by: str | None
    note: str | None

    @property
    def state(self) -> str:
        """``open``, or how it was resolved."""
        return self.resolution or "open"

    @property
    def mend(self) -> str:
        """The command that mends it; nothing when there is nothing to mend."""
        return "" if self.resolved_at else f"spine dead-letter retry {self.id}"


@dataclass(frozen=True)
class DeadLetters:
    """The letters.

    Args:
        warehouse: holds them.
        ledger: Dagster's database.
    """

    warehouse: Warehouse
    ledger: LedgerStorage

    def letters(self, *, every: bool = False, ids: Sequence[int] | None = None) -> list[Letter]:
        """The open letters, or all that are kept, the oldest session first."""
        with self.warehouse.connect() as market:
            values = {"every": every or ids is not None, "ids": None if ids is None else list(ids)}
            rows: Sequence[Sequence[Any]] = market.execute(SQL("letters"), values).fetchall()
        return [Letter(*row) for row in rows]

    def letter(self, number: int) -> Letter:
        """One letter.

        Raises:
            NotFound: there is none of that number.
        """
        for one in self.letters(ids=[number]):
            return one
        raise NotFound(f"there is no dead letter {number}; see `spine dead-letter list --all`")

    def runs(self, letter: Letter) -> list[dict[str, Any]]:
        """The last runs that were asked for its partition, the newest first."""
        values = {
            "key": asset_key(letter.asset),
            "partition": str(letter.partition),
            "trigger_tag": names.TRIGGER,
            "most": SHOWN,
        }
        with self.ledger.connect() as dagster:
            rows = dagster.execute(SQL("runs_of_partition"), values).fetchall()
        columns = ("execution", "status", "job", "started_at", "ended_at", "asked_by")
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def files(self, letter: Letter) -> list[dict[str, Any]]:
        """The file versions of its session, the newest first."""
        with self.warehouse.connect() as market:
            rows = market.execute(SQL("files_of_day"), {"day": letter.partition, "most": SHOWN}).fetchall()
        return [dict(zip(("path", "status", "problem", "known_at"), row, strict=True)) for row in rows]

    def discard(self, number: int, *, by: str, why: str) -> Letter:
        """Close an open letter by hand.

        Args:
            number: the letter.
            by: who decided it.
            why: the reason, for those who look at it later.

        Raises:
            NotFound: there is no such letter.
            WrongState: it is resolved already.
            LedgerError: nobody and nothing was given.
        """
        if not by.strip() or not why.strip():
            raise LedgerError(f"dead letter {number}: say who discards it and why")
        with self.warehouse.connect() as market:
            values = {"id": number, "by": one_line(by), "why": one_line(why)}
            done = market.execute(SQL("discard"), values).fetchall()
        letter = self.letter(number)
        if not done:
            raise WrongState(_resolved(letter))
        return letter

    def retry(self, number: int, desk: Desk, *, limit: int, force: bool = False, lane: str = names.NORMAL) -> str:
        """Queue a new execution of the session, from the asset that failed down; answers with its id.

        Where the failed run had begun further up, so does the retry: what is loaded is not loaded again, and a table
        above whose check failed is looked at anew.

        Args:
            number: the letter.
            desk: hands it in.
            limit: retries after which a letter is refused.
            force: retry it all the same.
            lane: the new execution's.

        Raises:
            NotFound: there is no such letter.
            LogicalKeyActive, QueueFull: the new execution is not admitted now.
            WrongState: it is resolved, its last retry is under way, or it was retried often enough.
            LedgerError: database or webserver cannot do it.
        """
        letter = self.letter(number)
        with self.warehouse.connect() as market:
            row: Sequence[Any] | None = market.execute(SQL("lock_letter"), {"id": number}).fetchone()
            if row is None:
                raise WrongState(_resolved(letter))
            retries, last_retry = row
            with self.ledger.connect() as dagster:
                status = _status(dagster, last_retry)
                pipeline = _pipeline(dagster, letter)
            if status in names.UNDER_WAY:
                raise WrongState(f"dead letter {number}: its retry {last_retry} is {status}; wait for it")
            if retries >= limit and not force:
                raise WrongState(
                    f"dead letter {number} was retried {retries} times, as often as MARKET_SPINE_DEAD_LETTER_RETRIES "
                    f"allows: {letter.reason}; see `spine dead-letter show {number}`, then retry with --force, or "
                    "discard it"
                )
            run_id = desk.submit(
                Submission(
                    pipeline,
                    letter.partition,
                    lane=lane,
                    trigger="retry",
                    parent=letter.run_id,
                    tags={names.PARENT: letter.run_id, LETTER_TAG: str(number)},
                )
            )
            market.execute(SQL("note_retry"), {"id": number, "run_id": run_id})
        return run_id


def _pipeline(dagster: Connection, letter: Letter) -> str:
    asked = {str(row[0]) for row in dagster.execute(SQL("assets_of_run"), {"run_id": letter.run_id})}
    for asset, pipeline in REDO_FROM:
        if asset == letter.asset or asset_key(asset) in asked:
            return pipeline
    raise LedgerError(f"dead letter {letter.id}: no pipeline builds {letter.asset}")


def _status(dagster: Connection, run_id: str | None) -> str:
    row = dagster.execute(SQL("status_of_run"), {"run_id": run_id}).fetchone() if run_id else None
    return str(row[0]) if row else ""


def _resolved(letter: Letter) -> str:
    by = f" by {letter.resolved_by}" if letter.resolved_by else ""
    return f"dead letter {letter.id} was {letter.resolution} on {letter.resolved_at:%Y-%m-%d %H:%M} UTC{by}"
