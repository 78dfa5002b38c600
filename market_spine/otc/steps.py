"""The three steps of a session in their order, each with its checks and its gate.

What it is: ``Steps.run_session`` does the asked steps of one session and hands out each one as it is committed. A step
starts only when the blocking checks of the table above it passed, whoever ran that table and whenever.
Belongs here: order, gates, what is told about a step that is done. Does not belong here: the steps (``intake``,
``normalize``, ``metrics``), Dagster (``assets``).
"""

import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import psycopg

from market_spine.calendar import TradingCalendar
from market_spine.errors import SpineError
from market_spine.observability import logs, traces
from market_spine.otc import day_pass, intake, metrics
from market_spine.otc.feeds import Feed, load_feeds
from market_spine.otc.intake import Intake
from market_spine.otc.landing import unreadable_names
from market_spine.otc.metrics import MetricsComputer
from market_spine.otc.normalize import Normalizer
from market_spine.otc.quality import METRICS, RAW, TRADES, CheckResult, Quality, stop_if_blocked
from market_spine.settings import Settings
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine.warehouse.engine import Connection, Warehouse

STEPS = (RAW, TRADES, METRICS)
"""The tables in the order in which they are built; each is built from the one before."""
UPSTREAM = {TRADES: RAW, METRICS: TRADES}
MARKET_DATABASE = "market_spine"
log = logging.getLogger(__name__)
Preview = tuple[Sequence[str], Sequence[Sequence[object]]]


@dataclass(frozen=True)
class StepDone:
    """A step that is committed.

    Args:
        asset: the table it built.
        day: the session.
        rows: rows of that day in the table now.
        facts: counts for people, by name.
        preview: column names and the first rows, where asked for.
        checks: results of its checks.
        marked: other days that must be computed again because of it.
        seconds: how long it took, checks included.
    """

    asset: str
    day: date
    rows: int
    facts: Mapping[str, object]
    preview: Preview | None
    checks: Sequence[CheckResult]
    marked: Sequence[date]
    seconds: float


@dataclass(frozen=True)
class Steps:
    """Everything a run needs, made from the settings on first use."""

    settings: Settings

    @cached_property
    def warehouse(self) -> Warehouse:
        """The market tables: those of DATABASE_URL, else of the embedded server of this folder, if it runs.

        Raises:
            WarehouseError: neither is there.
        """
        url = self.settings.database_url
        if not url:
            url = EmbeddedServer(self.settings.state_dir / "server").url(MARKET_DATABASE)
        return Warehouse(url, work_mem_mb=self.settings.work_mem_mb, lock_timeout_ms=self.settings.lock_timeout_ms)

    @cached_property
    def feeds(self) -> dict[str, Feed]:
        """The packaged feeds and those of the settings."""
        return load_feeds(str(self.settings.feeds_dir or ""))

    @cached_property
    def calendar(self) -> TradingCalendar:
        """The sessions there are partitions for."""
        return TradingCalendar(self.settings.first_session)

    @cached_property
    def quality(self) -> Quality:
        """The checks."""
        return Quality(self.warehouse, self.feeds, self.settings.late_share_warn)

    @cached_property
    def _intake(self) -> Intake:
        return Intake(self.warehouse, self.feeds, self.settings.landing, self.calendar, self.settings.max_line_bytes)

    @cached_property
    def _normalizer(self) -> Normalizer:
        return Normalizer(
            self.warehouse,
            self.feeds,
            self.calendar,
            self.settings.build_connections,
            self.settings.slice_rows,
            self.settings.outlier_factor,
            self.settings.outlier_min_prints,
        )

    @cached_property
    def _computer(self) -> MetricsComputer:
        return MetricsComputer(self.warehouse, self.calendar)

    def run_session(
        self, day: date, assets: Collection[str], *, run_id: str | None = None, preview: bool = True
    ) -> Iterator[StepDone]:
        """Do the steps of ``assets`` for a session, in order; each is committed when it is handed out.

        Raises:
            SpineError: a step could not be done, or a blocking check of it or of the table above it failed. Steps
                handed out before stand.
        """
        # One connection for all gates and checks of the session: opening it takes longer than they do.
        with self.warehouse.connect() as connection:
            for asset in (one for one in STEPS if one in assets):
                above = UPSTREAM.get(asset)
                if above is not None and above not in assets:
                    self.quality.require_passed(above, day, connection, run_id=run_id)
                with logs.bound(asset=asset), traces.span(asset, asset=asset, partition=str(day)):
                    done = self._do(connection, asset, day, run_id, preview=preview)
                    log.info("built", extra={"rows": done.rows, "seconds": round(done.seconds, 2)})
                yield done
                stop_if_blocked(done.checks)

    def file_checks(self, day: date, *, run_id: str | None = None) -> list[CheckResult]:
        """The checks of a session's files after they could not be loaded, so that what is missing is on record."""
        try:
            with self.warehouse.connect() as connection:
                return self.quality.check_day(RAW, day, connection, run_id=run_id)
        except (SpineError, psycopg.Error):
            return []  # the error that ended the session is the one to report

    def unreadable_names(self) -> list[str]:
        """Files in the landing folder that no session will ever ask for, one line each."""
        return [str(name) for name in unreadable_names(self.settings.landing, self.feeds)]

    def _do(self, connection: Connection, asset: str, day: date, run_id: str | None, *, preview: bool) -> StepDone:
        started = time.monotonic()
        rows, facts, marked = {RAW: self._load, TRADES: self._normalize, METRICS: self._compute}[asset](day, run_id)
        checks = self.quality.check_day(asset, day, connection, run_id=run_id)
        shown = _preview(connection, asset, day) if preview else None
        connection.commit()
        return StepDone(asset, day, rows, facts, shown, checks, marked, time.monotonic() - started)

    def _load(self, day: date, run_id: str | None) -> tuple[int, dict[str, object], Sequence[date]]:
        result = self._intake.load_day(day, run_id=run_id)
        known = sum(not file.loaded for file in result.files)
        facts: dict[str, object] = {"rows_loaded": result.loaded_rows, "files_known_already": known}
        voided = [file.voided for file in result.files if file.voided]
        if voided:
            facts["voided_files"] = voided
        return result.rows, facts, ()

    def _normalize(self, day: date, run_id: str | None) -> tuple[int, dict[str, object], Sequence[date]]:
        result = self._normalizer.normalize_day(day, run_id=run_id)
        facts: dict[str, object] = {
            "file_rows": result.base_rows,
            "carried_in": result.carried_in,
            "trades": dict(result.trades),
            "exceptions": {name: dict(reasons) for name, reasons in result.exceptions.items()},
        }
        others = [marked for marked in result.marked if marked != day]
        if others:
            facts["days_marked"] = [str(marked) for marked in others]
        return sum(result.trades.values()), facts, others

    def _compute(self, day: date, run_id: str | None) -> tuple[int, dict[str, object], Sequence[date]]:
        result = self._computer.compute_day(day, run_id=run_id)
        return result.symbols, {"revised": result.revised, "later_rows_revised": result.rippled}, ()


def _preview(connection: Connection, asset: str, day: date) -> Preview:
    query = {RAW: intake.SQL, TRADES: day_pass.SQL, METRICS: metrics.SQL}[asset]("preview")
    cursor = connection.execute(query, {"day": day, "report_date": day})
    return [column.name for column in cursor.description or ()], cursor.fetchall()
