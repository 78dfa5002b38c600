"""A day's reports into ``otc_trades``: identity, life cycle, validity, quarantine, and the day replaced in one swap.

What it is: ``Normalizer.normalize_day`` runs one day's pass. A big day is cut into slices of symbols that are written
on several connections at once; a small day runs on one connection in one transaction. Either way the day's trades, its
exceptions, what it carries to other days and its dirty marks change together, in the last transaction.
Belongs here: slices, the order of the steps, the swap. Does not belong here: preparation (``day_pass``), metrics.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import partial
from itertools import pairwise

import psycopg
from psycopg import sql

from market_spine.calendar import TradingCalendar
from market_spine.errors import CalendarError
from market_spine.otc import reference
from market_spine.otc.day_pass import SQL, TABLES, DayPass, PassFile
from market_spine.otc.feeds import Feed
from market_spine.otc.raw_retention import refuse_expired
from market_spine.otc.typing_sql import RAW_NAMES, literals, place
from market_spine.warehouse.engine import Connection, Leaf, Warehouse, in_parallel
from market_spine.warehouse.schema import otc_trades, shape_of

STATUSES = ("live", "cancelled", "superseded")
"""What a row of ``otc_trades`` can be."""


@dataclass(frozen=True)
class NormalizeResult:
    """What a pass did.

    Args:
        day: trade date.
        base_rows: rows of the day's own live files.
        carried_in: reports taken in from other days.
        trades: rows of ``otc_trades`` by status.
        exceptions: the other reports, by disposition and then by reason.
        marked: other days this pass marked dirty.
    """

    day: date
    base_rows: int
    carried_in: int
    trades: Mapping[str, int]
    exceptions: Mapping[str, Mapping[str, int]]
    marked: tuple[date, ...] = ()

    @property
    def accounted(self) -> int:
        """Reports that have a disposition; equals ``base_rows + carried_in`` when nothing was lost."""
        return sum(self.trades.values()) + sum(sum(reasons.values()) for reasons in self.exceptions.values())


@dataclass(frozen=True)
class Slice:
    """A range of symbols [low, high) of the day; None is open."""

    number: int
    low: str | None
    high: str | None

    def cut(self, expression: str) -> sql.Composable:
        """The condition that ``expression`` lies in the range."""
        tests = []
        if self.low is not None:
            tests.append(sql.SQL("{} >= {}").format(sql.SQL(expression), sql.Literal(self.low)))
        if self.high is not None:
            tests.append(sql.SQL("{} < {}").format(sql.SQL(expression), sql.Literal(self.high)))
        return sql.SQL(" AND ").join(tests) if tests else sql.SQL("true")

    def bounds(self, day: date) -> sql.Composable:
        """FOR VALUES of the leaf."""
        low = sql.SQL("MINVALUE") if self.low is None else sql.Literal(self.low)
        high = sql.SQL("MAXVALUE") if self.high is None else sql.Literal(self.high)
        return sql.SQL("FOR VALUES FROM ({0}, {1}) TO ({0}, {2})").format(sql.Literal(day), low, high)

    def check(self, day: date) -> sql.Composable:
        """The same as a constraint, which spares ATTACH the scan."""
        return sql.SQL("trade_date IS NOT NULL AND symbol IS NOT NULL AND trade_date = {} AND {}").format(
            sql.Literal(day), self.cut("symbol")
        )


@dataclass(frozen=True)
class Normalizer:
    """Runs day passes.

    Args:
        warehouse: the market tables.
        feeds: the feeds, by name.
        calendar: the sessions.
        connections: connections that write a big day at once.
        slice_rows: a day of more rows than this is cut into slices.
        outlier_factor: a print this many times above the median, or below, is an outlier.
        outlier_min_prints: fewer eligible prints than this have no outliers.
    """

    warehouse: Warehouse
    feeds: Mapping[str, Feed]
    calendar: TradingCalendar
    connections: int = 2
    slice_rows: int = 250_000
    outlier_factor: Decimal = Decimal(5)
    outlier_min_prints: int = 5
    _ready: list[bool] = field(default_factory=list, repr=False, compare=False)

    def normalize_day(self, day: date, *, run_id: str | None = None) -> NormalizeResult:
        """Replace a day of ``otc_trades`` by what its reports say now.

        Raises:
            CalendarError: the day is no session.
            PartitionLocked: another run works on the day.
            RawExpired: its reports were dropped; the day stays as it is.
        """
        if not self.calendar.is_session(day):
            raise CalendarError(f"trade date {day} is no session of {self.calendar.name}")
        if not self._ready:
            reference.bring_up_to_date(self.warehouse)
            self._ready.append(True)
        with self.warehouse.connect(building=True) as main:
            self.warehouse.lock_day(main, "otc_trades", day)
            self.warehouse.lock_day(main, "otc_trades_raw", day, shared=True)
            refuse_expired(main, "otc_trades", day)
            marks = [row[0] for row in main.execute(SQL("seen_marks"), {"day": day}).fetchall()]
            files = main.execute(SQL("files_of_day"), {"day": day}).fetchall()
            work = DayPass(
                day,
                [_pass_file(row) for row in files],
                self.feeds,
                self.calendar,
            )
            self._clear_leftovers(work.prefix)
            carried = main.execute(SQL("carried_in_count"), {"day": day}).fetchone()
            carried_in = int(str(carried[0])) if carried else 0
            slices, padded = self._prepare(main, work, carried_in > 0)
            trades = self._write_twice(main, work, slices, padded)
            return self._finish(main, work, slices, trades, carried_in, marks, run_id)

    def _prepare(self, main: Connection, work: DayPass, carried: bool) -> tuple[list[Slice], set[str]]:
        """Fill the tables aside; with one slice everything stays in the main transaction.

        Answers the slices, and the sources that pad their columns.
        """
        if self.connections < 2 or work.base_rows <= self.slice_rows:
            work.run(main, "create_tables")
            work.collect(main, carried=carried)
            work.survey(main)
            if work.is_quiet(main):
                work.run(main, "patch_targets")
            else:
                work.settle(main)
            return [Slice(0, None, None)], work.padded(main)
        with self.warehouse.connect(building=True) as connection:
            work.run(connection, "create_tables")

        def collect() -> None:
            with self.warehouse.connect(building=True) as connection:
                work.collect(connection, carried=carried)

        def survey() -> None:
            with self.warehouse.connect(building=True) as connection:
                work.survey(connection)

        padded: set[str] = set()

        def settle() -> None:
            with self.warehouse.connect(building=True) as connection:
                work.settle(connection)

        def look_at_texts() -> None:
            with self.warehouse.connect(building=True) as connection:
                padded.update(work.padded(connection))
                work.keep_symbols(connection)

        in_parallel([collect, survey])
        in_parallel([settle, look_at_texts])
        with self.warehouse.connect(building=True) as connection:
            return self._slices(connection, work), padded

    def _write_twice(self, main: Connection, work: DayPass, slices: list[Slice], padded: set[str]) -> dict[str, int]:
        """Write the slices; once more where the hasty reading failed or put aside what the careful one can read."""
        hasty = True
        while True:
            try:
                with main.transaction():
                    trades = self._write(main, work, slices, padded, hasty=hasty)
            except psycopg.DataError:
                if not hasty:
                    raise
                # a moment that begins like one of the day and cannot be read: ask before every cast
            else:
                with self._builder(main, slices) as connection:
                    if not self._adopt(connection, work, slices):
                        return trades
            hasty = False
            with self._builder(main, slices) as connection:
                for name in ("leaf", "parent"):
                    self.warehouse.clear_build(connection, work.prefix + name)

    def _adopt(self, connection: Connection, work: DayPass, slices: list[Slice]) -> bool:
        """Settle what was put aside; whether some of it are trades of the day after all."""
        asides = [self._slice_names(work, part)["aside"] for part in slices]
        if not any(_exists(connection, aside) for aside in asides):
            return False
        work.add_aside(connection, asides)
        if not connection.execute(SQL("adopt_aside", **work.names)).rowcount:
            return False
        work.run(connection, "forget_aside")
        work.add_rep_conditions(connection)
        return True

    @contextmanager
    def _builder(self, main: Connection, slices: list[Slice]) -> Iterator[Connection]:
        """The connection whose tables the slices see: the main one, or where there are several, one that commits."""
        if len(slices) == 1:
            yield main
        else:
            with self.warehouse.connect(building=True) as connection:
                yield connection

    def _slices(self, connection: Connection, work: DayPass) -> list[Slice]:
        wanted = min(self.connections, -(-work.base_rows // self.slice_rows))
        files = [file.file_id for file in work.files if file.is_base]
        row = connection.execute(
            SQL(
                "symbol_bounds",
                shares=sql.Literal([(number + 1) / wanted for number in range(wanted - 1)]),
                percent=sql.Literal(min(100.0, 2_000_000 / work.base_rows)),
                day=sql.Literal(work.day),
                files=literals(files),
            )
        ).fetchone()
        found = row[0] if row and isinstance(row[0], list) else []
        cuts = sorted({str(cut) for cut in found if cut}, key=lambda text: text.encode())
        edges = [None, *cuts, None]
        return [Slice(n, low, high) for n, (low, high) in enumerate(pairwise(edges))]

    def _write(
        self, main: Connection, work: DayPass, slices: list[Slice], padded: set[str], *, hasty: bool
    ) -> dict[str, int]:
        """Write every slice; answers the rows by status."""
        totals: dict[str, int] = {}
        alone = len(slices) == 1
        symbols = sql.Identifier("symbols") if alone else work.table("symbols")
        with_symbols = SQL("with_symbols", ranked=work.ranked_symbols) if alone else sql.SQL("")
        day_start, _ = self.calendar.day_bounds(work.day)
        extra_place = place(sql.Identifier("s", "rank"), sql.Identifier("e", "executed_at"), day_start)

        def write(part: Slice, connection: Connection) -> None:
            names = self._slice_names(work, part)
            rows = [
                feed.fast(
                    work.ids(source, base=True),
                    patch=work.table("patch"),
                    conditions=work.table("conditions"),
                    symbols=symbols,
                    cut=part.cut("s.symbol"),
                    trim=source in padded,
                    hasty=hasty,
                )
                for source, feed in work.sources.items()
                if work.ids(source, base=True)
            ]
            parts = {**work.names, "symbols": symbols, "place": extra_place}
            rows.append(SQL("extra_rows", **parts, in_slice=part.cut("s.symbol")))
            limits = {"factor": sql.Literal(self.outlier_factor), "minimum": sql.Literal(self.outlier_min_prints)}
            aside = {"numbers": f"{work.prefix}numbers", "stats": f"{work.prefix}stats"}
            work.run(connection, "create_slice", **names, **aside, columns=sql.SQL(shape_of(otc_trades)))
            work.run(
                connection,
                "fill_slice",
                **names,
                with_symbols=with_symbols,
                rows=sql.SQL("\nUNION ALL\n").join(rows),
                counter=sql.Literal(aside["numbers"]),
            )
            work.run(connection, "drop_numbers", **aside)
            work.run(connection, "symbol_stats", **names, **aside, **limits)
            if _is_true(connection, SQL("any_wide", **aside)):
                work.run(connection, "flag_outliers", **names, **aside, **limits)
            work.run(connection, "finish_slice", **names, bounds=part.check(work.day))
            counts = connection.execute(SQL("counts", **aside)).fetchone() or (0, 0, 0)
            for status, count in zip(STATUSES, counts, strict=True):
                totals[status] = totals.get(status, 0) + int(str(count))
            connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(aside["stats"])))

        if alone:
            write(slices[0], main)
        else:

            def write_alone(part: Slice) -> None:
                with self.warehouse.connect(building=True) as connection:
                    write(part, connection)

            in_parallel([partial(write_alone, part) for part in slices])
        return totals

    def _finish(
        self,
        main: Connection,
        work: DayPass,
        slices: list[Slice],
        trades: dict[str, int],
        carried_in: int,
        marks: list[object],
        run_id: str | None,
    ) -> NormalizeResult:
        """Settle what was put aside, then change everything that readers see, the swap last."""
        names = [self._slice_names(work, part) for part in slices]
        main.execute(SQL("old_carried"), {"day": work.day})
        raw = sql.SQL(", ").join(sql.Identifier(name) for name in RAW_NAMES)
        texts = sql.SQL(", ").join(sql.SQL("report ->> {}").format(sql.Literal(name)) for name in RAW_NAMES)
        work.run(main, "replace_carried", raw_columns=raw, from_report=texts)
        work.run(main, "replace_exceptions", home=SQL("home", first_session=work.names["first_session"]))
        work.run(main, "mark_days", run_id=sql.Literal(run_id))
        # Only new files can bring a report somebody waits for; waking without that would go round for ever.
        before = main.execute(SQL("files_before"), {"day": work.day}).fetchone()
        file_ids = [file.file_id for file in work.files if file.is_base]
        waiting = SQL("waiting", day=work.names["day"])
        if (before is None or before[0] != file_ids) and _is_true(main, SQL("anyone_waits", waiting=waiting)):
            work.run(main, "wake_holders", run_id=sql.Literal(run_id), waiting=waiting)
        exceptions: dict[str, dict[str, int]] = {}
        for disposition, reason, count in main.execute(SQL("dispositions", **work.names)).fetchall():
            exceptions.setdefault(str(disposition), {})[str(reason)] = int(str(count))
        marked = main.execute(SQL("marked_days"), {"day": work.day}).fetchall()
        result = NormalizeResult(
            work.day,
            work.base_rows,
            carried_in,
            trades,
            exceptions,
            tuple(row[0] for row in marked if isinstance(row[0], date)),
        )
        main.execute(
            SQL("record_day"),
            {
                "day": work.day,
                "file_ids": file_ids,
                "base_rows": result.base_rows,
                "carried_in": carried_in,
                "counts": json.dumps({"trades": trades, "exceptions": exceptions}),
                "rules_version": reference.rules_version(),
                "run_id": run_id,
            },
        )
        main.execute(SQL("clear_marks"), {"marks": marks})
        for name in TABLES:
            main.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(work.table(name)))
        for tables in names:
            main.execute(sql.SQL("DROP TABLE {}").format(tables["parent"]))
        leaves = [Leaf(f"{work.prefix}leaf{part.number}", part.bounds(work.day)) for part in slices]
        self.warehouse.swap_day(main, "otc_trades", work.day, leaves)
        return result

    def _slice_names(self, work: DayPass, part: Slice) -> dict[str, sql.Identifier]:
        return {name: work.table(f"{name}{part.number}") for name in ("parent", "aside", "leaf")}

    def _clear_leftovers(self, prefix: str) -> None:
        with self.warehouse.connect(building=True) as connection:
            self.warehouse.clear_build(connection, prefix)


def _exists(connection: Connection, table: sql.Identifier) -> bool:
    return _is_true(connection, sql.SQL("SELECT EXISTS (SELECT FROM {})").format(table))


def _is_true(connection: Connection, query: sql.SQL | sql.Composed) -> bool:
    row = connection.execute(query).fetchone()
    return bool(row and row[0])


def _pass_file(row: tuple[object, ...]) -> PassFile:
    columns = row[6] if isinstance(row[6], list) else []
    quirks = row[7] if isinstance(row[7], list) else []
    return PassFile(
        int(str(row[0])), str(row[1]), int(str(row[4])), bool(row[5]), tuple(map(str, columns)), tuple(map(str, quirks))
    )
