"""A client of the API that goes on through failures: ``python -m benchmarks.soak_child URL --seconds N --rate R``.

What it is: one symbol-year after another at a given rate over kept connections; an answer that is not the one expected
and a connection that breaks are written down with their moment, and the next request is sent.
Belongs here: asking and writing down. Does not belong here: what the numbers mean (``figure_soak``).
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from urllib.parse import urlsplit

TOO_LATE = 1.0
"""A request that could not be sent within so many seconds is left out: nobody makes up for an outage at full speed."""
PAUSE = 0.05


@dataclass
class Seen:
    """What was answered: seconds of each good answer, and of each failure its moment and what it was."""

    latencies: list[float] = field(default_factory=list)
    failures: list[tuple[float, str]] = field(default_factory=list)
    left_out: int = 0


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak_child")
    parser.add_argument("address")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--symbols", type=int, default=1)
    parser.add_argument("--first")
    parser.add_argument("--last")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    chosen = parser.parse_args(arguments)
    seen = asyncio.run(_all(chosen))
    seen.latencies.sort()
    answer = {
        "count": len(seen.latencies),
        "failures": seen.failures,
        "left_out": seen.left_out,
        "p50": seen.latencies[len(seen.latencies) // 2],
        "p99": seen.latencies[int(len(seen.latencies) * 0.99)],
    }
    print(json.dumps(answer))
    return 0


async def _all(chosen: argparse.Namespace) -> Seen:
    seen = Seen()
    numbers = count()
    began = time.monotonic()
    await asyncio.gather(*(_one_connection(chosen, seen, numbers, began) for _ in range(chosen.connections)))
    return seen


async def _one_connection(chosen: argparse.Namespace, seen: Seen, numbers: "count[int]", began: float) -> None:
    place = urlsplit(chosen.address)
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    while (due := began + next(numbers) / chosen.rate) < began + chosen.seconds:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        if time.monotonic() - due > TOO_LATE:
            seen.left_out += 1
            continue
        query = f"symbol=S{random.randint(1, chosen.symbols):05}&start={chosen.first}&end={chosen.last}"
        try:
            streams = streams or await asyncio.open_connection(place.hostname, place.port)
            status = await _asked(streams, f"{place.path}?{query}")
        except (OSError, EOFError) as error:
            seen.failures.append((time.monotonic(), type(error).__name__))
            streams = None
            await asyncio.sleep(PAUSE)
            continue
        if status == "200":
            seen.latencies.append(time.monotonic() - due)
        else:
            seen.failures.append((time.monotonic(), status))
    if streams:
        streams[1].close()


async def _asked(streams: tuple[asyncio.StreamReader, asyncio.StreamWriter], target: str) -> str:
    """Status of the answer, ``short`` for a body that cannot be a year."""
    reader, writer = streams
    writer.write(f"GET {target} HTTP/1.1\r\nHost: api\r\nAccept: */*\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    body = await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))
    status = head[9:12].decode()
    return "short" if status == "200" and len(body) <= 1000 else status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
