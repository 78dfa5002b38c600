-- The market tables as first published. Plain SQL on purpose: it reads the same in psql, in review and in a rollback.
-- market_spine/warehouse/schema.py declares the same tables; a test holds the two together.

CREATE SCHEMA otc_leaf;
COMMENT ON SCHEMA otc_leaf IS 'Leaf partitions of otc_trades_raw and otc_trades.';
CREATE SCHEMA otc_build;
COMMENT ON SCHEMA otc_build IS 'Tables under construction; leftovers of a killed run are dropped by the next run of that day.';

CREATE TABLE otc_carried (
    day DATE NOT NULL,
    origin_day DATE NOT NULL,
    file_id INTEGER NOT NULL,
    line_no INTEGER NOT NULL,
    hop TEXT COLLATE "C" NOT NULL,
    role TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C",
    link_id TEXT COLLATE "C",
    link_date DATE,
    report_date DATE NOT NULL,
    facility TEXT COLLATE "C",
    report_id TEXT COLLATE "C",
    stated_report_date TEXT COLLATE "C",
    reported_at TEXT COLLATE "C",
    action TEXT COLLATE "C",
    original_report_id TEXT COLLATE "C",
    original_report_date TEXT COLLATE "C",
    trade_id TEXT COLLATE "C",
    sequence TEXT COLLATE "C",
    symbol TEXT COLLATE "C",
    venue TEXT COLLATE "C",
    side TEXT COLLATE "C",
    capacity TEXT COLLATE "C",
    executed_at TEXT COLLATE "C",
    trade_date TEXT COLLATE "C",
    price TEXT COLLATE "C",
    size TEXT COLLATE "C",
    conditions TEXT COLLATE "C",
    correction TEXT COLLATE "C",
    extra JSONB,
    PRIMARY KEY (day, origin_day, file_id, line_no, hop)
);

CREATE INDEX otc_carried_file ON otc_carried (file_id);
CREATE INDEX otc_carried_origin ON otc_carried (origin_day);
COMMENT ON TABLE otc_carried IS 'Reports that belong to another day than the one they were reported on.';
COMMENT ON COLUMN otc_carried.day IS 'Trade date whose pass takes the report in.';
COMMENT ON COLUMN otc_carried.origin_day IS 'Trade date whose pass sent it.';
COMMENT ON COLUMN otc_carried.file_id IS 'File version.';
COMMENT ON COLUMN otc_carried.line_no IS 'Line in that file.';
COMMENT ON COLUMN otc_carried.hop IS 'Role and link: a report may be sent to a day for two reasons.';
COMMENT ON COLUMN otc_carried.role IS 'trade: counts on that day; event: changes a trade of that day.';
COMMENT ON COLUMN otc_carried.status IS 'Of a trade: what its life came to where that was decided.';
COMMENT ON COLUMN otc_carried.link_id IS 'Of an event: report at the end of its chain, as far as it was followed.';
COMMENT ON COLUMN otc_carried.link_date IS 'Report date of that report.';
COMMENT ON COLUMN otc_carried.report_date IS 'Report date of the file.';
COMMENT ON COLUMN otc_carried.facility IS 'Facility or vendor that took the report.';
COMMENT ON COLUMN otc_carried.report_id IS 'The report''s own identifier.';
COMMENT ON COLUMN otc_carried.stated_report_date IS 'Report date as the row states it; the file''s date is report_date.';
COMMENT ON COLUMN otc_carried.reported_at IS 'When the report was made.';
COMMENT ON COLUMN otc_carried.action IS 'Action code: new, cancel, correct, ...';
COMMENT ON COLUMN otc_carried.original_report_id IS 'Report that a cancel, correction or reversal refers to.';
COMMENT ON COLUMN otc_carried.original_report_date IS 'Report date of that report.';
COMMENT ON COLUMN otc_carried.trade_id IS 'Identifier of the trade.';
COMMENT ON COLUMN otc_carried.sequence IS 'Sequence number of the source.';
COMMENT ON COLUMN otc_carried.symbol IS 'Symbol.';
COMMENT ON COLUMN otc_carried.venue IS 'Venue of execution.';
COMMENT ON COLUMN otc_carried.side IS 'B, S or X (cross).';
COMMENT ON COLUMN otc_carried.capacity IS 'Capacity of the reporting party.';
COMMENT ON COLUMN otc_carried.executed_at IS 'When the trade was executed.';
COMMENT ON COLUMN otc_carried.trade_date IS 'Trade date where the source declares one.';
COMMENT ON COLUMN otc_carried.price IS 'Price in USD a share.';
COMMENT ON COLUMN otc_carried.size IS 'Shares.';
COMMENT ON COLUMN otc_carried.conditions IS 'Sale-condition codes.';
COMMENT ON COLUMN otc_carried.correction IS 'Correction indicator.';
COMMENT ON COLUMN otc_carried.extra IS 'Columns the feed does not know, as they came.';

CREATE TABLE otc_days (
    day DATE NOT NULL,
    normalized_at TIMESTAMP WITH TIME ZONE NOT NULL,
    file_ids INTEGER[] NOT NULL,
    base_rows BIGINT NOT NULL,
    carried_in BIGINT NOT NULL,
    counts JSONB NOT NULL,
    rules_version TEXT COLLATE "C" NOT NULL,
    normalize_run_id TEXT,
    computed_at TIMESTAMP WITH TIME ZONE,
    metrics_run_id TEXT,
    PRIMARY KEY (day)
);

COMMENT ON TABLE otc_days IS 'State of each trade date: what went in, what came out, when.';
COMMENT ON COLUMN otc_days.day IS 'Trade date.';
COMMENT ON COLUMN otc_days.normalized_at IS 'When otc_trades of the day was last replaced.';
COMMENT ON COLUMN otc_days.file_ids IS 'Live files of that report date that were read.';
COMMENT ON COLUMN otc_days.base_rows IS 'Rows of the live files of that report date.';
COMMENT ON COLUMN otc_days.carried_in IS 'Reports taken in from other days.';
COMMENT ON COLUMN otc_days.counts IS 'Reports by disposition, and quarantined by reason.';
COMMENT ON COLUMN otc_days.rules_version IS 'Version of the eligibility rules.';
COMMENT ON COLUMN otc_days.normalize_run_id IS 'Dagster run.';
COMMENT ON COLUMN otc_days.computed_at IS 'When otc_metrics_daily of the day was last computed.';
COMMENT ON COLUMN otc_days.metrics_run_id IS 'Dagster run.';

CREATE TABLE otc_dirty_days (
    mark_id BIGINT GENERATED ALWAYS AS IDENTITY,
    day DATE NOT NULL,
    reason TEXT NOT NULL,
    marked_at TIMESTAMP WITH TIME ZONE NOT NULL,
    run_id TEXT,
    PRIMARY KEY (mark_id)
);

CREATE INDEX otc_dirty_days_day ON otc_dirty_days (day);
COMMENT ON TABLE otc_dirty_days IS 'Days whose inputs changed after they were computed; a computation takes its marks away.';
COMMENT ON COLUMN otc_dirty_days.mark_id IS 'Number of the mark.';
COMMENT ON COLUMN otc_dirty_days.day IS 'Trade date to compute again.';
COMMENT ON COLUMN otc_dirty_days.reason IS 'What changed.';
COMMENT ON COLUMN otc_dirty_days.marked_at IS 'When.';
COMMENT ON COLUMN otc_dirty_days.run_id IS 'Dagster run that marked it.';

CREATE TABLE otc_exceptions (
    day DATE NOT NULL,
    file_id INTEGER NOT NULL,
    line_no INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    report_date DATE NOT NULL,
    home DATE,
    disposition TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    symbol TEXT COLLATE "C",
    detail TEXT,
    report JSONB,
    PRIMARY KEY (day, file_id, line_no, entry)
);

CREATE INDEX otc_exceptions_file ON otc_exceptions (file_id);
CREATE INDEX otc_exceptions_held ON otc_exceptions (day) WHERE disposition = 'held';
CREATE INDEX otc_exceptions_rejected ON otc_exceptions (home) WHERE disposition = 'quarantined';
COMMENT ON TABLE otc_exceptions IS 'Every report of a day''s pass that is not a row of otc_trades, with the reason: nothing is dropped.';
COMMENT ON COLUMN otc_exceptions.day IS 'Trade date whose pass decided.';
COMMENT ON COLUMN otc_exceptions.file_id IS 'File version.';
COMMENT ON COLUMN otc_exceptions.line_no IS 'Line in that file.';
COMMENT ON COLUMN otc_exceptions.entry IS 'From 1: a report may pass through a day more than once.';
COMMENT ON COLUMN otc_exceptions.report_date IS 'Report date of the file.';
COMMENT ON COLUMN otc_exceptions.home IS 'Day it counts on: its own trade date where that can be told, else its report date.';
COMMENT ON COLUMN otc_exceptions.disposition IS 'applied, duplicate, quarantined, held, carried, cancelled or superseded.';
COMMENT ON COLUMN otc_exceptions.reason IS 'Reason code.';
COMMENT ON COLUMN otc_exceptions.symbol IS 'Symbol as it came.';
COMMENT ON COLUMN otc_exceptions.detail IS 'What it refers to or where it went.';
COMMENT ON COLUMN otc_exceptions.report IS 'The report''s text, column by column, as it came.';

CREATE TABLE otc_files (
    file_id INTEGER GENERATED ALWAYS AS IDENTITY,
    source TEXT COLLATE "C" NOT NULL,
    report_date DATE NOT NULL,
    part TEXT COLLATE "C" NOT NULL,
    version INTEGER,
    path TEXT NOT NULL,
    sha256 TEXT COLLATE "C",
    bytes BIGINT,
    rows BIGINT NOT NULL,
    lines BIGINT NOT NULL,
    blank_lines BIGINT NOT NULL,
    trailer_lines BIGINT NOT NULL,
    declared_rows BIGINT,
    columns TEXT[],
    quirks TEXT[],
    status TEXT COLLATE "C" NOT NULL,
    problem TEXT,
    known_at TIMESTAMP WITH TIME ZONE NOT NULL,
    superseded_at TIMESTAMP WITH TIME ZONE,
    superseded_by INTEGER,
    run_id TEXT,
    PRIMARY KEY (file_id)
);

CREATE UNIQUE INDEX otc_files_content ON otc_files (source, report_date, part, sha256) WHERE status <> 'rejected';
CREATE INDEX otc_files_day ON otc_files (report_date);
CREATE UNIQUE INDEX otc_files_live ON otc_files (source, report_date, part) WHERE status = 'live';
COMMENT ON TABLE otc_files IS 'Every file version ever received, the refused ones included.';
COMMENT ON COLUMN otc_files.file_id IS 'Number of the file version.';
COMMENT ON COLUMN otc_files.source IS 'Name of the feed.';
COMMENT ON COLUMN otc_files.report_date IS 'Report date in the file''s name.';
COMMENT ON COLUMN otc_files.part IS 'Part of the day, empty where a day is one file.';
COMMENT ON COLUMN otc_files.version IS 'Version in the file''s name, where the feed has one.';
COMMENT ON COLUMN otc_files.path IS 'Where it was read, relative to the landing folder.';
COMMENT ON COLUMN otc_files.sha256 IS 'Digest of the bytes as delivered.';
COMMENT ON COLUMN otc_files.bytes IS 'Size as delivered.';
COMMENT ON COLUMN otc_files.rows IS 'Data rows loaded into otc_trades_raw.';
COMMENT ON COLUMN otc_files.lines IS 'Physical lines, header included.';
COMMENT ON COLUMN otc_files.blank_lines IS 'Blank lines skipped.';
COMMENT ON COLUMN otc_files.trailer_lines IS 'Trailer lines, 0 or 1.';
COMMENT ON COLUMN otc_files.declared_rows IS 'Rows the trailer declares.';
COMMENT ON COLUMN otc_files.columns IS 'Header in file order as canonical names; extras as extra:NAME.';
COMMENT ON COLUMN otc_files.quirks IS 'What was seen anywhere in it: blanks, underscores.';
COMMENT ON COLUMN otc_files.status IS 'live, superseded, voided or rejected.';
COMMENT ON COLUMN otc_files.problem IS 'Why it was rejected or voided, one line.';
COMMENT ON COLUMN otc_files.known_at IS 'When this platform received it.';
COMMENT ON COLUMN otc_files.superseded_at IS 'When a newer version took its place.';
COMMENT ON COLUMN otc_files.superseded_by IS 'file_id of that version.';
COMMENT ON COLUMN otc_files.run_id IS 'Dagster run that read it.';

CREATE TABLE otc_metrics_daily (
    symbol TEXT COLLATE "C" NOT NULL,
    trade_date DATE NOT NULL,
    revision INTEGER NOT NULL,
    trade_count BIGINT NOT NULL,
    total_volume NUMERIC(24, 6) NOT NULL,
    total_notional NUMERIC(38, 10) NOT NULL,
    vwap_all NUMERIC(20, 10),
    vwap NUMERIC(20, 10),
    open_price NUMERIC(20, 10),
    open_at TIMESTAMP WITH TIME ZONE,
    high_price NUMERIC(20, 10),
    high_at TIMESTAMP WITH TIME ZONE,
    low_price NUMERIC(20, 10),
    low_at TIMESTAMP WITH TIME ZONE,
    close_price NUMERIC(20, 10),
    close_at TIMESTAMP WITH TIME ZONE,
    median_price NUMERIC(20, 10),
    stddev_price DOUBLE PRECISION,
    avg_trade_size NUMERIC(20, 6),
    max_trade_size NUMERIC(20, 6),
    block_count BIGINT NOT NULL,
    block_volume NUMERIC(24, 6) NOT NULL,
    odd_lot_count BIGINT NOT NULL,
    fractional_count BIGINT NOT NULL,
    pre_volume NUMERIC(24, 6) NOT NULL,
    regular_volume NUMERIC(24, 6) NOT NULL,
    post_volume NUMERIC(24, 6) NOT NULL,
    buy_volume NUMERIC(24, 6),
    sell_volume NUMERIC(24, 6),
    cross_volume NUMERIC(24, 6),
    venue_count BIGINT NOT NULL,
    top_venue TEXT COLLATE "C",
    top_venue_share NUMERIC(12, 10),
    venue_hhi NUMERIC(12, 10),
    realized_vol DOUBLE PRECISION,
    parkinson_vol DOUBLE PRECISION,
    garman_klass_vol DOUBLE PRECISION,
    roll_spread DOUBLE PRECISION,
    amihud DOUBLE PRECISION,
    adv5 NUMERIC(24, 6),
    adv20 NUMERIC(24, 6),
    adv60 NUMERIC(24, 6),
    rel_volume DOUBLE PRECISION,
    prev_close NUMERIC(20, 10),
    return_cc DOUBLE PRECISION,
    cancelled_count BIGINT NOT NULL,
    corrected_count BIGINT NOT NULL,
    late_count BIGINT NOT NULL,
    rejected_count BIGINT NOT NULL,
    outlier_count BIGINT NOT NULL,
    capped_count BIGINT NOT NULL,
    input_rows BIGINT NOT NULL,
    rules_version TEXT COLLATE "C" NOT NULL,
    computed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    known_from TIMESTAMP WITH TIME ZONE NOT NULL,
    known_to TIMESTAMP WITH TIME ZONE,
    run_id TEXT,
    PRIMARY KEY (symbol, trade_date, revision)
);

CREATE UNIQUE INDEX otc_metrics_daily_current ON otc_metrics_daily (symbol, trade_date) WHERE known_to IS NULL;
CREATE INDEX otc_metrics_daily_day ON otc_metrics_daily (trade_date, symbol) INCLUDE (total_volume) WHERE known_to IS NULL;
COMMENT ON TABLE otc_metrics_daily IS 'Daily metrics by symbol, versioned by knowledge time.';
COMMENT ON COLUMN otc_metrics_daily.symbol IS 'Symbol.';
COMMENT ON COLUMN otc_metrics_daily.trade_date IS 'New York date of execution.';
COMMENT ON COLUMN otc_metrics_daily.revision IS 'From 1; a new one only when a value changed.';
COMMENT ON COLUMN otc_metrics_daily.trade_count IS 'Trades that count for volume.';
COMMENT ON COLUMN otc_metrics_daily.total_volume IS 'Shares.';
COMMENT ON COLUMN otc_metrics_daily.total_notional IS 'USD.';
COMMENT ON COLUMN otc_metrics_daily.vwap_all IS 'USD; notional over volume of all counted trades.';
COMMENT ON COLUMN otc_metrics_daily.vwap IS 'USD; over price-eligible trades, within [low, high].';
COMMENT ON COLUMN otc_metrics_daily.open_price IS 'USD; first last-eligible trade.';
COMMENT ON COLUMN otc_metrics_daily.open_at IS 'Its moment.';
COMMENT ON COLUMN otc_metrics_daily.high_price IS 'USD.';
COMMENT ON COLUMN otc_metrics_daily.high_at IS 'First moment of the high.';
COMMENT ON COLUMN otc_metrics_daily.low_price IS 'USD.';
COMMENT ON COLUMN otc_metrics_daily.low_at IS 'First moment of the low.';
COMMENT ON COLUMN otc_metrics_daily.close_price IS 'USD; last last-eligible trade.';
COMMENT ON COLUMN otc_metrics_daily.close_at IS 'Its moment.';
COMMENT ON COLUMN otc_metrics_daily.median_price IS 'USD, exact.';
COMMENT ON COLUMN otc_metrics_daily.stddev_price IS 'USD; sample deviation, NULL under two trades.';
COMMENT ON COLUMN otc_metrics_daily.avg_trade_size IS 'Shares a trade.';
COMMENT ON COLUMN otc_metrics_daily.max_trade_size IS 'Shares.';
COMMENT ON COLUMN otc_metrics_daily.block_count IS 'Trades of 10,000 shares or 200,000 USD and more.';
COMMENT ON COLUMN otc_metrics_daily.block_volume IS 'Shares in them.';
COMMENT ON COLUMN otc_metrics_daily.odd_lot_count IS 'Trades under 100 shares.';
COMMENT ON COLUMN otc_metrics_daily.fractional_count IS 'Trades of a fractional size.';
COMMENT ON COLUMN otc_metrics_daily.pre_volume IS 'Shares before the session''s open.';
COMMENT ON COLUMN otc_metrics_daily.regular_volume IS 'Shares within the session.';
COMMENT ON COLUMN otc_metrics_daily.post_volume IS 'Shares from the session''s real close on.';
COMMENT ON COLUMN otc_metrics_daily.buy_volume IS 'Shares reported as bought; NULL where no side is reported.';
COMMENT ON COLUMN otc_metrics_daily.sell_volume IS 'Shares reported as sold; NULL where no side is reported.';
COMMENT ON COLUMN otc_metrics_daily.cross_volume IS 'Shares reported as crossed; NULL where no side is reported.';
COMMENT ON COLUMN otc_metrics_daily.venue_count IS 'Venues with volume.';
COMMENT ON COLUMN otc_metrics_daily.top_venue IS 'Venue with the greatest volume.';
COMMENT ON COLUMN otc_metrics_daily.top_venue_share IS 'Its share of the volume, 0 to 1.';
COMMENT ON COLUMN otc_metrics_daily.venue_hhi IS 'Sum of squared venue shares, 0 to 1.';
COMMENT ON COLUMN otc_metrics_daily.realized_vol IS 'Per day, from the 5-minute last-price grid.';
COMMENT ON COLUMN otc_metrics_daily.parkinson_vol IS 'Per day, from high and low.';
COMMENT ON COLUMN otc_metrics_daily.garman_klass_vol IS 'Per day, from open, high, low, close.';
COMMENT ON COLUMN otc_metrics_daily.roll_spread IS 'USD; effective spread after Roll, NULL when the covariance is not negative.';
COMMENT ON COLUMN otc_metrics_daily.amihud IS '1e6 x absolute log return open to close, per USD.';
COMMENT ON COLUMN otc_metrics_daily.adv5 IS 'Mean volume of the 5 sessions before.';
COMMENT ON COLUMN otc_metrics_daily.adv20 IS 'Mean volume of the 20 sessions before.';
COMMENT ON COLUMN otc_metrics_daily.adv60 IS 'Mean volume of the 60 sessions before.';
COMMENT ON COLUMN otc_metrics_daily.rel_volume IS 'Volume over adv20.';
COMMENT ON COLUMN otc_metrics_daily.prev_close IS 'USD; close of the last session that has one.';
COMMENT ON COLUMN otc_metrics_daily.return_cc IS 'Close over prev_close, less 1.';
COMMENT ON COLUMN otc_metrics_daily.cancelled_count IS 'Trades cancelled, broken or reversed.';
COMMENT ON COLUMN otc_metrics_daily.corrected_count IS 'Live trades that stand as corrected.';
COMMENT ON COLUMN otc_metrics_daily.late_count IS 'Live trades reported late.';
COMMENT ON COLUMN otc_metrics_daily.rejected_count IS 'Reports in quarantine.';
COMMENT ON COLUMN otc_metrics_daily.outlier_count IS 'Live trades left out of price fields.';
COMMENT ON COLUMN otc_metrics_daily.capped_count IS 'Live trades whose size is a lower bound.';
COMMENT ON COLUMN otc_metrics_daily.input_rows IS 'Reports of the symbol in the day''s pass.';
COMMENT ON COLUMN otc_metrics_daily.rules_version IS 'Version of the eligibility rules.';
COMMENT ON COLUMN otc_metrics_daily.computed_at IS 'When the row was computed.';
COMMENT ON COLUMN otc_metrics_daily.known_from IS 'Published from.';
COMMENT ON COLUMN otc_metrics_daily.known_to IS 'Published until; NULL = the current row.';
COMMENT ON COLUMN otc_metrics_daily.run_id IS 'Dagster run.';

CREATE TABLE otc_quality (
    asset TEXT COLLATE "C" NOT NULL,
    day DATE NOT NULL,
    check_name TEXT COLLATE "C" NOT NULL,
    passed BOOLEAN NOT NULL,
    blocking BOOLEAN NOT NULL,
    details JSONB NOT NULL,
    checked_at TIMESTAMP WITH TIME ZONE NOT NULL,
    run_id TEXT,
    PRIMARY KEY (asset, day, check_name)
);

COMMENT ON TABLE otc_quality IS 'Last result of every check on every partition; downstream runs ask it, whenever they start.';
COMMENT ON COLUMN otc_quality.asset IS 'Asset the check belongs to.';
COMMENT ON COLUMN otc_quality.day IS 'Partition.';
COMMENT ON COLUMN otc_quality.check_name IS 'Check.';
COMMENT ON COLUMN otc_quality.passed IS 'Result of the last run.';
COMMENT ON COLUMN otc_quality.blocking IS 'A failure stops what is computed from this partition.';
COMMENT ON COLUMN otc_quality.details IS 'Figures behind the result.';
COMMENT ON COLUMN otc_quality.checked_at IS 'When.';
COMMENT ON COLUMN otc_quality.run_id IS 'Dagster run.';

CREATE TABLE otc_sale_conditions (
    tape TEXT COLLATE "C" NOT NULL,
    code TEXT COLLATE "C" NOT NULL,
    valid_from DATE NOT NULL,
    valid_to DATE NOT NULL,
    name TEXT NOT NULL,
    upd_high_low BOOLEAN NOT NULL,
    upd_last BOOLEAN NOT NULL,
    upd_volume BOOLEAN NOT NULL,
    last_if_only BOOLEAN NOT NULL,
    rules_version TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tape, code, valid_from)
);

COMMENT ON TABLE otc_sale_conditions IS 'Which sale conditions may move which number: facts by tape, code and dates of validity.';
COMMENT ON COLUMN otc_sale_conditions.tape IS 'cta, utp or finra_tdds.';
COMMENT ON COLUMN otc_sale_conditions.code IS 'Code letter.';
COMMENT ON COLUMN otc_sale_conditions.valid_from IS 'First trade date of the meaning.';
COMMENT ON COLUMN otc_sale_conditions.valid_to IS 'Last trade date of the meaning.';
COMMENT ON COLUMN otc_sale_conditions.name IS 'Name of the condition.';
COMMENT ON COLUMN otc_sale_conditions.upd_high_low IS 'May move high and low.';
COMMENT ON COLUMN otc_sale_conditions.upd_last IS 'May move open and close.';
COMMENT ON COLUMN otc_sale_conditions.upd_volume IS 'May move the volume.';
COMMENT ON COLUMN otc_sale_conditions.last_if_only IS 'May set open and close when no other trade does.';
COMMENT ON COLUMN otc_sale_conditions.rules_version IS 'Version of the rules the row came with.';

CREATE TABLE otc_sessions (
    day DATE NOT NULL,
    ordinal INTEGER NOT NULL,
    opens_at TIMESTAMP WITH TIME ZONE NOT NULL,
    closes_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (day),
    UNIQUE (ordinal)
);

COMMENT ON TABLE otc_sessions IS 'The frozen sessions of the trading calendar, so that SQL asks the same calendar.';
COMMENT ON COLUMN otc_sessions.day IS 'Session.';
COMMENT ON COLUMN otc_sessions.ordinal IS 'Number of the session; neighbours differ by 1.';
COMMENT ON COLUMN otc_sessions.opens_at IS 'Opening of the regular session.';
COMMENT ON COLUMN otc_sessions.closes_at IS 'Its real close, 13:00 New York on half days.';

CREATE TABLE otc_trades (
    trade_date DATE NOT NULL,
    symbol TEXT COLLATE "C" NOT NULL,
    executed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    trade_seq INTEGER NOT NULL,
    price NUMERIC(20, 10) NOT NULL,
    size NUMERIC(20, 6) NOT NULL,
    file_id INTEGER NOT NULL,
    line_no INTEGER NOT NULL,
    is_correction BOOLEAN NOT NULL,
    is_late BOOLEAN NOT NULL,
    is_capped BOOLEAN NOT NULL,
    is_outlier BOOLEAN NOT NULL,
    upd_volume BOOLEAN NOT NULL,
    upd_high_low BOOLEAN NOT NULL,
    upd_last BOOLEAN NOT NULL,
    last_if_only BOOLEAN NOT NULL,
    unknown_condition BOOLEAN NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    venue TEXT COLLATE "C",
    side TEXT COLLATE "C",
    capacity TEXT COLLATE "C",
    conditions TEXT COLLATE "C",
    facility TEXT COLLATE "C",
    report_id TEXT COLLATE "C",
    trade_id TEXT COLLATE "C"
)
 PARTITION BY RANGE (trade_date, symbol);

CREATE INDEX otc_trades_symbol_time ON otc_trades (symbol, executed_at, trade_seq);
COMMENT ON TABLE otc_trades IS 'Trades of a day after identity, life cycle and validity; dead trades stay with their status.';
COMMENT ON COLUMN otc_trades.trade_date IS 'Partition: New York date of execution.';
COMMENT ON COLUMN otc_trades.symbol IS 'Symbol.';
COMMENT ON COLUMN otc_trades.executed_at IS 'Moment of execution.';
COMMENT ON COLUMN otc_trades.trade_seq IS 'Order within the symbol and day; grows, never ties.';
COMMENT ON COLUMN otc_trades.price IS 'USD a share.';
COMMENT ON COLUMN otc_trades.size IS 'Shares; fractional since 2026-02.';
COMMENT ON COLUMN otc_trades.file_id IS 'File version the trade''s current text stands in.';
COMMENT ON COLUMN otc_trades.line_no IS 'Line in that file.';
COMMENT ON COLUMN otc_trades.is_correction IS 'The row comes from a correction.';
COMMENT ON COLUMN otc_trades.is_late IS 'As-of report, or reported on a later date.';
COMMENT ON COLUMN otc_trades.is_capped IS 'The size is a lower bound (1,176,262,090+).';
COMMENT ON COLUMN otc_trades.is_outlier IS 'Far from the day''s median; left out of price fields.';
COMMENT ON COLUMN otc_trades.upd_volume IS 'Conditions let it move the volume.';
COMMENT ON COLUMN otc_trades.upd_high_low IS 'Conditions let it move high and low.';
COMMENT ON COLUMN otc_trades.upd_last IS 'Conditions let it move open and close.';
COMMENT ON COLUMN otc_trades.last_if_only IS 'May set open and close when nothing else does.';
COMMENT ON COLUMN otc_trades.unknown_condition IS 'Carries a code the eligibility table lacks.';
COMMENT ON COLUMN otc_trades.status IS 'live, cancelled or superseded.';
COMMENT ON COLUMN otc_trades.venue IS 'Venue of execution.';
COMMENT ON COLUMN otc_trades.side IS 'B, S or X (cross); NULL where the feed has none.';
COMMENT ON COLUMN otc_trades.capacity IS 'Capacity of the reporting party.';
COMMENT ON COLUMN otc_trades.conditions IS 'Sale-condition codes as they came.';
COMMENT ON COLUMN otc_trades.facility IS 'Facility or vendor that took the report.';
COMMENT ON COLUMN otc_trades.report_id IS 'Identifier of the report the current text stands in.';
COMMENT ON COLUMN otc_trades.trade_id IS 'Identifier of the trade, where the feed has one.';

CREATE TABLE otc_trades_raw (
    report_date DATE NOT NULL,
    file_id INTEGER NOT NULL,
    line_no INTEGER NOT NULL,
    facility TEXT COLLATE "C",
    report_id TEXT COLLATE "C",
    stated_report_date TEXT COLLATE "C",
    reported_at TEXT COLLATE "C",
    action TEXT COLLATE "C",
    original_report_id TEXT COLLATE "C",
    original_report_date TEXT COLLATE "C",
    trade_id TEXT COLLATE "C",
    sequence TEXT COLLATE "C",
    symbol TEXT COLLATE "C",
    venue TEXT COLLATE "C",
    side TEXT COLLATE "C",
    capacity TEXT COLLATE "C",
    executed_at TEXT COLLATE "C",
    trade_date TEXT COLLATE "C",
    price TEXT COLLATE "C",
    size TEXT COLLATE "C",
    conditions TEXT COLLATE "C",
    correction TEXT COLLATE "C",
    extra JSONB
)
 PARTITION BY RANGE (report_date, file_id);

COMMENT ON TABLE otc_trades_raw IS 'Append-only log of trade reports: the text as it came, a leaf per file version.';
COMMENT ON COLUMN otc_trades_raw.report_date IS 'Partition: report date of the file.';
COMMENT ON COLUMN otc_trades_raw.file_id IS 'File version in otc_files (source, sha256, known_at).';
COMMENT ON COLUMN otc_trades_raw.line_no IS 'Physical line in the file; the header is line 1.';
COMMENT ON COLUMN otc_trades_raw.facility IS 'Facility or vendor that took the report.';
COMMENT ON COLUMN otc_trades_raw.report_id IS 'The report''s own identifier.';
COMMENT ON COLUMN otc_trades_raw.stated_report_date IS 'Report date as the row states it; the file''s date is report_date.';
COMMENT ON COLUMN otc_trades_raw.reported_at IS 'When the report was made.';
COMMENT ON COLUMN otc_trades_raw.action IS 'Action code: new, cancel, correct, ...';
COMMENT ON COLUMN otc_trades_raw.original_report_id IS 'Report that a cancel, correction or reversal refers to.';
COMMENT ON COLUMN otc_trades_raw.original_report_date IS 'Report date of that report.';
COMMENT ON COLUMN otc_trades_raw.trade_id IS 'Identifier of the trade.';
COMMENT ON COLUMN otc_trades_raw.sequence IS 'Sequence number of the source.';
COMMENT ON COLUMN otc_trades_raw.symbol IS 'Symbol.';
COMMENT ON COLUMN otc_trades_raw.venue IS 'Venue of execution.';
COMMENT ON COLUMN otc_trades_raw.side IS 'B, S or X (cross).';
COMMENT ON COLUMN otc_trades_raw.capacity IS 'Capacity of the reporting party.';
COMMENT ON COLUMN otc_trades_raw.executed_at IS 'When the trade was executed.';
COMMENT ON COLUMN otc_trades_raw.trade_date IS 'Trade date where the source declares one.';
COMMENT ON COLUMN otc_trades_raw.price IS 'Price in USD a share.';
COMMENT ON COLUMN otc_trades_raw.size IS 'Shares.';
COMMENT ON COLUMN otc_trades_raw.conditions IS 'Sale-condition codes.';
COMMENT ON COLUMN otc_trades_raw.correction IS 'Correction indicator.';
COMMENT ON COLUMN otc_trades_raw.extra IS 'Columns the feed does not know, as they came.';
