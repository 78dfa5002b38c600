"""A day's trades into ``otc_metrics_daily``, versioned by what was known when.

What it is: ``MetricsComputer.compute_day`` computes every column per symbol, a connection per leaf, then publishes in
one transaction the rows that changed and closes the ones they replace. Where a volume or close of an earlier day
moves, the rolling columns (average volume, previous close) of the same symbol's later rows get a revision as well.
Belongs here: the order of those steps. Does not belong here: formulas (``sql/metrics.sql``), trades (``normalize``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial

from psycopg import sql
from sqlalchemy import Column, Numeric

from market_spine.calendar import TradingCalendar
from market_spine.errors import CalendarError, UpstreamBlocked
from market_spine.otc import reference
from market_spine.warehouse.engine import Connection, Warehouse, in_parallel, leaf_prefix
from market_spine.warehouse.schema import BUILD, LEAVES, METRIC_VALUES, VALUE_COLUMNS
from market_spine.warehouse.sql import qualified, statements

SQL = statements("market_spine.otc", "metrics.sql")
PARTITIONS = statements("market_spine.warehouse", "partitions.sql")
ROLLING = ("adv5", "adv20", "adv60", "rel_volume", "prev_close", "return_cc")
PUBLISHING = date(1, 1, 1)
"""Lock of the publishing step: rolling columns reach over days, so two days publish one after the other."""


@dataclass(frozen=True)
class MetricsResult:
    """What a computation did: symbols of the day, rows that got a revision, later rows that followed."""

    day: date
    symbols: int
    revised: int
    rippled: int
    venue_mismatches: int


@dataclass(frozen=True)
class MetricsComputer:
    """Computes days.

    Args:
        warehouse: the market tables.
        calendar: the sessions.
    """

    warehouse: Warehouse
    calendar: TradingCalendar

    def compute_day(self, day: date, *, run_id: str | None = None) -> MetricsResult:
        """Compute a day and publish what changed.

        Raises:
            CalendarError: the day is no session.
            UpstreamBlocked: ``otc_trades`` of the day was never built.
            PartitionLocked: another run works on the day.
        """
        if not self.calendar.is_session(day):
            raise CalendarError(f"trade date {day} is no session of {self.calendar.name}")
        prefix = f"m{day:%Y%m%d}_"
        with self.warehouse.connect(building=True) as main:
            self.warehouse.lock_day(main, "otc_metrics_daily", day)
            self.warehouse.lock_day(main, "otc_trades", day, shared=True)
            row = main.execute(SQL("was_computed"), {"day": day}).fetchone()
            if row is None:
                raise UpstreamBlocked(
                    f"otc_metrics_daily {day}: otc_trades of that day was never built; build it first"
                )
            leaves = self._leaves(main, day)
            with self.warehouse.connect(building=True) as short:
                self.warehouse.clear_build(short, prefix)
            outs = [qualified(BUILD, f"{prefix}{number}") for number in range(len(leaves))]
            if len(leaves) == 1:
                self._symbol_days(main, day, leaves[0], outs[0])
            else:
                in_parallel([partial(self._symbol_days_alone, day, *pair) for pair in zip(leaves, outs, strict=True)])
            self.warehouse.lock_day(main, "otc_metrics_daily", PUBLISHING)
            result = self._publish(main, day, outs, turned=row[0] != row[1], run_id=run_id)
            for out in outs:
                main.execute(sql.SQL("DROP TABLE {}").format(out))
            return result

    def _leaves(self, connection: Connection, day: date) -> list[sql.Identifier]:
        rows = connection.execute(
            PARTITIONS("leaves_of"),
            {"table": "otc_trades", "schema": LEAVES, "prefix": leaf_prefix("otc_trades", day)},
        ).fetchall()
        return [qualified(LEAVES, str(row[0])) for row in rows]

    def _symbol_days(self, connection: Connection, day: date, leaf: sql.Identifier, out: sql.Identifier) -> None:
        connection.execute(
            SQL(
                "symbol_days",
                out=out,
                leaf=leaf,
                day=sql.Literal(day),
                day_start=sql.Literal(self.calendar.day_bounds(day)[0]),
                opens_at=sql.Literal(self.calendar.session_open(day)),
                closes_at=sql.Literal(self.calendar.session_close(day)),
            )
        )

    def _symbol_days_alone(self, day: date, leaf: sql.Identifier, out: sql.Identifier) -> None:
        with self.warehouse.connect(building=True) as connection:
            self._symbol_days(connection, day, leaf, out)

    def _publish(
        self, main: Connection, day: date, outs: Sequence[sql.Identifier], *, turned: bool, run_id: str | None
    ) -> MetricsResult:
        at = sql.Literal(datetime.now(UTC))
        run = sql.Literal(run_id)
        here = sql.Literal(day)
        names = sql.SQL(", ").join(sql.Identifier(name) for name in VALUE_COLUMNS)
        fresh = sql.SQL(", ").join(_typed(column) for column in METRIC_VALUES)
        old = sql.SQL(", ").join(sql.Identifier("m", name) for name in VALUE_COLUMNS)
        slices = sql.SQL(" UNION ALL ").join(sql.SQL("SELECT * FROM {}").format(out) for out in outs)
        # From here on few rows are looked up in long histories: by index, one by one.
        main.execute(sql.SQL("SET LOCAL enable_nestloop = on"))
        main.execute(SQL("fresh", slices=slices, day=here, **self._windows(main, day)))
        main.execute(SQL("changed", day=here, fresh_values=fresh, old_values=old))
        main.execute(SQL("close_old", day=here, at=at))
        revised = main.execute(
            SQL(
                "publish",
                day=here,
                values=names,
                fresh_values=fresh,
                rules_version=sql.Literal(reference.rules_version()),
                at=at,
                run_id=run,
            )
        ).rowcount
        main.execute(SQL("record", day=here, at=at, run_id=run))
        rippled = self._ripple(main, day, at, run, turned=turned)
        mismatch = main.execute(SQL("venue_mismatch")).fetchone()
        symbols = main.execute(sql.SQL("SELECT count(*) FROM fresh")).fetchone()
        return MetricsResult(
            day, int(str(symbols[0])) if symbols else 0, revised, rippled, int(str(mismatch[0])) if mismatch else 0
        )

    def _windows(self, connection: Connection, day: date) -> dict[str, sql.Composable]:
        """First session of each window, NULL where the window is not whole or not computed."""
        sessions = self.calendar.sessions(self.calendar.first_session, day)[:-1][-60:]
        known = {row[0] for row in connection.execute(SQL("known_sessions"), {"days": sessions}).fetchall()}
        starts: dict[int, date | None] = {}
        for n in (5, 20, 60):
            window = sessions[-n:]
            starts[n] = window[0] if len(window) == n and known.issuperset(window) else None
        whole = [start for start in starts.values() if start is not None]
        return {
            **{f"from{n}": sql.SQL("{}::date").format(sql.Literal(start)) for n, start in starts.items()},
            "from_any": sql.Literal(min(whole, default=day)),
        }

    def _ripple(self, main: Connection, day: date, at: sql.Composable, run: sql.Composable, *, turned: bool) -> int:
        later = main.execute(SQL("later_days"), {"day": day}).fetchone()
        if later is None or not later[0]:
            return 0
        main.execute(
            SQL(
                "ripple_rows",
                day=sql.Literal(day),
                turned=sql.Literal(turned),
                first_session=sql.Literal(self.calendar.first_session),
            )
        )
        kept = [name for name in VALUE_COLUMNS if name not in ROLLING]
        return main.execute(
            SQL(
                "ripple",
                at=at,
                run_id=run,
                kept=sql.SQL(", ").join(sql.Identifier(name) for name in kept),
                kept_values=sql.SQL(", ").join(sql.Identifier("c", name) for name in kept),
            )
        ).rowcount


def _typed(column: Column[object]) -> sql.Composable:
    """A fresh value in the precision of its column, so that comparing it with the stored one is exact."""
    value = sql.Identifier("f", column.name)
    if not isinstance(column.type, Numeric) or column.type.precision is None:
        return value
    precision, scale = sql.Literal(column.type.precision), sql.Literal(column.type.scale)
    return sql.SQL("{}::numeric({}, {})").format(value, precision, scale)
