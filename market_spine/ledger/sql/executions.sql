-- name: executions
-- Executions that pass every filter that is not null, newest first, at most so many.
SELECT r.id, r.run_id, r.pipeline_name, r.status, r.create_timestamp, r.start_time, r.end_time, t.tags
FROM runs r
CROSS JOIN LATERAL (
    SELECT coalesce(jsonb_object_agg(key, value), jsonb_build_object()) AS tags
    FROM run_tags
    WHERE run_tags.run_id = r.run_id
) t
WHERE (%(statuses)s::text[] IS NULL OR r.status = ANY(%(statuses)s::text[]))
    AND (%(run_ids)s::text[] IS NULL OR r.run_id = ANY(%(run_ids)s::text[]))
    AND (%(since)s::timestamp IS NULL OR r.create_timestamp >= %(since)s::timestamp)
    AND (%(before)s::bigint IS NULL OR r.id < %(before)s::bigint)
    AND (
        %(pipeline)s::text IS NULL
        OR %(pipeline)s::text = coalesce(
            nullif(split_part(t.tags ->> 'market_spine/logical_key', ':', 1), ''), r.pipeline_name
        )
    )
    AND (
        %(lane)s::text IS NULL
        OR %(lane)s::text = coalesce(
            t.tags ->> 'market_spine/lane',
            CASE WHEN t.tags ->> 'dagster/backfill' IS NULL THEN 'normal' ELSE 'backfill' END
        )
    )
    AND (
        %(session)s::text IS NULL
        OR t.tags ->> 'dagster/partition' = %(session)s::text
        OR %(session)s::text BETWEEN t.tags ->> 'dagster/asset_partition_range_start'
            AND t.tags ->> 'dagster/asset_partition_range_end'
    )
    AND (
        %(tag_key)s::text IS NULL
        OR r.run_id IN (SELECT run_id FROM run_tags WHERE key = %(tag_key)s::text AND value = %(tag_value)s::text)
    )
ORDER BY r.id DESC
LIMIT %(limit)s;

-- name: has_tables
-- Whether Dagster has made its tables.
SELECT to_regclass('runs') IS NOT NULL;

-- name: ids_like
-- Ids of executions that begin with these characters; two are enough to know that it is ambiguous.
SELECT run_id FROM runs WHERE starts_with(run_id, %(start)s) LIMIT 2;

-- name: place_of
-- Where an execution stands in the order of all.
SELECT id FROM runs WHERE run_id = %(run_id)s;

-- name: children_of
-- Executions that retry this one, oldest first.
SELECT DISTINCT r.id, r.run_id
FROM runs r
JOIN run_tags t ON t.run_id = r.run_id
WHERE t.key = ANY(%(keys)s) AND t.value = %(run_id)s
ORDER BY r.id;

-- name: steps_of
-- Each step with the moments it began and ended, what became of it, and how often it was started.
SELECT step_key,
    min(timestamp) FILTER (WHERE dagster_event_type = 'STEP_START') AS started,
    max(timestamp) FILTER (WHERE dagster_event_type IN ('STEP_SUCCESS', 'STEP_FAILURE', 'STEP_SKIPPED')) AS ended,
    (array_agg(dagster_event_type ORDER BY id DESC))[1] AS last,
    count(*) FILTER (WHERE dagster_event_type IN ('STEP_START', 'STEP_RESTARTED')) AS tries
FROM event_logs
WHERE run_id = %(run_id)s
    AND step_key IS NOT NULL
    AND dagster_event_type IN (
        'STEP_START', 'STEP_RESTARTED', 'STEP_UP_FOR_RETRY', 'STEP_SUCCESS', 'STEP_FAILURE', 'STEP_SKIPPED'
    )
GROUP BY step_key
ORDER BY min(id);

-- name: figures_of
-- When it was queued and taken from the queue, and how many partitions it materialized, all assets together.
SELECT min(timestamp) FILTER (WHERE dagster_event_type = 'PIPELINE_ENQUEUED'),
    min(timestamp) FILTER (WHERE dagster_event_type = 'PIPELINE_STARTING'),
    count(DISTINCT (asset_key, partition)) FILTER (WHERE dagster_event_type = 'ASSET_MATERIALIZATION')
FROM event_logs
WHERE run_id = %(run_id)s
    AND dagster_event_type IN ('PIPELINE_ENQUEUED', 'PIPELINE_STARTING', 'ASSET_MATERIALIZATION');

-- name: failure_of
-- The event that says best why it failed: the step's own failure before the run's.
SELECT event
FROM event_logs
WHERE run_id = %(run_id)s AND dagster_event_type IN ('STEP_FAILURE', 'PIPELINE_FAILURE')
ORDER BY dagster_event_type = 'STEP_FAILURE' DESC, id DESC
LIMIT 1;

-- name: events_of
-- Events of an execution after a place in the log, oldest first.
SELECT id, timestamp, dagster_event_type, step_key, event
FROM event_logs
WHERE run_id = %(run_id)s AND id > %(after)s
ORDER BY id
LIMIT %(limit)s;
