"""Clients of the API's benchmark, each in a process of its own: the bare psycopg loop, and HTTP over kept connections.

What it is: ``bare`` fetches rows from the database as plain psycopg code would; ``load`` asks the API, as fast as it
answers or at a given rate, and answers latencies from the moment a request was due.
Belongs here: asking. Does not belong here: starting servers, what the numbers mean (``figure_api``).
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Sequence
from datetime import date
from urllib.parse import urlsplit

import psutil
import psycopg
from psycopg import sql

from benchmarks.processes import own_peak
from market_spine.api.columns import METRIC_KEY, USUAL_METRICS
from market_spine.warehouse.sql import statements

SQL = statements("benchmarks", "api.sql")


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.api_child")
    parser.add_argument("work", choices=["bare", "load", "copy", "csv"])
    parser.add_argument("address")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--symbols", type=int, default=1)
    parser.add_argument("--first", type=date.fromisoformat)
    parser.add_argument("--last", type=date.fromisoformat)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second; 0: as fast as they are answered")
    chosen = parser.parse_args(arguments)
    work = {"bare": _bare, "load": _load, "copy": _copy, "csv": _csv}[chosen.work]
    print(json.dumps(work(chosen) | {"cpu": time.process_time(), "peak_bytes": own_peak()}))
    return 0


def _symbol(of: int) -> str:
    return f"S{random.randint(1, of):05}"


def usual_query() -> sql.Composed:
    """A symbol-year: the rows and columns of the API's usual answer, of ``symbol`` from ``first`` to ``last``."""
    columns = sql.SQL(", ").join(sql.Identifier(name) for name in (*METRIC_KEY, *USUAL_METRICS))
    return SQL("symbol_year", columns=columns)


def _bare(chosen: argparse.Namespace) -> dict[str, object]:
    with psycopg.connect(chosen.address, autocommit=True, application_name="bench_bare") as connection:
        query = usual_query().as_bytes()
        cpu = _cpu_of(connection.info.backend_pid)
        began, used = time.perf_counter(), time.process_time()
        count = 0
        while time.perf_counter() - began < chosen.seconds:
            values = {"symbol": _symbol(chosen.symbols), "first": chosen.first, "last": chosen.last}
            rows = connection.execute(query, values, prepare=True).fetchall()
            count += 1
            assert rows, "no rows"
        taken, used = time.perf_counter() - began, time.process_time() - used
        return {
            "count": count,
            "seconds": taken,
            "client_cpu": used,
            "server_cpu": _cpu_of(connection.info.backend_pid) - cpu,
        }


def _cpu_of(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def _load(chosen: argparse.Namespace) -> dict[str, object]:
    return asyncio.run(_requests(chosen))


async def _requests(chosen: argparse.Namespace) -> dict[str, object]:
    place = urlsplit(chosen.address)
    latencies: list[float] = []
    errors = 0
    began = time.perf_counter()
    due = iter(range(10**9))

    async def one_connection() -> None:
        nonlocal errors
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        while time.perf_counter() - began < chosen.seconds:
            at = time.perf_counter()
            if chosen.rate:
                at = began + next(due) / chosen.rate
                await asyncio.sleep(max(0.0, at - time.perf_counter()))
            query = f"symbol={_symbol(chosen.symbols)}&start={chosen.first}&end={chosen.last}"
            writer.write(f"GET {place.path}?{query} HTTP/1.1\r\nHost: api\r\nAccept: */*\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))
            errors += not (head.startswith(b"HTTP/1.1 200") and len(body) > 1000)
            latencies.append(time.perf_counter() - at)
        writer.close()

    await asyncio.gather(*(one_connection() for _ in range(chosen.connections)))
    taken = time.perf_counter() - began
    latencies.sort()
    return {
        "count": len(latencies),
        "seconds": taken,
        "errors": errors,
        "p50": latencies[len(latencies) // 2],
        "p99": latencies[int(len(latencies) * 0.99)],
    }


def _copy(chosen: argparse.Namespace) -> dict[str, object]:
    """The rival of the stream: libpq's COPY, read and thrown away."""
    with psycopg.connect(chosen.address, autocommit=True, application_name="bench_bare") as connection:
        query = SQL("copy_year", first=sql.Literal(chosen.first), last=sql.Literal(chosen.last)).as_bytes(connection)
        began, size = time.perf_counter(), 0
        server = connection.pgconn
        server.exec_(query)
        while (length := server.get_copy_data(0)[0]) > 0:
            size += length
        while server.get_result():
            pass
        return {"seconds": time.perf_counter() - began, "bytes": size}


def _csv(chosen: argparse.Namespace) -> dict[str, object]:
    return asyncio.run(_stream(chosen))


async def _stream(chosen: argparse.Namespace) -> dict[str, object]:
    place = urlsplit(chosen.address)
    began, size = time.perf_counter(), 0
    reader, writer = await asyncio.open_connection(place.hostname, place.port, limit=1 << 20)
    query = f"start={chosen.first}&end={chosen.last}&fields=all"
    request = f"GET {place.path}?{query} HTTP/1.1\r\nHost: api\r\nAccept: text/csv\r\nConnection: close\r\n\r\n"
    writer.write(request.encode())
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.decode())
    last = b""
    while data := await reader.read(1 << 20):
        size += len(data)
        last = (last + data)[-5:]
    if last != b"0\r\n\r\n":
        raise RuntimeError("the stream broke off")
    writer.close()
    return {"seconds": time.perf_counter() - began, "bytes": size}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
