-- What the measurement of a scrape adds to many finished runs.

-- name: tag_as_ours
-- The tags that a sensor's run has in life; runs of the harness have none of them.
INSERT INTO run_tags (run_id, key, value)
SELECT t.run_id, v.key, v.value
FROM run_tags AS t
CROSS JOIN LATERAL (VALUES ('market_spine/lane', 'normal'), ('market_spine/trigger_source', 'sensor'),
                           ('market_spine/logical_key', 'otc_full_refresh:' || t.value), ('dagster/priority', '0'),
                           ('dagster/sensor_name', 'landed_days'), ('dagster/run_key', t.value)) AS v (key, value)
WHERE t.key = 'dagster/partition' AND t.run_id = ANY(%(runs)s)
  AND NOT EXISTS (SELECT FROM run_tags AS o WHERE o.run_id = t.run_id AND o.key = v.key);

-- name: queue_newest
-- Let the newest runs wait, as after a weekend.
UPDATE runs SET status = 'QUEUED', start_time = NULL, end_time = NULL, create_timestamp = localtimestamp
WHERE id IN (SELECT id FROM runs ORDER BY id DESC LIMIT %(runs)s);

-- name: end_one
-- One of them has run.
UPDATE runs SET status = 'SUCCESS', start_time = extract(epoch FROM now()) - 3, end_time = extract(epoch FROM now()),
    update_timestamp = localtimestamp
WHERE id = (SELECT min(id) FROM runs WHERE status = 'QUEUED');

-- name: sizes
-- Runs, events, and what the database takes.
SELECT (SELECT count(*) FROM runs), (SELECT count(*) FROM event_logs), pg_database_size(current_database());

-- name: backends
-- The server's processes that work for the API's metrics.
SELECT pid FROM pg_stat_activity WHERE application_name = 'market_spine_metrics';
