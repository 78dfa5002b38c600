-- What people and programs read of the finished tables.

-- name: metrics
-- Rows of some symbols and sessions, as published at one moment.
SELECT {columns}
FROM otc_metrics_daily
WHERE symbol = ANY(%(symbols)s) AND trade_date BETWEEN %(start)s AND %(end)s AND {published}
ORDER BY symbol, trade_date;

-- name: published_now
-- The current row.
known_to IS NULL

-- name: published_then
-- The row that was current at a moment.
known_from <= %(as_of)s AND (known_to > %(as_of)s OR known_to IS NULL)

-- name: trades
-- Trades of a symbol and day in the order in which the metrics take them.
SELECT {columns}
FROM otc_trades
WHERE trade_date = %(day)s AND symbol = %(symbol)s AND (%(status)s::text IS NULL OR status = %(status)s)
  AND (NOT %(eligible)s OR status = 'live' AND upd_volume AND upd_high_low AND NOT is_outlier)
ORDER BY executed_at, trade_seq, file_id, line_no
LIMIT %(limit)s;
