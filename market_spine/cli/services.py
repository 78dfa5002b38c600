"""What every command needs around it: the databases, and the environment of Dagster's processes.

Belongs here: choosing between the embedded server and addresses from the settings, DAGSTER_HOME, child environments.
Does not belong here: the commands.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from market_spine.errors import LedgerError, SettingsError, SpineError
from market_spine.ledger.storage import LedgerStorage
from market_spine.ledger.webserver import Webserver
from market_spine.settings import Settings
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine.warehouse.engine import Warehouse
from market_spine.warehouse.version import is_behind, refuse_behind

# migrations/, dagster.yaml, workspace.yaml and data/ stand beside the package, in a clone and in the image alike.
PROJECT = Path(__file__).resolve().parents[2]
MARKET_DATABASE = "market_spine"
DAGSTER_DATABASE = "dagster"
WEBSERVER_NOTE = "webserver.address"
"""File in the state folder that says where the webserver of `spine up` answers."""


@dataclass(frozen=True)
class Databases:
    """Addresses of the two databases; ``shown`` is the first one without its password."""

    market: str
    dagster: str
    shown: str


def known_databases(settings: Settings) -> Databases:
    """The databases of the settings, or those of the embedded server if it runs; starts nothing.

    Raises:
        SettingsError: only one of the two addresses is set.
        WarehouseError: the embedded server does not run.
    """
    if settings.database_url:
        if not settings.dagster_database_url:
            raise SettingsError(
                "DAGSTER_DATABASE_URL is ''; expected an address like postgresql://user@host:5432/dagster, because "
                "DATABASE_URL is set"
            )
        return Databases(
            settings.database_url, for_dagster(settings.dagster_database_url), without_password(settings.database_url)
        )
    server = EmbeddedServer(settings.state_dir / "server")
    return Databases(
        server.url(MARKET_DATABASE),
        for_dagster(settings.dagster_database_url or server.url(DAGSTER_DATABASE)),
        server.tcp_url(MARKET_DATABASE, password=False),
    )


@contextmanager
def databases(settings: Settings) -> Iterator[Databases]:
    """The databases of the settings, or those of the embedded server, which then runs for as long as the block.

    Raises:
        SettingsError: only one of the two addresses is set.
        WarehouseError: the embedded server cannot be started.
    """
    if settings.database_url:
        yield known_databases(settings)
        return
    with EmbeddedServer(settings.state_dir / "server") as server:
        server.ensure_database(MARKET_DATABASE)
        server.ensure_database(DAGSTER_DATABASE)
        yield known_databases(settings)


@dataclass(frozen=True)
class Deployment:
    """A deployed instance as the commands reach it."""

    settings: Settings
    databases: Databases

    @property
    def warehouse(self) -> Warehouse:
        """The market tables."""
        return Warehouse(
            self.databases.market, work_mem_mb=self.settings.work_mem_mb, lock_timeout_ms=self.settings.lock_timeout_ms
        )

    @property
    def ledger(self) -> LedgerStorage:
        """Dagster's storage."""
        return LedgerStorage(self.databases.dagster)

    @property
    def webserver(self) -> Webserver:
        """Dagster's webserver: that of the settings, else the one `spine up` noted in the state folder.

        Raises:
            LedgerError: there is neither.
        """
        note = self.settings.state_dir / WEBSERVER_NOTE
        url = self.settings.webserver_url or (note.read_text(encoding="ascii").strip() if note.exists() else "")
        if not url:
            raise LedgerError(
                "no Dagster webserver is known; start `spine up`, or set MARKET_SPINE_WEBSERVER to the address of yours"
            )
        return Webserver(url)

    def webserver_within(self, seconds: float) -> Webserver:
        """The same, for somebody who does not wait longer for an answer.

        Raises:
            LedgerError: as ``webserver``.
        """
        return replace(self.webserver, timeout=seconds)


@contextmanager
def deployment(settings: Settings, *, market: bool = True) -> Iterator[Deployment]:
    """The instance of the settings; the embedded server runs for as long as the block when nobody else runs it.

    The market tables of the embedded server are ours: they are made, or brought up to date, first. Those at an address
    of the settings are somebody's who decides when that is done.

    Args:
        settings: where the databases are.
        market: the market tables are needed.

    Raises:
        SettingsError, WarehouseError: as ``databases``.
        WarehouseError: the market tables are needed and are not there, or are older than this code.
    """
    with databases(settings) as found:
        deployed = Deployment(settings, found)
        if settings.database_url:
            if market:
                refuse_behind(deployed.warehouse)
        elif is_behind(deployed.warehouse):
            from market_spine.warehouse import migrate  # 0.4 s of imports, which nobody pays whose tables are there

            migrate.upgrade(found.market)
        yield deployed


def for_dagster(url: str) -> str:
    """The address as dagster-postgres needs it: with psycopg2 named (dagster.yaml says why)."""
    return f"postgresql+psycopg2://{url.partition('://')[2]}"


def without_password(url: str) -> str:
    """The address as it may be printed."""
    scheme, _, rest = url.partition("://")
    account, at, host = rest.rpartition("@")
    return f"{scheme}://{account.partition(':')[0]}{at}{host}"


def dagster_environment(settings: Settings, found: Databases) -> dict[str, str]:
    """The environment of Dagster's processes; makes DAGSTER_HOME with the project's ``dagster.yaml`` in it."""
    home = settings.state_dir.resolve() / "dagster"
    landing = settings.landing
    home.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(PROJECT / "dagster.yaml", home / "dagster.yaml")
    return {
        **os.environ,
        **settings.to_env(),
        "MARKET_SPINE_STATE": str(settings.state_dir.resolve()),
        "MARKET_SPINE_LANDING": str(landing.resolve() if isinstance(landing, Path) else landing),
        "DATABASE_URL": found.market,
        "DAGSTER_DATABASE_URL": found.dagster,
        "DAGSTER_HOME": str(home),
        "PYTHONUNBUFFERED": "1",
        # `dagster job execute` and `api grpc` are named superseded in 1.13; their replacements cannot do the same.
        "PYTHONWARNINGS": "ignore",
    }


def dagster_command(*arguments: str) -> list[str]:
    """One of Dagster's commands, run by this very Python."""
    program, *rest = arguments
    return [sys.executable, "-m", program, *rest]


def make_dagster_schema(environment: dict[str, str]) -> None:
    """Create or migrate Dagster's tables before several processes open them at once.

    Raises:
        SpineError: Dagster could not.
    """
    done = subprocess.run(
        dagster_command("dagster", "instance", "migrate"),
        env=environment,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise SpineError(f"DAGSTER_DATABASE_URL: Dagster cannot make its tables there: {last}")
