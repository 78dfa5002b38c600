"""The OpenAPI says what the API does: schemathesis tries to prove the opposite.

Belongs here: generated requests, the documentation of routes and codes. Does not belong here: requests chosen by hand.
"""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema_rs import validator_for

from market_spine.api.problems import KINDS
from market_spine.settings import Settings
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine_tests.conftest import DatabaseFactory
from market_spine_tests.driving import Platform
from market_spine_tests.orchestrated import dagster_database
from market_spine_tests.serving import (
    FIRST,
    METRICS,
    QUALITY,
    QUARANTINE,
    SYMBOLS,
    TRADES,
    Api,
    serving,
    settings_for,
    week,
)

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTATION = ROOT / "docs" / "api.md"
EXAMPLES = 100


@pytest.fixture(scope="module")
def api(new_database: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("api")
    with new_database() as url:
        week(Platform(url, folder / "landing", FIRST))
        with serving(settings_for(url, folder)) as running:
            yield running


def operations(api: Api) -> dict[tuple[str, str], dict[str, Any]]:
    """What the OpenAPI says of each method of each path."""
    found = api.app.openapi()["paths"]
    return {(method.upper(), path): one for path, methods in found.items() for method, one in methods.items()}


@pytest.mark.slow
def test_schemathesis_finds_nothing(server: EmbeddedServer, new_database: DatabaseFactory, tmp_path: Path) -> None:
    # No webserver runs behind it, so it is told no token that may operate: its writes are refused (401).
    with (
        new_database() as url,
        dagster_database(server, Settings(database_url=url), tmp_path) as dagster,
        spine_api(url, server.url(dagster), tmp_path) as address,
    ):
        week(Platform(url, tmp_path / "landing", FIRST))
        command = [
            *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{address}/api/v1/openapi.json"),
            *("--checks", "all", "--max-examples", str(EXAMPLES), "--phases", "examples,coverage,fuzzing"),
            *("--generation-database", "none", "--suppress-health-check", "all", "--no-color"),
        ]
        environment = {
            **os.environ,
            "SCHEMATHESIS_HOOKS": "market_spine_tests.schemathesis_hooks",
            "PYTHONPATH": str(ROOT),
        }
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=220)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    assert "17 selected / 17 total" in done.stdout


@contextmanager
def spine_api(url: str, dagster_url: str, folder: Path) -> Iterator[str]:
    """The command itself, in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "DATABASE_URL": url,
        "DAGSTER_DATABASE_URL": dagster_url,
        "MARKET_SPINE_API_OPERATE_TOKENS": "nobody-is-told-0123456789",
        "MARKET_SPINE_FIRST_SESSION": str(FIRST),
        "MARKET_SPINE_STATE": str(folder / "state"),
    }
    command = [sys.executable, "-m", "market_spine.cli.main", "api", "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
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
        _, said = process.communicate(timeout=20)
    assert f"http://127.0.0.1:{port}/api/v1" in said
    assert "Traceback" not in said


def test_every_answer_in_the_documentation_is_one_by_its_own_schema(api: Api) -> None:
    components = api.app.openapi()["components"]
    for (_, path), operation in operations(api).items():
        for status, answer in operation["responses"].items():
            for media, content in answer.get("content", {}).items():
                if not media.endswith("json"):
                    continue
                validator = validator_for({**content["schema"], "components": components})
                examples = [one["value"] for one in content.get("examples", {}).values()] or [content["example"]]
                for example in examples:
                    validator.validate(example)
                    assert example, (path, status)


@pytest.mark.parametrize("path", [METRICS + "?fields=all", f"{TRADES}?date=2026-02-02", QUALITY, QUARANTINE, SYMBOLS])
def test_real_answers_hold_their_schema(api: Api, path: str) -> None:
    components = api.app.openapi()["components"]
    content = operations(api)["GET", path.partition("?")[0]]["responses"]["200"]["content"]["application/json"]
    body = api.get(f"{path}{'&' if '?' in path else '?'}count=true").json()
    assert body["data"]
    validator_for({**content["schema"], "components": components}).validate(body)


# --- docs/api.md


def headings() -> list[str]:
    return re.findall(r"^#+ (.*)$", DOCUMENTATION.read_text(encoding="utf-8"), re.MULTILINE)


def test_every_route_has_its_heading_and_its_parameters(api: Api) -> None:
    text = DOCUMENTATION.read_text(encoding="utf-8")
    routes = {f"{method} {path}" for method, path in operations(api)}
    assert {heading for heading in headings() if heading.startswith(("GET ", "POST "))} == routes
    for (method, path), operation in operations(api).items():
        section = text.partition(f" {method} {path}\n")[2].partition("\n## ")[0]
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
        parameters = [one["name"] for one in operation.get("parameters", []) if one["in"] != "path"]
        for name in (*parameters, *body.get("properties", ())):
            assert f"| `{name}` |" in section, (method, path, name)


def test_every_code_has_its_line() -> None:
    lines = re.findall(r"^\| (\d{3}) \| `([a-z_]+)` \|", DOCUMENTATION.read_text(encoding="utf-8"), re.MULTILINE)
    assert {(int(status), code) for status, code in lines} == {(kind.status, code) for code, kind in KINDS.items()}
