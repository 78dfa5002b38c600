-- What people load as DataFrames. Metrics and trades come from the views of schema api, so that a login that may do no
-- more than role market_spine_reader is enough; raw reports are not among what that role sees.

-- name: copy
-- A query as a stream of rows.
COPY ({query}) TO STDOUT (FORMAT csv)

-- name: metrics
-- Metrics of some sessions, as published at one moment, in the order of the index.
SELECT {columns} FROM api.metrics_revisions
WHERE trade_date BETWEEN %(start)s AND %(end)s AND {published} AND {symbols}
ORDER BY symbol, trade_date

-- name: published_now
-- The current row.
known_to IS NULL

-- name: published_then
-- The row that was current at a moment.
known_from <= %(as_of)s AND (known_to > %(as_of)s OR known_to IS NULL)

-- name: trades
-- Trades of a session in the order in which the metrics take them.
SELECT {columns} FROM api.trades
WHERE trade_date = %(day)s AND (%(status)s::text IS NULL OR status = %(status)s) AND {symbols}
ORDER BY symbol, executed_at, trade_seq

-- name: raw
-- Reports of a report date as they came, by file and line.
SELECT f.source, f.status AS file_status, {columns}
FROM otc_trades_raw AS r
JOIN otc_files AS f USING (file_id)
WHERE r.report_date = %(day)s AND (%(status)s::text IS NULL OR f.status = %(status)s)
ORDER BY r.file_id, r.line_no

-- name: every_symbol
-- No condition.
true

-- name: of_symbols
-- Some symbols.
symbol = ANY(%(symbols)s)

-- name: day_state
-- Whether a session has trades and metrics, if only none of them.
SELECT normalized_at IS NOT NULL, computed_at IS NOT NULL FROM api.days WHERE day = %(day)s

-- name: raw_state
-- Files of a report date that were loaded, and those of them whose reports are still kept.
SELECT count(*), count(*) FILTER (WHERE expired_at IS NULL)
FROM otc_files
WHERE report_date = %(day)s AND status <> 'rejected' AND (%(status)s::text IS NULL OR status = %(status)s)
