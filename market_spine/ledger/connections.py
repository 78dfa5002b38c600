"""The connection budget: how many database connections this deployment opens at the most.

What it is: ``budget`` adds up what each process may hold at once on the market and Dagster's databases together, from
the settings and ``dagster.yaml``. The figures of each process were measured (docs/operating.md) and stand here.
Belongs here: that sum. Does not belong here: counting what is open now (``health``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from market_spine.errors import SettingsError
from market_spine.settings import Settings

DAGSTER_DEFAULT_RUNS = 10
"""Runs at once where dagster.yaml says nothing."""
WEBSERVER_OVERFLOW = 4
"""Connections a storage of the webserver may open beside the one it keeps; Dagster's own default is 20."""
RUN = 6
"""A run beside its builders: its sign of life, two for Dagster's events, one for its run, the gates, the day's own."""
AHEAD = 3
"""The next session, begun while this one's metrics are computed: its gates, its own, and one more for what is short."""
DAEMON = 8
"""One for each of its seven threads, and one that listens."""
WEBSERVER = 3 * (1 + WEBSERVER_OVERFLOW) + 1
"""Three storages with a pool each, and one that listens for events."""
CODE_SERVER = 6
"""Sensors and schedules are evaluated there, at most four at once; each opens one at a time on either database."""
CODE_SERVERS = 2
"""The webserver and the daemon start one each."""
API_LEDGER = 6
"""The API's calls of the ledger: two reads at once, one order, which may hold one on either database, and the two
connections that its metrics keep."""
COMMANDS = 5
"""What a person has open: `spine`, psql."""


@dataclass(frozen=True)
class Share:
    """What one kind of process may open.

    Args:
        what: the process.
        processes: how many of it there are.
        each: connections of one.
    """

    what: str
    processes: int
    each: int

    @property
    def connections(self) -> int:
        """All of them together."""
        return self.processes * self.each


def budget(settings: Settings, runs_at_once: int) -> tuple[Share, ...]:
    """What each kind of process may open, the runs first.

    Args:
        settings: ``build_connections`` is what a big day is built on.
        runs_at_once: ``max_concurrent_runs`` of dagster.yaml.
    """
    ahead = AHEAD if settings.build_connections > 1 else 0
    return (
        Share("runs", runs_at_once, RUN + settings.build_connections + ahead),
        Share("webserver", 1, WEBSERVER),
        Share("code servers", CODE_SERVERS, CODE_SERVER),
        Share("daemon", 1, DAEMON),
        Share("API", 1, settings.api_connections + API_LEDGER),
        Share("commands", 1, COMMANDS),
    )


def most(shares: tuple[Share, ...]) -> int:
    """The most connections that all together open."""
    return sum(share.connections for share in shares)


def runs_at_once(dagster_yaml: Path) -> int:
    """``concurrency.runs.max_concurrent_runs`` of an instance's file.

    Raises:
        SettingsError: the file cannot be read, or sets no limit (-1), so that no budget can be held.
    """
    try:
        read = yaml.safe_load(dagster_yaml.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise SettingsError(f"{dagster_yaml}: cannot be read: {' '.join(str(error).split())}") from error
    part = read
    for name in ("concurrency", "runs"):
        part = part.get(name) if isinstance(part, Mapping) else None
        part = part or {}
    runs = int(part.get("max_concurrent_runs", DAGSTER_DEFAULT_RUNS))
    if runs < 0:
        raise SettingsError(
            f"{dagster_yaml}: max_concurrent_runs is {runs}; expected a limit, or connections have none"
        )
    return runs


def too_many(settings: Settings, runs: int, server_limit: int | None = None) -> str:
    """Why the deployment may open more connections than it should; empty when it may not.

    Args:
        settings: ``max_connections`` is the budget.
        runs: runs at once.
        server_limit: connections the server takes from others than superusers, where known.
    """
    needed = most(budget(settings, runs))
    change = "lower max_concurrent_runs in dagster.yaml or MARKET_SPINE_BUILD_CONNECTIONS"
    if needed > settings.max_connections:
        return (
            f"{runs} runs at once may open {needed} database connections, MARKET_SPINE_MAX_CONNECTIONS is "
            f"{settings.max_connections}; {change}, or raise it"
        )
    if server_limit is not None and needed > server_limit:
        return (
            f"{runs} runs at once may open {needed} database connections, the server takes {server_limit}; {change}, "
            "or raise max_connections of the server"
        )
    return ""
