"""What the tables hold, as one number for each table and day, so that two states can be told apart or found equal.

Belongs here: reading digests in one snapshot, and naming a state old, new or neither.
Does not belong here: who brought the tables into that state (``chaos``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import psycopg

from market_spine.warehouse.sql import statements

SQL = statements("benchmarks", "digests.sql")
# What one transaction writes must be old or new together, not only each table for itself.
TOGETHER = {
    "raw": ("otc_trades_raw",),
    "trades": ("otc_trades", "otc_exceptions", "otc_carried", "otc_days"),
    "metrics": ("otc_metrics_daily",),
}
Digests = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class State:
    """The tables at one moment.

    Args:
        digests: by table, then by day.
        broken: what must never be, whichever state it is; empty when all is well.
        leftovers: tables under construction.
    """

    digests: Digests
    broken: tuple[str, ...] = ()
    leftovers: int = 0


@dataclass(frozen=True)
class Verdict:
    """For each group of tables: old, new, both (when old and new are equal), or what is wrong."""

    groups: Mapping[str, str] = field(default_factory=dict)

    @property
    def mixed(self) -> list[str]:
        """Groups that are neither."""
        return [f"{name}: {found}" for name, found in self.groups.items() if found not in ("old", "new", "both")]

    @property
    def all_new(self) -> bool:
        """Whether everything is the new day."""
        return all(found in ("new", "both") for found in self.groups.values())


def read(url: str) -> State:
    """The tables as they are now, all in one snapshot."""
    digests: dict[str, dict[str, str]] = {}
    with psycopg.connect(url) as connection:
        connection.execute(SQL("snapshot"))
        for tables in TOGETHER.values():
            for table in tables:
                rows = connection.execute(SQL(table)).fetchall()
                digests[table] = {str(day): f"{count}:{digest}" for day, count, digest in rows}
        broken = [f"file {row[0]}: {row[2]} rows of {row[1]}" for row in connection.execute(SQL("raw_mismatches"))]
        broken += [f"revisions of {row[0]} {row[1]}" for row in connection.execute(SQL("unclosed"))]
        broken += [f"leaf {row[0]} belongs to no table" for row in connection.execute(SQL("leaves"))]
        row = connection.execute(SQL("leftovers")).fetchone()
    return State(digests, tuple(broken), int(str(row[0])) if row else 0)


def judge(found: Digests, old: Digests, new: Digests) -> Verdict:
    """Name each group of tables that one transaction writes."""
    groups: dict[str, str] = {}
    for group, tables in TOGETHER.items():
        is_old = all(found[table] == old[table] for table in tables)
        is_new = all(found[table] == new[table] for table in tables)
        if is_old or is_new:
            groups[group] = "both" if is_old and is_new else "old" if is_old else "new"
            continue
        parts = [
            f"{table} {day}"
            for table in tables
            for day in sorted({*found[table], *old[table], *new[table]})
            if found[table].get(day) not in (old[table].get(day), new[table].get(day))
        ]
        groups[group] = "neither old nor new: " + ", ".join(parts) if parts else "a mix of old and new"
    return Verdict(groups)
