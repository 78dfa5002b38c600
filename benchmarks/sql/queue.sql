-- name: run_phases
-- When each run was created, taken from the queue, begun and ended, in seconds since 1970, in the order of the queue.
SELECT extract(epoch FROM r.create_timestamp)::float8,
       (SELECT min(extract(epoch FROM e.timestamp)) FROM event_logs AS e
        WHERE e.run_id = r.run_id AND e.dagster_event_type = 'PIPELINE_STARTING')::float8 AS taken,
       r.start_time, r.end_time
FROM runs AS r
WHERE r.status = 'SUCCESS'
ORDER BY taken;

-- name: event_bytes
-- Bytes of the rows of the event log, and of what hangs on them.
SELECT (SELECT sum(pg_column_size(e.*)) FROM event_logs AS e)
     + (SELECT coalesce(sum(pg_column_size(t.*)), 0) FROM asset_event_tags AS t)
     + (SELECT coalesce(sum(pg_column_size(c.*)), 0) FROM asset_check_executions AS c);
