-- Dagster's backfills: rows of bulk_actions, whose body is the daemon's own JSON, and the runs the daemon made of them.

-- name: backfills
-- Backfills, the newest first, with the windows of time they ask for, asset by asset.
SELECT b.key, b.status, b.timestamp, p.body ->> 'title', p.body -> 'tags',
       to_timestamp((p.body ->> 'backfill_end_timestamp')::float8), p.body #>> '{{error,message}}',
       coalesce(jsonb_path_query_array(p.body, {targets}), '[]'),
       coalesce(p.body -> 'partition_names', '[]')
FROM bulk_actions AS b
CROSS JOIN LATERAL (SELECT b.body::jsonb AS body) AS p
WHERE (%(id)s::text IS NULL OR b.key = %(id)s) AND (%(statuses)s::text[] IS NULL OR b.status = ANY(%(statuses)s))
ORDER BY b.id DESC
LIMIT %(most)s;

-- name: runs_of
-- The runs of a backfill, in the order in which they were made, which sessions each has, and whether Dagster is about to
-- start one that failed again.
SELECT r.run_id, r.status, coalesce(s.first, s.one), coalesce(s.last, s.one),
       r.status = 'FAILURE' AND s.will_retry = 'true', to_timestamp(r.start_time),
       CASE WHEN r.start_time IS NOT NULL
            THEN coalesce(r.end_time, extract(epoch FROM clock_timestamp())::float8) - r.start_time END
FROM runs AS r
CROSS JOIN LATERAL (SELECT max(t.value) FILTER (WHERE t.key = %(range_start)s) AS first,
                           max(t.value) FILTER (WHERE t.key = %(range_end)s) AS last,
                           max(t.value) FILTER (WHERE t.key = %(partition)s) AS one,
                           max(t.value) FILTER (WHERE t.key = %(will_retry)s) AS will_retry
                    FROM run_tags AS t WHERE t.run_id = r.run_id) AS s
WHERE r.backfill_id = %(id)s AND coalesce(s.first, s.one) IS NOT NULL
ORDER BY r.id;

-- name: made_since
-- Partitions materialized from a moment on, by whatever run.
SELECT asset_key, partition
FROM event_logs
WHERE dagster_event_type = 'ASSET_MATERIALIZATION' AND asset_key = ANY(%(keys)s)
  AND partition BETWEEN %(first)s AND %(last)s AND timestamp >= %(since)s
GROUP BY asset_key, partition;

-- name: reasons
-- Why sessions failed, as the last run that tried each of them said.
SELECT DISTINCT ON (d.key) d.key, d.value
FROM event_logs AS e
CROSS JOIN LATERAL jsonb_path_query(e.event::jsonb, {failed_sessions}) AS m
CROSS JOIN LATERAL jsonb_each_text(m) AS d
WHERE e.run_id = ANY(%(runs)s) AND e.dagster_event_type = 'STEP_FAILURE'
ORDER BY d.key, e.id DESC;

-- name: past_runs
-- Sessions and seconds of the last runs that succeeded.
SELECT coalesce(s.first, s.one), coalesce(s.last, s.one), r.end_time - r.start_time
FROM runs AS r
CROSS JOIN LATERAL (SELECT max(t.value) FILTER (WHERE t.key = %(range_start)s) AS first,
                           max(t.value) FILTER (WHERE t.key = %(range_end)s) AS last,
                           max(t.value) FILTER (WHERE t.key = %(partition)s) AS one
                    FROM run_tags AS t WHERE t.run_id = r.run_id) AS s
WHERE r.status = 'SUCCESS' AND r.end_time > r.start_time AND coalesce(s.first, s.one) IS NOT NULL
ORDER BY r.id DESC
LIMIT %(most)s;
