-- A few real runs become thousands: every row of theirs is copied under a new run id and another partition.

-- name: create_copies
-- What each copy is called: its source, its partition, the moment it ended.
CREATE TEMPORARY TABLE copies (k integer PRIMARY KEY, source text, old_partition text, run_id text, partition text,
    at timestamp);

-- name: fill_copies
-- Sources and partitions in turns, evenly spread over a span of time that ends at a given moment. The last third of the
-- runs is about the last tenth of the partitions, as in life: the older ones rest on old runs alone.
INSERT INTO copies
SELECT k, (%(sources)s::text[])[1 + k %% cardinality(%(sources)s::text[])],
       (%(old)s::text[])[1 + k %% cardinality(%(sources)s::text[])], md5(%(salt)s || k)::uuid::text,
       (%(partitions)s::text[])[CASE WHEN k < %(copies)s * 2 / 3 THEN 1 + k %% cardinality(%(partitions)s::text[])
                                ELSE cardinality(%(partitions)s::text[]) - k %% (cardinality(%(partitions)s::text[]) / 10 + 1)
                                END],
       %(newest)s::timestamp - %(span)s::interval * (1 - k::float8 / %(copies)s)
FROM generate_series(1, %(copies)s) AS k;

-- name: copy_runs
-- Runs and their tags.
INSERT INTO runs (run_id, snapshot_id, pipeline_name, mode, status, run_body, partition, partition_set,
                  create_timestamp, update_timestamp, start_time, end_time, backfill_id)
SELECT c.run_id, r.snapshot_id, r.pipeline_name, r.mode, r.status,
       replace(replace(r.run_body, c.source, c.run_id), c.old_partition, c.partition),
       replace(r.partition, c.old_partition, c.partition), r.partition_set, c.at, c.at,
       extract(epoch FROM c.at AT TIME ZONE 'UTC') - 5, extract(epoch FROM c.at AT TIME ZONE 'UTC'), r.backfill_id
FROM copies AS c JOIN runs AS r ON r.run_id = c.source
ORDER BY c.k;
INSERT INTO run_tags (run_id, key, value)
SELECT c.run_id, t.key, replace(replace(t.value, c.source, c.run_id), c.old_partition, c.partition)
FROM copies AS c JOIN run_tags AS t ON t.run_id = c.source
ORDER BY c.k, t.id;

-- name: copy_events
-- Events with their tags and check results, in the order in which the runs were.
CREATE TEMPORARY TABLE event_map AS
SELECT row_number() OVER (ORDER BY c.k, e.id) + (SELECT max(id) FROM event_logs) AS new_id, e.id AS old_id, c.k
FROM copies AS c JOIN event_logs AS e ON e.run_id = c.source;
CREATE UNIQUE INDEX ON event_map (k, old_id);
ANALYZE event_map;
INSERT INTO event_logs (id, run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition)
SELECT m.new_id, c.run_id, replace(replace(e.event, c.source, c.run_id), c.old_partition, c.partition),
       e.dagster_event_type, c.at, e.step_key, e.asset_key, replace(e.partition, c.old_partition, c.partition)
FROM event_map AS m JOIN copies AS c USING (k) JOIN event_logs AS e ON e.id = m.old_id
ORDER BY m.new_id;
SELECT setval(pg_get_serial_sequence('event_logs', 'id'), (SELECT max(id) FROM event_logs));
INSERT INTO asset_event_tags (event_id, asset_key, key, value, event_timestamp)
SELECT m.new_id, t.asset_key, t.key, replace(t.value, c.source, c.run_id), c.at
FROM event_map AS m JOIN copies AS c USING (k) JOIN asset_event_tags AS t ON t.event_id = m.old_id;
INSERT INTO asset_check_executions (asset_key, check_name, partition, run_id, execution_status, evaluation_event,
    evaluation_event_timestamp, evaluation_event_storage_id, materialization_event_storage_id, create_timestamp)
SELECT a.asset_key, a.check_name, replace(a.partition, c.old_partition, c.partition), c.run_id, a.execution_status,
       replace(replace(a.evaluation_event, c.source, c.run_id), c.old_partition, c.partition), c.at, m.new_id,
       n.new_id, c.at
FROM copies AS c
JOIN asset_check_executions AS a ON a.run_id = c.source
LEFT JOIN event_map AS m ON m.k = c.k AND m.old_id = a.evaluation_event_storage_id
LEFT JOIN event_map AS n ON n.k = c.k AND n.old_id = a.materialization_event_storage_id
ORDER BY c.k, a.id;
DROP TABLE copies, event_map;

-- name: analyze
-- As autovacuum would have done by the next night.
ANALYZE;

-- name: finished_runs
-- The real runs, with their partition.
SELECT r.run_id, t.value FROM runs AS r JOIN run_tags AS t ON t.run_id = r.run_id
WHERE t.key IN ('dagster/partition', 'dagster/asset_partition_range_start') AND r.status = 'SUCCESS'
ORDER BY r.id;

-- name: event_log_size
-- Events and what their table takes with its indexes.
SELECT count(*), pg_total_relation_size('event_logs') FROM event_logs;

-- name: latest_runs
-- What the list of runs asks.
SELECT run_body, status FROM runs ORDER BY id DESC LIMIT 25;
