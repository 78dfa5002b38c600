"""Taking a file back: its reports stop counting, and every day they touched is computed again.

What it is: ``void`` for test data and wrong deliveries, ``restore`` to count a version again. Nothing is deleted: the
file stays on record with who took it back, when and why, and its reports stay in the log.
Belongs here: the states of a file version after it was loaded. Does not belong here: loading (``intake``), computing
the marked days (the sensor ``dirty_days``).

The version that a voided file had superseded does not come back by itself: nobody has said that it is right.
``restore`` says so. The same bytes landing again stay voided; other content in that place is a new delivery and counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from market_spine.errors import FileStateError, NotFound
from market_spine.warehouse.engine import Connection, Warehouse
from market_spine.warehouse.sql import statements

SQL = statements("market_spine.otc", "void.sql")
Row = dict[str, object]


@dataclass(frozen=True)
class Changed:
    """What a change did.

    Args:
        file_id: the version.
        path: where it had been read.
        report_date: its report date.
        days: computed days that were marked to be computed again.
        previous: the version it had superseded, which does not come back by itself.
    """

    file_id: int
    path: str
    report_date: date
    days: tuple[date, ...]
    previous: int | None = None


def files(connection: Connection, session: date | None = None, *, limit: int = 1000) -> list[Row]:
    """File versions, newest report date first.

    Args:
        connection: to the market tables.
        session: only those of this report date.
        limit: at most so many.
    """
    cursor = connection.execute(SQL("files"), {"session": session, "limit": limit})
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def find(connection: Connection, name: str) -> int:
    """The version that a number or a path below the landing folder names; of a path the one that counts.

    Raises:
        NotFound: there is none.
        FileStateError: several versions of that path, and none of them counts.
    """
    if name.isdecimal():
        return int(name)
    rows = connection.execute(SQL("by_path"), {"path": name}).fetchall()
    if not rows:
        raise NotFound(f"no file was loaded from {name}; spine file list shows those there are")
    if len(rows) > 1 and rows[0][1] != "live":
        ids = ", ".join(str(row[0]) for row in rows)
        raise FileStateError(f"{name}: versions {ids} were read from there and none counts; name one by its number")
    return int(str(rows[0][0]))


def void(warehouse: Warehouse, name: str, *, by: str, why: str) -> Changed:
    """Take a file version back.

    Args:
        warehouse: the market tables.
        name: its number, or its path below the landing folder.
        by: who does it.
        why: one line.

    Raises:
        NotFound: there is no such file.
        FileStateError: it was taken back before, nothing of it was loaded, or a day that would have to be computed
            again cannot be, because retention has dropped its reports.
        PartitionLocked: a run works on its day.
    """
    with warehouse.connect() as connection:
        file_id, day, path, status = _locked(warehouse, connection, name)
        if status == "rejected":
            raise FileStateError(f"{path}: was refused, nothing of it was loaded")
        if status == "voided":
            raise FileStateError(f"{path}: version {file_id} was taken back before; see spine file list")
        days: tuple[date, ...] = ()
        if status == "live":
            days = _mark(connection, file_id, day, f"{path} was taken back: {why}")
        connection.execute(SQL("void"), {"file_id": file_id, "by": by, "why": " ".join(why.split())})
        previous = connection.execute(SQL("previous"), {"file_id": file_id}).fetchone()
        return Changed(file_id, path, day, days, int(str(previous[0])) if previous and status == "live" else None)


def restore(warehouse: Warehouse, name: str) -> Changed:
    """Let a version count again that was taken back or superseded, where no other one counts in its place.

    Raises:
        NotFound: there is no such file.
        FileStateError: it counts already or cannot, or another version does.
        PartitionLocked: a run works on its day.
    """
    with warehouse.connect() as connection:
        file_id, day, path, status = _locked(warehouse, connection, name)
        if status not in ("voided", "superseded"):
            raise FileStateError(f"{path}: version {file_id} is {status}; only voided and superseded ones come back")
        counting = connection.execute(SQL("counting"), {"file_id": file_id}).fetchone()
        if counting is not None:
            raise FileStateError(f"{path}: version {counting[0]} counts in its place; take that one back first")
        connection.execute(SQL("restore"), {"file_id": file_id})
        return Changed(file_id, path, day, _mark(connection, file_id, day, f"{path} counts again"))


def _locked(warehouse: Warehouse, connection: Connection, name: str) -> tuple[int, date, str, str]:
    """Number, report date, path and status of a version whose day no run works on until the transaction ends."""
    file_id = find(connection, name)
    found = connection.execute(SQL("report_date"), {"file_id": file_id}).fetchone()
    if found is None or not isinstance(found[0], date):
        raise NotFound(f"there is no file {file_id}; spine file list shows those there are")
    day = found[0]
    warehouse.lock_day(connection, "otc_trades_raw", day)
    row = connection.execute(SQL("one_file"), {"file_id": file_id}).fetchall()[0]
    path, status, is_expired = str(row[3]), str(row[4]), bool(row[5])
    if is_expired:
        raise FileStateError(f"{path}: retention has dropped its reports; {day} can no longer be computed again")
    return file_id, day, path, status


def _mark(connection: Connection, file_id: int, day: date, reason: str) -> tuple[date, ...]:
    values = {"file_id": file_id, "report_date": day, "reason": " ".join(reason.split())}
    days = _days(connection.execute(SQL("mark"), values).fetchall())
    expired = _days(connection.execute(SQL("expired_days"), {"days": list(days)}).fetchall())
    if expired:
        raise FileStateError(
            f"{expired[0]} holds reports of this file and cannot be computed again: retention has dropped its own"
        )
    return days


def _days(rows: Sequence[tuple[object, ...]]) -> tuple[date, ...]:
    return tuple(sorted(row[0] for row in rows if isinstance(row[0], date)))
