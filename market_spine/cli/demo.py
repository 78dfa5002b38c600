"""``spine demo``: the bundled sessions through real Dagster runs, and the metrics they end in.

What it is: the shortest way to see the whole thing work. It uses the same database as ``spine up``, so that the UI
shows the demo's runs afterwards; run again, it finds nothing new and prints the same table.
Belongs here: what is run and how it is shown. Does not belong here: how it is computed.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import psycopg
from rich import box
from rich.console import Console
from rich.table import Table

from market_spine.cli.services import PROJECT, dagster_command, dagster_environment, databases, make_dagster_schema
from market_spine.errors import SpineError
from market_spine.observability.logs_setup import read_line, telling_environment
from market_spine.settings import Settings
from market_spine.warehouse import migrate
from market_spine.warehouse.engine import plain_url
from market_spine.warehouse.sql import statements

FIRST = date(2026, 3, 4)
LAST = date(2026, 3, 12)
TABLE_WIDTH = 120
JOB = "otc_full_refresh"


def run_demo(settings: Settings) -> int:
    """Run the demo; 0 when every session has metrics."""
    console = Console(highlight=False, soft_wrap=True)
    console.width = max(console.width, TABLE_WIDTH)  # in a pipe rich assumes 80 and cuts the numbers
    started = time.monotonic()

    def say(text: str) -> None:
        console.print(f"[dim]{time.monotonic() - started:5.1f} s[/dim]  {text}")

    settings = replace(settings, landing=PROJECT / "data" / "landing")
    say("starting the database")
    with databases(settings) as found:
        say(f"database {found.shown}")
        migrate.upgrade(found.market)
        environment = telling_environment(dagster_environment(settings, found))
        say("schema of the market tables is up to date; making Dagster's")
        make_dagster_schema(environment)
        say(f"Dagster runs {JOB} for the sessions {FIRST} to {LAST}")
        for line in _run(environment):
            say(line)
        rows = _metrics(found.market)
    if not rows:
        raise SpineError(f"the run ended well but left no metrics for {FIRST} to {LAST}; see spine up for its events")
    console.print(_table(rows))
    say("done; make up shows the runs in Dagster's UI")
    return 0


def run_command() -> list[str]:
    """The command that materializes the sessions, in one run."""
    tags = {"dagster/asset_partition_range_start": str(FIRST), "dagster/asset_partition_range_end": str(LAST)}
    return dagster_command(
        "dagster", "job", "execute", "-m", "market_spine.definitions", "-j", JOB, "--tags", json.dumps(tags)
    )


def _run(environment: dict[str, str]) -> Iterator[str]:
    """Run it, yielding what the steps log at level INFO while they work.

    Raises:
        SpineError: the run failed.
    """
    log = Path(environment["DAGSTER_HOME"]).parent / "logs" / "demo.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("w", encoding="utf-8") as output,
        subprocess.Popen(
            run_command(),
            env=environment,
            cwd=PROJECT,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        problem, trace = "", "no message"
        try:
            for line in process.stdout or ():
                output.write(line)
                told = read_line(line)
                if told and told.level == "error":
                    problem = problem or told.event  # the first is the reason, the others are what it led to
                elif told and told.is_progress:
                    yield told.event
                elif told is None and "Error" in line:
                    trace = line.strip()  # of a process that ended before it could log anything
        finally:
            process.terminate()  # without effect on one that has ended; on Ctrl-C it must not outlive us
    if process.returncode != 0:
        raise SpineError(f"the Dagster run failed: {problem or trace}; see {log}")


def _metrics(database_url: str) -> list[tuple[object, ...]]:
    named = statements("market_spine.cli", "demo.sql")
    with psycopg.connect(plain_url(database_url)) as connection:
        return connection.execute(named("sessions_metrics"), {"first": FIRST, "last": LAST}).fetchall()


def _table(rows: list[tuple[object, ...]]) -> Table:
    table = Table(title=f"otc_metrics_daily, {FIRST} to {LAST}; prices to six decimals", box=box.SIMPLE_HEAD)
    for name in ("symbol", "date", "trades", "volume", "vwap", "open", "high", "low", "close", "rev"):
        table.add_column(name, justify="left" if name in ("symbol", "date") else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(_shown(value) for value in row))
    return table


def _shown(value: object) -> str:
    """Thousands separated, six decimals at the most: the table holds ten, a line of a terminal does not."""
    if value is None:
        return "-"
    if isinstance(value, Decimal):
        whole, _, fraction = f"{value:,.6f}".partition(".")
        fraction = fraction.rstrip("0")
        return f"{whole}.{fraction}" if fraction else whole
    return f"{value:,}" if isinstance(value, int) else str(value)
