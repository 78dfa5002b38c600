"""Checks: what must hold of a day of each table, counted from the tables and kept in ``otc_quality``.

What it is: ``CHECKS`` names every check; ``Quality.check_day`` runs those of one table and day in one or two statements
and keeps the results; ``Quality.require_passed`` is the gate that stops whatever is computed from a day whose blocking
check failed, in this run or in any later one (Dagster's own gate ends with its run).
Belongs here: what is checked and when it passes. Does not belong here: the counting (``sql/quality.sql``), Dagster.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from psycopg import sql

from market_spine.errors import UpstreamBlocked
from market_spine.otc.feeds import Feed
from market_spine.warehouse.engine import Connection, Warehouse, leaf_prefix
from market_spine.warehouse.schema import LEAVES
from market_spine.warehouse.sql import qualified, statements

SQL = statements("market_spine.otc", "quality.sql")
PARTITIONS = statements("market_spine.warehouse", "partitions.sql")
RAW, TRADES, METRICS = "otc_trades_raw", "otc_trades", "otc_metrics_daily"
OUTLIER_SHARE_WARN = Decimal("0.01")
QUARANTINE_SHARE_WARN = Decimal("0.01")
EXAMPLES = 5

Details = Mapping[str, object]
Verdicts = Mapping[str, tuple[bool, Details]]


@dataclass(frozen=True)
class Check:
    """A check of one table.

    Args:
        asset: the table.
        name: the check.
        description: what must hold, one sentence.
        blocking: a failure stops what is computed from that day.
        is_error: a failure means that something is wrong; otherwise it is worth a look.
    """

    asset: str
    name: str
    description: str
    blocking: bool = False
    is_error: bool = False


CHECKS: tuple[Check, ...] = (
    Check(
        RAW,
        "file_rows_conserved",
        "Of every live file: lines = header + rows + blank lines + trailer, rows = rows in the table = rows declared.",
        blocking=True,
        is_error=True,
    ),
    Check(RAW, "session_has_file", "No session without a live file.", is_error=True),
    Check(RAW, "no_refused_files", "No file of the session was refused and not delivered again since."),
    Check(
        TRADES,
        "reports_conserved",
        "Conservation law: rows of the day's files + reports carried in = trades by status + exceptions.",
        blocking=True,
        is_error=True,
    ),
    Check(
        TRADES, "known_conditions", "Every sale-condition code is in the eligibility table; others count as regular."
    ),
    Check(TRADES, "few_outliers", f"At most {OUTLIER_SHARE_WARN:.0%} of the live trades are outliers."),
    Check(
        TRADES, "few_late_reports", "The share of live trades reported late stays under MARKET_SPINE_LATE_SHARE_WARN."
    ),
    Check(TRADES, "few_quarantined", f"At most {QUARANTINE_SHARE_WARN:.0%} of the day's reports are in quarantine."),
    Check(METRICS, "vwap_within_range", "Every vwap lies within [low, high].", blocking=True, is_error=True),
    Check(
        METRICS,
        "volume_is_sum_of_venues",
        "The symbols are those of otc_trades, and each volume is the sum over all venues, counted anew.",
        blocking=True,
        is_error=True,
    ),
)


@dataclass(frozen=True)
class CheckResult:
    """What a check found on a day."""

    check: Check
    day: date
    passed: bool
    details: Details

    @property
    def stops(self) -> bool:
        """Whether nothing may be built on the day."""
        return self.check.blocking and not self.passed


@dataclass(frozen=True)
class Quality:
    """Runs the checks.

    Args:
        warehouse: the market tables.
        feeds: the feeds, by name; they say how a text of conditions parts into codes.
        late_share_warn: share of late trades above which the check warns.
    """

    warehouse: Warehouse
    feeds: Mapping[str, Feed]
    late_share_warn: Decimal = Decimal("0.05")

    def check_day(
        self, asset: str, day: date, connection: Connection, *, run_id: str | None = None
    ) -> list[CheckResult]:
        """Run every check of a table on a day, keep and commit the results; waits for a run that replaces the day."""
        # Shared: the day cannot be replaced between the counting and the keeping of what was counted.
        self.warehouse.lock_day(connection, asset, day, shared=True)
        results = self.count_day(asset, day, connection)
        kept = [
            {"name": one.check.name, "passed": one.passed, "blocking": one.check.blocking, "details": one.details}
            for one in results
        ]
        connection.execute(
            SQL("record"), {"asset": asset, "day": day, "results": json.dumps(kept, default=str), "run_id": run_id}
        )
        connection.commit()
        return results

    def count_day(self, asset: str, day: date, connection: Connection) -> list[CheckResult]:
        """What the checks of a table find on a day in the running transaction; nothing is kept."""
        verdicts = {RAW: self._raw, TRADES: self._trades, METRICS: self._metrics}[asset](connection, day)
        return [CheckResult(check, day, *verdicts[check.name]) for check in CHECKS if check.asset == asset]

    def require_passed(self, asset: str, day: date, connection: Connection, *, run_id: str | None = None) -> None:
        """Let nothing be built on a day of ``asset`` whose blocking check failed.

        Checks that never ran on the day as it is now (a run was killed before them) run first.

        Raises:
            UpstreamBlocked: a blocking check failed; says which, why, and what to do.
        """
        wanted = {check.name: check for check in CHECKS if check.asset == asset and check.blocking}
        rows = connection.execute(SQL("last_results"), {"asset": asset, "day": day}).fetchall()
        connection.commit()
        results = [
            CheckResult(wanted[str(name)], day, bool(passed), details if isinstance(details, dict) else {})
            for name, passed, details, is_fresh in rows
            if name in wanted and is_fresh
        ]
        if len(results) < len(wanted):
            results = self.check_day(asset, day, connection, run_id=run_id)
        stop_if_blocked(results)

    def _raw(self, connection: Connection, day: date) -> Verdicts:
        files: dict[str, int] = {}
        odd: list[str] = []
        prefix = sql.Literal(leaf_prefix(RAW, day))
        query = SQL("raw_files", counts=_leaf_counts(connection, RAW, day), prefix=prefix)
        for path, *numbers in connection.execute(query, {"day": day}).fetchall():
            rows, lines, blank, trailer, declared, counted = (_number(one) for one in numbers)
            files[str(path)] = counted
            if lines != 1 + rows + blank + trailer:
                odd.append(
                    f"{path}: {lines:,} lines are not header + {rows:,} rows + {blank:,} blank + {trailer} trailer"
                )
            elif rows != counted:
                odd.append(f"{path}: {rows:,} rows were read, {counted:,} are in the table")
            elif numbers[4] is not None and declared != rows:
                odd.append(f"{path}: the trailer declares {declared:,} rows, {rows:,} were read")
        refused = [str(row[0]) for row in connection.execute(SQL("refused_files"), {"day": day}).fetchall()]
        return {
            "file_rows_conserved": (not odd, {"files": files, **_problems(odd)}),
            "session_has_file": (bool(files), {"files": len(files)}),
            "no_refused_files": (not refused, {"refused": len(refused), **_problems(refused)}),
        }

    def _trades(self, connection: Connection, day: date) -> Verdicts:
        query = SQL("trades_terms", counts=_leaf_counts(connection, TRADES, day))
        row = connection.execute(query, {"day": day}).fetchall()[0]
        rows, carried_in, dispositions, is_marked, base_then, carried_then, *counts = row
        trades, cancelled, superseded, strange, unknown, outliers, late = (_number(one) for one in counts)
        live = trades - cancelled - superseded - strange
        exceptions = (
            {str(name): int(count) for name, count in dispositions.items()} if isinstance(dispositions, dict) else {}
        )
        reports_in = _number(rows) + _number(carried_in)
        accounted = trades + sum(exceptions.values())
        waits = bool(is_marked) and reports_in != accounted
        if waits:
            reports_in = _number(base_then) + _number(carried_then)
        law: dict[str, object] = {
            "file_rows": _number(base_then if waits else rows),
            "carried_in": _number(carried_then if waits else carried_in),
            "trades": {"live": live, "cancelled": cancelled, "superseded": superseded},
            "exceptions": exceptions,
            "difference": reports_in - accounted,
        }
        if waits:
            law["waits"] = "its inputs changed since; the day is marked and will be computed again"
        if strange:
            law["problem"] = f"{strange:,} trades of an unknown status"
        quarantined = exceptions.get("quarantined", 0)
        codes = self._unknown_codes(connection, day) if unknown else []
        return {
            "reports_conserved": (reports_in == accounted and "problem" not in law, law),
            "known_conditions": (unknown == 0, {"trades": unknown, **({"codes": codes} if codes else {})}),
            "few_outliers": _share("outliers", outliers, live, OUTLIER_SHARE_WARN),
            "few_late_reports": _share("late", late, live, self.late_share_warn),
            "few_quarantined": _share("quarantined", quarantined, accounted, QUARANTINE_SHARE_WARN),
        }

    def _unknown_codes(self, connection: Connection, day: date) -> list[dict[str, object]]:
        feeds = [
            {"source": feed.name, "tape": feed.tape, "separator": feed.condition_separator}
            for feed in self.feeds.values()
        ]
        rows = connection.execute(SQL("unknown_codes"), {"day": day, "feeds": json.dumps(feeds)}).fetchall()
        return [dict(zip(("source", "code", "trades", "example"), row, strict=True)) for row in rows]

    def _metrics(self, connection: Connection, day: date) -> Verdicts:
        work_mem = sql.Literal(f"{min(self.warehouse.work_mem_mb, 64)}MB")
        connection.execute(SQL("hash_groups", work_mem=work_mem))
        row = connection.execute(SQL("metrics_terms"), {"day": day}).fetchall()[0]
        symbols, missing, surplus, differing, outside = (_number(one) for one in row[:5])
        volumes: dict[str, object] = {
            "symbols": symbols,
            "missing": missing,
            "surplus": surplus,
            "differing": differing,
        }
        return {
            "vwap_within_range": (outside == 0, {"symbols": symbols, "outside": outside, **_examples(row[6])}),
            "volume_is_sum_of_venues": (missing + surplus + differing == 0, {**volumes, **_examples(row[5])}),
        }


def stop_if_blocked(results: Sequence[CheckResult]) -> None:
    """Raise for the first blocking check that failed.

    Raises:
        UpstreamBlocked: says which check, why, and what to do.
    """
    for one in results:
        if one.stops:
            raise UpstreamBlocked(
                f"{one.check.asset} {one.day}: blocking check {one.check.name} failed "
                f"({json.dumps(one.details, default=str)}); nothing is built on it until its cause is gone and "
                f"{one.check.asset} {one.day} has been materialized again"
            )


def _leaf_counts(connection: Connection, table: str, day: date) -> sql.Composable:
    """A query for the rows of each leaf a day has."""
    named = {"table": table, "schema": LEAVES, "prefix": leaf_prefix(table, day)}
    leaves = [str(row[0]) for row in connection.execute(PARTITIONS("leaves_of"), named).fetchall()]
    counts = [SQL("count_leaf", name=sql.Literal(leaf), leaf=qualified(LEAVES, leaf)) for leaf in leaves]
    return sql.SQL(" UNION ALL ").join(counts or [SQL("no_leaves")])


def _number(value: object) -> int:
    return 0 if value is None else int(str(value))


def _share(name: str, count: int, total: int, limit: Decimal) -> tuple[bool, Details]:
    share = Decimal(count) / total if total else Decimal(0)
    return share <= limit, {name: count, "of": total, "share": float(round(share, 6)), "limit": float(limit)}


def _problems(problems: Sequence[str]) -> dict[str, object]:
    return {"problems": list(problems[:EXAMPLES])} if problems else {}


def _examples(symbols: object) -> dict[str, object]:
    return {"examples": list(symbols)} if isinstance(symbols, list) and symbols else {}
