"""The image built by its own Dockerfile, and the platform of compose.yaml in it: read-only root, no rights, process 1.

Belongs here: what only a built image shows; no container engine is needed (``without_engine`` says what that cannot
stand in for). Does not belong here: what can be read from the files (``test_image``, ``test_compose``).
"""

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from market_spine.warehouse.embedded import EmbeddedServer
from market_spine.warehouse.embedded_home import bundled_programs
from market_spine_tests.processes import free_port
from market_spine_tests.test_compose import PORTS, SECRETS, composed
from market_spine_tests.without_engine import ROOT, Build, Stage, can_build

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("image"),
    pytest.mark.skipif(not can_build(), reason="needs Linux, root and the right to mount in a namespace of one's own"),
]
OURS = ("otc-pipelines", "webserver", "daemon", "api")
READY_SECONDS = 120.0
IDLE_SECONDS = 500.0
"""Seven sessions one after the other: a minute, and several when other tests have the processors."""
SESSION = "2026-03-04"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("image")
    for parent in (folder, *folder.parents[:3]):
        parent.chmod(0o755)  # the image's account has to come as far as its root
    yield Build(folder).image
    shutil.rmtree(folder, ignore_errors=True)


def run(image: Stage, *command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(image.container(command, {}), capture_output=True, text=True, timeout=120)


# --- what is in it


def test_without_a_command_it_says_what_there_is(image: Stage) -> None:
    done = run(image, *image.command)
    assert (done.returncode, done.stderr) == (0, "")
    assert "cleanup" in done.stdout


def test_every_part_can_be_imported_and_nothing_of_the_developers(image: Stage) -> None:
    ours = "market_spine.definitions, market_spine.api.app, dagster_celery_k8s, dagster_k8s, s3fs, opentelemetry.sdk"
    assert run(image, "python", "-W", "ignore", "-c", f"import {ours}").stderr == ""
    for name in ("pip", "setuptools", "pytest", "mypy", "duckdb", "market_spine_tests"):
        assert run(image, "/opt/venv/bin/python", "-c", f"import {name}").returncode == 1, name


def test_nobody_can_write_but_where_it_is_meant(image: Stage) -> None:
    script = 'id -u; id -g; for one in / /opt/venv /opt/market-spine /usr/local /etc "$DAGSTER_HOME"; do '
    script += 'touch "$one/x" 2>/dev/null && echo "$one"; done; touch /tmp/x && echo ok; '
    script += 'grep -E "CapEff|NoNewPrivs" /proc/1/status'
    done = run(image, "sh", "-c", script)
    assert done.stdout.split() == ["10001", "10001", "ok", "CapEff:", "0000000000000000", "NoNewPrivs:", "1"]


def test_a_command_that_is_no_service_counts_as_healthy(image: Stage) -> None:
    assert run(image, "spine", "health").returncode == 0


def test_the_demonstration_needs_no_server(image: Stage) -> None:
    done = run(image, "spine", "demo")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "ACME" in done.stdout


# --- the platform


@dataclass
class Composed:
    """The services of compose.yaml, as processes of this machine.

    Args:
        image: built.
        folder: for volumes and logs.
        services: of compose.yaml, with what is called by name here at 127.0.0.1, on ports of our own.
        dagster: address of Dagster's database.
        ports: our own, by the image's.
    """

    image: Stage
    folder: Path
    services: dict[str, dict[str, Any]]
    dagster: str
    ports: dict[int, int]
    running: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def command(self, name: str, words: Sequence[str]) -> list[str]:
        storage = self.folder / "storage"
        storage.mkdir(exist_ok=True)
        os.chown(storage, 10001, 10001)
        volumes = {
            storage: "/opt/dagster/dagster_home/storage",
            ROOT / "data" / "landing": "/landing",
            self.folder / "workspace.yaml": "/etc/market-spine/workspace.yaml",
        }
        return self.image.container(words, self.services[name]["environment"], volumes)

    def start(self, name: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                self.command(name, self.services[name]["command"]), stdout=log, stderr=subprocess.STDOUT
            )

    def health(self, name: str) -> "subprocess.CompletedProcess[str]":
        check = self.services[name]["healthcheck"]["test"][1:]
        role = {"otc-pipelines": 3030, "webserver": 3000, "api": 8000}.get(name)
        more = ["--port", str(self.ports[role])] if role else []
        return subprocess.run(self.command(name, [*check, *more]), capture_output=True, text=True, timeout=60)

    def wait_until_healthy(self, name: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while (done := self.health(name)).returncode != 0:
            assert self.running[name].poll() is None, (self.folder / f"{name}.log").read_text()[-3000:]
            assert time.monotonic() < deadline, done.stderr
            time.sleep(0.5)

    def first_process(self, name: str) -> psutil.Process:
        return psutil.Process(self.running[name].pid).children()[0]

    def spine(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = self.command("daemon", ["spine", *arguments])
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    def statuses(self) -> dict[str, str]:
        with psycopg.connect(self.dagster) as connection:
            return dict(connection.execute("SELECT run_id, status FROM runs").fetchall())

    def stop(self) -> None:
        for name, process in self.running.items():
            # Taking another account on, process 1 stopped hearing of its parent's death: it is ended itself, which
            # ends everything in its namespace.
            with suppress(psutil.NoSuchProcess, IndexError):
                self.first_process(name).kill()
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def platform(image: Stage, short_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    """Databases made by compose's own script, and every service started in the order of its depends_on."""
    folder = tmp_path_factory.mktemp("platform")
    ports = {port: free_port() for port in PORTS}
    with EmbeddedServer(short_folder / "composed") as server:
        admin = urlsplit(server.tcp_url("postgres"))
        subprocess.run(
            [ROOT / "deploy" / "compose" / "databases.sh"],
            env={
                **os.environ,
                **SECRETS,
                "PATH": f"{bundled_programs()}:{os.environ['PATH']}",
                "PGHOST": "127.0.0.1",
                "PGPORT": str(admin.port),
                "PGPASSWORD": str(admin.password),
            },
            check=True,
            capture_output=True,
        )
        text = json.dumps(
            {name: one for name, one in composed()["services"].items() if name in (*OURS, "migrate")}, default=str
        )
        text = text.replace("@postgres:5432", f"@127.0.0.1:{admin.port}").replace("//webserver:", "//127.0.0.1:")
        workspace = (
            (ROOT / "deploy" / "compose" / "workspace.yaml")
            .read_text()
            .replace("host: otc-pipelines", "host: 127.0.0.1")
        )
        for theirs, own in ports.items():
            text = text.replace(f"--port={theirs}", f"--port={own}").replace(f"127.0.0.1:{theirs}", f"127.0.0.1:{own}")
            workspace = workspace.replace(f"port: {theirs}", f"port: {own}")
        (folder / "workspace.yaml").write_text(workspace)
        dagster = f"postgresql://dagster:{SECRETS['DAGSTER_PASSWORD']}@127.0.0.1:{admin.port}/dagster"
        made = Composed(image, folder, json.loads(text), dagster, ports)
        try:
            migrated = subprocess.run(made.command("migrate", made.services["migrate"]["command"]), capture_output=True)
            assert migrated.returncode == 0, migrated.stderr
            for name in OURS:
                made.start(name)
                made.wait_until_healthy(name)
            yield made
        finally:
            made.stop()


def test_files_that_have_landed_become_metrics_that_the_api_serves(platform: Composed) -> None:
    address = (
        f"http://127.0.0.1:{platform.ports[8000]}/api/v1/otc/metrics/daily?start={SESSION}&end={SESSION}&symbol=ACME"
    )
    deadline = time.monotonic() + READY_SECONDS
    while not (rows := _data(address)):
        assert time.monotonic() < deadline, platform.statuses()
        time.sleep(1)
    assert [row["trade_date"] for row in rows] == [SESSION]
    assert list((platform.folder / "storage").rglob("*.out")), "what runs print is kept for the UI"


def _data(address: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(address, timeout=10) as answer:
        return list(json.load(answer)["data"])


def test_the_doctor_finds_nothing_that_fails(platform: Composed) -> None:
    done = platform.spine("doctor", "--json")
    findings = {one["what"]: one for one in json.loads(done.stdout)}
    assert [one for one in findings.values() if one["state"] == "fail"] == []
    assert findings["code location"]["says"] == "otc-pipelines loaded"


def test_a_run_whose_container_was_killed_is_ended_from_another_one(platform: Composed) -> None:
    _wait_until_idle(platform)
    before = set(platform.statuses())
    assert platform.spine("dispatch", "otc_backfill_range", "2026-03-04..2026-03-12").returncode == 0
    deadline = time.monotonic() + READY_SECONDS
    while not (
        begun := [run for run, status in platform.statuses().items() if status == "STARTED" and run not in before]
    ):
        assert time.monotonic() < deadline, platform.statuses()
        time.sleep(0.05)
    time.sleep(0.5)
    platform.first_process("otc-pipelines").kill()
    platform.running["otc-pipelines"].wait()
    assert platform.health("otc-pipelines").returncode == 1
    assert platform.statuses()[begun[0]] == "STARTED"
    platform.start("otc-pipelines")
    platform.wait_until_healthy("otc-pipelines")
    deadline = time.monotonic() + READY_SECONDS
    while platform.statuses()[begun[0]] == "STARTED":
        assert time.monotonic() < deadline, platform.statuses()
        time.sleep(1)
    assert platform.statuses()[begun[0]] == "FAILURE"


def _wait_until_idle(platform: Composed) -> None:
    deadline = time.monotonic() + IDLE_SECONDS
    while not set(platform.statuses().values()) <= {"SUCCESS", "FAILURE", "CANCELED"}:
        assert time.monotonic() < deadline, platform.statuses()
        time.sleep(1)


def test_every_service_is_process_1_of_the_account_and_stops_when_it_is_told_to(platform: Composed) -> None:
    for name in reversed(OURS):
        first = platform.first_process(name)
        assert first.uids().real == 10001
        grace = int(platform.services[name].get("stop_grace_period", "10s").rstrip("s"))
        first.send_signal(signal.SIGTERM)
        assert platform.running[name].wait(grace) == 0, name
