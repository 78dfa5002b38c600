-- What the market tables say of each session, one row a session that has anything at all.

-- name: coverage
-- Files, trades and metrics of every session from a day on, marks, refusals that stand, and blocking checks that failed.
WITH files AS (
    SELECT f.report_date AS day, count(*) FILTER (WHERE f.status = 'live') AS live,
           max(greatest(f.known_at, f.superseded_at, f.voided_at)) FILTER (WHERE f.status <> 'rejected') AS changed_at,
           (array_agg(f.problem ORDER BY f.known_at DESC)
                FILTER (WHERE f.status = 'rejected' AND NOT EXISTS (
                    SELECT FROM otc_files AS n
                    WHERE n.source = f.source AND n.report_date = f.report_date AND n.part = f.part
                      AND n.status = 'live' AND n.known_at > f.known_at)))[1] AS refused
    FROM otc_files AS f WHERE f.report_date >= %(since)s GROUP BY f.report_date),
marks AS (SELECT day, min(reason) AS reason FROM otc_dirty_days WHERE day >= %(since)s GROUP BY day),
known AS (
    SELECT coalesce(f.day, d.day) AS day, coalesce(f.live, 0) AS live, f.changed_at, f.refused,
           d.normalized_at, d.computed_at
    FROM files AS f FULL JOIN (SELECT * FROM otc_days WHERE day >= %(since)s) AS d ON d.day = f.day),
failed AS (
    SELECT q.day, jsonb_object_agg(q.asset, q.check_name || ' ' || q.details) AS checks
    FROM otc_quality AS q JOIN known AS k ON k.day = q.day
    WHERE q.day >= %(since)s AND q.blocking AND NOT q.passed
      AND q.checked_at >= coalesce(CASE q.asset WHEN 'otc_trades_raw' THEN k.changed_at
                                                WHEN 'otc_trades' THEN k.normalized_at
                                                ELSE k.computed_at END, q.checked_at)
    GROUP BY q.day)
SELECT k.day, k.live > 0, k.normalized_at IS NOT NULL, k.computed_at IS NOT NULL, k.refused, m.reason, b.checks
FROM known AS k
LEFT JOIN marks AS m ON m.day = k.day
LEFT JOIN failed AS b ON b.day = k.day
ORDER BY k.day;
