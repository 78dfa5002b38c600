"""P4: the REST API against what stands below it: ``python -m benchmarks.figure_api``.

What it is: a year of metrics of many symbols; one symbol-year over HTTP on a kept connection against a bare psycopg
loop that fetches the same rows; latencies at 80 % of capacity; the year of everything as CSV against COPY.
Belongs here: the measured rounds and what they mean. Does not belong here: the clients (``api_child``).

"A core" is a CPU second, of the API's process and its server processes together against the loop's and its own: on a
machine that others use too, seconds of the clock say more about the others.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import api_server, machine, processes
from benchmarks.arena import TEMPLATE, Arena, megabytes
from benchmarks.measure import Sample, Say
from benchmarks.telling import Teller

SYMBOLS, ROUNDS, SECONDS = 12_000, 5, 6.0
SHARE_OF_CAPACITY, CONNECTIONS = 0.8, 16
ROUTE = "/api/v1/otc/metrics/daily"


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.figure_api", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--symbols", type=int, default=SYMBOLS, help=f"symbols ({SYMBOLS:,}), each with a year of rows")
    parser.add_argument("--repeat", type=int, default=ROUNDS, help=f"rounds ({ROUNDS})")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"of a round ({SECONDS:.0f})")
    parser.add_argument("--database", help="a database that an earlier run has filled, instead of a server of our own")
    parser.add_argument("--folder", type=Path, help="where the temporary server goes; needs some 4 GB")
    chosen = parser.parse_args(arguments)
    teller = Teller()
    say = teller.say

    if chosen.database:
        _measure(chosen.database, chosen, say)
        return 0
    say("starting an embedded server of our own")
    with Arena(say, chosen.folder) as arena:
        teller.show(machine.describe(arena.server.url(TEMPLATE)))
        with arena.database() as url:
            api_server.fill(url, chosen.symbols, say)
            _measure(url, chosen, say)
    return 0


def _measure(url: str, chosen: argparse.Namespace, say: Say) -> None:
    span = api_server.span()
    symbols = ("--symbols", str(chosen.symbols), "--seconds", str(chosen.seconds))
    with api_server.served(url) as api:
        address = f"{api.address}{ROUTE}"
        _client("load", address, *span, "--symbols", str(chosen.symbols), "--seconds", "3")
        per_core: dict[str, Sample] = {"bare": Sample(), "api": Sample()}
        clock: dict[str, Sample] = {"bare": Sample(), "api": Sample()}
        process: dict[str, Sample] = {"bare": Sample(), "api": Sample()}
        shares, clock_shares = Sample(), Sample()
        for number in range(1, chosen.repeat + 1):
            bare = _client("bare", url, *span, *symbols)
            before = api.cpu()
            served = _client("load", address, *span, *symbols)
            own, database = (after - earlier for after, earlier in zip(api.cpu(), before, strict=True))
            if served["errors"]:
                raise RuntimeError(f"{served['errors']:.0f} answers were wrong")
            shares.add(
                per_core["api"].add(served["count"] / (own + database))
                / per_core["bare"].add(bare["count"] / (bare["client_cpu"] + bare["server_cpu"]))
            )
            clock_shares.add(
                clock["api"].add(served["count"] / served["seconds"])
                / clock["bare"].add(bare["count"] / bare["seconds"])
            )
            process["api"].add(own / served["count"] * 1000)
            process["bare"].add(bare["client_cpu"] / bare["count"] * 1000)
            say(
                f"round {number}: per core {_both(per_core, shares)}; on the clock {_both(clock, clock_shares)}; "
                f"p50 {served['p50'] * 1000:.1f}, p99 {served['p99'] * 1000:.1f} ms; {_load()}"
            )
        say(f"P4  one symbol-year, queries per second per core over bare psycopg: {_percent(shares)}; asked: 70%")
        say(f"    the same by the clock, one connection, the client's own time in it: {_percent(clock_shares)}")
        say(f"    CPU of the process alone: bare {_ms(process['bare'])}, API {_ms(process['api'])} a query")
        with api_server.bare_service(url) as control:
            _tails({"bare": f"{control}/", "API": address}, (*span, *symbols), chosen.repeat, say)
        _stream(url, address, span, api, max(2, chosen.repeat // 2), say)


def _tails(addresses: Mapping[str, str], asked: tuple[str, ...], rounds: int, say: Say) -> None:
    """Latencies at 80 % of capacity, the control and the API in turn, each after a look at what it can do just then.

    A machine that others use too slows down by a quarter for tenths of a second; at such a load that makes a queue in
    front of whatever answers. Only against the control a tail says something of the API.
    """
    connections = ("--connections", str(CONNECTIONS))
    tails = {name: Sample() for name in addresses}
    for address in addresses.values():
        _client("load", address, *asked, *connections)
    for _ in range(rounds):
        for name, address in addresses.items():
            most = _client("load", address, *asked, *connections)
            rate = SHARE_OF_CAPACITY * most["count"] / most["seconds"]
            paced = _client("load", address, *asked, *connections, "--rate", f"{rate:.1f}")
            tails[name].add(paced["p99"] / paced["p50"])
            say(
                f"{name} at {rate:,.0f} a second (80 % of capacity): p50 {paced['p50'] * 1000:.1f} ms, "
                f"p99 {paced['p99'] * 1000:.1f} ms; {_load()}"
            )
    of = {name: f"{sample.median:.1f} x ({_range(sample)})" for name, sample in tails.items()}
    say(f"P4  p99 over p50 at 80 % of capacity: {of['API']}, of the bare service {of['bare']}; asked: at most 3 x")


def _stream(url: str, address: str, span: tuple[str, ...], api: api_server.Api, rounds: int, say: Say) -> None:
    shares = Sample()
    before = api.peak_bytes()
    for _ in range(rounds):
        copy = _client("copy", url, *span)
        stream = _client("csv", address, *span)
        speeds = [done["bytes"] / done["seconds"] / 1e6 for done in (copy, stream)]
        shares.add(speeds[1] / speeds[0])
        size = megabytes(stream["bytes"])
        say(f"CSV of {size}: COPY {speeds[0]:,.0f}, API {speeds[1]:,.0f} MB/s; {_load()}")
    say(f"P4  a year of everything as CSV over COPY TO STDOUT: {_percent(shares)}; asked: 50%")
    say(f"    peak memory of the API: {megabytes(before)} before, {megabytes(api.peak_bytes())} after")


def _client(*arguments: str) -> Mapping[str, float]:
    answer = processes.run(processes.python("-m", "benchmarks.api_child", *arguments)).answer
    return {name: float(str(value)) for name, value in answer.items()}


def _both(samples: Mapping[str, Sample], shares: Sample) -> str:
    bare, api = (samples[name].values[-1] for name in ("bare", "api"))
    return f"{bare:,.0f} bare, {api:,.0f} API a second = {shares.values[-1]:.0%}"


def _load() -> str:
    return f"load {os.getloadavg()[0]:.1f}"


def _percent(sample: Sample) -> str:
    return f"{sample.median:.0%} ({min(sample.values):.0%} .. {max(sample.values):.0%})"


def _range(sample: Sample) -> str:
    return f"{min(sample.values):.1f} .. {max(sample.values):.1f}"


def _ms(sample: Sample) -> str:
    return f"{sample.median:.2f} ms ({min(sample.values):.2f} .. {max(sample.values):.2f})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
