"""Files of a report date into ``otc_trades_raw``: a leaf per file version, all of a file or nothing of it.

Belongs here: which version counts, loading one file in one transaction, what to say about a file that is refused.
Does not belong here: how bytes become rows (``reader``), what a row means (``normalize``), Dagster.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import psycopg
from psycopg import sql

from market_spine.calendar import TradingCalendar
from market_spine.errors import CalendarError, FileRefused, NoFile
from market_spine.otc.feeds import Feed
from market_spine.otc.landing import LandedFile, find_files, unreadable_names
from market_spine.otc.reader import EXTRA, ReportReader
from market_spine.otc.remote import Location, location, open_binary, relative, remote_errors, size_of
from market_spine.warehouse.engine import Connection, Warehouse
from market_spine.warehouse.schema import BUILD, LEAVES
from market_spine.warehouse.sql import qualified, statements

SQL = statements("market_spine.otc", "intake.sql")
RENAMED = {"report_date": "stated_report_date"}
"""Canonical names that stand under another name in the raw table, where report_date is the partition."""
PAIRS = 50
MOST_COLUMNS = 1_500
"""PostgreSQL's own limit is 1,600 columns a table."""


@dataclass(frozen=True)
class LoadedFile:
    """What became of one landed file: its version's number, its rows, and whether anything was loaded.

    ``voided`` is the line to say when its bytes are those of a version that was taken back.
    """

    source: str
    path: str
    file_id: int
    rows: int
    loaded: bool
    voided: str = ""


@dataclass(frozen=True)
class IntakeResult:
    """A report date after intake: the files that count and what this call loaded."""

    report_date: date
    rows: int
    files: tuple[LoadedFile, ...]

    @property
    def loaded_rows(self) -> int:
        """Rows this call wrote; 0 when every file was known already."""
        return sum(file.rows for file in self.files if file.loaded)


@dataclass(frozen=True)
class Intake:
    """Loads report dates.

    Args:
        warehouse: where to.
        feeds: the feeds, by name.
        landing: folder the files arrive in, or its address.
        calendar: says which dates are sessions.
        max_line_bytes: longest line a file may have.
    """

    warehouse: Warehouse
    feeds: Mapping[str, Feed]
    landing: Path | str
    calendar: TradingCalendar
    max_line_bytes: int = 1_048_576

    def load_day(self, report_date: date, *, run_id: str | None = None) -> IntakeResult:
        """Load every file of ``report_date`` that is not known yet, each in its own transaction.

        Raises:
            CalendarError: the date is no session.
            NoFile: no file has landed and none was loaded before.
            FileRefused: a file cannot be read to its end; the other files of the day are loaded all the same.
            LandingError: the landing folder is at an address that does not answer.
        """
        if not self.calendar.is_session(report_date):
            raise CalendarError(self._no_session(report_date))
        landed = find_files(self.landing, self.feeds, report_date)
        done: list[LoadedFile] = []
        refused: list[FileRefused] = []
        for file in landed:
            try:
                done.append(self.load_file(file, run_id=run_id))
            except FileRefused as error:
                shown = FileRefused(self._shown(file), error.line, error.problem)
                self._remember_refusal(file, shown, run_id)
                refused.append(shown)
        if refused:
            more = f" (and {len(refused) - 1} more refused files)" if len(refused) > 1 else ""
            first = refused[0]
            raise FileRefused(first.path, first.line, f"{first.problem}{more}")
        with self.warehouse.connect(building=True) as connection:
            live = connection.execute(SQL("live_files"), {"report_date": report_date}).fetchall()
        if not live:
            voided = next((file.voided for file in done if file.voided), "")
            if voided:
                raise NoFile(f"no file for {report_date} counts; {voided}")
            patterns = ", ".join(sorted(feed.path for feed in self.feeds.values()))
            raise NoFile(
                f"no file for {report_date} under {location(self.landing)}; "
                f"looked for {patterns}{self._misnamed(report_date)}"
            )
        return IntakeResult(report_date, sum(int(str(row[4])) for row in live), tuple(done))

    def load_file(self, file: LandedFile, *, run_id: str | None = None) -> LoadedFile:
        """Load one landed file, or find that its bytes are known already.

        Raises:
            FileRefused: it cannot be read to its end; nothing of it is loaded.
        """
        key = {"source": file.feed.name, "report_date": file.report_date, "part": file.part}
        path = self._shown(file)
        with self.warehouse.connect(building=True) as connection:
            self.warehouse.lock_day(connection, "otc_trades_raw", file.report_date)
            known = self._known(connection, key, file.path)
            if known is not None:
                voided = self._voided(connection, known, path)
                if voided:
                    return LoadedFile(file.feed.name, path, known, 0, loaded=False, voided=voided)
                self._raise_version(connection, key, file, known, run_id)
                return LoadedFile(file.feed.name, path, known, 0, loaded=False)
            self._refuse_rewritten(connection, key, file, path)
            reader = ReportReader(file, self.max_line_bytes)
            reader.open()
            if len(reader.columns) > MOST_COLUMNS:
                wide = f"the header names {len(reader.columns):,} columns, more than {MOST_COLUMNS:,}"
                raise FileRefused(path, 1, f"{wide}; is the delimiter right?")
            file_id = self._register(connection, key, file, path, reader, run_id)
            rows = self._copy(connection, file, reader, file_id)
            counts = reader.counts
            if rows != counts.rows:
                raise FileRefused(path, None, f"the database counted {rows:,} rows, the reader {counts.rows:,}")
            connection.execute(
                SQL("finish"),
                {
                    "file_id": file_id,
                    "sha256": counts.sha256,
                    "bytes": counts.bytes,
                    "rows": counts.rows,
                    "lines": counts.lines,
                    "blank": counts.blank,
                    "trailer": counts.trailer,
                    "declared": counts.declared_rows,
                    "quirks": reader.quirks,
                },
            )
            self._publish(connection, key, file, file_id, run_id)
        return LoadedFile(file.feed.name, path, file_id, rows, loaded=True)

    def _known(self, connection: Connection, key: Mapping[str, object], path: Location) -> int | None:
        size = size_of(path)
        row = connection.execute(SQL("known_size"), {**key, "bytes": size}).fetchone()
        if size is not None and (row is None or not row[0]):
            return None
        with remote_errors(path), open_binary(path) as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return self._same_content(connection, key, digest)

    def _voided(self, connection: Connection, file_id: int, path: str) -> str:
        row = connection.execute(SQL("voided_file"), {"file_id": file_id}).fetchone()
        if row is None:
            return ""
        return (
            f"{path}: these bytes were taken back as file {file_id} by {row[0]} ({row[1]}) and do not count; deliver "
            f"other content, or count them again with spine file restore {file_id}"
        )

    def _same_content(self, connection: Connection, key: Mapping[str, object], sha256: str) -> int | None:
        row = connection.execute(SQL("known_content"), {**key, "sha256": sha256}).fetchone()
        return int(str(row[0])) if row else None

    def _register(
        self,
        connection: Connection,
        key: Mapping[str, object],
        file: LandedFile,
        path: str,
        reader: ReportReader,
        run_id: str | None,
    ) -> int:
        row = connection.execute(
            SQL("register"),
            {**key, "version": file.version, "path": path, "columns": list(reader.columns), "run_id": run_id},
        ).fetchone()
        return int(str(row[0])) if row else 0

    def _copy(self, connection: Connection, file: LandedFile, reader: ReportReader, file_id: int) -> int:
        leaf = f"otc_trades_raw_{file.report_date:%Y%m%d}_{file_id}"
        day = sql.Literal(file.report_date)
        built = qualified(BUILD, leaf)
        number = sql.Literal(file_id)
        connection.execute(SQL("create_leaf", leaf=built, report_date=day, file_id=number))
        columns = [RENAMED.get(name, name) for name in reader.columns]
        plain = all(name and not name.startswith(EXTRA) for name in columns)
        target = built if plain else sql.Identifier("staging")
        names = columns if plain else [f"c{number}" for number in range(len(columns))]
        if not plain:
            shape = sql.SQL(", ").join(
                [sql.SQL("line_no integer"), *(sql.SQL('{} text COLLATE "C"').format(sql.Identifier(n)) for n in names)]
            )
            connection.execute(SQL("create_staging", staging="staging", columns=shape))
        statement = SQL(
            "copy",
            target=target,
            columns=sql.SQL(", ").join(sql.Identifier(name) for name in ["line_no", *names]),
            delimiter=sql.Literal(file.feed.delimiter),
            quote=sql.Literal(file.feed.quote or "\b"),
            freeze=sql.SQL(", FREEZE" if plain else ""),
        )
        try:
            with connection.cursor() as cursor:
                with cursor.copy(statement) as copy:
                    for chunk in reader.chunks():
                        copy.write(chunk)
                rows = cursor.rowcount
        except psycopg.DataError as error:
            raise self._explained(error, file, reader) from error
        if not plain:
            self._unstage(connection, built, columns, names)
        connection.execute(
            SQL(
                "attach",
                built=built,
                leaf=qualified(LEAVES, leaf),
                leaves=LEAVES,
                report_date=day,
                file_id=number,
                next_id=sql.Literal(file_id + 1),
            )
        )
        return rows

    def _unstage(
        self, connection: Connection, leaf: sql.Identifier, columns: Sequence[str], names: Sequence[str]
    ) -> None:
        known = [(name, column) for name, column in zip(names, columns, strict=True) if ":" not in column and column]
        extra = [
            (name, column.removeprefix(EXTRA))
            for name, column in zip(names, columns, strict=True)
            if column.startswith(EXTRA)
        ]
        pairs = [sql.SQL("{}, {}").format(sql.Literal(column), sql.Identifier(name)) for name, column in extra]
        # A function takes 100 arguments, so a wide file's object is put together from several.
        objects = sql.SQL(" || ").join(
            sql.SQL("jsonb_build_object({})").format(sql.SQL(", ").join(pairs[start : start + PAIRS]))
            for start in range(0, len(pairs), PAIRS)
        )
        connection.execute(
            SQL(
                "from_staging",
                leaf=leaf,
                staging="staging",
                targets=sql.SQL(", ").join(sql.Identifier(column) for _, column in known),
                sources=sql.SQL(", ").join(sql.Identifier(name) for name, _ in known),
                extra=objects if extra else sql.SQL("NULL"),
            )
        )

    def _publish(
        self, connection: Connection, key: Mapping[str, object], file: LandedFile, file_id: int, run_id: str | None
    ) -> None:
        row = connection.execute(SQL("live_version"), key).fetchone()
        if row is not None and row[1] is not None and file.version is not None and int(str(row[1])) > file.version:
            connection.execute(SQL("born_superseded"), {"file_id": file_id, "live": row[0]})
            return
        if row is not None:
            connection.execute(SQL("supersede"), {"file_id": file_id, "old": row[0]})
        connection.execute(SQL("make_live"), {"file_id": file_id})
        reason = f"{file.feed.name}: {file.path.name} was delivered"
        connection.execute(SQL("mark_dirty"), {"day": file.report_date, "reason": reason, "run_id": run_id})

    def _raise_version(
        self, connection: Connection, key: Mapping[str, object], file: LandedFile, file_id: int, run_id: str | None
    ) -> None:
        """Known bytes under a higher version: nothing is loaded, but that version may be the one that counts."""
        if not file.version:
            return
        raised = connection.execute(SQL("raise_version"), {"file_id": file_id, "version": file.version}).rowcount
        live = connection.execute(SQL("live_version"), key).fetchone()
        if raised and live is not None and live[0] != file_id and int(str(live[1] or 0)) < file.version:
            connection.execute(SQL("supersede"), {"file_id": file_id, "old": live[0]})
            connection.execute(SQL("make_live"), {"file_id": file_id})
            reason = f"{file.feed.name}: {file.path.name} brought an earlier version back"
            connection.execute(SQL("mark_dirty"), {"day": file.report_date, "reason": reason, "run_id": run_id})

    def _refuse_rewritten(self, connection: Connection, key: Mapping[str, object], file: LandedFile, path: str) -> None:
        """A numbered version is what it is: other content under its number would make the result a matter of order."""
        if not file.version:
            return
        row = connection.execute(SQL("same_version"), {**key, "version": file.version}).fetchone()
        if row is not None:
            raise FileRefused(
                path,
                None,
                f"version {file.version} was loaded before with other content; deliver it under a new version",
            )

    def _explained(self, error: psycopg.Error, file: LandedFile, reader: ReportReader) -> FileRefused:
        """PostgreSQL's complaint about a row, with the line of the file instead of the line of the payload."""

        def shown(place: int) -> str:
            return reader.columns[place].removeprefix(EXTRA) or "the last, nameless one"

        context = error.diag.context or ""
        match = re.search(r"\bCOPY \S+, line (\d+)", context)
        line = reader.line_of(int(match.group(1))) if match else None
        problem = error.diag.message_primary or str(error).splitlines()[0]
        # Columns of a staging table are numbered; the reader of the message knows them by their names.
        problem = re.sub(r'column "c(\d+)"', lambda match: f'column "{shown(int(match.group(1)))}"', problem)
        return FileRefused(self._shown(file), line, f"{problem}; nothing of the file was loaded")

    def _remember_refusal(self, file: LandedFile, error: FileRefused, run_id: str | None) -> None:
        with self.warehouse.connect(building=True) as connection:
            connection.execute(
                SQL("reject"),
                {
                    "source": file.feed.name,
                    "report_date": file.report_date,
                    "part": file.part,
                    "version": file.version,
                    "path": self._shown(file),
                    "problem": str(error),
                    "run_id": run_id,
                },
            )

    def _no_session(self, report_date: date) -> str:
        """What to say about a date without a session, with the files that claim it."""
        files = [self._shown(file) for file in find_files(self.landing, self.feeds, report_date)]
        claimed = f", yet {_listed(files)} claims it; is the date in the name wrong?" if files else ""
        first = self.calendar.first_session
        return f"report date {report_date} is no session of {self.calendar.name} from {first} on{claimed}"

    def _misnamed(self, report_date: date) -> str:
        """The files of that year whose date does not exist: one of them may be the one that is missing.

        It reads the whole folder, so it is asked only where a session has no file at all.
        """
        year = f"{report_date:%Y}"
        names = [str(name) for name in unreadable_names(self.landing, self.feeds) if year in name.path.name]
        return f"; perhaps {_listed(names)}" if names else ""

    def _shown(self, file: LandedFile) -> str:
        return relative(file.path, location(self.landing))


def _listed(names: Sequence[str]) -> str:
    """The first name and how many more there are."""
    return names[0] if len(names) == 1 else f"{names[0]} (and {len(names) - 1} more)"
