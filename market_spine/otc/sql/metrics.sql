-- A day's metrics from its trades. E = live, V = E that may move the volume, P = V that may move high and low and is no
-- outlier, L = P that may move the last. Everything per symbol, so each leaf is computed on a connection of its own.

-- name: symbol_days
-- All columns that the day itself decides, for one leaf. The index hands the trades over by symbol and time, so that
-- groups and windows need no sort; the notional is computed once (OFFSET 0 keeps it from being inlined).
CREATE TABLE {out} AS
WITH core AS (
    SELECT symbol,
           count(*) AS input_rows,
           count(*) FILTER (WHERE v) AS trade_count,
           -- V is P and the rest: each row is added once, not twice
           coalesce(sum(size) FILTER (WHERE p), 0) + coalesce(sum(size) FILTER (WHERE v AND NOT p), 0) AS total_volume,
           coalesce(sum(notional) FILTER (WHERE p), 0) + coalesce(sum(notional) FILTER (WHERE v AND NOT p), 0)
               AS total_notional,
           sum(size) FILTER (WHERE p) AS p_volume,
           sum(notional) FILTER (WHERE p) AS p_notional,
           max(price) FILTER (WHERE p) AS high_price,
           min(price) FILTER (WHERE p) AS low_price,
           count(*) FILTER (WHERE p) AS p_count,
           sum(price) FILTER (WHERE p) AS p_sum,
           sum(price * price) FILTER (WHERE p) AS p_squares,
           -- both middle prices: the n/2-th and, where n is even, the next one. Sorted symbol by symbol: an aggregate with an
           -- ORDER BY of its own would have all rows sorted once more, 0.8 of 4 seconds for a million trades.
           percentile_disc(ARRAY[0.5, 0.500000001]) WITHIN GROUP (ORDER BY price) FILTER (WHERE p) AS middle,
           max(size) FILTER (WHERE v) AS max_trade_size,
           count(*) FILTER (WHERE b) AS block_count,
           coalesce(sum(size) FILTER (WHERE b), 0) AS block_volume,
           count(*) FILTER (WHERE v AND size < 100) AS odd_lot_count,
           count(*) FILTER (WHERE v AND size <> trunc(size)) AS fractional_count,
           coalesce(sum(size) FILTER (WHERE v AND executed_at < {opens_at}), 0) AS pre_volume,
           coalesce(sum(size) FILTER (WHERE v AND executed_at >= {closes_at}), 0) AS post_volume,
           bool_or(side <> '') FILTER (WHERE v) AS has_side,
           coalesce(sum(size) FILTER (WHERE v AND side = 'B'), 0) AS buy_volume,
           coalesce(sum(size) FILTER (WHERE v AND side = 'S'), 0) AS sell_volume,
           coalesce(sum(size) FILTER (WHERE v AND side = 'X'), 0) AS cross_volume,
           count(*) FILTER (WHERE status = 'cancelled') AS cancelled_count,
           count(*) FILTER (WHERE e AND is_correction) AS corrected_count,
           count(*) FILTER (WHERE e AND is_late) AS late_count,
           count(*) FILTER (WHERE e AND is_outlier) AS outlier_count,
           count(*) FILTER (WHERE e AND is_capped) AS capped_count
    FROM (SELECT n.*, v AND (size >= 10000 OR notional >= 200000) AS b
          FROM (SELECT symbol, executed_at, price, size, side, status, is_correction, is_late, is_outlier, is_capped,
                       price * size AS notional, status = 'live' AS e, status = 'live' AND upd_volume AS v,
                       status = 'live' AND upd_volume AND upd_high_low AND NOT is_outlier AS p
                FROM {leaf}
                ORDER BY symbol
                OFFSET 0) AS n
          ORDER BY symbol  -- it is in that order, but without these words the planner forgets it and sorts once more
          OFFSET 0) AS t
    GROUP BY symbol),
extremes AS (
    SELECT t.symbol, min(t.executed_at) FILTER (WHERE t.price = c.high_price) AS high_at,
           min(t.executed_at) FILTER (WHERE t.price = c.low_price) AS low_at
    FROM {leaf} AS t JOIN core AS c ON c.symbol = t.symbol AND (t.price = c.high_price OR t.price = c.low_price)
    WHERE t.status = 'live' AND t.upd_volume AND t.upd_high_low AND NOT t.is_outlier
    GROUP BY t.symbol),
lasts AS (
    SELECT symbol, executed_at, trade_seq, price, lag(price) OVER w AS before, lag(price, 2) OVER w AS before_that,
           date_bin('5 minutes', executed_at, {day_start}) AS bucket,
           lead(executed_at) OVER w AS next_at
    FROM {leaf}
    WHERE status = 'live' AND upd_volume AND upd_high_low AND NOT is_outlier AND upd_last
    WINDOW w AS (PARTITION BY symbol ORDER BY executed_at, trade_seq)),
series AS (
    SELECT symbol,
           min(price) FILTER (WHERE before IS NULL) AS open_price,
           min(executed_at) FILTER (WHERE before IS NULL) AS open_at,
           min(price) FILTER (WHERE next_at IS NULL) AS close_price,
           max(executed_at) FILTER (WHERE next_at IS NULL) AS close_at,
           count(before_that) AS pairs,
           sum((price - before) * (before - before_that)) AS products,
           -- sums of successive changes telescope: last less second, last but one less first
           min(price) FILTER (WHERE next_at IS NULL)
               - min(price) FILTER (WHERE before IS NOT NULL AND before_that IS NULL) AS changes,
           min(before) FILTER (WHERE next_at IS NULL) - min(price) FILTER (WHERE before IS NULL) AS changes_before
    FROM lasts GROUP BY symbol),
grid AS (
    SELECT symbol, sum(r * r) AS squares, count(r) AS returns
    FROM (SELECT symbol, 2 * atanh(((price - before) / (price + before))::double precision) AS r
          FROM (SELECT symbol, price, lag(price) OVER (PARTITION BY symbol ORDER BY executed_at, trade_seq) AS before
                FROM lasts WHERE next_at IS NULL OR next_at >= bucket + interval '5 minutes') AS ends) AS steps
    GROUP BY symbol),
only_prints AS (
    SELECT DISTINCT ON (t.symbol) t.symbol, t.price, t.executed_at
    FROM {leaf} AS t
    WHERE t.status = 'live' AND t.upd_volume AND t.upd_high_low AND NOT t.is_outlier AND t.last_if_only
      AND NOT EXISTS (SELECT FROM series AS s WHERE s.symbol = t.symbol)
    ORDER BY t.symbol, t.executed_at, t.trade_seq),
venues AS (
    SELECT symbol, count(*) AS venue_count, (array_agg(venue ORDER BY volume DESC, venue))[1] AS top_venue,
           max(volume) AS top_volume, sum(volume * volume) AS squares, sum(volume) AS venue_volume
    FROM (SELECT symbol, coalesce(venue, '') AS venue, sum(size) AS volume
          FROM {leaf} WHERE status = 'live' AND upd_volume GROUP BY symbol, coalesce(venue, '')) AS v
    GROUP BY symbol),
rejected AS (
    SELECT btrim(symbol) AS symbol, count(DISTINCT (file_id, line_no)) AS rejected_count
    FROM otc_exceptions WHERE home = {day} AND disposition = 'quarantined' GROUP BY btrim(symbol)),
joined AS (
    SELECT c.*, x.high_at, x.low_at, g.squares AS grid_squares, g.returns, v.venue_count, v.top_venue, v.top_volume,
           v.squares AS venue_squares, v.venue_volume, coalesce(r.rejected_count, 0) AS rejected_count,
           coalesce(s.open_price, o.price) AS open_price, coalesce(s.open_at, o.executed_at) AS open_at,
           coalesce(s.close_price, o.price) AS close_price, coalesce(s.close_at, o.executed_at) AS close_at,
           CASE WHEN s.pairs >= 2
                THEN (s.pairs * s.products - s.changes * s.changes_before) / (s.pairs * (s.pairs - 1)) END AS covariance,
           -- ln(a/b) = 2 atanh((a-b)/(a+b)): the difference is exact, so that near prices keep their digits
           2 * atanh(((c.high_price - c.low_price) / (c.high_price + c.low_price))::double precision) AS range_log,
           2 * atanh(((coalesce(s.close_price, o.price) - coalesce(s.open_price, o.price))
                      / (coalesce(s.close_price, o.price) + coalesce(s.open_price, o.price)))::double precision) AS day_log
    FROM core AS c
    LEFT JOIN extremes AS x USING (symbol)
    LEFT JOIN series AS s USING (symbol)
    LEFT JOIN grid AS g USING (symbol)
    LEFT JOIN only_prints AS o USING (symbol)
    LEFT JOIN venues AS v USING (symbol)
    LEFT JOIN rejected AS r USING (symbol))
SELECT symbol, trade_count, total_volume, total_notional,
       round(total_notional / nullif(total_volume, 0), 10) AS vwap_all,
       round(p_notional / p_volume, 10) AS vwap,
       open_price, open_at, high_price, high_at, low_price, low_at, close_price, close_at,
       round((middle[1] + middle[2]) / 2, 10) AS median_price,
       CASE WHEN p_count >= 2
            THEN sqrt((p_count * p_squares - p_sum * p_sum) / (p_count * (p_count - 1)))::double precision
       END AS stddev_price,
       round(total_volume / nullif(trade_count, 0), 6) AS avg_trade_size,
       max_trade_size, block_count, block_volume, odd_lot_count, fractional_count, pre_volume,
       total_volume - pre_volume - post_volume AS regular_volume, post_volume,
       CASE WHEN has_side THEN buy_volume END AS buy_volume,
       CASE WHEN has_side THEN sell_volume END AS sell_volume,
       CASE WHEN has_side THEN cross_volume END AS cross_volume,
       coalesce(venue_count, 0) AS venue_count, top_venue,
       round(top_volume / nullif(total_volume, 0), 10) AS top_venue_share,
       round(venue_squares / nullif(total_volume * total_volume, 0), 10) AS venue_hhi,
       CASE WHEN returns >= 1 THEN sqrt(grid_squares) END AS realized_vol,
       sqrt(range_log * range_log / (4 * ln(2::double precision))) AS parkinson_vol,
       CASE WHEN day_log IS NOT NULL
            THEN sqrt(greatest(0, 0.5 * range_log * range_log
                                  - (2 * ln(2::double precision) - 1) * day_log * day_log)) END AS garman_klass_vol,
       CASE WHEN covariance < 0 THEN 2 * sqrt(-covariance)::double precision END AS roll_spread,
       1e6::double precision * abs(day_log) / nullif(total_notional, 0)::double precision AS amihud,
       cancelled_count, corrected_count, late_count, rejected_count, outlier_count, capped_count,
       input_rows + rejected_count AS input_rows, coalesce(venue_volume, 0) AS venue_volume
FROM joined;

-- name: known_sessions
-- Which of some sessions have been computed.
SELECT day FROM otc_days WHERE computed_at IS NOT NULL AND day = ANY(%(days)s);

-- name: fresh
-- The day's rows with what the sessions before say: volumes of whole windows of sessions, the last close.
CREATE TEMPORARY TABLE fresh ON COMMIT DROP AS
SELECT s.*, h.adv5, h.adv20, h.adv60,
       (s.total_volume / nullif(h.adv20, 0))::double precision AS rel_volume, p.prev_close,
       ((s.close_price - p.prev_close) / p.prev_close)::double precision AS return_cc
FROM ({slices}) AS s
LEFT JOIN (SELECT symbol, sum(total_volume) FILTER (WHERE trade_date >= {from5}) AS v5,
                  sum(total_volume) FILTER (WHERE trade_date >= {from20}) AS v20, sum(total_volume) AS v60
           FROM otc_metrics_daily
           WHERE known_to IS NULL AND trade_date >= {from_any} AND trade_date < {day}
           GROUP BY symbol) AS w USING (symbol)
CROSS JOIN LATERAL (
    SELECT CASE WHEN {from5}::date IS NOT NULL THEN round(coalesce(w.v5, 0) / 5, 6) END AS adv5,
           CASE WHEN {from20}::date IS NOT NULL THEN round(coalesce(w.v20, 0) / 20, 6) END AS adv20,
           CASE WHEN {from60}::date IS NOT NULL THEN round(coalesce(w.v60, 0) / 60, 6) END AS adv60) AS h
LEFT JOIN LATERAL (
    SELECT m.close_price AS prev_close
    FROM otc_metrics_daily AS m
    WHERE m.symbol = s.symbol AND m.trade_date < {day} AND m.known_to IS NULL AND m.close_price IS NOT NULL
    ORDER BY m.trade_date DESC LIMIT 1) AS p ON true;

-- name: changed
-- Symbols whose row is new, gone, or differs in a value; `moved` where a later day's rolling columns depend on it.
CREATE TEMPORARY TABLE changed ON COMMIT DROP AS
SELECT coalesce(f.symbol, m.symbol) AS symbol, m.symbol IS NOT NULL AS had, f.symbol IS NOT NULL AS has,
       m.total_volume IS DISTINCT FROM f.total_volume OR m.close_price IS DISTINCT FROM f.close_price AS moved
FROM fresh AS f
FULL JOIN (SELECT * FROM otc_metrics_daily WHERE trade_date = {day} AND known_to IS NULL) AS m ON m.symbol = f.symbol
WHERE m.symbol IS NULL OR f.symbol IS NULL OR ({fresh_values}) IS DISTINCT FROM ({old_values});

-- name: close_old
-- What was published until now.
UPDATE otc_metrics_daily AS m
SET known_to = {at}
FROM changed AS c
WHERE c.had AND m.symbol = c.symbol AND m.trade_date = {day} AND m.known_to IS NULL;

-- name: publish
-- The new revisions.
INSERT INTO otc_metrics_daily (symbol, trade_date, revision, {values}, input_rows, rules_version, computed_at, known_from,
                               run_id)
SELECT f.symbol, {day},
       coalesce((SELECT max(x.revision) FROM otc_metrics_daily AS x
                 WHERE x.symbol = f.symbol AND x.trade_date = {day}), 0) + 1,
       {fresh_values}, f.input_rows, {rules_version}, {at}, {at}, {run_id}
FROM fresh AS f
JOIN changed AS c ON c.symbol = f.symbol AND c.has;

-- name: later_days
-- Whether a later day was published: only then can rolling columns elsewhere depend on this day.
SELECT EXISTS (SELECT FROM otc_metrics_daily WHERE trade_date > %(day)s AND known_to IS NULL);

-- name: ripple_rows
-- Later rows whose windows or previous close reach back to this day, with their rolling columns as they are now.
CREATE TEMPORARY TABLE ripple ON COMMIT DROP AS
WITH windows AS (
    SELECT s.day, s.ordinal, count(d.day) FILTER (WHERE b.ordinal >= s.ordinal - 5) AS known5,
           count(d.day) FILTER (WHERE b.ordinal >= s.ordinal - 20) AS known20, count(d.day) AS known60,
           min(b.day) FILTER (WHERE b.ordinal >= s.ordinal - 5) AS from5,
           min(b.day) FILTER (WHERE b.ordinal >= s.ordinal - 20) AS from20, min(b.day) AS from60
    FROM otc_sessions AS s
    JOIN otc_sessions AS b ON b.ordinal BETWEEN s.ordinal - 60 AND s.ordinal - 1
    LEFT JOIN otc_days AS d ON d.day = b.day AND d.computed_at IS NOT NULL AND d.day >= {first_session}
    WHERE s.day > {day} AND s.day IN (SELECT day FROM otc_days)
    GROUP BY s.day, s.ordinal),
near AS (
    SELECT m.symbol, m.trade_date
    FROM otc_metrics_daily AS m
    JOIN windows AS w ON w.day = m.trade_date
    WHERE m.known_to IS NULL AND m.trade_date > {day}
      AND w.ordinal <= (SELECT ordinal FROM otc_sessions WHERE day = {day}) + 60
      AND ({turned} OR m.symbol IN (SELECT symbol FROM changed WHERE moved))),
far AS (
    SELECT m.symbol, m.trade_date
    FROM (SELECT symbol FROM changed WHERE moved) AS c
    CROSS JOIN LATERAL (
        SELECT coalesce(min(x.trade_date) FILTER (WHERE x.close_price IS NOT NULL), 'infinity') AS next_close
        FROM otc_metrics_daily AS x
        WHERE x.symbol = c.symbol AND x.trade_date > {day} AND x.known_to IS NULL) AS n
    JOIN otc_metrics_daily AS m
      ON m.symbol = c.symbol AND m.trade_date > {day} AND m.trade_date <= n.next_close AND m.known_to IS NULL),
affected AS (SELECT * FROM near UNION SELECT * FROM far)
SELECT m.symbol, m.trade_date, m.revision, h.adv5, h.adv20, h.adv60,
       (m.total_volume / nullif(h.adv20, 0))::double precision AS rel_volume, p.prev_close,
       ((m.close_price - p.prev_close) / p.prev_close)::double precision AS return_cc
FROM affected AS a
JOIN otc_metrics_daily AS m ON m.symbol = a.symbol AND m.trade_date = a.trade_date AND m.known_to IS NULL
JOIN windows AS w ON w.day = a.trade_date
CROSS JOIN LATERAL (
    SELECT CASE WHEN w.known5 = 5
                THEN round(coalesce(sum(x.total_volume) FILTER (WHERE x.trade_date >= w.from5), 0) / 5, 6) END AS adv5,
           CASE WHEN w.known20 = 20
                THEN round(coalesce(sum(x.total_volume) FILTER (WHERE x.trade_date >= w.from20), 0) / 20, 6)
           END AS adv20,
           CASE WHEN w.known60 = 60 THEN round(coalesce(sum(x.total_volume), 0) / 60, 6) END AS adv60
    FROM otc_metrics_daily AS x
    WHERE x.symbol = a.symbol AND x.trade_date >= w.from60 AND x.trade_date < a.trade_date AND x.known_to IS NULL) AS h
LEFT JOIN LATERAL (
    SELECT x.close_price AS prev_close
    FROM otc_metrics_daily AS x
    WHERE x.symbol = a.symbol AND x.trade_date < a.trade_date AND x.known_to IS NULL AND x.close_price IS NOT NULL
    ORDER BY x.trade_date DESC LIMIT 1) AS p ON true
WHERE (m.adv5, m.adv20, m.adv60, m.rel_volume, m.prev_close, m.return_cc)
      IS DISTINCT FROM (h.adv5, h.adv20, h.adv60, (m.total_volume / nullif(h.adv20, 0))::double precision, p.prev_close,
                        ((m.close_price - p.prev_close) / p.prev_close)::double precision);

-- name: ripple
-- They get a revision of their own; nothing else of their days is touched.
WITH closed AS (
    UPDATE otc_metrics_daily AS m
    SET known_to = {at}
    FROM ripple AS r
    WHERE m.symbol = r.symbol AND m.trade_date = r.trade_date AND m.revision = r.revision
    RETURNING m.*)
INSERT INTO otc_metrics_daily (symbol, trade_date, revision, {kept}, adv5, adv20, adv60, rel_volume, prev_close, return_cc,
                               input_rows, rules_version, computed_at, known_from, run_id)
SELECT c.symbol, c.trade_date, c.revision + 1, {kept_values}, r.adv5, r.adv20, r.adv60, r.rel_volume, r.prev_close,
       r.return_cc, c.input_rows, c.rules_version, {at}, {at}, {run_id}
FROM closed AS c JOIN ripple AS r ON r.symbol = c.symbol AND r.trade_date = c.trade_date;

-- name: was_computed
-- Whether the day counts as computed, and whether it will: one without any report (its files were taken back) does not,
-- so that it is no session of zero volume. No row where the day was never normalized.
SELECT computed_at IS NOT NULL, base_rows + carried_in > 0 FROM otc_days WHERE day = %(day)s;

-- name: record
-- The day counts as computed, where there was anything to compute.
UPDATE otc_days SET computed_at = CASE WHEN base_rows + carried_in > 0 THEN {at} END, metrics_run_id = {run_id}
WHERE day = {day};

-- name: venue_mismatch
-- Symbols whose volume is not the sum of their venues' volumes.
SELECT count(*), min(symbol) FROM fresh WHERE total_volume <> venue_volume;

-- name: preview
-- The most active symbols of the day, for people.
SELECT symbol, trade_count, total_volume, vwap, open_price, high_price, low_price, close_price, revision
FROM otc_metrics_daily WHERE trade_date = %(day)s AND known_to IS NULL
ORDER BY total_volume DESC, symbol LIMIT 5;
