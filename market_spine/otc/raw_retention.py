"""Raw reports past their time: dropped a report date at a time, never row by row; and the guard that follows from it.

What it is: ``RawRetention.drop`` takes the leaves of old report dates away. ``refuse_expired`` keeps a day from being
computed again without its reports: an emptier day would take the place of the right one.
Belongs here: which days may be dropped, dropping, the guard. Does not belong here: how long is kept (``settings``),
Dagster's storage (``market_spine.ledger.retention``).

What stays of a dropped day: its trades and metrics with all revisions, its quarantine with the reports' text, the
reports it sent to other days, and its rows in ``otc_files``. A day waits with its reports while it is marked, or has a
file that no pass has read: what is dropped has been counted. A correction that comes later marks the day and waits in
``otc_carried``; the mark stays, and every clean-up names it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date

from psycopg import sql

from market_spine.errors import PartitionLocked, RawExpired
from market_spine.warehouse.engine import Connection, Warehouse
from market_spine.warehouse.schema import LEAVES
from market_spine.warehouse.sql import statements

SQL = statements("market_spine.otc", "raw_retention.sql")
RAW = "otc_trades_raw"
LOCK_TIMEOUT_MS = 100
"""As long as a reader may wait behind a drop that itself waits for another reader."""
LOCK_TRIES = 15


@dataclass(frozen=True)
class DroppedDay:
    """A report date whose reports were dropped, or would be; ``bytes`` on disk, which gets them back at once."""

    day: date
    files: int
    rows: int
    bytes: int


@dataclass(frozen=True)
class DropResult:
    """What a clean-up did.

    Args:
        dropped: report dates that went.
        waiting: report dates past their time that stay, with the reason.
        lost: marked days that nobody can compute again, with the reason of the mark.
    """

    dropped: tuple[DroppedDay, ...]
    waiting: tuple[tuple[date, str], ...]
    lost: tuple[tuple[date, str], ...]


@dataclass(frozen=True)
class RawRetention:
    """Drops old report dates.

    Args:
        warehouse: the market tables.
        say: told of progress: done, total.
        dry_run: count, change nothing.
    """

    warehouse: Warehouse
    say: Callable[[int, int], None]
    dry_run: bool = False

    def drop(self, before: date) -> DropResult:
        """Drop the reports of dates before ``before``, each in its own short transaction, the oldest first."""
        with self.warehouse.connect() as connection:
            found = _days(connection, date.min, before)
            lost = connection.execute(SQL("marked_expired_days")).fetchall()
        waiting = [(day.day, why) for day, why in found if why]
        due = [day for day, why in found if not why]
        dropped: list[DroppedDay] = []
        for number, one in enumerate(due, start=1):
            if self.dry_run:
                dropped.append(one)
                continue
            try:
                day, why = self._drop_day(one.day)
            except PartitionLocked:
                day, why = None, "is being read or written; the next clean-up tries again"
            if day is not None:
                dropped.append(day)
            elif why:
                waiting.append((one.day, why))
            self.say(number, len(due))
        return DropResult(
            tuple(dropped),
            tuple(sorted(waiting)),
            tuple((day, str(reason)) for day, reason in lost if isinstance(day, date)),
        )

    def _drop_day(self, day: date) -> tuple[DroppedDay | None, str]:
        patient = replace(self.warehouse, lock_timeout_ms=LOCK_TIMEOUT_MS, lock_tries=LOCK_TRIES)
        with patient.connect() as connection:
            patient.lock_day(connection, RAW, day)
            # Asked again under the lock: a file may have come since.
            for one, why in _days(connection, day, date.fromordinal(day.toordinal() + 1)):
                if why:
                    return None, why
                connection.execute(SQL("expire_files"), {"day": day})
                patient.swap_day(connection, RAW, day, ())
                return one, ""
        return None, ""


def refuse_expired(connection: Connection, table: str, day: date) -> None:
    """Keep a day from being built of reports that are not there.

    Raises:
        RawExpired: retention dropped reports that count on the day.
    """
    row = connection.execute(SQL("expired_file"), {"day": day}).fetchone()
    if row is not None:
        raise RawExpired(
            f"{table} {day}: its reports ({row[0]}) were dropped by retention on {row[1]}, so it cannot be computed "
            "again; it stays as it is (MARKET_SPINE_KEEP_RAW_DAYS says how long reports are kept)"
        )


def _days(connection: Connection, first: date, before: date) -> list[tuple[DroppedDay, str]]:
    values = {"first": first, "before": before}
    return [
        (DroppedDay(day, int(str(files)), int(str(count)), int(str(size))), str(why or ""))
        for day, files, count, size, why in connection.execute(SQL("raw_days", leaves=sql.Literal(LEAVES)), values)
        if isinstance(day, date)
    ]
