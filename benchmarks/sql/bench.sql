-- name: checkpoint
-- What earlier rounds left to write is written before the clock runs, whoever comes next.
CHECKPOINT;

-- name: database_size
-- Bytes of the database on disk.
SELECT pg_database_size(current_database());

-- name: copy_table
-- The rival of P1: a table of text columns, made in the transaction that fills it, as an ELT tool would.
CREATE TABLE bare ({columns});

-- name: copy_bare
-- A COPY and nothing else.
COPY bare FROM STDIN (FORMAT csv, HEADER true);

-- name: insert_row
-- One row of the same table.
INSERT INTO bare VALUES ({values});

-- name: drop_bare
-- Between rounds.
DROP TABLE IF EXISTS bare;

-- name: other_days
-- When each day but two was last worked on; a late correction must leave them alone.
SELECT day, normalized_at, computed_at FROM otc_days WHERE day <> ALL (%(days)s) ORDER BY day;

-- name: revised
-- Rows of the metrics that are not the first of their symbol and day.
SELECT symbol, trade_date, revision FROM otc_metrics_daily WHERE revision > 1 ORDER BY symbol, trade_date, revision;

-- name: dirty
-- Days that wait for a computation.
SELECT DISTINCT day FROM otc_dirty_days ORDER BY day;

-- name: computed_days
-- Days that have all three tables.
SELECT count(*) FROM otc_days WHERE computed_at IS NOT NULL;

-- name: look_at_day
-- File versions whose trades the day has, the first of them, its trades, their volume, and the volume that is published.
SELECT count(DISTINCT t.file_id), min(t.file_id), count(*), sum(t.size) FILTER (WHERE t.status = 'live' AND t.upd_volume),
       (SELECT sum(m.total_volume) FROM otc_metrics_daily AS m WHERE m.trade_date = %(day)s AND m.known_to IS NULL)
FROM otc_trades AS t WHERE t.trade_date = %(day)s;
