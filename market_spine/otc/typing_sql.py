"""A feed's declaration as SQL: how its text columns become values.

What it is: composes the fragments of ``sql/typing.sql`` for one feed and one day.
Belongs here: what depends on the feed (clock, codes, blank columns). Does not belong here: what happens to the typed
rows (``normalize``), reading the declaration (``feeds``).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from psycopg import sql

from market_spine.calendar import TradingCalendar
from market_spine.otc.feeds import Feed
from market_spine.warehouse.schema import RAW_TEXT_COLUMNS
from market_spine.warehouse.sql import statements

SQL = statements("market_spine.otc", "typing.sql")
NEW_KINDS = ("new", "as_of")
DEAD_KINDS = ("cancel", "break", "reversal")
RAW_NAMES: tuple[str, ...] = tuple(name for name, _ in RAW_TEXT_COLUMNS)


def literals(values: Iterable[object]) -> sql.Composable:
    """Values as a comma-separated list; NULL where there are none, so that ``IN`` stays valid."""
    items = [sql.Literal(value) for value in values]
    return sql.SQL(", ").join(items) if items else sql.SQL("NULL")


def column(name: str) -> sql.Composable:
    """A raw column of the row being typed."""
    return sql.Identifier("r", name)


def place(rank: sql.Composable, moment: sql.Composable, day_start: datetime) -> sql.Composed:
    """Where a report stands in the day, by symbol and moment, as one integer."""
    origin = sql.Literal(int((day_start - timedelta(days=1)).timestamp()))
    return SQL("place", rank=rank, moment=moment, origin=origin)


@dataclass(frozen=True)
class FeedSQL:
    """One feed's part of a day's statements.

    Args:
        feed: the declaration.
        day: trade date of the pass.
        calendar: for the day's bounds and the clock's transitions.
        ranks: order of the files, by file_id.
        present: canonical columns that some file of the pass really has.
        quirks: what intake saw in the files: "blanks" or "underscores" anywhere.
    """

    feed: Feed
    day: date
    calendar: TradingCalendar
    ranks: Mapping[int, int]
    present: frozenset[str]
    quirks: frozenset[str] = frozenset()

    def has(self, name: str) -> bool:
        """Whether the feed maps the canonical column and a file of the pass has it."""
        return name in self.feed.columns and name in self.present

    def text(self, name: str, *, trim: bool) -> sql.Composable:
        """A column without surrounding blanks. The fast path asks for that only where a blank was seen: ``btrim`` costs
        0.25 us in a multi-byte encoding, a second for the symbols, venues, sides and actions of two million rows."""
        return sql.SQL("btrim({})").format(column(name)) if trim else column(name)

    @property
    def in_utc(self) -> bool:
        """Whether the feed's clock is UTC, so that no local hour is ever skipped."""
        return self.feed.time_zone in ("UTC", "Etc/UTC")

    def moment(self, name: str) -> sql.Composable:
        """A text column as a moment."""
        if self.in_utc:
            return SQL("moment_utc", text=column(name))
        return SQL("moment_zone", text=column(name), zone=sql.Literal(self.feed.time_zone))

    def hasty_moment(self, name: str) -> sql.Composable:
        """A moment of the day, cast without asking where it begins like one; may fail the statement."""
        if not self.in_utc:
            return self.moment(name)
        return SQL(
            "moment_usual",
            text=column(name),
            first=sql.Literal(self.day.isoformat()),
            beyond=sql.Literal((self.day + timedelta(days=2)).isoformat()),
            moment=self.moment(name),
        )

    def number(self, name: str) -> sql.Composable:
        """Price or size."""
        number = SQL("size" if name == "size" else "number", text=column(name))
        if not self.quirks:
            return number
        return SQL("strict_number", text=column(name), number=number)

    @property
    def report_id(self) -> sql.Composable:
        """The report's id, without the blanks around it where the files have any."""
        return self.text("report_id", trim="blanks" in self.quirks)

    def clock_problem(self, *, near_only: bool) -> sql.Composable:
        """Skipped or repeated local hour; with ``near_only`` asked only where the day lies beside a transition."""
        near = bool(
            self.calendar.transitions(self.feed.time_zone, self.day - timedelta(days=2), self.day + timedelta(days=2))
        )
        if self.in_utc or (near_only and not near):
            return SQL("clock_problem_none")
        return SQL("clock_problem_zone", text=column("executed_at"), zone=sql.Literal(self.feed.time_zone))

    def actions(self, kinds: Sequence[str]) -> list[str]:
        """Action codes that mean one of ``kinds``."""
        return [code for code, kind in self.feed.actions.items() if kind in kinds]

    def corrections(self, meanings: Sequence[str]) -> list[str]:
        """Correction codes that mean one of ``meanings``."""
        return [code for code, meaning in self.feed.corrections.items() if meaning in meanings]

    @property
    def plain(self) -> sql.Composable:
        """Rows of the fast path: new trades, by action and correction code as they are usually written."""
        tests: list[sql.Composable] = []
        if self.has("action"):
            tests.append(sql.SQL("(r.action IS NULL OR r.action IN ({}))").format(literals(self.actions(NEW_KINDS))))
        if self.has("correction"):
            codes = self.corrections(("live", "cancelled"))
            tests.append(sql.SQL("(r.correction IS NULL OR r.correction IN ({}))").format(literals(codes)))
        return sql.SQL(" AND ").join(tests) if tests else sql.SQL("true")

    @property
    def is_late(self) -> sql.Composable:
        """As-of reports of the day itself."""
        codes = self.actions(("as_of",)) if self.has("action") else []
        return sql.SQL("r.action IN ({})").format(literals(codes)) if codes else sql.SQL("false")

    @property
    def kind(self) -> sql.Composable:
        """What a report does: new, as_of, cancel, correct, not_trade; NULL for an unknown code."""
        groups = {"new": ("new",), "as_of": ("as_of",), "cancel": DEAD_KINDS, "correct": ("correct",)}
        whens = [
            sql.SQL("WHEN btrim(r.action) IN ({}) THEN {}").format(literals(self.actions(kinds)), sql.Literal(kind))
            for kind, kinds in groups.items()
            if self.actions(kinds)
        ]
        by_action: sql.Composable = sql.Literal("new")
        if self.has("action") and whens:
            by_action = sql.SQL("CASE WHEN r.action IS NULL THEN 'new' {} END").format(sql.SQL(" ").join(whens))
        no_trade = self.corrections(("not_a_trade",))
        if not self.has("correction") or not no_trade:
            return by_action
        return sql.SQL("CASE WHEN btrim(r.correction) IN ({}) THEN 'not_trade' ELSE {} END").format(
            literals(no_trade), by_action
        )

    @property
    def born(self) -> sql.Composable:
        """Status a report is born with: live, cancelled by its correction code, NULL for an unknown code."""
        if not self.has("correction"):
            return sql.Literal("live")
        return sql.SQL(
            "CASE WHEN r.correction IS NULL OR btrim(r.correction) IN ({}) THEN 'live' "
            "WHEN btrim(r.correction) IN ({}) THEN 'cancelled' END"
        ).format(literals(self.corrections(("live", "not_a_trade"))), literals(self.corrections(("cancelled",))))

    @property
    def facility(self) -> sql.Composable:
        """The facility, or the feed's constant for it."""
        default = self.feed.defaults.get("facility")
        if self.has("facility"):
            return self.text("facility", trim="blanks" in self.quirks)
        return sql.Literal(default) if default is not None else sql.SQL("NULL::text")

    @property
    def order_key(self) -> sql.Composable:
        """What parts ties in time: the sequence, else the report id."""
        report_id = sql.SQL("coalesce({}, '')").format(self.report_id) if self.has("report_id") else sql.SQL("''")
        if not self.has("sequence"):
            return report_id
        return sql.SQL("coalesce(nullif(btrim(r.sequence), ''), {})").format(report_id)

    @property
    def file_rank(self) -> sql.Composable:
        """Place of the row's file among the files of the pass, by name and not by arrival."""
        if len(set(self.ranks.values())) == 1:
            return sql.Literal(next(iter(self.ranks.values())))
        whens = sql.SQL(" ").join(
            sql.SQL("WHEN {} THEN {}").format(sql.Literal(file_id), sql.Literal(rank))
            for file_id, rank in self.ranks.items()
        )
        return sql.SQL("CASE r.file_id {} END").format(whens)

    @property
    def codes(self) -> sql.Composable:
        """The condition codes of a text as rows: every character where they are packed, else what stands between."""
        return SQL("condition_codes", separator=sql.Literal(self.feed.condition_separator))

    @property
    def content(self) -> sql.Composable:
        """All published fields of a row as one text, for telling a replay from a conflict."""
        fields = sql.SQL(", ").join(sql.SQL("coalesce({}, '')").format(column(name)) for name in RAW_NAMES)
        return SQL("content", fields=fields)

    @property
    def trade_day_text(self) -> sql.Composable:
        """The trade date as text, part of the identity by trade id."""
        by_clock = sql.SQL("coalesce((({}) AT TIME ZONE 'America/New_York')::date::text, '')").format(
            self.moment("executed_at")
        )
        if not self.has("trade_date"):
            return by_clock
        return sql.SQL(
            "CASE WHEN coalesce(btrim(r.trade_date), '') = '' THEN {} "
            r"WHEN btrim(r.trade_date) ~ '^\d{{4}}-?\d\d-?\d\d$' AND pg_input_is_valid(r.trade_date, 'date') "
            "THEN r.trade_date::date::text ELSE '' END"
        ).format(by_clock)

    @property
    def is_padded(self) -> sql.Composable:
        """Whether a row pads a column the fast path takes as it is; a text below '!' that is not empty starts so."""
        tests = [
            sql.SQL("({0} < '!' AND {0} <> '') OR {0} LIKE '% '").format(column(name))
            for name in ("venue", "side")
            if self.has(name)
        ]
        return sql.SQL(" OR ").join(tests) if tests else sql.SQL("false")

    def fast(
        self,
        files: Sequence[int],
        *,
        patch: sql.Identifier,
        conditions: sql.Identifier,
        symbols: sql.Identifier,
        cut: sql.Composable,
        trim: bool,
        hasty: bool,
    ) -> sql.Composed:
        """The fast path over some files.

        ``symbols`` are the ranked ones, ``cut`` picks the slice of them, ``trim`` takes blanks off venue and side,
        ``hasty`` may fail on an unreadable moment.
        """
        start, end = self.calendar.day_bounds(self.day)
        bounds = {"day_start": sql.Literal(start), "day_end": sql.Literal(end)}
        in_day = (
            SQL(
                "day_declared",
                iso=sql.Literal(self.day.isoformat()),
                basic=sql.Literal(self.day.strftime("%Y%m%d")),
                **bounds,
            )
            if self.has("trade_date")
            else SQL("day_executed", **bounds)
        )
        return SQL(
            "fast_rows",
            in_day=in_day,
            clock_problem=self.clock_problem(near_only=True),
            link_readable=SQL("link_readable", text=column("original_report_date"))
            if self.has("original_report_date")
            else sql.SQL("true"),
            moment=(self.hasty_moment if hasty else self.moment)("executed_at"),
            price=self.number("price"),
            size=self.number("size"),
            is_late=self.is_late,
            is_capped=SQL("is_capped", text=sql.Identifier("size_text")),
            status=self.born,
            place=place(sql.Identifier("rank"), sql.Identifier("executed_at"), start),
            symbols=symbols,
            venue=self.text("venue", trim=trim),
            side=self.text("side", trim=trim),
            facility=self.facility,
            order_key=self.order_key,
            file_rank=self.file_rank,
            patch=patch,
            conditions=conditions,
            tape=sql.Literal(self.feed.tape),
            day=sql.Literal(self.day),
            files=literals(files),
            plain=self.plain,
            in_slice=cut,
        )

    def careful(self, role: str, rows: sql.Composable, chosen: sql.Composable, first_session: date) -> sql.Composed:
        """The careful path over ``rows``, any relation with the raw columns; ``chosen`` picks among them."""
        pairs = sql.SQL(", ").join(
            sql.SQL("{}, {}").format(sql.Literal(name), column(name)) for name in (*RAW_NAMES, "extra")
        )
        return SQL(
            "careful_rows",
            role=sql.Literal(role) if role != "carried" else column("role"),
            source=sql.Literal(self.feed.name),
            tape=sql.Literal(self.feed.tape),
            file_rank=self.file_rank_of("file_id"),
            first_session=sql.Literal(first_session),
            facility=self.facility,
            kind=self.kind,
            original_id=SQL("original_id")
            if role != "carried"
            else sql.SQL("coalesce(r.link_id, {})").format(SQL("original_id")),
            original_date=SQL("original_date")
            if role != "carried"
            else sql.SQL("coalesce(r.link_date, {})").format(SQL("original_date")),
            # a trade carried in comes with the end it met where its life was decided
            status0=self.born if role != "carried" else sql.SQL("coalesce(r.status, {})").format(self.born),
            reported=self.moment("reported_at"),
            order_key=self.order_key,
            moment=self.moment("executed_at"),
            clock_problem=self.clock_problem(near_only=False),
            price=self.number("price"),
            size=self.number("size"),
            is_capped=SQL("is_capped", text=column("size")),
            keep_text=sql.SQL("false" if role == "target" else "true"),
            report=sql.SQL("jsonb_strip_nulls(jsonb_build_object({}))").format(pairs),
            rows=rows,
            chosen=chosen,
        )

    def file_rank_of(self, name: str) -> sql.Composable:
        """The same rank outside the typed subquery, by the given column."""
        whens = sql.SQL(" ").join(
            sql.SQL("WHEN {} THEN {}").format(sql.Literal(file_id), sql.Literal(rank))
            for file_id, rank in self.ranks.items()
        )
        return sql.SQL("CASE {} {} END").format(sql.Identifier(name), whens)
