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
from dataclasses import dataclass
from pathlib import Path

from market_spine.errors import SettingsError, SpineError
from market_spine.settings import Settings
from market_spine.warehouse.embedded import EmbeddedServer

# migrations/, dagster.yaml, workspace.yaml and data/ stand beside the package, in a clone and in the image alike.
PROJECT = Path(__file__).resolve().parents[2]
MARKET_DATABASE = "market_spine"
DAGSTER_DATABASE = "dagster"


@dataclass(frozen=True)
class Databases:
    """Addresses of the two databases; ``shown`` is the first one without its password."""

    market: str
    dagster: str
    shown: str


@contextmanager
def databases(settings: Settings) -> Iterator[Databases]:
    """The databases of the settings, or those of the embedded server, which then runs for as long as the block.

    Raises:
        SettingsError: only one of the two addresses is set.
        WarehouseError: the embedded server cannot be started.
    """
    if settings.database_url:
        if not settings.dagster_database_url:
            raise SettingsError(
                "DAGSTER_DATABASE_URL is ''; expected an address like postgresql://user@host:5432/dagster, because "
                "DATABASE_URL is set"
            )
        yield Databases(
            settings.database_url, for_dagster(settings.dagster_database_url), without_password(settings.database_url)
        )
        return
    with EmbeddedServer(settings.state_dir / "server") as server:
        server.ensure_database(MARKET_DATABASE)
        server.ensure_database(DAGSTER_DATABASE)
        yield Databases(
            server.url(MARKET_DATABASE),
            for_dagster(settings.dagster_database_url or server.url(DAGSTER_DATABASE)),
            server.tcp_url(MARKET_DATABASE, password=False),
        )


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
    home.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(PROJECT / "dagster.yaml", home / "dagster.yaml")
    return {
        **os.environ,
        **settings.to_env(),
        "MARKET_SPINE_STATE": str(settings.state_dir.resolve()),
        "MARKET_SPINE_LANDING": str(settings.landing.resolve()),
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
