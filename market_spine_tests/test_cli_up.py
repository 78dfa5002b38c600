"""``spine up`` starts everything, and takes everything down with it: on Ctrl-C, and when a part of it dies."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from market_spine.warehouse.embedded import EmbeddedServer

WORKSPACE = "load_from:\n  - python_file: {relative_path: code.py, location_name: sample}\n"
CODE = """
import time
import dagster as dg

@dg.asset
def slow() -> None:
    time.sleep(600)

defs = dg.Definitions([slow], jobs=[dg.define_asset_job("slow_job", [slow], executor_def=dg.in_process_executor)])
"""
LAUNCH = """mutation { launchRun(executionParams: {mode: "default", selector: {
  repositoryLocationName: "sample", repositoryName: "__repository__", jobName: "slow_job"}}) { __typename } }"""
RUNS = "{ runsOrError { ... on Runs { results { status } } } }"
Up = Callable[[], "subprocess.Popen[str]"]


@pytest.fixture
def state_dir(short_folder: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(dir=short_folder))
    folder.chmod(0o711)
    yield folder
    EmbeddedServer(folder / "server").remove()


@pytest.fixture
def up(state_dir: Path, tmp_path: Path) -> Iterator[Up]:
    (tmp_path / "workspace.yaml").write_text(WORKSPACE)
    (tmp_path / "code.py").write_text(CODE)
    started: list[subprocess.Popen[str]] = []

    def start() -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "market_spine.cli.main", "up", "--port", "3400", "-w", tmp_path / "workspace.yaml"],
            env={**os.environ, "MARKET_SPINE_STATE": str(state_dir)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.terminate()
        process.communicate(timeout=60)


def _read_until(process: "subprocess.Popen[str]", beginning: str) -> list[str]:
    lines: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if line.startswith(beginning):
            return lines
    raise AssertionError(f"it ended without {beginning!r}: {lines} {process.stderr.read() if process.stderr else ''}")


def _ask(address: str, query: str) -> Any:
    body = json.dumps({"query": query}).encode()
    request = urllib.request.Request(f"{address}/graphql", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)["data"]


def _wait_for_run(address: str, status: str) -> None:
    deadline = time.monotonic() + 60
    while _ask(address, RUNS)["runsOrError"]["results"] != [{"status": status}]:
        assert time.monotonic() < deadline, _ask(address, RUNS)
        time.sleep(0.3)


@pytest.mark.slow
def test_ctrl_c_in_the_middle_of_a_run_leaves_nothing_running_and_nothing_unsaid(up: Up, state_dir: Path) -> None:
    first = up()
    address = next(line.split()[1] for line in _read_until(first, "ready") if line.startswith("UI"))
    everything = psutil.Process(first.pid).children(recursive=True)

    second = up()
    assert second.wait(30) == 1
    assert second.stderr is not None
    assert f"already runs there as process {first.pid}" in second.stderr.read()

    assert _ask(address, LAUNCH)["launchRun"]["__typename"] == "LaunchRunSuccess"
    _wait_for_run(address, "STARTED")
    everything += psutil.Process(first.pid).children(recursive=True)
    first.send_signal(signal.SIGINT)
    assert first.wait(60) == 0
    assert [process for process in everything if process.is_running()] == []

    with EmbeddedServer(state_dir / "server") as server, psycopg.connect(server.url("dagster")) as connection:
        assert connection.execute("SELECT status FROM runs").fetchall() == [("FAILURE",)]


@pytest.mark.slow
def test_when_a_part_dies_it_says_so_and_stops_the_rest(up: Up) -> None:
    process = up()
    _read_until(process, "starting")
    everything = psutil.Process(process.pid).children(recursive=True)
    daemon = next(child for child in everything if "dagster._daemon" in child.cmdline())
    daemon.kill()
    assert process.wait(60) == 1
    assert process.stderr is not None
    assert "the daemon ended with code -9" in process.stderr.read()
    assert [child for child in everything if child.is_running()] == []


@pytest.mark.slow
def test_what_a_killed_predecessor_left_running_is_stopped_by_the_next_start(up: Up) -> None:
    first = up()
    _read_until(first, "starting")
    left = [child for child in psutil.Process(first.pid).children() if "postgres" not in child.name()]
    first.kill()
    first.wait()
    second = up()
    _read_until(second, "starting")
    assert len(left) == 3
    assert [child for child in left if child.is_running()] == []
