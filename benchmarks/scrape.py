"""What a scrape costs at 100,000 runs: ``python -m benchmarks.scrape``.

What it is: a few real runs of the three assets, multiplied to a hundred thousand, two years of sessions in the tables,
and some runs that wait; a served API is asked for ``/metrics`` again and again, and between two scrapes one run ends.
Belongs here: the measured rounds. Does not belong here: what is scraped (``market_spine.observability``).
"""

import argparse
import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx
import psutil
import psycopg
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from benchmarks import dagster_runs, machine, processes
from benchmarks.arena import TEMPLATE, Arena
from benchmarks.many_runs import SQL as MANY
from benchmarks.many_runs import copy_runs
from benchmarks.measure import Sample, Say, timed
from benchmarks.telling import Teller
from market_spine.calendar import TradingCalendar
from market_spine.cli.services import PROJECT
from market_spine.ledger.storage import LedgerStorage
from market_spine.observability.metrics import Process
from market_spine.observability.metrics_http import Measured
from market_spine.warehouse.engine import plain_url
from market_spine.warehouse.sql import statements

SQL = statements("benchmarks", "scrape.sql")
RUNS, SCRAPES, WAITING, REPORTS, SYMBOLS = 100_000, 100, 200, 50, 10
FIRST_KNOWN, SESSIONS, REAL_SESSIONS = date(2022, 1, 3), 500, 3
KEPT = timedelta(days=29)
AT_ONCE = 10_000
REQUESTS, WARM = 20_000, 10
START_SECONDS = 120.0


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scrape", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=RUNS, help=f"runs in the storage ({RUNS:,})")
    parser.add_argument("--sessions", type=int, default=SESSIONS, help=f"sessions in the tables ({SESSIONS})")
    parser.add_argument("--scrapes", type=int, default=SCRAPES, help=f"scrapes that are timed ({SCRAPES})")
    parser.add_argument(
        "--folder", type=Path, help="where the temporary server goes; needs some 12 GB for 100,000 runs"
    )
    chosen = parser.parse_args(arguments)
    teller = Teller()
    say = teller.say

    say(f"counting and timing a request adds {_added_to_a_request()} to it")
    say("starting an embedded server of our own")
    with Arena(say, chosen.folder) as arena:
        teller.show(machine.describe(arena.server.url(TEMPLATE)))
        today = datetime.now(UTC).date()
        known = TradingCalendar(FIRST_KNOWN).sessions(end=today - timedelta(days=1))
        sessions = known[-chosen.sessions :]
        landing = arena.history(sessions, REPORTS, SYMBOLS)
        with arena.database() as market:
            settings = arena.settings(market, landing, sessions[0])
            with dagster_runs.home(arena, settings) as home:
                _fill(home, sessions, chosen.runs, say)
                arena.settle()
                _measure(home, chosen.scrapes, say)
    return 0


def _fill(home: dagster_runs.DagsterHome, sessions: Sequence[date], runs: int, say: Say) -> None:
    for day in sessions[:REAL_SESSIONS]:
        home.execute(day, day)
    storage = LedgerStorage(home.environment["DAGSTER_DATABASE_URL"])
    with storage.connect() as connection:
        sources = [(str(run), str(day)) for run, day in connection.execute(MANY("finished_runs")).fetchall()]
        connection.execute(SQL("tag_as_ours"), {"runs": [run for run, _ in sources]})
    if len(sessions) > REAL_SESSIONS:
        home.execute(sessions[REAL_SESSIONS], sessions[-1])
    say(f"{len(sources)} real runs become {runs:,}")
    days = [str(day) for day in sessions]
    now = datetime.now(UTC)
    for done in range(0, runs, AT_ONCE):
        count = min(AT_ONCE, runs - done)
        newest = now - timedelta(hours=1) - KEPT * (1 - (done + count) / runs)
        copy_runs(storage, sources, days, count, newest=newest, span=KEPT * (count / runs))
    with storage.connect() as connection:
        connection.execute(SQL("queue_newest"), {"runs": min(WAITING, runs // 2)})
        row = connection.execute(SQL("sizes")).fetchone() or (0, 0, 0)
    counted, events, size = (int(str(value)) for value in row)
    say(f"{counted:,} runs, {events:,} events, {len(sessions)} sessions; Dagster's database takes {size / 1e9:.1f} GB")


def _measure(home: dagster_runs.DagsterHome, scrapes: int, say: Say) -> None:
    url = plain_url(home.environment["DAGSTER_DATABASE_URL"])
    whole, own, server = Sample(), Sample(), Sample()
    with (
        _served(home.environment) as (address, process),
        httpx.Client(timeout=60) as client,
        psycopg.connect(url, autocommit=True) as connection,
    ):

        def scrape() -> str:
            return client.get(f"{address}/metrics").raise_for_status().text

        began = time.monotonic()
        while "spine_ledger_up 1.0" not in scrape():
            time.sleep(0.1)
        say(f"counting every run for the first time: {time.monotonic() - began:.1f} s")
        for _ in range(WARM):
            scrape()
        for _ in range(scrapes):
            connection.execute(SQL("end_one"))
            before = _cpu(process), _server_cpu(connection)
            whole.add(timed(scrape) * 1000)
            own.add((_cpu(process) - before[0]) * 1000)
            server.add((_server_cpu(connection) - before[1]) * 1000)
    say(f"a scrape over HTTP: {_ms(whole)}; load {os.getloadavg()[0]:.1f}; asked: under 50 ms")
    api, database = (sum(sample.values) / scrapes for sample in (own, server))
    say(f"CPU of a scrape, mean: API {api:.1f} ms, PostgreSQL {database:.1f} ms")


@contextmanager
def _served(environment: Mapping[str, str]) -> Iterator[tuple[str, psutil.Process]]:
    port = processes.free_port()
    command = processes.python("-m", "market_spine.cli.main", "api", "--port", str(port))
    with subprocess.Popen(command, env=dict(environment), cwd=PROJECT, stderr=subprocess.DEVNULL) as process:
        try:
            address = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + START_SECONDS
            while not _is_ready(address):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the API did not start (code {process.poll()}): try {' '.join(command)}")
                time.sleep(0.1)
            yield address, psutil.Process(process.pid)
        finally:
            process.terminate()


def _is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health/ready", timeout=10).is_success
    except httpx.TransportError:
        return False


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _server_cpu(connection: "psycopg.Connection[tuple[object, ...]]") -> float:
    """CPU seconds of the server's processes that work for metrics, where they are on this machine."""
    return sum(_cpu(psutil.Process(int(str(pid)))) for (pid,) in connection.execute(SQL("backends")).fetchall())


def _added_to_a_request() -> str:
    """Microseconds that ``Measured`` adds to a request, by a loop of requests to an application that does nothing."""

    async def nothing(scope: Scope, _receive: Receive, send: Send) -> None:
        scope["endpoint"] = nothing
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    bare = _loop_of(lambda: nothing)
    measured = _loop_of(lambda: Measured(nothing, Process()))
    return f"{(measured - bare) * 1e6:.1f} microseconds"


def _loop_of(make: Callable[[], ASGIApp]) -> float:
    """Seconds of one request, the best of five loops."""

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        pass

    async def loop() -> float:
        app = make()
        began = time.perf_counter()
        for _ in range(REQUESTS):
            await app({"type": "http", "method": "GET", "path": "/x"}, receive, send)
        return (time.perf_counter() - began) / REQUESTS

    return min(asyncio.run(loop()) for _ in range(5))


def _ms(sample: Sample) -> str:
    return (
        f"{sample.median:.1f} ms ({min(sample.values):.1f} .. {max(sample.values):.1f}, {len(sample.values)} scrapes)"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
