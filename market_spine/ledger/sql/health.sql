-- What `spine doctor` asks of the two databases; every statement answers in milliseconds on a full one.

-- name: server
-- Version, clock, size of the database, connections open and allowed (to others than superusers).
SELECT current_setting('server_version_num')::int / 10000, extract(epoch FROM clock_timestamp())::float8,
       pg_database_size(current_database()),
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
           - coalesce(current_setting('reserved_connections', true)::int, 0);

-- name: dagster_schema
-- The revision of Dagster's tables.
SELECT version_num FROM alembic_version;

-- name: heartbeats
-- Seconds since each daemon was last heard of, and whether it had errors then.
SELECT daemon_type, extract(epoch FROM localtimestamp - timestamp)::float8, coalesce(body::jsonb -> 'errors', '[]') <> '[]'
FROM daemon_heartbeats
ORDER BY daemon_type;

-- name: queue
-- Queued runs of each lane, with the age of the oldest.
SELECT lane, count(*), max(seconds)
FROM (SELECT coalesce(
                 (SELECT max(t.value) FROM run_tags AS t WHERE t.run_id = r.run_id AND t.key = %(lane_tag)s),
                 CASE WHEN EXISTS (SELECT FROM run_tags AS t WHERE t.run_id = r.run_id AND t.key = %(backfill_tag)s)
                      THEN %(backfill)s ELSE %(normal)s END) AS lane,
             extract(epoch FROM localtimestamp - r.create_timestamp)::float8 AS seconds
      FROM runs AS r WHERE r.status = 'QUEUED') AS queued
GROUP BY lane
ORDER BY lane;

-- name: dead_letters
-- Dead letters that nobody has resolved, with the age of the oldest.
SELECT count(*), coalesce(extract(epoch FROM now() - min(first_failed_at)), 0)::float8
FROM otc_dead_letters WHERE resolved_at IS NULL;

-- name: runs_under_way
-- Runs that are queued or under way.
SELECT count(*) FROM runs WHERE status = ANY(%(statuses)s);
