"""The facts that SQL joins: frozen sessions and sale-condition eligibility, brought from the package to the database.

What it is: two packaged tables (``calendar_xnys.csv``, ``sale_conditions.csv``) copied whole whenever their content
changed. Eligibility follows the CTA and UTP specifications and a vendor's condition table of 2026-07; a code whose
meaning changed has a row for each span of trade dates.
Belongs here: reading and copying them. Does not belong here: what a condition does to a metric (``metrics``).
"""

import csv
import hashlib
from datetime import date
from functools import cache
from importlib import resources

from market_spine.calendar import frozen_sessions
from market_spine.warehouse.engine import Connection, Warehouse
from market_spine.warehouse.sql import statements

SQL = statements("market_spine.otc", "reference.sql")
EPOCH = date(1970, 1, 1)
FLAGS = ("upd_high_low", "upd_last", "upd_volume", "last_if_only")


@cache
def sale_conditions() -> tuple[dict[str, str], ...]:
    """The packaged eligibility facts, a row per tape, code and span of validity."""
    text = resources.files("market_spine.otc").joinpath("sale_conditions.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines()))


@cache
def rules_version() -> str:
    """Version of the eligibility rules: a digest of the facts, so that no edit goes without one."""
    text = resources.files("market_spine.otc").joinpath("sale_conditions.csv").read_bytes()
    return hashlib.sha256(text).hexdigest()[:12]


def bring_up_to_date(warehouse: Warehouse) -> None:
    """Copy the packaged facts where the database holds others; a query where it does not."""
    with warehouse.connect(building=True) as connection:
        if _is_current(connection):
            return
        connection.execute(SQL("lock"))
        if _is_current(connection):
            return
        connection.execute(SQL("replace_sessions"), _sessions())
        rows = sale_conditions()
        connection.execute(
            SQL("replace_conditions"),
            {
                **{name: [row[name] for row in rows] for name in ("tape", "code", "valid_from", "valid_to", "name")},
                **{name: [row[name] == "1" for row in rows] for name in FLAGS},
                "version": rules_version(),
            },
        )


def _is_current(connection: Connection) -> bool:
    return connection.execute(SQL("state")).fetchone() == (_sessions_digest(), rules_version())


@cache
def _sessions_digest() -> str:
    """What ``state`` says of the sessions where the database holds those of the package."""
    lines = (
        f"{(session.day - EPOCH).days},{number},{int(session.open.timestamp())},{int(session.close.timestamp())}"
        for number, session in enumerate(frozen_sessions())
    )
    return hashlib.md5(";".join(lines).encode(), usedforsecurity=False).hexdigest()


@cache
def _sessions() -> dict[str, list[object]]:
    sessions = frozen_sessions()
    return {
        "days": [session.day for session in sessions],
        "ordinals": list(range(len(sessions))),
        "opens": [session.open for session in sessions],
        "closes": [session.close for session in sessions],
    }
