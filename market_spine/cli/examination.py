"""What ``spine doctor`` looks at: every part at once, each by itself.

What it is: ``examine`` asks in threads, so that one part that is down hides no other and the answer is there in three
seconds; ``mend`` ends what is dead.
Belongs here: which parts there are and their order. Does not belong here: the questions and their limits
(``market_spine.ledger.health``), printing (``doctor``).
"""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import psycopg

from market_spine.cli.observing import shown
from market_spine.cli.services import PROJECT, Databases, Deployment, dagster_environment, known_databases
from market_spine.errors import LedgerError, SettingsError, SpineError
from market_spine.ledger import connections, health, reconciliation
from market_spine.ledger.health import FAIL, OK, WARN, Finding
from market_spine.settings import Settings
from market_spine.warehouse.version import MIGRATE

PATIENCE_SECONDS = 2.4
"""What has not answered by then counts as down."""
LANDED = "landed files"
DISK_WARN, DISK_FAIL = 0.15, 0.05
MEND_SECONDS = 12
"""Between two looks for runs without a process: longer than a run takes to get its lock back."""


@dataclass
class _Parts:
    """What the threads have found out for each other."""

    market: health.Server | None = None
    locations: list[str] = field(default_factory=list)
    located: threading.Event = field(default_factory=threading.Event)


def examine(settings: Settings) -> list[Finding]:
    """Every finding, in a fixed order; never raises for a part that is down."""
    parts = _Parts()
    try:
        found: Databases | None = known_databases(settings)
        problem = ""
    except SpineError as error:
        found, problem = None, str(error)
    questions: list[tuple[str, Callable[[], Sequence[Finding]]]] = []
    if found is None:
        questions.append(("market database", lambda: [Finding("market database", FAIL, problem)]))
    else:
        deployed = Deployment(settings, found)
        questions += [
            ("market database", partial(_market, deployed, parts)),
            ("dagster database", lambda: [health.dagster_schema(deployed.ledger)]),
            ("daemon", lambda: [health.daemons(deployed.ledger)]),
            ("code location", partial(_locations, deployed, parts)),
            ("queue", lambda: health.queue(deployed.ledger, settings)),
            ("runs", partial(_runs, deployed, parts)),
        ]
    questions += [
        ("disk", lambda: [_disk(settings.state_dir)]),
        ("landing folder", lambda: [_landing(settings.landing)]),
        (LANDED, lambda: [_landed(settings)]),
    ]
    findings = _ask_all(questions)
    return [replace(one, says=shown(one.says)) for one in [*findings, *_connections(settings, parts.market)]]


def _ask_all(questions: Sequence[tuple[str, Callable[[], Sequence[Finding]]]]) -> list[Finding]:
    """All questions at once, a thread each; one without an answer in time counts as down."""
    answers: dict[str, Sequence[Finding]] = {}

    def ask(what: str, question: Callable[[], Sequence[Finding]]) -> None:
        try:
            answers[what] = question()
        except psycopg.errors.UndefinedTable as error:
            do = MIGRATE if what == "market database" else "run dagster instance migrate"
            answers[what] = [health.unreachable(what, error, do)]
        except (SpineError, psycopg.Error, OSError) as error:
            answers[what] = [health.unreachable(what, error, "")]

    threads = [threading.Thread(target=ask, args=pair, daemon=True) for pair in questions]
    deadline = time.monotonic() + PATIENCE_SECONDS
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [one for what, _ in questions for one in answers.get(what, [_silent(what)])]


def _silent(what: str) -> Finding:
    says = f"no answer within {PATIENCE_SECONDS} s"
    if what == LANDED:
        # Ten years of files at a remote store take longer to list, and nothing is wrong with them.
        return Finding(what, WARN, says, "spine inventory takes the time it needs")
    return Finding(what, FAIL, says, "is it running?")


def _market(deployed: Deployment, parts: _Parts) -> list[Finding]:
    """Version, schema, clock and dead letters of the market database."""
    from market_spine.warehouse import migrate

    with deployed.warehouse.connect() as connection:
        parts.market = found = health.server(connection)
        clock = health.clock(found)
        findings = []
        if found.version < health.OLDEST_SERVER:
            says = f"PostgreSQL {found.version}, {health.OLDEST_SERVER} or newer is needed"
            findings.append(Finding("market database", FAIL, says, "upgrade the server"))
        else:
            says = f"PostgreSQL {found.version}, {found.size_bytes / 1e6:,.0f} MB, {deployed.databases.shown}"
            findings.append(Finding("market database", OK, says))
        pending = migrate.status(deployed.databases.market)
        if pending:
            says = f"migrations to be run: {', '.join(pending)}"
            return [*findings, Finding("market schema", FAIL, says, MIGRATE), clock]
        return [*findings, Finding("market schema", OK, "up to date"), clock, health.dead_letters(connection)]


def _locations(deployed: Deployment, parts: _Parts) -> list[Finding]:
    try:
        finding, parts.locations = health.locations(deployed.webserver_within(PATIENCE_SECONDS))
    finally:
        parts.located.set()
    return [finding]


def _runs(deployed: Deployment, parts: _Parts) -> list[Finding]:
    parts.located.wait(PATIENCE_SECONDS - 0.4)
    return health.runs(deployed.ledger, parts.locations, deployed.settings)


def _disk(state_dir: Path) -> Finding:
    folder = next(one for one in (state_dir.resolve(), *state_dir.resolve().parents) if one.exists())
    usage = shutil.disk_usage(folder)
    share = usage.free / usage.total
    says = f"{usage.free / 1e9:,.1f} GB free of {usage.total / 1e9:,.1f} ({share:.0%}) at {state_dir}"
    state = FAIL if share < DISK_FAIL else WARN if share < DISK_WARN else OK
    return Finding("disk", state, says, "spine cleanup --dry-run says what can go" if state != OK else "")


def _landing(landing: Path | str) -> Finding:
    if not isinstance(landing, Path):
        from market_spine.otc.remote import RemotePath, location

        top = location(landing)
        count = len(top.children()) if isinstance(top, RemotePath) else 0
        return Finding("landing folder", OK, f"{count:,} entries at {top}")
    if not landing.is_dir():
        return Finding("landing folder", FAIL, f"{landing} is no folder", "make it, or set MARKET_SPINE_LANDING")
    if not os.access(landing, os.R_OK | os.X_OK):
        return Finding("landing folder", FAIL, f"{landing} cannot be read", "give this account the right to read it")
    return Finding("landing folder", OK, f"{landing} can be read")


def _landed(settings: Settings) -> Finding:
    """Files that will never be loaded as they lie there."""
    from market_spine.otc.landing import survey
    from market_spine.otc.steps import Steps

    steps = Steps(settings)
    found = survey(settings.landing, steps.feeds)
    problems = found.problems(steps.calendar)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return Finding(LANDED, WARN, f"{problems[0]}{more}", "spine inventory names all that will never be loaded")
    files = sum(len(day.stamps) for day in found.days.values())
    return Finding(LANDED, OK, f"{files:,} files of {len(found.days):,} report dates")


def _connections(settings: Settings, server: health.Server | None) -> list[Finding]:
    try:
        runs = connections.runs_at_once(instance_file())
    except SettingsError as error:
        return [Finding("connections", FAIL, str(error))]
    needed = connections.most(connections.budget(settings, runs))
    problem = connections.too_many(settings, runs, server.most_connections if server else None)
    if problem:
        return [Finding("connections", FAIL, problem)]
    used = f"{server.connections} open, " if server else ""
    says = f"{used}at most {needed} with {runs} runs at once, budget {settings.max_connections}"
    if server and server.connections > settings.max_connections:
        return [Finding("connections", WARN, says, "somebody else uses this server, or the budget is too small")]
    return [Finding("connections", OK, says)]


def instance_file() -> Path:
    """The dagster.yaml that counts here: that of DAGSTER_HOME, else the project's."""
    home = os.environ.get("DAGSTER_HOME", "")
    return Path(home) / "dagster.yaml" if home else PROJECT / "dagster.yaml"


def mend(settings: Settings) -> Iterator[str]:
    """End runs that show no sign of life in two looks, and queued ones that can never start; free slots.

    Yields a line for each, as it is done.

    Raises:
        SpineError: Dagster's database does not answer.
    """
    found = known_databases(settings)
    deployed = Deployment(settings, found)
    try:
        ours = health.locations(deployed.webserver)[1]
    except LedgerError:
        ours = []  # without the webserver nobody knows which code locations exist: those runs are left alone
    first = {run.run_id for run in reconciliation.under_way(deployed.ledger) if run.silent(())}
    if first:
        yield (f"{len(first)} runs show no sign of life; looking again in {MEND_SECONDS} s")
        time.sleep(MEND_SECONDS)
    from market_spine.automation.instance import open_instance
    from market_spine.automation.reconcile_sensor import end_queued, end_runs, free_slots

    environment = dagster_environment(settings, found)
    silent = [run for run in reconciliation.under_way(deployed.ledger) if run.run_id in first and run.silent(())]
    with open_instance(environment) as instance:
        done = [*end_runs(instance, dict.fromkeys(silent, float(MEND_SECONDS))), *free_slots(instance)]
        if ours:
            done += end_queued(instance, reconciliation.queued_elsewhere(deployed.ledger, ours))
    yield from map(str, done or ["nothing to mend"])
