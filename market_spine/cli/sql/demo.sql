-- name: sessions_metrics
-- The current metrics of some sessions, the busiest symbols of each day first.
SELECT symbol, trade_date, trade_count, total_volume, vwap, open_price, high_price, low_price, close_price, revision
FROM otc_metrics_daily
WHERE known_to IS NULL AND trade_date BETWEEN %(first)s AND %(last)s
ORDER BY symbol, trade_date;
