-- name: under_way
-- Unfinished runs with their session, or with the first and last of their range.
SELECT r.run_id,
    max(t.value) FILTER (WHERE t.key = %(partition)s),
    max(t.value) FILTER (WHERE t.key = %(range_start)s),
    max(t.value) FILTER (WHERE t.key = %(range_end)s)
FROM runs r
JOIN run_tags t ON t.run_id = r.run_id AND t.key IN (%(partition)s, %(range_start)s, %(range_end)s)
WHERE r.status = ANY(%(statuses)s)
GROUP BY r.run_id;

-- name: asked
-- Those run keys of which there is a run, whatever became of it.
SELECT DISTINCT value FROM run_tags WHERE key = %(run_key)s AND value = ANY(%(keys)s);

-- name: claims
-- Sessions that an automation asked for; Dagster's own table of small values, one row a session.
SELECT key, value FROM kvs WHERE starts_with(key, %(prefix)s);

-- name: claim
-- A session is being asked for: until its run stands in the ledger, this says so.
INSERT INTO kvs (key, value)
VALUES (%(key)s, %(value)s)
ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: forget_claims
-- Those whose run is there, or never came.
DELETE FROM kvs WHERE key = ANY(%(keys)s);
