-- Runs against the signs of life they give. A run that lives holds an advisory lock on its id; the server takes it away
-- in the moment in which the process, or its machine, is gone.

-- name: hold
-- Take the run's lock; it stays until the session ends.
SELECT pg_advisory_lock(hashtextextended('market_spine.run/' || %(run_id)s, 0));

-- name: beat
-- Find out whether the session that holds the lock is still there.
SELECT 1;

-- name: under_way
-- Runs that Dagster counts as started or being ended, and whether they live. `vouched` says that the run has held its
-- lock; of one of another code location that never did, nothing is known.
WITH held AS (
    SELECT (classid::bigint << 32) | objid::bigint AS key
    FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
SELECT r.run_id, r.pipeline_name, r.status,
       (SELECT t.value FROM run_tags AS t WHERE t.run_id = r.run_id AND t.key = 'dagster/code_location' LIMIT 1),
       EXISTS (SELECT FROM run_tags AS t WHERE t.run_id = r.run_id AND t.key = %(tag)s AND t.value = r.run_id) AS vouched,
       hashtextextended('market_spine.run/' || r.run_id, 0) IN (SELECT key FROM held) AS lives,
       extract(epoch FROM now() - r.update_timestamp AT TIME ZONE 'UTC')::float8 AS seconds
FROM runs AS r
WHERE r.status IN ('STARTING', 'STARTED', 'CANCELING')
ORDER BY r.id;

-- name: queued_elsewhere
-- Queued runs of code locations that are not among the ones that exist.
SELECT r.run_id, r.pipeline_name, t.value, extract(epoch FROM now() - r.create_timestamp AT TIME ZONE 'UTC')::float8
FROM runs AS r
JOIN run_tags AS t ON t.run_id = r.run_id AND t.key = 'dagster/code_location'
WHERE r.status = 'QUEUED' AND t.value <> ALL(%(known)s)
ORDER BY r.id
LIMIT 1000;

-- name: held_slots
-- Runs that have ended, or were deleted, and still hold slots of a pool or places in its queue.
SELECT s.run_id, count(*)
FROM (SELECT run_id FROM concurrency_slots WHERE run_id IS NOT NULL AND NOT deleted
      UNION ALL SELECT run_id FROM pending_steps WHERE run_id IS NOT NULL) AS s
LEFT JOIN runs AS r ON r.run_id = s.run_id
WHERE r.run_id IS NULL OR r.status IN ('SUCCESS', 'FAILURE', 'CANCELED')
GROUP BY s.run_id
ORDER BY s.run_id;
