"""Minutes at 80 % of the API's capacity, PostgreSQL restarted in the middle: ``python -m benchmarks.figure_soak``.

What it is: one API process on a year of metrics; whether anything fails outside the restart, how long after it the
last failure came, and what the process's memory did.
Belongs here: the run and what it means. Does not belong here: the client (``soak_child``), the server (``api_server``).
"""

import argparse
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import api_server, machine, processes
from benchmarks.arena import TEMPLATE, Arena, megabytes
from benchmarks.measure import Say
from benchmarks.telling import Teller

MINUTES, SYMBOLS, SHARE_OF_CAPACITY = 10.0, 12_000, 0.8
ROUTE = "/api/v1/otc/metrics/daily"
RECOVERY_SECONDS = 10.0
LOOK_SECONDS = 2.0
WARM_SHARE = 0.1
"""Of the run: memory may still grow in it, while pools and caches fill."""
FLAT = 1.1


@dataclass
class Restart:
    """When PostgreSQL was told to stop, and when it took connections again; seconds of the monotonic clock."""

    began: float = 0.0
    up: float = 0.0


@dataclass
class Memory:
    """Resident bytes of the API over time, looked at by a thread."""

    api: api_server.Api
    bytes: list[int] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Look until told to stop."""
        while not self._stop.wait(LOOK_SECONDS):
            self.bytes.append(self.api.resident_bytes())

    def stop(self) -> None:
        """No more."""
        self._stop.set()


def main(arguments: Sequence[str]) -> int:
    """The command line; 1 when a request failed that should not have, or memory grew."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.figure_soak", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"of load ({MINUTES:.0f})")
    parser.add_argument("--symbols", type=int, default=SYMBOLS, help=f"symbols ({SYMBOLS:,}), each with a year of rows")
    parser.add_argument("--folder", type=Path, help="where the temporary server goes; needs some 4 GB")
    chosen = parser.parse_args(arguments)
    teller = Teller()
    say = teller.say

    say("starting an embedded server of our own")
    with Arena(say, chosen.folder) as arena:
        teller.show(machine.describe(arena.server.url(TEMPLATE)))
        with arena.database() as url:
            api_server.fill(url, chosen.symbols, say)
            with api_server.served(url) as api:
                return _measure(arena, api, chosen, say)


def _measure(arena: Arena, api: api_server.Api, chosen: argparse.Namespace, say: Say) -> int:
    target = (f"{api.address}{ROUTE}", *api_server.span(), "--symbols", str(chosen.symbols))
    load = processes.python("-m", "benchmarks.api_child", "load", *target, "--seconds", "6", "--connections", "4")
    processes.run(load)
    answer = processes.run(load).answer
    rate = SHARE_OF_CAPACITY * float(str(answer["count"])) / float(str(answer["seconds"]))
    seconds = chosen.minutes * 60
    say(f"{rate:,.0f} requests a second, 80 % of capacity, for {chosen.minutes:g} minutes")
    restart, memory = Restart(), Memory(api)
    middle = threading.Timer(seconds / 2, _restart, (arena, restart, say))
    watch = threading.Thread(target=memory.watch)
    middle.start()
    watch.start()
    try:
        done = processes.run(
            processes.python("-m", "benchmarks.soak_child", *target, "--seconds", str(seconds), "--rate", f"{rate:.1f}")
        ).answer
    finally:
        memory.stop()
        watch.join()
        middle.join()
    return 0 if _told(done, restart, memory.bytes, say) else 1


def _restart(arena: Arena, restart: Restart, say: Say) -> None:
    restart.began = time.monotonic()
    arena.server.stop()
    arena.server.start()
    restart.up = time.monotonic()
    say(f"PostgreSQL was restarted, away for {restart.up - restart.began:.1f} s")


def _told(done: Mapping[str, Any], restart: Restart, sizes: Sequence[int], say: Say) -> bool:
    failures = [(float(at), str(what)) for at, what in done["failures"]]
    kinds = sorted({what for _, what in failures})
    stray = [at for at, _ in failures if not restart.began <= at <= restart.up + RECOVERY_SECONDS]
    last = max((at for at, _ in failures), default=restart.up)
    warm = sizes[int(len(sizes) * WARM_SHARE)]
    grown = max(sizes[int(len(sizes) * WARM_SHARE) :]) / warm
    say(
        f"{done['count']:,} answers, p50 {float(done['p50']) * 1000:.1f} ms, p99 {float(done['p99']) * 1000:.1f} ms; "
        f"{len(failures)} failed ({', '.join(kinds) or 'none'}), {done['left_out']} not sent while it was away; "
        f"load {os.getloadavg()[0]:.1f}"
    )
    say(f"failures outside the restart: {len(stray)}; asked: 0")
    say(f"last failure {last - restart.up:.1f} s after PostgreSQL was back; asked: under {RECOVERY_SECONDS:.0f} s")
    say(
        f"memory of the API: {megabytes(warm)} when warm, {megabytes(max(sizes))} at most, {megabytes(sizes[-1])} in "
        f"the end: {grown:.2f} x; asked: flat"
    )
    return not stray and grown <= FLAT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
