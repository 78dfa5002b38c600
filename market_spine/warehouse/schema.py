"""The declared tables: the one place where names, types and meanings of columns stand.

What it is: SQLAlchemy Core tables. The migrations build them, a test holds the two together, and the column schema that
Dagster shows is generated from here.
Belongs here: tables, their keys and the reason for each index.
Does not belong here: queries (``.sql`` files), Dagster types (``market_spine.otc.metadata``).
"""

from functools import cache

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Date,
    Double,
    Identity,
    Index,
    Integer,
    MetaData,
    Numeric,
    Table,
    Text,
    make_url,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.schema import CreateColumn

LEAVES = "otc_leaf"
"""Schema of the leaf partitions; nobody queries it by name."""
BUILD = "otc_build"
"""Schema of tables under construction; what a killed run leaves there, the next run of that day drops."""

metadata = MetaData()
CODE = Text(collation="C")
MOMENT = TIMESTAMP(timezone=True)
PRICE = Numeric(20, 10)
SIZE = Numeric(20, 6)
VOLUME = Numeric(24, 6)
SHARE = Numeric(12, 10)

RAW_TEXT_COLUMNS: tuple[tuple[str, str], ...] = (
    ("facility", "Facility or vendor that took the report."),
    ("report_id", "The report's own identifier."),
    ("stated_report_date", "Report date as the row states it; the file's date is report_date."),
    ("reported_at", "When the report was made."),
    ("action", "Action code: new, cancel, correct, ..."),
    ("original_report_id", "Report that a cancel, correction or reversal refers to."),
    ("original_report_date", "Report date of that report."),
    ("trade_id", "Identifier of the trade."),
    ("sequence", "Sequence number of the source."),
    ("symbol", "Symbol."),
    ("venue", "Venue of execution."),
    ("side", "B, S or X (cross)."),
    ("capacity", "Capacity of the reporting party."),
    ("executed_at", "When the trade was executed."),
    ("trade_date", "Trade date where the source declares one."),
    ("price", "Price in USD a share."),
    ("size", "Shares."),
    ("conditions", "Sale-condition codes."),
    ("correction", "Correction indicator."),
)
"""Canonical column of a report and its meaning, in the order of the table; all are text as it came."""


def _raw_columns() -> list[Column[str | None]]:
    return [Column(name, CODE, comment=meaning) for name, meaning in RAW_TEXT_COLUMNS]


otc_files = Table(
    "otc_files",
    metadata,
    Column("file_id", Integer, Identity(always=True), primary_key=True, comment="Number of the file version."),
    Column("source", CODE, nullable=False, comment="Name of the feed."),
    Column("report_date", Date, nullable=False, comment="Report date in the file's name."),
    Column("part", CODE, nullable=False, comment="Part of the day, empty where a day is one file."),
    Column("version", Integer, comment="Version in the file's name, where the feed has one."),
    Column("path", Text, nullable=False, comment="Where it was read, relative to the landing folder."),
    Column("sha256", CODE, comment="Digest of the bytes as delivered."),
    Column("bytes", BigInteger, comment="Size as delivered."),
    Column("rows", BigInteger, nullable=False, comment="Data rows loaded into otc_trades_raw."),
    Column("lines", BigInteger, nullable=False, comment="Physical lines, header included."),
    Column("blank_lines", BigInteger, nullable=False, comment="Blank lines skipped."),
    Column("trailer_lines", BigInteger, nullable=False, comment="Trailer lines, 0 or 1."),
    Column("declared_rows", BigInteger, comment="Rows the trailer declares."),
    Column("columns", ARRAY(Text), comment="Header in file order as canonical names; extras as extra:NAME."),
    Column("quirks", ARRAY(Text), comment="What was seen anywhere in it: blanks, underscores."),
    Column("status", CODE, nullable=False, comment="live, superseded, voided or rejected."),
    Column("problem", Text, comment="Why it was rejected or voided, one line."),
    Column("known_at", MOMENT, nullable=False, comment="When this platform received it."),
    Column("superseded_at", MOMENT, comment="When a newer version took its place."),
    Column("superseded_by", Integer, comment="file_id of that version."),
    Column("run_id", Text, comment="Dagster run that read it."),
    Column("expired_at", MOMENT, comment="When retention dropped its reports from otc_trades_raw."),
    Column("voided_at", MOMENT, comment="When it was taken back; problem says why."),
    Column("voided_by", Text, comment="Who took it back."),
    # One live version per source, day and part: supersession is whole or not at all.
    Index("otc_files_live", "source", "report_date", "part", unique=True, postgresql_where=text("status = 'live'")),
    # The same bytes delivered again are a no-op, whatever has become of the first delivery.
    Index(
        "otc_files_content",
        "source",
        "report_date",
        "part",
        "sha256",
        unique=True,
        postgresql_where=text("status <> 'rejected'"),
    ),
    Index("otc_files_day", "report_date"),
    comment="Every file version ever received, the refused ones included.",
)

otc_trades_raw = Table(
    "otc_trades_raw",
    metadata,
    Column("report_date", Date, nullable=False, comment="Partition: report date of the file."),
    Column("file_id", Integer, nullable=False, comment="File version in otc_files (source, sha256, known_at)."),
    Column("line_no", Integer, nullable=False, comment="Physical line in the file; the header is line 1."),
    *_raw_columns(),
    Column("extra", JSONB, comment="Columns the feed does not know, as they came."),
    postgresql_partition_by="RANGE (report_date, file_id)",
    comment="Append-only log of trade reports: the text as it came, a leaf per file version.",
)

otc_carried = Table(
    "otc_carried",
    metadata,
    Column("day", Date, primary_key=True, comment="Trade date whose pass takes the report in."),
    Column("origin_day", Date, primary_key=True, comment="Trade date whose pass sent it."),
    Column("file_id", Integer, primary_key=True, comment="File version."),
    Column("line_no", Integer, primary_key=True, comment="Line in that file."),
    Column("hop", CODE, primary_key=True, comment="Role and link: a report may be sent to a day for two reasons."),
    Column("role", CODE, nullable=False, comment="trade: counts on that day; event: changes a trade of that day."),
    Column("status", CODE, comment="Of a trade: what its life came to where that was decided."),
    Column("link_id", CODE, comment="Of an event: report at the end of its chain, as far as it was followed."),
    Column("link_date", Date, comment="Report date of that report."),
    Column("report_date", Date, nullable=False, comment="Report date of the file."),
    *_raw_columns(),
    Column("extra", JSONB, comment="Columns the feed does not know, as they came."),
    Index("otc_carried_origin", "origin_day"),
    Index("otc_carried_file", "file_id"),
    comment="Reports that belong to another day than the one they were reported on.",
)

otc_trades = Table(
    "otc_trades",
    metadata,
    Column("trade_date", Date, nullable=False, comment="Partition: New York date of execution."),
    Column("symbol", CODE, nullable=False, comment="Symbol."),
    Column("executed_at", MOMENT, nullable=False, comment="Moment of execution."),
    Column("trade_seq", Integer, nullable=False, comment="Order within the symbol and day; grows, never ties."),
    Column("price", PRICE, nullable=False, comment="USD a share."),
    Column("size", SIZE, nullable=False, comment="Shares; fractional since 2026-02."),
    Column("file_id", Integer, nullable=False, comment="File version the trade's current text stands in."),
    Column("line_no", Integer, nullable=False, comment="Line in that file."),
    Column("is_correction", Boolean, nullable=False, comment="The row comes from a correction."),
    Column("is_late", Boolean, nullable=False, comment="As-of report, or reported on a later date."),
    Column("is_capped", Boolean, nullable=False, comment="The size is a lower bound (1,176,262,090+)."),
    Column("is_outlier", Boolean, nullable=False, comment="Far from the day's median; left out of price fields."),
    Column("upd_volume", Boolean, nullable=False, comment="Conditions let it move the volume."),
    Column("upd_high_low", Boolean, nullable=False, comment="Conditions let it move high and low."),
    Column("upd_last", Boolean, nullable=False, comment="Conditions let it move open and close."),
    Column("last_if_only", Boolean, nullable=False, comment="May set open and close when nothing else does."),
    Column("unknown_condition", Boolean, nullable=False, comment="Carries a code the eligibility table lacks."),
    Column("status", CODE, nullable=False, comment="live, cancelled or superseded."),
    Column("venue", CODE, comment="Venue of execution."),
    Column("side", CODE, comment="B, S or X (cross); NULL where the feed has none."),
    Column("capacity", CODE, comment="Capacity of the reporting party."),
    Column("conditions", CODE, comment="Sale-condition codes as they came."),
    Column("facility", CODE, comment="Facility or vendor that took the report."),
    Column("report_id", CODE, comment="Identifier of the report the current text stands in."),
    Column("trade_id", CODE, comment="Identifier of the trade, where the feed has one."),
    # A symbol's day in order: the API's keyset, the metrics' windows and the look-up of a late correction's target.
    Index("otc_trades_symbol_time", "symbol", "executed_at", "trade_seq"),
    postgresql_partition_by="RANGE (trade_date, symbol)",
    comment="Trades of a day after identity, life cycle and validity; dead trades stay with their status.",
)

otc_exceptions = Table(
    "otc_exceptions",
    metadata,
    Column("day", Date, primary_key=True, comment="Trade date whose pass decided."),
    Column("file_id", Integer, primary_key=True, comment="File version."),
    Column("line_no", Integer, primary_key=True, comment="Line in that file."),
    Column("entry", Integer, primary_key=True, comment="From 1: a report may pass through a day more than once."),
    Column("report_date", Date, nullable=False, comment="Report date of the file."),
    Column("home", Date, comment="Day it counts on: its own trade date where that can be told, else its report date."),
    Column(
        "disposition",
        CODE,
        nullable=False,
        comment="applied, duplicate, quarantined, held, carried, cancelled or superseded.",
    ),
    Column("reason", CODE, nullable=False, comment="Reason code."),
    Column("symbol", CODE, comment="Symbol as it came."),
    Column("detail", Text, comment="What it refers to or where it went."),
    Column("report", JSONB, comment="The report's text, column by column, as it came."),
    Index("otc_exceptions_held", "day", postgresql_where=text("disposition = 'held'")),
    Index("otc_exceptions_file", "file_id"),
    Index("otc_exceptions_rejected", "home", postgresql_where=text("disposition = 'quarantined'")),
    comment="Every report of a day's pass that is not a row of otc_trades, with the reason: nothing is dropped.",
)

otc_dirty_days = Table(
    "otc_dirty_days",
    metadata,
    Column("mark_id", BigInteger, Identity(always=True), primary_key=True, comment="Number of the mark."),
    Column("day", Date, nullable=False, comment="Trade date to compute again."),
    Column("reason", Text, nullable=False, comment="What changed."),
    Column("marked_at", MOMENT, nullable=False, comment="When."),
    Column("run_id", Text, comment="Dagster run that marked it."),
    Index("otc_dirty_days_day", "day"),
    comment="Days whose inputs changed after they were computed; a computation takes its marks away.",
)

otc_days = Table(
    "otc_days",
    metadata,
    Column("day", Date, primary_key=True, comment="Trade date."),
    Column("normalized_at", MOMENT, nullable=False, comment="When otc_trades of the day was last replaced."),
    Column("file_ids", ARRAY(Integer), nullable=False, comment="Live files of that report date that were read."),
    Column("base_rows", BigInteger, nullable=False, comment="Rows of the live files of that report date."),
    Column("carried_in", BigInteger, nullable=False, comment="Reports taken in from other days."),
    Column("counts", JSONB, nullable=False, comment="Reports by disposition, and quarantined by reason."),
    Column("rules_version", CODE, nullable=False, comment="Version of the eligibility rules."),
    Column("normalize_run_id", Text, comment="Dagster run."),
    Column("computed_at", MOMENT, comment="When otc_metrics_daily of the day was last computed."),
    Column("metrics_run_id", Text, comment="Dagster run."),
    comment="State of each trade date: what went in, what came out, when.",
)

otc_dead_letters = Table(
    "otc_dead_letters",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True, comment="Number of the dead letter."),
    Column("asset", CODE, nullable=False, comment="First asset of the session that could not be built."),
    Column("partition", Date, nullable=False, comment="Session."),
    Column("run_id", Text, nullable=False, comment="Dagster run that failed last."),
    Column("reason", Text, nullable=False, comment="Why, in one line."),
    Column("tries", Integer, nullable=False, comment="Runs that failed on it since it was opened."),
    Column("retries", Integer, nullable=False, comment="How often somebody had it retried."),
    Column("first_failed_at", MOMENT, nullable=False, comment="When the first of these runs failed."),
    Column("last_failed_at", MOMENT, nullable=False, comment="When the last of them failed."),
    Column("retry_run_id", Text, comment="Dagster run of the last retry."),
    Column("resolved_at", MOMENT, comment="When it was resolved; NULL = open."),
    Column("resolution", CODE, comment="retried, discarded or materialized (by a run that was no retry of it)."),
    Column("resolved_by", Text, comment="Who discarded it, or the Dagster run that materialized the session."),
    Column("note", Text, comment="Why it was discarded."),
    # The invariant "one open letter of a partition": a repeated failure counts on it.
    Index("otc_dead_letters_open", "asset", "partition", unique=True, postgresql_where=text("resolved_at IS NULL")),
    # The newest letter of a partition, resolved ones included: a failure that is older was dealt with.
    Index("otc_dead_letters_partition", "asset", "partition", "last_failed_at"),
    comment="Sessions whose last try failed, until they are retried, discarded or materialized.",
)

otc_dead_letter_counts = Table(
    "otc_dead_letter_counts",
    metadata,
    Column("asset", CODE, primary_key=True, comment="First asset of the sessions that could not be built."),
    Column("letters", BigInteger, nullable=False, comment="Dead letters of it that retention has removed."),
    comment="Dead letters that are gone, so that their count never falls.",
)

otc_quality = Table(
    "otc_quality",
    metadata,
    Column("asset", CODE, primary_key=True, comment="Asset the check belongs to."),
    Column("day", Date, primary_key=True, comment="Partition."),
    Column("check_name", CODE, primary_key=True, comment="Check."),
    Column("passed", Boolean, nullable=False, comment="Result of the last run."),
    Column("blocking", Boolean, nullable=False, comment="A failure stops what is computed from this partition."),
    Column("details", JSONB, nullable=False, comment="Figures behind the result."),
    Column("checked_at", MOMENT, nullable=False, comment="When."),
    Column("run_id", Text, comment="Dagster run."),
    comment="Last result of every check on every partition; downstream runs ask it, whenever they start.",
)

otc_sessions = Table(
    "otc_sessions",
    metadata,
    Column("day", Date, primary_key=True, comment="Session."),
    Column("ordinal", Integer, nullable=False, unique=True, comment="Number of the session; neighbours differ by 1."),
    Column("opens_at", MOMENT, nullable=False, comment="Opening of the regular session."),
    Column("closes_at", MOMENT, nullable=False, comment="Its real close, 13:00 New York on half days."),
    comment="The frozen sessions of the trading calendar, so that SQL asks the same calendar.",
)

otc_sale_conditions = Table(
    "otc_sale_conditions",
    metadata,
    Column("tape", CODE, primary_key=True, comment="cta, utp or finra_tdds."),
    Column("code", CODE, primary_key=True, comment="Code letter."),
    Column("valid_from", Date, primary_key=True, comment="First trade date of the meaning."),
    Column("valid_to", Date, nullable=False, comment="Last trade date of the meaning."),
    Column("name", Text, nullable=False, comment="Name of the condition."),
    Column("upd_high_low", Boolean, nullable=False, comment="May move high and low."),
    Column("upd_last", Boolean, nullable=False, comment="May move open and close."),
    Column("upd_volume", Boolean, nullable=False, comment="May move the volume."),
    Column("last_if_only", Boolean, nullable=False, comment="May set open and close when no other trade does."),
    Column("rules_version", CODE, nullable=False, comment="Version of the rules the row came with."),
    comment="Which sale conditions may move which number: facts by tape, code and dates of validity.",
)

METRIC_VALUES: tuple[Column[object], ...] = (
    Column("trade_count", BigInteger, nullable=False, comment="Trades that count for volume."),
    Column("total_volume", VOLUME, nullable=False, comment="Shares."),
    Column("total_notional", Numeric(38, 10), nullable=False, comment="USD."),
    Column("vwap_all", PRICE, comment="USD; notional over volume of all counted trades."),
    Column("vwap", PRICE, comment="USD; over price-eligible trades, within [low, high]."),
    Column("open_price", PRICE, comment="USD; first last-eligible trade."),
    Column("open_at", MOMENT, comment="Its moment."),
    Column("high_price", PRICE, comment="USD."),
    Column("high_at", MOMENT, comment="First moment of the high."),
    Column("low_price", PRICE, comment="USD."),
    Column("low_at", MOMENT, comment="First moment of the low."),
    Column("close_price", PRICE, comment="USD; last last-eligible trade."),
    Column("close_at", MOMENT, comment="Its moment."),
    Column("median_price", PRICE, comment="USD, exact."),
    Column("stddev_price", Double, comment="USD; sample deviation, NULL under two trades."),
    Column("avg_trade_size", SIZE, comment="Shares a trade."),
    Column("max_trade_size", SIZE, comment="Shares."),
    Column("block_count", BigInteger, nullable=False, comment="Trades of 10,000 shares or 200,000 USD and more."),
    Column("block_volume", VOLUME, nullable=False, comment="Shares in them."),
    Column("odd_lot_count", BigInteger, nullable=False, comment="Trades under 100 shares."),
    Column("fractional_count", BigInteger, nullable=False, comment="Trades of a fractional size."),
    Column("pre_volume", VOLUME, nullable=False, comment="Shares before the session's open."),
    Column("regular_volume", VOLUME, nullable=False, comment="Shares within the session."),
    Column("post_volume", VOLUME, nullable=False, comment="Shares from the session's real close on."),
    Column("buy_volume", VOLUME, comment="Shares reported as bought; NULL where no side is reported."),
    Column("sell_volume", VOLUME, comment="Shares reported as sold; NULL where no side is reported."),
    Column("cross_volume", VOLUME, comment="Shares reported as crossed; NULL where no side is reported."),
    Column("venue_count", BigInteger, nullable=False, comment="Venues with volume."),
    Column("top_venue", CODE, comment="Venue with the greatest volume."),
    Column("top_venue_share", SHARE, comment="Its share of the volume, 0 to 1."),
    Column("venue_hhi", SHARE, comment="Sum of squared venue shares, 0 to 1."),
    Column("realized_vol", Double, comment="Per day, from the 5-minute last-price grid."),
    Column("parkinson_vol", Double, comment="Per day, from high and low."),
    Column("garman_klass_vol", Double, comment="Per day, from open, high, low, close."),
    Column(
        "roll_spread", Double, comment="USD; effective spread after Roll, NULL when the covariance is not negative."
    ),
    Column("amihud", Double, comment="1e6 x absolute log return open to close, per USD."),
    Column("adv5", VOLUME, comment="Mean volume of the 5 sessions before."),
    Column("adv20", VOLUME, comment="Mean volume of the 20 sessions before."),
    Column("adv60", VOLUME, comment="Mean volume of the 60 sessions before."),
    Column("rel_volume", Double, comment="Volume over adv20."),
    Column("prev_close", PRICE, comment="USD; close of the last session that has one."),
    Column("return_cc", Double, comment="Close over prev_close, less 1."),
    Column("cancelled_count", BigInteger, nullable=False, comment="Trades cancelled, broken or reversed."),
    Column("corrected_count", BigInteger, nullable=False, comment="Live trades that stand as corrected."),
    Column("late_count", BigInteger, nullable=False, comment="Live trades reported late."),
    Column("rejected_count", BigInteger, nullable=False, comment="Reports in quarantine."),
    Column("outlier_count", BigInteger, nullable=False, comment="Live trades left out of price fields."),
    Column("capped_count", BigInteger, nullable=False, comment="Live trades whose size is a lower bound."),
)
"""The value columns: a change in one of them makes a revision."""

otc_metrics_daily = Table(
    "otc_metrics_daily",
    metadata,
    Column("symbol", CODE, primary_key=True, comment="Symbol."),
    Column("trade_date", Date, primary_key=True, comment="New York date of execution."),
    Column("revision", Integer, primary_key=True, comment="From 1; a new one only when a value changed."),
    *METRIC_VALUES,
    Column("input_rows", BigInteger, nullable=False, comment="Reports of the symbol in the day's pass."),
    Column("rules_version", CODE, nullable=False, comment="Version of the eligibility rules."),
    Column("computed_at", MOMENT, nullable=False, comment="When the row was computed."),
    Column("known_from", MOMENT, nullable=False, comment="Published from."),
    Column("known_to", MOMENT, comment="Published until; NULL = the current row."),
    Column("run_id", Text, comment="Dagster run."),
    # The invariant "one current row", and the look-back of one symbol (adv, previous close).
    Index("otc_metrics_daily_current", "symbol", "trade_date", unique=True, postgresql_where=text("known_to IS NULL")),
    # A day as a whole: replacing it, and sixty sessions of volumes read from the index alone.
    Index(
        "otc_metrics_daily_day",
        "trade_date",
        "symbol",
        postgresql_include=["total_volume"],
        postgresql_where=text("known_to IS NULL"),
    ),
    comment="Daily metrics by symbol, versioned by knowledge time.",
)
VALUE_COLUMNS: tuple[str, ...] = tuple(column.name for column in METRIC_VALUES)


@cache
def shape_of(table: Table) -> str:
    """The columns as ``CREATE TABLE`` takes them, for a leaf that is built aside.

    ``LIKE`` would hold the table itself until the end of the transaction: two runs that each build a small day in one
    transaction then deadlock when both put their leaf in (found by a backfill of 250 sessions).
    """
    dialect = make_url("postgresql+psycopg://").get_dialect()()
    return ", ".join(str(CreateColumn(column).compile(dialect=dialect)) for column in table.columns)
