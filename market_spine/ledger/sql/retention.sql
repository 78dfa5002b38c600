-- What of Dagster's storage may go, and its removal in bounded batches. Every batch is a transaction of its own; lists are
-- temporary tables of the session. Dagster's timestamps have no zone and are UTC, as the session is.

-- name: lock_cleanup
-- One clean-up at a time; the lock ends with the session, also with a killed one.
SELECT pg_try_advisory_lock(hashtextextended('market_spine.cleanup', 0));

-- name: limit_waiting
-- A batch that would have to wait gives up, and is tried again.
SELECT set_config('lock_timeout', %(milliseconds)s, false);

-- name: create_lists
-- old_runs: finished runs past their time, and why one stays all the same. old_rows: rows of other tables, by their id.
CREATE TEMPORARY TABLE old_runs (number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, run_id text NOT NULL UNIQUE,
    bytes bigint NOT NULL, kept text);
CREATE TEMPORARY TABLE old_rows (number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, kind text NOT NULL,
    id bigint NOT NULL, bytes bigint NOT NULL, UNIQUE (kind, id));
CREATE TEMPORARY TABLE kept_check_events (event_id bigint PRIMARY KEY);

-- name: find_runs
-- Finished runs that ended before the limit.
INSERT INTO old_runs (run_id, bytes)
SELECT r.run_id, coalesce(pg_column_size(r.run_body), 0) + 250
FROM runs AS r
WHERE r.status = ANY(%(finished)s)
  AND coalesce(to_timestamp(r.end_time) AT TIME ZONE 'UTC', r.update_timestamp) < %(before)s
ORDER BY r.id;

-- name: keep_failed
-- A partition shows as failed for as long as the run of its latest attempt can be looked up.
UPDATE old_runs AS o
SET kept = 'a partition shows as failed by it'
FROM runs AS r
WHERE r.run_id = o.run_id AND r.status = 'FAILURE' AND o.kept IS NULL
  AND EXISTS (SELECT FROM event_logs AS e
              WHERE e.run_id = r.run_id AND e.dagster_event_type = 'ASSET_MATERIALIZATION_PLANNED'
                AND e.asset_key IS NOT NULL AND NOT ({superseded}));

-- name: keep_checked
-- A check without a result shows what became of its run.
UPDATE old_runs AS o
SET kept = 'a check shows as failed or skipped by it'
FROM (SELECT run_id, execution_status, id,
             max(id) OVER (PARTITION BY asset_key, check_name, partition) AS latest
      FROM asset_check_executions) AS c
WHERE c.run_id = o.run_id AND c.id = c.latest AND c.execution_status = 'PLANNED' AND o.kept IS NULL;

-- name: keep_parents
-- Runs that a run under way stands in for.
UPDATE old_runs AS o
SET kept = 'a run under way is a retry of it'
FROM run_tags AS t
JOIN runs AS r ON r.run_id = t.run_id
WHERE t.key = ANY(%(parents)s) AND t.value = o.run_id AND r.status <> ALL(%(finished)s) AND o.kept IS NULL;

-- name: keep_backfills
-- The state of a backfill that is under way is read from its runs.
UPDATE old_runs AS o
SET kept = 'its backfill is under way'
FROM runs AS r
JOIN bulk_actions AS b ON b.key = r.backfill_id
WHERE r.run_id = o.run_id AND b.status <> ALL(%(ended)s) AND o.kept IS NULL;

-- name: keep_named
-- Runs that something else points at.
UPDATE old_runs SET kept = %(why)s WHERE run_id = ANY(%(runs)s) AND kept IS NULL;

-- name: kept_runs
-- Why runs past their time stay.
SELECT kept, count(*) FROM old_runs WHERE kept IS NOT NULL GROUP BY kept ORDER BY kept;

-- name: superseded
-- Whether event e may go with its run: it says nothing of an asset, or a later event says the same of the same partition.
-- CASE keeps both look-ups on the index of their own kind.
CASE WHEN e.dagster_event_type IN ('ASSET_CHECK_EVALUATION', 'ASSET_CHECK_EVALUATION_PLANNED')
     THEN NOT EXISTS (SELECT FROM kept_check_events AS k WHERE k.event_id = e.id)
     WHEN e.asset_key IS NULL THEN true
     WHEN e.partition IS NULL
     THEN EXISTS (SELECT FROM event_logs AS n
                  WHERE n.asset_key = e.asset_key AND n.dagster_event_type = e.dagster_event_type
                    AND n.partition IS NULL AND n.id > e.id)
     ELSE EXISTS (SELECT FROM event_logs AS n
                  WHERE n.asset_key = e.asset_key AND n.dagster_event_type = e.dagster_event_type
                    AND n.partition = e.partition AND n.id > e.id)
       OR (e.dagster_event_type IN ('ASSET_MATERIALIZATION_PLANNED', 'ASSET_FAILED_TO_MATERIALIZE')
           AND EXISTS (SELECT FROM event_logs AS n
                       WHERE n.asset_key = e.asset_key AND n.dagster_event_type = 'ASSET_MATERIALIZATION'
                         AND n.partition = e.partition AND n.id > e.id))
END

-- name: event_bytes
-- Size of an event's row as stored, without indexes.
coalesce(pg_column_size(e.event), 0) + coalesce(pg_column_size(e.run_id), 0) + coalesce(pg_column_size(e.step_key), 0)
    + coalesce(pg_column_size(e.dagster_event_type), 0) + coalesce(pg_column_size(e.asset_key), 0)
    + coalesce(pg_column_size(e.partition), 0) + 48

-- name: find_kept_checks
-- The latest result of every check and partition stays, with its event.
INSERT INTO kept_check_events
SELECT DISTINCT evaluation_event_storage_id
FROM (SELECT id, evaluation_event_storage_id, max(id) OVER same AS latest,
             max(id) FILTER (WHERE evaluation_event_storage_id IS NOT NULL) OVER same AS latest_told
      FROM asset_check_executions WINDOW same AS (PARTITION BY asset_key, check_name, partition)) AS c
WHERE id IN (latest, latest_told) AND evaluation_event_storage_id IS NOT NULL;

-- name: find_checks
-- The other results, of runs that go and of runs that are gone.
INSERT INTO old_rows (kind, id, bytes)
SELECT 'check results', c.id, c.bytes
FROM (SELECT id, run_id, coalesce(evaluation_event_timestamp, create_timestamp) AS at,
             coalesce(pg_column_size(evaluation_event), 0) + 200 AS bytes, max(id) OVER same AS latest,
             max(id) FILTER (WHERE evaluation_event_storage_id IS NOT NULL) OVER same AS latest_told
      FROM asset_check_executions WINDOW same AS (PARTITION BY asset_key, check_name, partition)) AS c
LEFT JOIN old_runs AS o ON o.run_id = c.run_id
LEFT JOIN runs AS r ON r.run_id = c.run_id
WHERE c.id <> c.latest AND c.id IS DISTINCT FROM c.latest_told
  AND ((o.run_id IS NOT NULL AND o.kept IS NULL) OR (r.run_id IS NULL AND c.at < %(before)s))
ORDER BY c.id;

-- name: find_superseded_events
-- What an earlier clean-up left as the latest word on a partition, and is it no longer.
INSERT INTO old_rows (kind, id, bytes)
SELECT 'superseded events', e.id, {bytes}
FROM event_logs AS e
WHERE e.dagster_event_type = ANY(%(types)s) AND e.timestamp < %(before)s
  AND NOT EXISTS (SELECT FROM runs AS r WHERE r.run_id = e.run_id) AND {superseded}
ORDER BY e.id;

-- name: find_backfills
-- Ended backfills none of whose runs stays.
INSERT INTO old_rows (kind, id, bytes)
SELECT 'backfills', b.id, coalesce(pg_column_size(b.body), 0) + 120
FROM bulk_actions AS b
WHERE b.status = ANY(%(ended)s) AND b.timestamp < %(before)s
  AND NOT EXISTS (SELECT FROM runs AS r WHERE r.backfill_id = b.key
                    AND NOT EXISTS (SELECT FROM old_runs AS o WHERE o.run_id = r.run_id AND o.kept IS NULL))
ORDER BY b.id;

-- name: find_snapshots
-- Descriptions of jobs and plans that no staying run has. A run about to be created has looked its own up already: the
-- newest stay, whether used or not, so that none is taken from under it.
INSERT INTO old_rows (kind, id, bytes)
WITH staying AS MATERIALIZED (
    SELECT r.snapshot_id, substring(r.run_body FROM '"execution_plan_snapshot_id": "([0-9a-f]+)"') AS plan_id
    FROM runs AS r
    WHERE NOT EXISTS (SELECT FROM old_runs AS o WHERE o.run_id = r.run_id AND o.kept IS NULL))
SELECT 'snapshots', s.id, pg_column_size(s.snapshot_body) + 120
FROM snapshots AS s
WHERE s.id < (SELECT min(id) FROM (SELECT id FROM snapshots ORDER BY id DESC LIMIT %(newest)s) AS newest)
  AND NOT EXISTS (SELECT FROM staying AS k WHERE k.snapshot_id = s.snapshot_id)
  AND NOT EXISTS (SELECT FROM staying AS k WHERE k.plan_id = s.snapshot_id)
ORDER BY s.id;

-- name: find_ticks
-- Ticks past their time; the last one of each schedule and sensor stays, for the next is reckoned from it.
INSERT INTO old_rows (kind, id, bytes)
SELECT 'ticks', t.id, coalesce(pg_column_size(t.tick_body), 0) + 250
FROM job_ticks AS t
WHERE t.timestamp < %(before)s
  AND EXISTS (SELECT FROM job_ticks AS n WHERE n.selector_id = t.selector_id AND n.timestamp > t.timestamp)
ORDER BY t.id;

-- name: analyze_lists
-- The planner must know how long the lists are.
ANALYZE old_runs, old_rows, kept_check_events;

-- name: next_runs
-- The next runs of the list.
SELECT number, run_id FROM old_runs WHERE kept IS NULL AND number > %(after)s ORDER BY number LIMIT %(limit)s;

-- name: next_rows
-- The next rows of one kind.
SELECT number, id FROM old_rows WHERE kind = %(kind)s AND number > %(after)s ORDER BY number LIMIT %(limit)s;

-- name: listed_runs
-- Runs of the list, with the bytes of their rows.
SELECT count(*), coalesce(sum(bytes), 0) FROM old_runs WHERE kept IS NULL;

-- name: listed_rows
-- Rows of one kind, with their bytes.
SELECT count(*), coalesce(sum(bytes), 0) FROM old_rows WHERE kind = %(kind)s;

-- name: count_events
-- Events that go with some runs.
SELECT count(*), coalesce(sum({bytes}), 0) FROM event_logs AS e WHERE e.run_id = ANY(%(runs)s) AND {superseded};

-- name: delete_events
-- The next events that go with some runs, and their tags.
WITH gone AS (
    DELETE FROM event_logs AS e
    WHERE e.id = ANY(ARRAY(SELECT e.id FROM event_logs AS e WHERE e.run_id = ANY(%(runs)s) AND {superseded}
                           LIMIT %(limit)s))
    RETURNING e.id, e.asset_key, {bytes} AS bytes),
tags AS (
    DELETE FROM asset_event_tags
    WHERE event_id = ANY(ARRAY(SELECT gone.id FROM gone WHERE gone.asset_key IS NOT NULL)))
SELECT count(*), coalesce(sum(bytes), 0) FROM gone;

-- name: delete_runs
-- Runs without operational events, with their tags and what they hold of concurrency limits; none that came to life again.
-- What the counts of runs (tally.sql) lack of them is added in the same breath.
WITH old AS (
    SELECT run_id FROM runs WHERE run_id = ANY(%(runs)s) AND status = ANY(%(finished)s)),
tags AS (
    DELETE FROM run_tags WHERE run_id = ANY(ARRAY(SELECT run_id FROM old))),
steps AS (
    DELETE FROM pending_steps WHERE run_id = ANY(ARRAY(SELECT run_id FROM old))),
slots AS (
    UPDATE concurrency_slots SET run_id = NULL, step_key = NULL WHERE run_id = ANY(ARRAY(SELECT run_id FROM old))),
gone AS (
    DELETE FROM runs WHERE run_id = ANY(ARRAY(SELECT run_id FROM old)) RETURNING run_id),
facts AS MATERIALIZED ({facts}),
{adding}
SELECT count(*), coalesce(sum(o.bytes), 0) FROM gone JOIN old_runs AS o USING (run_id);

-- name: delete_rows
-- Rows of a table by their ids.
WITH gone AS (DELETE FROM {table} WHERE id = ANY(%(ids)s) RETURNING id)
SELECT count(*), coalesce(sum(o.bytes), 0) FROM gone JOIN old_rows AS o ON o.kind = %(kind)s AND o.id = gone.id;

-- name: delete_backfill_tags
-- Tags of backfills that are gone.
WITH gone AS (
    DELETE FROM backfill_tags AS t WHERE NOT EXISTS (SELECT FROM bulk_actions AS b WHERE b.key = t.backfill_id)
    RETURNING pg_column_size(t) AS bytes)
SELECT count(*), coalesce(sum(bytes), 0) FROM gone;

-- name: delete_event_tags
-- Tags of events about to go.
WITH gone AS (DELETE FROM asset_event_tags AS t WHERE event_id = ANY(%(ids)s) RETURNING pg_column_size(t) AS bytes)
SELECT count(*), coalesce(sum(bytes), 0) FROM gone;

-- name: runs_of_open_letters
-- Runs that an open dead letter names.
SELECT run_id FROM otc_dead_letters WHERE resolved_at IS NULL
UNION
SELECT retry_run_id FROM otc_dead_letters WHERE resolved_at IS NULL AND retry_run_id IS NOT NULL;

-- name: letter_bytes
-- Size of a dead letter's row as stored, without indexes.
pg_column_size(reason) + coalesce(pg_column_size(note), 0) + 180

-- name: count_letters
-- Dead letters resolved before the limit.
SELECT count(*), coalesce(sum({bytes}), 0) FROM otc_dead_letters WHERE resolved_at < %(before)s;

-- name: delete_letters
-- The next of them; how many there were of each asset stays counted.
WITH gone AS (
    DELETE FROM otc_dead_letters
    WHERE id = ANY(ARRAY(SELECT id FROM otc_dead_letters WHERE resolved_at < %(before)s LIMIT %(limit)s))
    RETURNING asset, {bytes} AS bytes),
counted AS (
    INSERT INTO otc_dead_letter_counts AS c (asset, letters)
    SELECT asset, count(*) FROM gone GROUP BY asset
    ON CONFLICT (asset) DO UPDATE SET letters = c.letters + excluded.letters)
SELECT count(*), coalesce(sum(bytes), 0) FROM gone;
