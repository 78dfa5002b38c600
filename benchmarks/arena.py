"""Where benchmarks run: an embedded server of their own, fresh databases, generated files, the three steps.

What it is: ``Arena`` starts a server in a folder that did not exist, hands out databases and removes everything in
the end, so that no figure profits from what an earlier one left behind.
Belongs here: what every figure needs. Does not belong here: figures.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import date
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

from benchmarks.generate import write_day, write_history
from benchmarks.measure import Clock, Say
from market_spine.calendar import TradingCalendar
from market_spine.otc.feeds import Feed, load_feeds
from market_spine.otc.intake import Intake
from market_spine.otc.metrics import MetricsComputer
from market_spine.otc.normalize import Normalizer
from market_spine.settings import Settings
from market_spine.warehouse import migrate
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine.warehouse.engine import Warehouse
from market_spine.warehouse.sql import statements

SQL = statements("benchmarks", "bench.sql")
SERVER_SQL = statements("market_spine.warehouse", "embedded.sql")
TEMPLATE = "template_market_spine"


@dataclass(frozen=True)
class Steps:
    """The three steps on one database, without Dagster."""

    intake: Intake
    normalizer: Normalizer
    metrics: MetricsComputer

    @classmethod
    def on(cls, settings: Settings, feeds: Mapping[str, Feed] | None = None) -> Self:
        """The steps as the settings describe them."""
        warehouse = Warehouse(settings.database_url, settings.work_mem_mb, settings.lock_timeout_ms)
        calendar = TradingCalendar(settings.first_session)
        feeds = feeds or load_feeds()
        return cls(
            Intake(warehouse, feeds, settings.landing, calendar, settings.max_line_bytes),
            Normalizer(
                warehouse,
                feeds,
                calendar,
                settings.build_connections,
                settings.slice_rows,
                settings.outlier_factor,
                settings.outlier_min_prints,
            ),
            MetricsComputer(warehouse, calendar),
        )

    def named(self) -> dict[str, Callable[[date], object]]:
        """The steps in their order, by the name of the table they write."""
        return {
            "otc_trades_raw": self.intake.load_day,
            "otc_trades": self.normalizer.normalize_day,
            "otc_metrics_daily": self.metrics.compute_day,
        }

    def run(self, day: date, clock: Clock | None = None) -> None:
        """All three for a day; each timed on the clock."""
        clock = clock or Clock()
        with self.keeping():
            for name, step in self.named().items():
                with clock.step(name):
                    step(day)

    def keeping(self) -> AbstractContextManager[None]:
        """Keep connections for the next day, as a run does."""
        return self.intake.warehouse.keeping()


@dataclass
class Arena:
    """A server, a folder for files, and a counter for names; a context manager.

    Args:
        say: where progress goes.
        folder: parent of everything made here; the system's folder for temporary files by default.
    """

    say: Say
    folder: Path | None = None
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))
    _days: dict[tuple[object, ...], Path] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self.root = Path(tempfile.mkdtemp(prefix="market-spine-bench-", dir=self.folder))
        # Run by root, the server has an account of its own, which must be able to walk through.
        self.root.chmod(0o711)
        self.files = self.root / "files"
        self.files.mkdir()
        self.server = EmbeddedServer(self.root / "server")
        try:
            self.server.start()
            self.server.ensure_database(TEMPLATE)
            migrate.upgrade(self.server.url(TEMPLATE))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.remove()
        shutil.rmtree(self.root, ignore_errors=True)

    @contextmanager
    def database(self, template: str = TEMPLATE, name: str = "") -> Iterator[str]:
        """A copy of a template database, dropped after the block; answers its address."""
        with self._admin() as admin:
            name = name or f"bench_{next(self._numbers)}"
            admin.execute(SERVER_SQL("create_database_from", database=name, template=template))
        try:
            yield self.server.url(name)
        finally:
            with self._admin() as admin:
                admin.execute(SERVER_SQL("drop_database", database=name))

    def settle(self) -> None:
        """Let the server write what it owes before the clock runs."""
        with self._admin() as admin:
            admin.execute(SQL("checkpoint"))

    def settings(self, url: str, landing: Path, first_session: date) -> Settings:
        """The product's defaults on a database and a landing folder of ours."""
        return Settings(
            database_url=url, landing=landing, first_session=first_session, state_dir=self.root / f"state{landing.name}"
        )

    def new_landing(self) -> Path:
        """An empty landing folder with room for files of the feed ``otc``."""
        landing = self.files / f"landing_{next(self._numbers)}"
        (landing / "otc").mkdir(parents=True)
        return landing

    def day(self, day: date, rows: int, symbols: int) -> Path:
        """A landing folder that holds one generated day; made once a size."""
        key = (day, rows, symbols)
        if key not in self._days:
            self.say(f"generating {rows:,} reports of {symbols:,} symbols for {day}")
            landing = self.new_landing()
            write_day(day_file(landing, day), day, rows, symbols)
            self._days[key] = landing
        return self._days[key]

    def history(self, sessions: Sequence[date], reports: int, symbols: int) -> Path:
        """A landing folder with a small file for each session."""
        self.say(f"generating {len(sessions):,} sessions of {reports:,} reports")
        landing = self.new_landing()
        write_history(landing, sessions, reports, symbols=symbols)
        return landing

    def forget(self, landing: Path) -> None:
        """Delete a landing folder that no other figure needs."""
        self._days = {key: path for key, path in self._days.items() if path != landing}
        shutil.rmtree(landing, ignore_errors=True)

    def _admin(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self.server.url("postgres"), autocommit=True)


def day_file(landing: Path, day: date) -> Path:
    """Where the feed ``otc`` expects a day's file."""
    return landing / "otc" / f"otc_{day}.csv"


def megabytes(size: float) -> str:
    """Bytes for people."""
    return f"{size / 1e6:,.0f} MB"
