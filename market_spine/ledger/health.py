"""The state of a deployment's parts, each asked by itself, so that one that is down hides no other.

What it is: small reads of the two databases and the webserver, with what they say judged as ok, warn or fail and with
what to do about it.
Belongs here: the questions, the limits and the words. Does not belong here: the order and the printing
(``market_spine.cli.doctor``), mending.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from market_spine.errors import LedgerError
from market_spine.ledger import reconciliation, tags
from market_spine.ledger.storage import LedgerStorage
from market_spine.ledger.webserver import Webserver
from market_spine.settings import Settings
from market_spine.warehouse.engine import Connection
from market_spine.warehouse.sql import statements

SQL = statements("market_spine.ledger", "health.sql")
OK, WARN, FAIL = "ok", "warn", "fail"
OLDEST_SERVER = 16
DAGSTER_SCHEMA = "29b539ebc72a"
"""Revision of the tables of the Dagster release this package is pinned to."""
CLOCK_WARN, CLOCK_FAIL = 1.0, 30.0
HEARTBEAT_WARN, HEARTBEAT_FAIL = 90.0, 300.0
"""A daemon writes one every 30 s while it works."""
DAEMONS = ("ASSET", "BACKFILL", "MONITORING", "QUEUED_RUN_COORDINATOR", "SCHEDULER", "SENSOR")
QUEUE_WARN_SHARE, QUEUE_WARN_SECONDS = 0.8, 3600.0
_LOCATIONS = """{ workspaceOrError { __typename ... on PythonError { message } ... on Workspace { locationEntries {
  name locationOrLoadError { __typename ... on PythonError { message } } } } } }"""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor.

    Args:
        what: the part that was looked at.
        state: ok, warn or fail.
        says: what was found.
        do: what to do about it; empty when there is nothing to do.
    """

    what: str
    state: str
    says: str
    do: str = ""


@dataclass(frozen=True)
class Server:
    """What a database's server says of itself; the clock is this machine's less the server's, in seconds."""

    version: int
    clock: float
    size_bytes: int
    connections: int
    most_connections: int


def server(connection: Connection) -> Server:
    """Ask the server behind a connection."""
    before = time.time()
    version, clock, size, used, most = connection.execute(SQL("server")).fetchall()[0]
    middle = (before + time.time()) / 2  # half of the way there and back
    return Server(int(str(version)), middle - float(str(clock)), int(str(size)), int(str(used)), int(str(most)))


def clock(found: Server) -> Finding:
    """This machine's clock against the database's."""
    off = abs(found.clock)
    state = FAIL if off > CLOCK_FAIL else WARN if off > CLOCK_WARN else OK
    where = "ahead of" if found.clock > 0 else "behind"
    says = f"{off:.1f} s {where} the database's" if off >= 0.05 else "as the database's"
    return Finding("clock", state, says, "set the clocks by NTP on both machines" if state != OK else "")


def dagster_schema(storage: LedgerStorage) -> Finding:
    """Dagster's database and the revision of its tables.

    Raises:
        LedgerError, psycopg.Error: it does not answer, or has no tables.
    """
    with storage.connect() as connection:
        size = server(connection).size_bytes
        rows = connection.execute(SQL("dagster_schema")).fetchall()
    revision = str(rows[0][0]) if rows else "none"
    if revision != DAGSTER_SCHEMA:
        return Finding(
            "dagster database", FAIL, f"schema {revision}, expected {DAGSTER_SCHEMA}", "run dagster instance migrate"
        )
    return Finding("dagster database", OK, f"schema {revision}, {size / 1e6:,.0f} MB")


def daemons(storage: LedgerStorage) -> Finding:
    """Heartbeats of every daemon.

    Raises:
        LedgerError, psycopg.Error: Dagster's database does not answer, or has no tables.
    """
    with storage.connect() as connection:
        rows = connection.execute(SQL("heartbeats")).fetchall()
    ages = {str(name): float(str(age)) for name, age, _ in rows}
    missing = [name for name in DAEMONS if name not in ages]
    late = {name: ages[name] for name in DAEMONS if ages.get(name, 0.0) > HEARTBEAT_WARN}
    errors = [str(name) for name, _, has_errors in rows if has_errors]
    start = "start the daemon (spine up runs one) or restart it"
    if missing:
        return Finding("daemon", FAIL, f"never heard of: {', '.join(missing)}", start)
    if late:
        shown = ", ".join(f"{name} {_age(age)}" for name, age in late.items())
        state = FAIL if max(late.values()) > HEARTBEAT_FAIL else WARN
        return Finding("daemon", state, f"last heard of: {shown} ago", start)
    if errors:
        return Finding("daemon", WARN, f"errors in {', '.join(errors)}", "see the daemon's log")
    return Finding("daemon", OK, f"all {len(DAEMONS)} heard of within {max(ages[name] for name in DAEMONS):.0f} s")


def locations(webserver: Webserver) -> tuple[Finding, list[str]]:
    """Whether the code locations load, and their names.

    Raises:
        LedgerError: the webserver does not answer.
    """
    workspace = webserver.ask(_LOCATIONS)["workspaceOrError"]
    if workspace["__typename"] != "Workspace":
        return Finding("code location", FAIL, _line(workspace["message"]), "mend workspace.yaml"), []
    entries = workspace["locationEntries"]
    broken = {
        entry["name"]: _line(entry["locationOrLoadError"].get("message", "is still loading"))
        for entry in entries
        if (entry["locationOrLoadError"] or {}).get("__typename") == "PythonError"
    }
    names = [str(entry["name"]) for entry in entries]
    if broken:
        name, problem = min(broken.items())
        return Finding(
            "code location", FAIL, f"{name} does not load: {problem}", "run dg check defs; mend, reload"
        ), names
    if not names:
        return Finding("code location", FAIL, "the workspace names none", "mend workspace.yaml"), names
    return Finding("code location", OK, f"{', '.join(names)} loaded"), names


def queue(storage: LedgerStorage, settings: Settings) -> list[Finding]:
    """Queued runs by lane against their limits.

    Raises:
        LedgerError, psycopg.Error: Dagster's database does not answer, or has no tables.
    """
    names = {
        "lane_tag": tags.LANE,
        "backfill_tag": tags.BACKFILL_ID,
        "backfill": tags.BACKFILL,
        "normal": tags.NORMAL,
    }
    with storage.connect() as connection:
        rows = connection.execute(SQL("queue"), names).fetchall()
    found = {str(lane): (int(str(count)), float(str(age))) for lane, count, age in rows}
    limits = {tags.NORMAL: settings.queue_limit_normal, tags.BACKFILL: settings.queue_limit_backfill}
    findings = []
    for lane in sorted({*limits, *found}, reverse=True):
        count, age = found.get(lane, (0, 0.0))
        limit = limits.get(lane, settings.queue_limit)
        says = f"{count:,} of at most {limit:,} wait" + (f", the oldest for {_age(age)}" if count else "")
        full = count >= QUEUE_WARN_SHARE * limit
        old = lane == tags.NORMAL and age > QUEUE_WARN_SECONDS
        state = WARN if full or old else OK
        do = "look for what holds the places: spine execution list" if state == WARN else ""
        findings.append(Finding(f"queue {lane}", state, says, do))
    return findings


def runs_under_way(storage: LedgerStorage) -> int:
    """Runs that are queued or under way; 0 where Dagster has no tables yet.

    Raises:
        LedgerError: Dagster's database does not answer.
    """
    with storage.connect() as connection:
        try:
            rows = connection.execute(SQL("runs_under_way"), {"statuses": list(tags.UNDER_WAY)}).fetchall()
        except psycopg.errors.UndefinedTable:
            connection.rollback()
            return 0
    return int(str(rows[0][0]))


def dead_letters(connection: Connection) -> Finding:
    """Dead letters nobody has resolved.

    Raises:
        psycopg.Error: the market tables have no such table yet.
    """
    count, age = connection.execute(SQL("dead_letters")).fetchall()[0]
    number = int(str(count))
    if number:
        says = f"{number:,} unresolved, the oldest for {_age(float(str(age)))}"
        return Finding("dead letters", WARN, says, "spine dead-letter list, then retry or discard")
    return Finding("dead letters", OK, "none unresolved")


def runs(storage: LedgerStorage, ours: Sequence[str], settings: Settings) -> list[Finding]:
    """Runs without a process, queued runs that can never start, slots of dead runs.

    Args:
        storage: Dagster's database.
        ours: code locations that exist; empty when that is not known.
        settings: ``stuck_seconds`` is how long a run may show no sign of life.

    Raises:
        LedgerError, psycopg.Error: Dagster's database does not answer, or has no tables.
    """
    active = reconciliation.under_way(storage)
    silent = [run for run in active if run.silent(())]
    slow = [run for run in active if run.status == "STARTING" and run.seconds > settings.stuck_seconds]
    unknown = [run for run in active if not run.vouched and run.status == "STARTED"]
    findings = []
    if silent or slow:
        shown = ", ".join(run.run_id for run in (silent + slow)[:3])
        says = f"{len(silent)} without a process, {len(slow)} that do not start: {shown}"
        do = "the sensor reconcile_runs ends them within two minutes while the daemon runs; at once: spine doctor --fix"
        findings.append(Finding("runs", WARN, says, do))
    else:
        more = f"; {len(unknown)} give no sign of life, which only runs of this package do" if unknown else ""
        findings.append(Finding("runs", OK, f"{len(active)} under way, all alive{more}"))
    if ours:
        lost = reconciliation.queued_elsewhere(storage, ours)
        if lost:
            places = ", ".join(sorted({run.location for run in lost}))
            do = "put it back into the workspace, or end them: spine doctor --fix"
            says = f"{len(lost)} of code locations that do not exist: {places}"
            findings.append(Finding("queued runs", WARN, says, do))
    slots = reconciliation.held_slots(storage)
    if slots:
        says = f"{sum(slots.values())} pool slots are held by {len(slots)} runs that have ended"
        findings.append(
            Finding("slots", WARN, says, "freed within two minutes while the daemon runs; spine doctor --fix")
        )
    else:
        findings.append(Finding("slots", OK, "none held by runs that have ended"))
    return findings


def unreachable(what: str, error: Exception, do: str) -> Finding:
    """A part that could not be asked."""
    return Finding(what, FAIL, _line(str(error)) or type(error).__name__, "" if isinstance(error, LedgerError) else do)


def _age(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.0f} s"


def _line(text: str) -> str:
    return " ".join(text.split("Stack Trace", maxsplit=1)[0].split())
