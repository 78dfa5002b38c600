"""The API under test and its data: a year of metrics of many symbols, `spine api` in a process of its own.

Belongs here: what every figure of the API needs, and starting the service it is held against. Does not belong here:
clients (``api_child``), figures.
"""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path

import httpx
import psutil
import psycopg
from psycopg import sql

from benchmarks import processes
from benchmarks.measure import Say
from market_spine.calendar import TradingCalendar
from market_spine.cli.services import PROJECT
from market_spine.warehouse.sql import statements

SQL = statements("benchmarks", "api.sql")
FIRST, SESSIONS = date(2025, 1, 2), 252
AT_ONCE = 21
"""Sessions that one statement writes."""


def span() -> tuple[str, ...]:
    """The year as arguments of a client."""
    return ("--first", str(FIRST), "--last", str(TradingCalendar(FIRST).sessions()[SESSIONS - 1]))


def fill(url: str, symbols: int, say: Say) -> None:
    """A year of metrics for each of so many symbols."""
    days = TradingCalendar(FIRST).sessions()[:SESSIONS]
    with psycopg.connect(url, autocommit=True) as connection:
        for first in range(0, SESSIONS, AT_ONCE):
            part = sql.Literal(days[first : first + AT_ONCE])
            connection.execute(SQL("fill_metrics", days=part, symbols=sql.Literal(symbols)))
        connection.execute(SQL("settle_metrics"))
    say(f"{symbols * SESSIONS:,} rows of metrics")


class Api:
    """The process of the API, from outside."""

    def __init__(self, process: psutil.Process, address: str, url: str) -> None:
        self._process = process
        self._url = url
        self.address = address

    def cpu(self) -> tuple[float, float]:
        """CPU seconds so far: its own, and those of its server processes."""
        with psycopg.connect(self._url) as connection:
            pids = [int(row[0]) for row in connection.execute(SQL("server_cpu")).fetchall()]
        return _cpu(self._process), sum(_cpu(psutil.Process(pid)) for pid in pids)

    def resident_bytes(self) -> int:
        """What it holds now."""
        return int(self._process.memory_info().rss)

    def peak_bytes(self) -> int:
        """VmHWM."""
        text = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        return int(text.partition("VmHWM:")[2].split()[0]) * 1024


@contextmanager
def served(url: str) -> Iterator[Api]:
    """`spine api` in a process of its own, ready."""
    port = processes.free_port()
    environment = {**os.environ, "DATABASE_URL": url, "DAGSTER_DATABASE_URL": url}
    command = processes.python("-m", "market_spine.cli.main", "api", "--port", str(port))
    with subprocess.Popen(command, env=environment, cwd=PROJECT, stderr=subprocess.DEVNULL) as process:
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(300):
                try:
                    if httpx.get(f"{address}/health/ready", timeout=10).is_success:
                        break
                except httpx.TransportError:
                    time.sleep(0.1)
            yield Api(psutil.Process(process.pid), address, url)
        finally:
            process.terminate()


@contextmanager
def bare_service(url: str) -> Iterator[str]:
    """The control: a service without anything of ours, ready; its address."""
    port = processes.free_port()
    command = processes.python("-m", "benchmarks.bare_service", url, str(port))
    with subprocess.Popen(command, cwd=PROJECT) as process:
        try:
            for _ in range(300):
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10):
                    break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
