"""Drives the real steps on a real database, for tests that look at the tables afterwards.

What it is: ``Platform``: deliver files, settle the days, read the tables. ``settle`` does what the automation does: the
days asked for, then every day that became dirty, until none is.
Belongs here: what several test modules drive. Does not belong here: expectations, Dagster.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from market_spine.calendar import TradingCalendar
from market_spine.errors import NoFile
from market_spine.otc.feeds import Feed, load_feeds
from market_spine.otc.intake import Intake, IntakeResult
from market_spine.otc.landing import all_report_dates
from market_spine.otc.metrics import MetricsComputer, MetricsResult
from market_spine.otc.normalize import Normalizer, NormalizeResult
from market_spine.warehouse.engine import Warehouse, plain_url
from market_spine.warehouse.schema import BUILD, LEAVES, metadata

Row = dict[str, Any]
DatabaseFactory = Callable[[], AbstractContextManager[str]]
ROUNDS = 10
"""More rounds of dirty days than any honest set of files needs; a day that is still dirty then never ends."""


@dataclass(frozen=True)
class Platform:
    """The steps without an orchestrator.

    Args:
        database_url: a migrated database.
        landing: landing folder; made when the first file is delivered.
        first_session: first day there are partitions for.
        feeds: the packaged feeds unless given.
        connections: connections that build a day; with a small ``slice_rows`` even tiny days are cut into slices.
        slice_rows: rows from which a day is cut.
    """

    database_url: str
    landing: Path
    first_session: date = date(2026, 1, 2)
    feeds: Mapping[str, Feed] = field(default_factory=load_feeds)
    connections: int = 2
    slice_rows: int = 250_000
    outlier_factor: Decimal = Decimal(5)
    outlier_min_prints: int = 5

    @cached_property
    def calendar(self) -> TradingCalendar:
        """The sessions."""
        return TradingCalendar(self.first_session)

    @cached_property
    def warehouse(self) -> Warehouse:
        """The database, with little memory: many tests run beside each other."""
        return Warehouse(self.database_url, work_mem_mb=16)

    @cached_property
    def intake(self) -> Intake:
        """The step that loads."""
        return Intake(self.warehouse, self.feeds, self.landing, self.calendar)

    @cached_property
    def normalizer(self) -> Normalizer:
        """The step that makes trades of reports."""
        return Normalizer(
            self.warehouse,
            self.feeds,
            self.calendar,
            self.connections,
            self.slice_rows,
            self.outlier_factor,
            self.outlier_min_prints,
        )

    @cached_property
    def computer(self) -> MetricsComputer:
        """The step that makes metrics of trades."""
        return MetricsComputer(self.warehouse, self.calendar)

    # What is done.

    def deliver(self, source: str, filename: str, content: bytes | str) -> Path:
        """Put a file into the landing folder, in the folder of its source."""
        path = self.landing / source / filename
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def load(self, day: date) -> IntakeResult:
        """Load the files of a report date."""
        return self.intake.load_day(day)

    def normalize(self, day: date) -> NormalizeResult:
        """Make the day's trades; every report must come out with a disposition."""
        result = self.normalizer.normalize_day(day)
        taken = result.base_rows + result.carried_in
        assert result.accounted == taken, f"{day}: {taken} reports went in, {result.accounted} came out: {result}"
        return result

    def compute(self, day: date) -> MetricsResult:
        """Make the day's metrics."""
        return self.computer.compute_day(day)

    def run(self, day: date) -> None:
        """All three steps of a day; a day without files of its own is built from what others carry to it."""
        with suppress(NoFile):
            self.load(day)
        self.normalize(day)
        self.compute(day)

    def settle(self, *days: date) -> int:
        """Run the days (all that have files, in order, when none is named), then the dirty ones until none is left.

        Answers how many rounds of dirty days it took.
        """
        with self.warehouse.keeping():
            return self._settled(days)

    def _settled(self, days: Sequence[date]) -> int:
        for day in days or all_report_dates(self.landing, self.feeds):
            self.run(day)
        for number in range(ROUNDS + 1):
            dirty = self.dirty()
            if not dirty:
                return number
            if number < ROUNDS:
                for day in dirty:
                    self.normalize(day)
                    self.compute(day)
        marks = self.query("SELECT day, reason FROM otc_dirty_days ORDER BY day, mark_id")
        raise AssertionError(f"still dirty after {ROUNDS} rounds: {marks}")

    def forget(self) -> None:
        """Empty every table but the reference tables: quicker than a new database, for many small tests."""
        text = """SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) AS name
                  FROM pg_tables WHERE schemaname = ANY(%s)"""
        leaves = self.query(text, ([LEAVES, BUILD],))
        tables = sorted(set(metadata.tables) - {"otc_sessions", "otc_sale_conditions"})
        with psycopg.connect(plain_url(self.database_url)) as connection:
            if leaves:
                connection.execute(f"DROP TABLE {', '.join(row['name'] for row in leaves)}")
            connection.execute(f"TRUNCATE {', '.join(tables)} RESTART IDENTITY")

    # What came of it.

    def query(self, text: str, values: Sequence[object] | Mapping[str, object] = ()) -> list[Row]:
        """Rows of a query, as dictionaries."""
        with psycopg.connect(plain_url(self.database_url), row_factory=dict_row) as connection:
            connection.execute("SET timezone = 'UTC'")
            return connection.execute(text, values or None).fetchall()

    def dirty(self) -> list[date]:
        """Days marked to be computed again."""
        return [row["day"] for row in self.query("SELECT DISTINCT day FROM otc_dirty_days ORDER BY day")]

    def metrics(self, symbol: str, day: date) -> Row | None:
        """The current row of a symbol, or None."""
        rows = [row for row in self.revisions(symbol, day) if row["known_to"] is None]
        assert len(rows) <= 1, f"{symbol} {day}: more than one current row"
        return rows[0] if rows else None

    def revisions(self, symbol: str, day: date) -> list[Row]:
        """Every row of a symbol and day ever published, oldest first."""
        text = "SELECT * FROM otc_metrics_daily WHERE symbol = %s AND trade_date = %s ORDER BY revision"
        return self.query(text, (symbol, day))

    def trades(self, day: date, status: str | None = None) -> list[Row]:
        """Rows of otc_trades, by symbol and order; only those of a status when it is given."""
        text = """SELECT * FROM otc_trades WHERE trade_date = %(day)s AND status = coalesce(%(status)s::text, status)
                  ORDER BY symbol, trade_seq"""
        return self.query(text, {"day": day, "status": status})

    def exceptions(self, day: date, disposition: str | None = None) -> list[Row]:
        """Reports of the day's pass that are no trades, with their file, in the order of the files."""
        text = """SELECT e.*, f.source, f.part, f.path FROM otc_exceptions AS e JOIN otc_files AS f USING (file_id)
                  WHERE e.day = %(day)s AND e.disposition = coalesce(%(disposition)s::text, e.disposition)
                  ORDER BY e.report_date, f.source, f.part, e.line_no, e.entry"""
        return self.query(text, {"day": day, "disposition": disposition})

    def files(self, day: date) -> list[Row]:
        """Every file version of a report date, in the order it came."""
        return self.query("SELECT * FROM otc_files WHERE report_date = %s ORDER BY file_id", (day,))

    def raw(self, day: date) -> list[Row]:
        """Rows of otc_trades_raw of a report date, with their file's status."""
        text = """SELECT r.*, f.source, f.part, f.path, f.status
                  FROM otc_trades_raw AS r JOIN otc_files AS f USING (file_id)
                  WHERE r.report_date = %s ORDER BY r.file_id, r.line_no"""
        return self.query(text, (day,))
