-- What the benchmark of the API fills its database with, and what it compares the API to.

-- name: fill_metrics
-- A year of every symbol: a row a symbol and session, session after session as the pipeline writes them.
INSERT INTO otc_metrics_daily (symbol, trade_date, revision, trade_count, total_volume, total_notional, vwap_all, vwap,
    open_price, open_at, high_price, high_at, low_price, low_at, close_price, close_at, median_price, stddev_price,
    avg_trade_size, max_trade_size, block_count, block_volume, odd_lot_count, fractional_count, pre_volume, regular_volume,
    post_volume, buy_volume, sell_volume, cross_volume, venue_count, top_venue, top_venue_share, venue_hhi, realized_vol,
    parkinson_vol, garman_klass_vol, roll_spread, amihud, adv5, adv20, adv60, rel_volume, prev_close, return_cc,
    cancelled_count, corrected_count, late_count, rejected_count, outlier_count, capped_count, input_rows, rules_version,
    computed_at, known_from, run_id)
SELECT 'S' || lpad(s::text, 5, '0'), d.day, 1, 120 + s, v, v * p, p + 0.0001234567, p + 0.0000456789,
    p, at, p + 1.5, at, p - 1.25, at, p + 0.25, at, p, 0.123456789 * r,
    v / 120, v / 10, 1, v / 5, 30, 2, v / 10, v / 2, v / 3, v / 2, v / 3, v / 6, 3, 'XOTC', 0.5123456789, 0.4123456789,
    0.0123456789 * r, 0.02345678 * r, 0.03456789 * r, 0.00123456 * r, 0.0000123456 * r, v, v, v, 1.0123 * r, p - 0.5,
    0.012345 * r, 1, 1, 2, 1, 0, 0, 150, 'bench', at, at, 'bench'
FROM unnest({days}::date[]) WITH ORDINALITY AS d (day, n)
CROSS JOIN generate_series(1, {symbols}) AS s
CROSS JOIN LATERAL (SELECT d.day + interval '20 hours' AS at, 1 + ((s * 7919 + d.n * 104729) % 100000)::numeric / 1000 AS p,
    1000 + ((s * 104729 + d.n * 7919) % 1000000)::numeric / 7 AS v,
    ((s * 31 + d.n * 17) % 1000)::double precision / 999 AS r) AS x;

-- name: settle_metrics
-- Statistics, and no page left to mark.
VACUUM (ANALYZE) otc_metrics_daily;

-- name: symbol_year
-- What the bare loop fetches: the rows and columns of the API's usual answer.
SELECT {columns} FROM otc_metrics_daily
WHERE symbol = %(symbol)s AND trade_date >= %(first)s AND trade_date <= %(last)s AND known_to IS NULL
ORDER BY symbol, trade_date;

-- name: copy_year
-- What the stream is held against: every column of every row, in the order PostgreSQL likes best.
COPY (SELECT symbol, trade_date, revision, trade_count, total_volume, total_notional, vwap_all, vwap, open_price,
          open_at, high_price, high_at, low_price, low_at, close_price, close_at, median_price, stddev_price,
          avg_trade_size, max_trade_size, block_count, block_volume, odd_lot_count, fractional_count,
          pre_volume, regular_volume, post_volume, buy_volume, sell_volume, cross_volume, venue_count,
          top_venue, top_venue_share, venue_hhi, realized_vol, parkinson_vol, garman_klass_vol, roll_spread,
          amihud, adv5, adv20, adv60, rel_volume, prev_close, return_cc, cancelled_count, corrected_count,
          late_count, rejected_count, outlier_count, capped_count, input_rows, rules_version, computed_at,
          known_from, run_id
      FROM otc_metrics_daily WHERE known_to IS NULL AND trade_date BETWEEN {first} AND {last})
TO STDOUT (FORMAT csv, HEADER);

-- name: metrics_rows
-- Whether there is anything yet.
SELECT count(*) FROM (SELECT FROM otc_metrics_daily LIMIT 1) AS x;

-- name: server_cpu
-- Server processes of the API's connections.
SELECT pid FROM pg_stat_activity WHERE application_name = 'market_spine_api';
