"""Which runs that Dagster counts as under way have no process any more, and what dead runs still hold.

What it is: reads of Dagster's database. A run of our executor holds an advisory lock for as long as it lives
(``sign_of_life``) and carries a tag that says so; with the tag and without the lock it has no process.
Belongs here: finding, and the words for it. Does not belong here: ending runs (``market_spine.automation``).

Why it is needed: Dagster's launcher on one machine cannot tell whether a worker lives. When the code server dies
together with it nobody reports the failure, and the run stays started, and holds its place, for ever.
"""

from collections.abc import Collection
from dataclasses import dataclass

from market_spine.ledger.storage import LedgerStorage
from market_spine.ledger.tags import SIGN_OF_LIFE
from market_spine.warehouse.sql import statements

SQL = statements("market_spine.ledger", "reconciliation.sql")


@dataclass(frozen=True)
class RunUnderWay:
    """A run that is started or being ended, as Dagster counts it.

    Args:
        run_id: the run.
        job: its job.
        status: STARTING, STARTED or CANCELING.
        location: its code location; None for one that was started without one (in somebody's own process).
        vouched: it has held its lock.
        lives: it holds its lock now.
        seconds: since its status changed.
    """

    run_id: str
    job: str
    status: str
    location: str | None
    vouched: bool
    lives: bool
    seconds: float

    def silent(self, ours: Collection[str]) -> bool:
        """Whether it has no process, by what can be known now.

        A run that is STARTING has not come to its lock yet: Dagster's own ``start_timeout_seconds`` ends it. One that
        never held a lock counts only where the lock is the first thing every run takes.

        Args:
            ours: code locations whose runs all use our executor.
        """
        return not self.lives and self.status != "STARTING" and (self.vouched or self.location in ours)


@dataclass(frozen=True)
class QueuedElsewhere:
    """A queued run of a code location that does not exist; Dagster fails it when its turn comes."""

    run_id: str
    job: str
    location: str
    seconds: float


def under_way(storage: LedgerStorage) -> list[RunUnderWay]:
    """Runs that are starting, started or being ended.

    Raises:
        LedgerError: Dagster's database does not answer.
    """
    with storage.connect() as connection:
        rows = connection.execute(SQL("under_way"), {"tag": SIGN_OF_LIFE}).fetchall()
    return [
        RunUnderWay(str(run_id), str(job), str(status), _text(location), bool(vouched), bool(lives), _number(seconds))
        for run_id, job, status, location, vouched, lives, seconds in rows
    ]


def queued_elsewhere(storage: LedgerStorage, known: Collection[str]) -> list[QueuedElsewhere]:
    """Queued runs whose code location is not among ``known``, at most 1,000.

    Raises:
        LedgerError: Dagster's database does not answer.
    """
    with storage.connect() as connection:
        rows = connection.execute(SQL("queued_elsewhere"), {"known": list(known)}).fetchall()
    return [QueuedElsewhere(str(run), str(job), str(place), _number(seconds)) for run, job, place, seconds in rows]


def held_slots(storage: LedgerStorage) -> dict[str, int]:
    """Pool slots, and places in a pool's queue, by the ended run that still holds them.

    Raises:
        LedgerError: Dagster's database does not answer.
    """
    with storage.connect() as connection:
        rows = connection.execute(SQL("held_slots")).fetchall()
    return {str(run_id): int(str(count)) for run_id, count in rows}


def why_ended(run: RunUnderWay, seconds: float) -> str:
    """The line that the run's failure carries."""
    if run.vouched:
        return (
            f"The run's process is gone: the lock it holds while it lives has been free for {seconds:.0f} s. It was "
            "killed, or its machine stopped; what it had committed stands. Ended by reconciliation."
        )
    return (
        f"The run shows no sign of life since it {'started' if run.status == 'STARTED' else 'was to end'} "
        f"{run.seconds:.0f} s ago: its process was gone before it did anything. Ended by reconciliation."
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _number(value: object) -> float:
    return float(str(value))
