-- What readers see: views in a schema of their own, and a role that may read those and nothing else.
-- Only adds, so that it may run before or while the old code runs. Views have their owner's rights: the role needs
-- none on the tables. A later migration that changes a column of a table makes its view anew.

-- Roles belong to the server, not to the database: another database of it may have made this one, perhaps just now.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'market_spine_reader') THEN
        CREATE ROLE market_spine_reader NOLOGIN;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN
        NULL;
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION USING MESSAGE = 'role market_spine_reader is missing and ' || current_user || ' may not make it: '
            'have an administrator run CREATE ROLE market_spine_reader NOLOGIN; GRANT market_spine_reader TO '
            || quote_ident(current_user);
END
$$;

-- Whoever owns the tables may take the role on, so that the API works with their address too.
DO $$
BEGIN
    IF NOT pg_has_role(current_user, 'market_spine_reader', 'SET') THEN
        EXECUTE 'GRANT market_spine_reader TO ' || quote_ident(current_user);
    END IF;
END
$$;

CREATE SCHEMA IF NOT EXISTS api;
COMMENT ON SCHEMA api IS 'Views that the REST API reads, through the role market_spine_reader.';

CREATE VIEW api.metrics_daily AS
SELECT
    symbol, trade_date, revision, trade_count, total_volume, total_notional, vwap_all, vwap, open_price, open_at,
    high_price, high_at, low_price, low_at, close_price, close_at, median_price, stddev_price, avg_trade_size,
    max_trade_size, block_count, block_volume, odd_lot_count, fractional_count, pre_volume, regular_volume,
    post_volume, buy_volume, sell_volume, cross_volume, venue_count, top_venue, top_venue_share, venue_hhi,
    realized_vol, parkinson_vol, garman_klass_vol, roll_spread, amihud, adv5, adv20, adv60, rel_volume, prev_close,
    return_cc, cancelled_count, corrected_count, late_count, rejected_count, outlier_count, capped_count,
    input_rows, rules_version, computed_at, known_from, run_id
FROM otc_metrics_daily
WHERE known_to IS NULL;
COMMENT ON VIEW api.metrics_daily IS 'Daily metrics as published now.';

CREATE VIEW api.metrics_revisions AS
SELECT
    symbol, trade_date, revision, trade_count, total_volume, total_notional, vwap_all, vwap, open_price, open_at,
    high_price, high_at, low_price, low_at, close_price, close_at, median_price, stddev_price, avg_trade_size,
    max_trade_size, block_count, block_volume, odd_lot_count, fractional_count, pre_volume, regular_volume,
    post_volume, buy_volume, sell_volume, cross_volume, venue_count, top_venue, top_venue_share, venue_hhi,
    realized_vol, parkinson_vol, garman_klass_vol, roll_spread, amihud, adv5, adv20, adv60, rel_volume, prev_close,
    return_cc, cancelled_count, corrected_count, late_count, rejected_count, outlier_count, capped_count,
    input_rows, rules_version, computed_at, known_from, known_to, run_id
FROM otc_metrics_daily;
COMMENT ON VIEW api.metrics_revisions IS 'Daily metrics, every revision, with the moments between which it was published.';

CREATE VIEW api.trades AS
SELECT
    trade_date, symbol, executed_at, trade_seq, price, size, file_id, line_no, is_correction, is_late, is_capped,
    is_outlier, upd_volume, upd_high_low, upd_last, last_if_only, unknown_condition, status, venue, side, capacity,
    conditions, facility, report_id, trade_id
FROM otc_trades;
COMMENT ON VIEW api.trades IS 'Trades: live, cancelled and superseded.';

CREATE VIEW api.days AS
SELECT day, normalized_at, computed_at, base_rows, carried_in, counts, rules_version, file_ids
FROM otc_days;
COMMENT ON VIEW api.days IS 'State of each trade date.';

CREATE VIEW api.files AS
SELECT file_id, source, report_date, part, version, path, sha256, bytes, rows, status, problem, known_at, superseded_at,
    superseded_by
FROM otc_files;
COMMENT ON VIEW api.files IS 'File versions received, refused ones included.';

CREATE VIEW api.exceptions AS
SELECT day, file_id, disposition, reason, count(*) AS reports
FROM otc_exceptions
GROUP BY day, file_id, disposition, reason;
COMMENT ON VIEW api.exceptions IS 'Reports that are no trade, counted by day, file, disposition and reason.';

CREATE VIEW api.quarantine AS
SELECT x.day, x.file_id, x.line_no, x.entry, f.source, f.path, x.report_date, x.reason, x.symbol, x.detail, x.report
FROM otc_exceptions AS x
JOIN otc_files AS f USING (file_id)
WHERE x.disposition = 'quarantined';
COMMENT ON VIEW api.quarantine IS 'Reports in quarantine, with file, line, reason and text.';

CREATE VIEW api.checks AS
SELECT asset, day, check_name, passed, blocking, details, checked_at
FROM otc_quality;
COMMENT ON VIEW api.checks IS 'Last result of every check on every day.';

CREATE VIEW api.symbols AS
SELECT symbol, min(trade_date) AS first_date, max(trade_date) AS last_date, count(*) AS days
FROM otc_metrics_daily
WHERE known_to IS NULL
GROUP BY symbol;
COMMENT ON VIEW api.symbols IS 'Symbols that have metrics, with their first and last day.';

CREATE VIEW api.schema_version AS
SELECT version_num AS version FROM alembic_version;
COMMENT ON VIEW api.schema_version IS 'Migration the database stands at; readiness asks it.';

GRANT USAGE ON SCHEMA api TO market_spine_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA api TO market_spine_reader;
