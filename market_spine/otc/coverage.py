"""What the market tables have of each session, whatever Dagster says of it.

Belongs here: which tables a session is in, and what stands against it there. Does not belong here: what is missing and
what to do about it (``market_spine.ledger.inventory``), the checks (``quality``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from market_spine.otc.quality import METRICS, RAW, TRADES
from market_spine.warehouse.engine import Connection
from market_spine.warehouse.sql import statements

SQL = statements("market_spine.otc", "coverage.sql")


@dataclass(frozen=True)
class SessionData:
    """What is there of a session.

    Args:
        assets: the tables that have it.
        refused: the last file that was refused and not delivered again since, with the reason.
        marked: why it has to be computed again; None: it has not.
        blocked: tables whose blocking check failed, with the check and its figures.
    """

    assets: frozenset[str]
    refused: str | None
    marked: str | None
    blocked: Mapping[str, str]


def coverage(connection: Connection, since: date = date.min) -> dict[date, SessionData]:
    """Every session from ``since`` on of which there is anything, a refused file included; oldest first."""
    return {
        day: SessionData(
            frozenset(asset for asset, is_there in zip((RAW, TRADES, METRICS), there, strict=True) if is_there),
            None if refused is None else str(refused),
            None if marked is None else str(marked),
            dict(blocked) if isinstance(blocked, dict) else {},
        )
        for day, *there, refused, marked, blocked in connection.execute(SQL("coverage"), {"since": since}).fetchall()
        if isinstance(day, date)
    }
