"""The OpenAPI says what the API does: schemathesis tries to prove the opposite.

Belongs here: generated requests. Does not belong here: requests chosen by hand, what schemathesis has to be told
(``schemathesis_hooks``).
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from market_spine.settings import Settings, Tokens
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine_tests.conftest import DatabaseFactory
from market_spine_tests.deployed import deployed
from market_spine_tests.driving import Platform
from market_spine_tests.ledger_api import DAYS, TOKEN, a_letter
from market_spine_tests.orchestrated import dagster_database
from market_spine_tests.processes import free_port
from market_spine_tests.serving import FIRST, week

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = 50
PHASES = "examples,coverage,fuzzing"
LETTERS = 30
WRITES = r"^/api/v1/(executions|dead-letters)"


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_schemathesis_finds_nothing_without_a_token(
    server: EmbeddedServer, new_database: DatabaseFactory, tmp_path: Path
) -> None:
    with (
        new_database() as url,
        dagster_database(server, Settings(database_url=url), tmp_path) as dagster,
        spine_api(
            {
                "DATABASE_URL": url,
                "DAGSTER_DATABASE_URL": server.url(dagster),
                "MARKET_SPINE_API_OPERATE_TOKENS": TOKEN,
                "MARKET_SPINE_FIRST_SESSION": str(FIRST),
                "MARKET_SPINE_STATE": str(tmp_path / "state"),
            },
            tmp_path,
        ) as address,
    ):
        week(Platform(url, tmp_path / "landing", FIRST))
        said = schemathesis(address, tmp_path)
    assert re.search(r"(\d+) selected / \1 total", said), said


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_schemathesis_finds_nothing_in_writes_that_a_webserver_takes(
    server: EmbeddedServer, new_database: DatabaseFactory, tmp_path: Path
) -> None:
    tokens = {"api_operate_tokens": Tokens(TOKEN)}
    # Without a daemon, so that what is submitted stays in the queue.
    with deployed(server, new_database, tmp_path, daemon=False, settings=tokens) as site:
        for day in DAYS[:LETTERS]:
            a_letter(site, day)
        with spine_api(site.settings.to_env(), tmp_path) as address:
            schemathesis(address, tmp_path, "--include-path-regex", WRITES, token=TOKEN, phases=f"{PHASES},stateful")
        with site.ledger.connect() as connection:
            row = connection.execute("SELECT count(*) FROM runs").fetchone()
    assert row is not None
    assert row[0] > 0, "nothing was submitted"


def schemathesis(address: str, folder: Path, *more: str, token: str = "", phases: str = PHASES) -> str:
    """All checks of schemathesis over an API; what it said."""
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{address}/api/v1/openapi.json"),
        *("--checks", "all", "--max-examples", str(EXAMPLES), "--phases", phases),
        *("--generation-database", "none", "--suppress-health-check", "all", "--no-color", *more),
    ]
    environment = {
        **os.environ,
        "SCHEMATHESIS_TOKEN": token,
        "SCHEMATHESIS_HOOKS": "market_spine_tests.schemathesis_hooks",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=360)
    # What it found stands at the beginning, behind it addresses of any length; the seed at the end.
    lines = [line[:500] for line in done.stdout.splitlines()]
    assert done.returncode == 0, "\n".join([*lines[:100], "...", *lines[-40:], done.stderr[-1000:]])
    return done.stdout


@contextmanager
def spine_api(settings: Mapping[str, str], folder: Path) -> Iterator[str]:
    """The command itself, in a process of its own; it logs to a file: a pipe that nobody reads would stop it."""
    port = free_port()
    command = [sys.executable, "-m", "market_spine.cli.main", "api", "--port", str(port)]
    log = folder / "api.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **settings}, stderr=output)
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 40
        while True:
            try:
                assert httpx.get(f"{address}/health/ready", timeout=10).json()["status"] == "ready"
                break
            except httpx.TransportError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=20)
    said = log.read_text()
    assert f"http://127.0.0.1:{port}/api/v1" in said
    assert "Traceback" not in said
