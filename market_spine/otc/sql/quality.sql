-- Checks of one day, counted from the tables alone: nothing a step says about itself is taken for granted. Each answers
-- one row, or a row a file, from one snapshot.

-- name: raw_files
-- The live files of a report date with what was read, what was declared, and the rows that really stand in their leaf;
-- of a file whose leaf retention dropped, the rows that stood there.
SELECT f.path, f.rows, f.lines, f.blank_lines, f.trailer_lines, f.declared_rows,
       CASE WHEN f.expired_at IS NULL THEN coalesce(c.counted, 0) ELSE f.rows END
FROM otc_files AS f
LEFT JOIN ({counts}) AS c ON c.leaf = {prefix} || f.file_id
WHERE f.report_date = %(day)s AND f.status = 'live'
ORDER BY f.source, f.part;

-- name: no_leaves
-- Counts where no leaf is attached.
SELECT ''::text AS leaf, 0::bigint AS counted

-- name: count_leaf
-- Rows of an attached leaf, asked directly: through the parent each row would be held against the bounds, twice the time.
SELECT {name} AS leaf, count(*) AS counted FROM {leaf}

-- name: refused_files
-- Refused files of a report date that no later delivery has put right.
SELECT r.problem
FROM otc_files AS r
WHERE r.report_date = %(day)s AND r.status = 'rejected'
  AND NOT EXISTS (SELECT FROM otc_files AS n
                  WHERE n.source = r.source AND n.report_date = r.report_date AND n.part = r.part AND n.status = 'live'
                    AND n.known_at > r.known_at)
ORDER BY r.known_at DESC;

-- name: trades_terms
-- Every term of the conservation law and every count the other checks need. Nearly all trades are live and nothing else:
-- all are counted, the others are grouped (half the time of a count for each question). A day with a mark has inputs that
-- changed since its pass: it is held against what the pass recorded, in its own transaction.
WITH odd AS (
    SELECT status, unknown_condition, is_outlier, is_late, count(*) AS trades
    FROM otc_trades
    WHERE trade_date = %(day)s AND (unknown_condition OR is_outlier OR is_late OR status <> 'live')
    GROUP BY status, unknown_condition, is_outlier, is_late)
SELECT coalesce((SELECT sum(f.rows) FROM otc_files AS f WHERE f.report_date = %(day)s AND f.status = 'live'), 0),
       (SELECT count(DISTINCT (c.file_id, c.line_no, c.hop))
        FROM otc_carried AS c JOIN otc_files AS f ON f.file_id = c.file_id AND f.status = 'live'
        WHERE c.day = %(day)s AND c.origin_day <> %(day)s),
       (SELECT coalesce(jsonb_object_agg(e.disposition, e.reports), '{{}}')
        FROM (SELECT disposition, count(*) AS reports FROM otc_exceptions WHERE day = %(day)s GROUP BY disposition) AS e),
       EXISTS (SELECT FROM otc_dirty_days WHERE day = %(day)s),
       d.base_rows, d.carried_in,
       (SELECT coalesce(sum(l.counted), 0) FROM ({counts}) AS l),
       o.*
FROM (SELECT coalesce(sum(trades) FILTER (WHERE status = 'cancelled'), 0) AS cancelled,
             coalesce(sum(trades) FILTER (WHERE status = 'superseded'), 0) AS superseded,
             coalesce(sum(trades) FILTER (WHERE status NOT IN ('live', 'cancelled', 'superseded')), 0) AS strange,
             coalesce(sum(trades) FILTER (WHERE unknown_condition), 0) AS unknown_conditions,
             coalesce(sum(trades) FILTER (WHERE is_outlier AND status = 'live'), 0) AS outliers,
             coalesce(sum(trades) FILTER (WHERE is_late AND status = 'live'), 0) AS late
      FROM odd) AS o
LEFT JOIN otc_days AS d ON d.day = %(day)s;

-- name: unknown_codes
-- The codes that the eligibility table does not have for the day, with the trades that carry them.
SELECT s.source, btrim(codes.code) AS code, sum(s.trades)::bigint AS trades, min(s.symbol) AS example
FROM (SELECT f.source, t.conditions, count(*) AS trades, min(t.symbol) AS symbol
      FROM otc_trades AS t JOIN otc_files AS f ON f.file_id = t.file_id
      WHERE t.trade_date = %(day)s AND t.unknown_condition
      GROUP BY f.source, t.conditions) AS s
JOIN jsonb_to_recordset(%(feeds)s::jsonb) AS feed (source text, tape text, separator text) ON feed.source = s.source
CROSS JOIN LATERAL string_to_table(s.conditions, feed.separator) AS codes (code)
WHERE btrim(codes.code) <> ''
  AND NOT EXISTS (SELECT FROM otc_sale_conditions AS known
                  WHERE known.tape = feed.tape AND known.code = btrim(codes.code)
                    AND %(day)s BETWEEN known.valid_from AND known.valid_to)
GROUP BY s.source, btrim(codes.code)
ORDER BY trades DESC, code
LIMIT 10;

-- name: hash_groups
-- A day's leaf is as good as new and without statistics: the planner would sort its two million rows to group them.
SET LOCAL enable_sort = off;
SET LOCAL work_mem = {work_mem};

-- name: metrics_terms
-- The current rows of a day against the volumes of all venues, summed anew from its trades.
WITH symbols AS (
    SELECT symbol, coalesce(sum(size) FILTER (WHERE upd_volume AND status = 'live'), 0) AS volume
    FROM otc_trades WHERE trade_date = %(day)s GROUP BY symbol),
judged AS (
    SELECT coalesce(s.symbol, m.symbol) AS symbol, m.symbol IS NULL AS missing, s.symbol IS NULL AS surplus,
           s.volume <> m.total_volume AS differs,
           (m.vwap IS NULL) <> (m.low_price IS NULL) OR NOT (m.vwap BETWEEN m.low_price AND m.high_price) AS outside
    FROM symbols AS s
    FULL JOIN (SELECT symbol, total_volume, vwap, low_price, high_price
               FROM otc_metrics_daily WHERE trade_date = %(day)s AND known_to IS NULL) AS m ON m.symbol = s.symbol)
SELECT count(*) AS symbols, count(*) FILTER (WHERE missing) AS missing, count(*) FILTER (WHERE surplus) AS surplus,
       count(*) FILTER (WHERE differs) AS differing, count(*) FILTER (WHERE outside) AS outside,
       (array_agg(symbol ORDER BY symbol) FILTER (WHERE missing OR surplus OR differs))[1:5] AS volume_examples,
       (array_agg(symbol ORDER BY symbol) FILTER (WHERE outside))[1:5] AS vwap_examples
FROM judged;

-- name: record
-- The last result of each check of a day.
INSERT INTO otc_quality (asset, day, check_name, passed, blocking, details, checked_at, run_id)
SELECT %(asset)s, %(day)s, r.name, r.passed, r.blocking, r.details, clock_timestamp(), %(run_id)s
FROM jsonb_to_recordset(%(results)s::jsonb) AS r (name text, passed boolean, blocking boolean, details jsonb)
ON CONFLICT (asset, day, check_name) DO UPDATE
SET passed = excluded.passed, blocking = excluded.blocking, details = excluded.details,
    checked_at = excluded.checked_at, run_id = excluded.run_id;

-- name: last_results
-- The last results of a day, and whether each is as new as the day itself: a run killed between a step and its checks
-- leaves the results of the day before it.
SELECT q.check_name, q.passed, q.details, c.at IS NULL OR q.checked_at >= c.at AS is_fresh
FROM otc_quality AS q
CROSS JOIN (SELECT CASE %(asset)s
                       WHEN 'otc_trades_raw' THEN (SELECT max(greatest(f.known_at, f.superseded_at, f.voided_at)) FROM otc_files AS f
                                                   WHERE f.report_date = %(day)s AND f.status <> 'rejected')
                       WHEN 'otc_trades' THEN (SELECT d.normalized_at FROM otc_days AS d WHERE d.day = %(day)s)
                       WHEN 'otc_metrics_daily' THEN (SELECT d.computed_at FROM otc_days AS d WHERE d.day = %(day)s)
                   END AS at) AS c
WHERE q.asset = %(asset)s AND q.day = %(day)s;
