-- Digests that do not depend on the order of rows, nor on what differs between two deliveries of the same reports:
-- numbers of file versions, runs, moments, revisions. A sum, because a row that stands twice must count twice.

-- name: snapshot
-- All digests of one look must see the same moment.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;

-- name: otc_trades_raw
-- The live files' rows.
SELECT r.report_date, count(*), sum(hashtextextended((to_jsonb(r) - 'file_id')::text, 0)::numeric)
FROM otc_trades_raw AS r JOIN otc_files AS f ON f.file_id = r.file_id
WHERE f.status = 'live' GROUP BY r.report_date;

-- name: otc_trades
-- All rows, dead trades included.
SELECT trade_date, count(*), sum(hashtextextended((to_jsonb(t) - 'file_id')::text, 0)::numeric)
FROM otc_trades AS t GROUP BY trade_date;

-- name: otc_exceptions
-- Everything that is no trade.
SELECT day, count(*), sum(hashtextextended((to_jsonb(x) - 'file_id')::text, 0)::numeric)
FROM otc_exceptions AS x GROUP BY day;

-- name: otc_carried
-- By the day that sent it.
SELECT origin_day, count(*), sum(hashtextextended((to_jsonb(c) - 'file_id')::text, 0)::numeric)
FROM otc_carried AS c GROUP BY origin_day;

-- name: otc_days
-- What each day's pass counted.
SELECT day, count(*), sum(hashtextextended(concat_ws('|', base_rows, carried_in, counts), 0)::numeric)
FROM otc_days GROUP BY day;

-- name: otc_metrics_daily
-- Current rows; input_rows is lineage and follows only with a value.
SELECT trade_date, count(*),
       sum(hashtextextended(
           (to_jsonb(m) - ARRAY['revision', 'computed_at', 'known_from', 'run_id', 'input_rows'])::text, 0)::numeric)
FROM otc_metrics_daily AS m WHERE known_to IS NULL GROUP BY trade_date;

-- name: raw_mismatches
-- File versions whose rows are not all there, and rows without a file version.
SELECT coalesce(f.file_id, r.file_id), f.rows, r.rows
FROM (SELECT file_id, rows FROM otc_files WHERE status <> 'rejected') AS f
FULL JOIN (SELECT file_id, count(*) AS rows FROM otc_trades_raw GROUP BY file_id) AS r ON r.file_id = f.file_id
WHERE f.rows IS DISTINCT FROM r.rows;

-- name: unclosed
-- Revisions out of their order: numbers with gaps, a later one that is known before the earlier one is closed. A symbol
-- that a new version of the file no longer has keeps closed rows only.
SELECT DISTINCT symbol, trade_date
FROM (SELECT symbol, trade_date, revision, known_from,
             row_number() OVER before AS position, lag(known_to) OVER before AS closed, lag(revision) OVER before AS last
      FROM otc_metrics_daily WINDOW before AS (PARTITION BY symbol, trade_date ORDER BY revision)) AS m
WHERE revision <> position OR (last IS NOT NULL AND (closed IS NULL OR closed > known_from));

-- name: leftovers
-- Tables under construction that somebody left.
SELECT count(*) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = 'otc_build' AND c.relkind IN ('r', 'p');

-- name: leaves
-- Leaf tables that are attached to nothing.
SELECT c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = 'otc_leaf' AND c.relkind = 'r' AND NOT c.relispartition;
