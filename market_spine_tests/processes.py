"""Servers as processes of their own: a free port, ``spine api`` and the lines it logs.

Belongs here: starting them, reading their lines. Does not belong here: expectations; the API in this
process (``serving``).
"""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Lines = Callable[[], list[dict[str, Any]]]
READY_SECONDS = 60


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving_process(environment: Mapping[str, str], folder: Path) -> Iterator[tuple[str, Lines]]:
    """The API on a free port; its address, and what reads the lines of its stderr, each of which has to be JSON."""
    port = free_port()
    url, log = f"http://127.0.0.1:{port}", folder / "api.stderr"
    command = [sys.executable, "-m", "market_spine.cli.main", "api", "--port", str(port)]
    with log.open("wb") as output, (folder / "api.stdout").open("wb") as stdout:
        process = subprocess.Popen(command, env=dict(environment), stdout=stdout, stderr=output)
        try:
            wait_for(f"{url}/health/live", process, log)
            yield url, lambda: [json.loads(line) for line in log.read_text().splitlines()]
        finally:
            process.terminate()
            process.wait(30)
    assert (folder / "api.stdout").read_text() == ""


def wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path | None = None) -> None:
    """Wait until the process answers there; what it logged says why it does not."""

    def said() -> str:
        return log.read_text() if log else ""

    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, said()
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"{url} did not answer in {READY_SECONDS} s: {said()}")
