"""The database outside of the cluster: the embedded PostgreSQL with accounts as an operator would make them.

Belongs here: accounts, databases, the Secrets that tell pods of them. Does not belong here: tables.
"""

import os
import secrets
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from image import PROJECT
from kube import Object
from network import NODE_ADDRESS
from report import NotProven
from services import Forward

from market_spine.warehouse.embedded import EmbeddedServer
from market_spine.warehouse.embedded_home import bundled_programs

PORT = 5432
MARKET, DAGSTER, READER = "market_spine", "dagster", "market_spine_api"
ACCOUNTS = PROJECT / "deploy" / "compose" / "databases.sh"
"""What makes accounts and databases for compose.yaml and for a local cluster, too."""


@dataclass(frozen=True)
class Database:
    """The server and what opens it.

    Args:
        administrator: the server, for somebody on this machine who may do everything.
        market: the market tables, likewise.
        dagster: Dagster's storage, likewise.
        passwords: by account.
        token: which the API takes for a write.
        host: what the values call it.
    """

    administrator: str
    market: str
    dagster: str
    passwords: dict[str, str]
    token: str
    host: str

    def secrets(self) -> list[Object]:
        """The two Secrets that the releases name."""
        addresses = {
            "DATABASE_URL": self.address(MARKET, MARKET),
            "DAGSTER_DATABASE_URL": self.address(DAGSTER, DAGSTER),
            "MARKET_SPINE_API_DATABASE_URL": self.address(READER, MARKET),
            "MARKET_SPINE_API_OPERATE_TOKENS": self.token,
        }
        return [
            _secret("market-spine", addresses),
            _secret("market-spine-postgresql", {"postgresql-password": self.passwords[DAGSTER]}),
        ]

    def address(self, account: str, database: str) -> str:
        """A database as a pod reaches it."""
        return f"postgresql://{account}:{self.passwords[account]}@{self.host}:{PORT}/{database}"


@contextmanager
def database(folder: Path, host: str) -> Iterator[Database]:
    """The server for as long as the block, reached by pods as ``host``.

    Raises:
        NotProven: its accounts cannot be made.
    """
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    # Thrown away in the end: nothing has to survive a power cut.
    with EmbeddedServer(folder, extra_config={"fsync": "off"}) as server:
        passwords = {account: secrets.token_urlsafe(18) for account in (MARKET, DAGSTER, READER)}
        administrator = server.url("postgres")
        _make_accounts(administrator, passwords)
        port = int(server.tcp_url("postgres", password=False).rpartition(":")[2].partition("/")[0])
        forward = Forward((NODE_ADDRESS, PORT))
        forward.lead_to([("127.0.0.1", port)])
        token = secrets.token_urlsafe(24)
        try:
            yield Database(administrator, server.url(MARKET), server.url(DAGSTER), passwords, token, host)
        finally:
            forward.stop()


def _make_accounts(administrator: str, passwords: dict[str, str]) -> None:
    place = parse_qs(urlsplit(administrator).query)
    environment = {
        "PATH": f"{bundled_programs()}{os.pathsep}{os.environ['PATH']}",
        "PGHOST": place["host"][0],
        "PGPORT": place["port"][0],
        "MARKET_SPINE_PASSWORD": passwords[MARKET],
        "MARKET_SPINE_API_PASSWORD": passwords[READER],
        "DAGSTER_PASSWORD": passwords[DAGSTER],
    }
    done = subprocess.run(["bash", ACCOUNTS], env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotProven(f"{ACCOUNTS.name}: {done.stderr.strip()}")


def _secret(name: str, values: dict[str, str]) -> Object:
    data = {key: b64encode(value.encode()).decode() for key, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}
