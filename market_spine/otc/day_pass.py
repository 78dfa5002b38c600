"""What must be known of a day before its trades can be written: repeats, events, their targets, conditions.

What it is: the preparation of one day's pass on one connection. It fills the tables built aside that the writing of
the trades (``normalize``) reads: ``rep`` with every report that needs more than the fast path, ``patch`` with what the
fast path must know about single rows, ``conditions`` with the flags of every distinct text.
Belongs here: the order of those statements. Does not belong here: the statements (``sql/normalize.sql``), slices, the
swap.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

from psycopg import sql

from market_spine.calendar import TradingCalendar
from market_spine.errors import SettingsError
from market_spine.otc.feeds import Feed
from market_spine.otc.typing_sql import RAW_NAMES, FeedSQL, literals
from market_spine.warehouse.engine import Connection
from market_spine.warehouse.schema import BUILD
from market_spine.warehouse.sql import qualified, statements

SQL = statements("market_spine.otc", "normalize.sql")
TRUE = sql.SQL("true")
TABLES = ("rep", "patch", "conditions", "dups", "links", "symbols")
LOOK_BACK = 60
"""Sessions in which the report that an event names without its date is looked for."""


@dataclass(frozen=True)
class PassFile:
    """A live file whose reports take part in the pass; ``is_base`` when it is one of the day's own."""

    file_id: int
    source: str
    rows: int
    is_base: bool
    columns: tuple[str, ...]
    quirks: tuple[str, ...]


@dataclass(frozen=True)
class DayPass:
    """The inputs of one day's pass and the names of its tables.

    Args:
        day: trade date.
        files: live files that take part, in the order of (report date, source, part).
        feeds: the feeds, by name.
        calendar: the sessions.
    """

    day: date
    files: Sequence[PassFile]
    feeds: Mapping[str, Feed]
    calendar: TradingCalendar

    def __post_init__(self) -> None:
        missing = sorted({file.source for file in self.files} - set(self.feeds))
        if missing:
            raise SettingsError(
                f"{self.day}: files of feed {missing[0]!r} were loaded, but no such feed is declared any more; "
                "put its declaration back into MARKET_SPINE_FEEDS"
            )

    @property
    def prefix(self) -> str:
        """Start of the names of the tables built for this day."""
        return f"n{self.day:%Y%m%d}_"

    def table(self, name: str) -> sql.Identifier:
        """A table built aside."""
        return qualified(BUILD, self.prefix + name)

    @cached_property
    def names(self) -> dict[str, sql.Composable]:
        """The parts every statement of a pass may use."""
        tables = {name: self.table(name) for name in TABLES}
        return {
            **tables,
            "day": sql.Literal(self.day),
            "first_session": sql.Literal(self.calendar.first_session),
        }

    @cached_property
    def sources(self) -> dict[str, FeedSQL]:
        """Each source's part of the SQL."""
        ranks = {file.file_id: rank for rank, file in enumerate(self.files)}
        return {
            source: FeedSQL(
                self.feeds[source],
                self.day,
                self.calendar,
                {file.file_id: ranks[file.file_id] for file in self.files if file.source == source},
                frozenset(name for file in self.files if file.source == source for name in file.columns),
                frozenset(quirk for file in self.files if file.source == source for quirk in file.quirks),
            )
            for source in dict.fromkeys(file.source for file in self.files)
        }

    def ids(self, source: str, *, base: bool | None = None) -> list[int]:
        """File numbers of a source; only the day's own, or only the others, where asked."""
        return [f.file_id for f in self.files if f.source == source and (base is None or f.is_base == base)]

    @property
    def base_rows(self) -> int:
        """Rows of the day's own files."""
        return sum(file.rows for file in self.files if file.is_base)

    def run(self, connection: Connection, name: str, **parts: sql.Composable | str) -> None:
        """Execute a statement of ``normalize.sql``."""
        connection.execute(SQL(name, **{**self.names, **parts}))

    def count(self, connection: Connection, name: str, **parts: sql.Composable | str) -> int:
        """Execute a statement that answers one number."""
        row = connection.execute(SQL(name, **{**self.names, **parts})).fetchone()
        return int(str(row[0])) if row else 0

    def rows_of(self, source: str, name: str, *, base: bool | None = None, **parts: sql.Composable) -> sql.Composed:
        """A relation of raw rows of a source."""
        files = literals(self.ids(source, base=base))
        return SQL(name, **{**self.names, "files": files, "source": sql.Literal(source), **parts})

    def add(self, connection: Connection, source: str, role: str, rows: sql.Composable, chosen: sql.Composable) -> int:
        """Type rows carefully into ``rep``; answers how many."""
        careful = self.sources[source].careful(role, rows, chosen, self.calendar.first_session)
        return connection.execute(SQL("add_rows", rep=self.names["rep"], careful=careful)).rowcount

    def find_repeated_ids(self, connection: Connection) -> None:
        """Look for report ids that occur twice."""
        for source, feed in self.sources.items():
            base = self.ids(source, base=True)
            if base and feed.has("report_id"):
                self.run(
                    connection,
                    "find_repeated_ids",
                    source=sql.Literal(source),
                    seed=_seed(feed),
                    report_id=feed.report_id,
                    files=literals(base),
                )

    def survey(self, connection: Connection) -> None:
        """Repeated ids and the texts of conditions of the day's own rows; may run beside ``collect``."""
        self.find_repeated_ids(connection)
        for source, feed in self.sources.items():
            if self.ids(source, base=True):
                self._add_conditions(connection, feed, self.rows_of(source, "base_condition_texts", base=True))

    @property
    def ranked_symbols(self) -> sql.Composed:
        """The day's symbols with their ranks, as a relation; the carefully typed reports must be there by then."""
        files = literals(file.file_id for file in self.files if file.is_base)
        return SQL("ranked_symbols", **{**self.names, "files": files})

    def keep_symbols(self, connection: Connection) -> None:
        """Put them into a table."""
        self.run(connection, "keep_symbols", ranked=self.ranked_symbols)

    def padded(self, connection: Connection) -> set[str]:
        """Sources with blanks around a venue or side."""
        found = set()
        for source, feed in self.sources.items():
            if "blanks" not in feed.quirks:
                continue
            files = literals(self.ids(source, base=True))
            row = connection.execute(
                SQL("padded", day=self.names["day"], files=files, is_padded=feed.is_padded)
            ).fetchone()
            if row is not None and row[0]:
                found.add(source)
        return found

    def collect(self, connection: Connection, *, carried: bool) -> None:
        """Events, reports carried in, and the trades that events name."""
        events = 0
        for source, feed in self.sources.items():
            if self.ids(source, base=True) and (feed.has("action") or feed.has("correction")):
                unusual = sql.SQL("({}) IS NOT TRUE").format(feed.plain)
                events += self.add(connection, source, "event", self.rows_of(source, "base_rows", base=True), unusual)
            if carried:
                events += self.add(connection, source, "carried", self.rows_of(source, "carried_rows"), TRUE)
        if not events:
            return
        self.run(connection, "usual_after_all")
        # The planner must know how few the events are before it joins them with the day.
        self.run(connection, "analyze_rep")
        for source, feed in self.sources.items():
            if self.ids(source, base=True) and feed.has("report_id"):
                self.add(
                    connection,
                    source,
                    "target",
                    self.rows_of(source, "base_targets", base=True, report_id=feed.report_id),
                    feed.plain,
                )

    def settle(self, connection: Connection) -> None:
        """Repeats, then the life of every trade that an event touches; leaves ``patch`` ready for the fast path."""
        self._settle_repeats(connection)
        self.run(connection, "analyze_rep")
        for name in ("refuse_events", "link_events", "route_events", "refuse_dead_ends"):
            self.run(connection, name)
        if self.count(connection, "waiting_without_date"):
            before = self.calendar.previous_sessions(self.day, LOOK_BACK)
            self.run(connection, "search_other_days", oldest=sql.Literal(min(before, default=self.day)))
        for name in ("hold_circles", "life_cycle", "route_unlinked"):
            self.run(connection, name)
        for source, feed in self.sources.items():
            if self.ids(source, base=True) and (feed.has("action") or feed.has("correction")):
                rows = self.rows_of(source, "base_symbols", base=True)
                self.add(connection, source, "target", rows, feed.plain)
        for name in ("match_unlinked", "settle_extra"):
            self.run(connection, name)
        self.add_rep_conditions(connection)
        self.run(connection, "patch_targets")

    def add_rep_conditions(self, connection: Connection) -> None:
        """Flags of the condition texts that only carefully typed reports have."""
        for feed in self.sources.values():
            texts = SQL("rep_condition_texts", rep=self.names["rep"], tape=sql.Literal(feed.feed.tape))
            self._add_conditions(connection, feed, texts)

    def is_quiet(self, connection: Connection) -> bool:
        """Whether the day has no events, nothing carried in and no repeats: most small days."""
        query = sql.SQL("SELECT NOT EXISTS (SELECT FROM {}) AND NOT EXISTS (SELECT FROM {})")
        row = connection.execute(query.format(self.names["rep"], self.names["dups"])).fetchone()
        return bool(row and row[0]) and not any(self._by_content(source) for source in self.sources)

    def add_aside(self, connection: Connection, asides: Sequence[sql.Identifier]) -> None:
        """Type what the fast path put aside, and settle it."""
        aside = sql.SQL(" UNION ALL ").join(SQL("aside_lines", aside=name) for name in asides)
        for source in self.sources:
            if self.ids(source, base=True):
                self.add(connection, source, "aside", self.rows_of(source, "base_lines", base=True, aside=aside), TRUE)
        self.run(connection, "settle_aside")

    def _settle_repeats(self, connection: Connection) -> None:
        for source, feed in self.sources.items():
            base = literals(self.ids(source, base=True))
            if self.ids(source, base=True) and feed.has("report_id"):
                repeats = SQL(
                    "repeated_ids",
                    **self.names,
                    source=sql.Literal(source),
                    facility=feed.facility,
                    file_rank=feed.file_rank,
                    content=feed.content,
                    files=base,
                    seed=_seed(feed),
                    report_id=feed.report_id,
                )
                self._patch(connection, repeats)
            if self._by_content(source):
                rows = sql.SQL(
                    "(SELECT report_date, file_id, line_no, {0}, extra FROM {1} AS o UNION ALL "
                    "SELECT report_date, file_id, line_no, {0}, extra FROM {2} AS i)"
                ).format(
                    sql.SQL(", ").join(sql.Identifier(name) for name in RAW_NAMES),
                    self.rows_of(source, "base_rows", base=True),
                    self.rows_of(source, "carried_rows", base=False),
                )
                repeats = SQL(
                    "repeated_trades",
                    file_rank=feed.file_rank,
                    content=feed.content,
                    trade_day=feed.trade_day_text,
                    report_id=feed.report_id,
                    rows=rows,
                    all_files=sql.Literal(len(self.ids(source)) > 1),
                )
                self._patch(connection, repeats)
            if self.ids(source, base=True):
                lines = SQL("repeat_lines", rep=self.names["rep"], patch=self.names["patch"])
                self.add(connection, source, "repeat", self.rows_of(source, "base_lines", base=True, aside=lines), TRUE)
        self.run(connection, "settle_repeats")

    def _by_content(self, source: str) -> bool:
        """Whether repeats must be looked for without report ids: trade ids, or several files without any id."""
        return self.sources[source].has("trade_id") or len(self.ids(source)) > 1

    def _patch(self, connection: Connection, repeats: sql.Composable) -> None:
        connection.execute(sql.SQL("INSERT INTO {} {}").format(self.names["patch"], repeats))

    def _add_conditions(self, connection: Connection, feed: FeedSQL, texts: sql.Composable) -> None:
        self.run(connection, "add_conditions", tape=sql.Literal(feed.feed.tape), codes=feed.codes, texts=texts)


def _seed(feed: FeedSQL) -> sql.Composable:
    """Seed of the id's hash: facilities number their reports independently."""
    return sql.SQL("hashtextextended(coalesce({}, ''), 0)").format(feed.facility)
