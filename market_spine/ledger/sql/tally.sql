-- Runs that are counted for good. Dagster's rows of runs go with time, and whoever counts rows sees counters fall; so each
-- run is added to totals once: when it was submitted, and when it has ended. The totals stand in a schema of our own in
-- Dagster's database, so that a run is deleted and counted in one transaction.

-- name: is_made
-- Whether the tables are there, and Dagster's runs are still those that were counted.
SELECT to_regclass('market_spine.counted_runs') IS NOT NULL;

-- name: make
-- The tables, once, however many processes come at the same time; in no other database than Dagster's. Runs up to id are counted as submitted; those of them
-- that had not ended by then are listed, and all others of them are counted as ended. le is the histogram's bucket a run
-- falls into, in seconds; NULL: it never started. The view goes when Dagster's table is dropped, and only then: ids begin
-- anew with the next one, the totals go on. It names no column, so that Dagster may change them.
SELECT FROM runs LIMIT 0;
SELECT pg_advisory_xact_lock(hashtextextended('market_spine.tally', 0));
CREATE SCHEMA IF NOT EXISTS market_spine;
COMMENT ON SCHEMA market_spine IS 'What Market Spine keeps beside the tables of Dagster: counts of runs.';
CREATE TABLE IF NOT EXISTS market_spine.submitted_runs (
    pipeline text NOT NULL, lane text NOT NULL, trigger_source text NOT NULL, runs bigint NOT NULL,
    PRIMARY KEY (pipeline, lane, trigger_source));
CREATE TABLE IF NOT EXISTS market_spine.ended_runs (
    pipeline text NOT NULL, job text NOT NULL, status text NOT NULL, le double precision, runs bigint NOT NULL,
    seconds double precision NOT NULL, UNIQUE NULLS NOT DISTINCT (pipeline, job, status, le));
CREATE TABLE IF NOT EXISTS market_spine.counted_up_to (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only), id bigint NOT NULL, not_ended bigint[] NOT NULL);
INSERT INTO market_spine.counted_up_to (id, not_ended)
SELECT 0, ARRAY[]::bigint[] WHERE to_regclass('market_spine.counted_runs') IS NULL
ON CONFLICT (is_only) DO UPDATE SET id = excluded.id, not_ended = excluded.not_ended;
CREATE OR REPLACE VIEW market_spine.counted_runs AS SELECT true AS is_there FROM runs LIMIT 1;

-- name: lock
-- Be the only one who adds to the totals, until the transaction ends; what follows must be another statement, which sees
-- what the one before us has done.
SELECT id, not_ended FROM market_spine.counted_up_to FOR UPDATE;

-- name: lock_if_free
-- The same; no row where somebody else is adding.
SELECT id, not_ended FROM market_spine.counted_up_to FOR UPDATE SKIP LOCKED;

-- name: counted
-- Up to which run is counted, and which of those had not ended.
SELECT id, not_ended FROM market_spine.counted_up_to;

-- name: allow
-- The first time there is much to add.
SELECT set_config('statement_timeout', %(timeout)s, true);

-- name: facts
-- Fragment: what some runs are counted as. A logical key, lane or trigger that nobody knows is somebody's free text, and
-- must not make a time series of its own. The bounds end with infinity.
SELECT r.id, r.run_id, r.status, r.pipeline_name AS job, r.id > {up_to} AS is_new,
       CASE WHEN split_part(t.key, ':', 1) = ANY(%(pipelines)s) THEN split_part(t.key, ':', 1)
            ELSE r.pipeline_name END AS pipeline,
       CASE WHEN t.lane = ANY(%(lanes)s) THEN t.lane WHEN t.of_backfill THEN %(backfill)s ELSE %(normal)s END AS lane,
       CASE WHEN t.of_backfill THEN 'backfill' WHEN t.asked_by = ANY(%(triggers)s) THEN t.asked_by
            WHEN t.by_schedule THEN 'schedule' WHEN t.by_sensor THEN 'sensor' ELSE 'ui' END AS trigger_source,
       r.status = ANY(%(ended)s) AS has_ended,
       d.seconds, (SELECT min(b) FROM unnest(%(bounds)s::float8[]) AS b WHERE d.seconds <= b) AS le,
       extract(epoch FROM localtimestamp - r.create_timestamp)::float8 AS age
FROM runs AS r
CROSS JOIN LATERAL (
    SELECT max(value) FILTER (WHERE key = %(key_tag)s) AS key, max(value) FILTER (WHERE key = %(lane_tag)s) AS lane,
           max(value) FILTER (WHERE key = %(trigger_tag)s) AS asked_by,
           coalesce(bool_or(key = %(backfill_tag)s), false) AS of_backfill,
           coalesce(bool_or(key = %(schedule_tag)s), false) AS by_schedule,
           coalesce(bool_or(key = %(sensor_tag)s), false) AS by_sensor
    FROM run_tags WHERE run_id = r.run_id) AS t
CROSS JOIN LATERAL (SELECT CASE WHEN r.status = ANY(%(ended)s) THEN r.end_time - r.start_time END AS seconds) AS d
WHERE {which}

-- name: up_to
-- Fragment: the last run that is counted, as it was read before: of a constant the planner knows how little is beyond it
-- (of a sub-select it guesses a third, and reads all runs).
%(up_to)s::bigint

-- name: up_to_now
-- Fragment: the same as it is now, where the runs are named anyway.
(SELECT id FROM market_spine.counted_up_to)

-- name: adding
-- Fragment: add the runs of "facts" to the totals, each as far as they lack it.
submitted AS (
    INSERT INTO market_spine.submitted_runs AS s (pipeline, lane, trigger_source, runs)
    SELECT pipeline, lane, trigger_source, count(*) FROM facts WHERE is_new GROUP BY 1, 2, 3
    ON CONFLICT (pipeline, lane, trigger_source) DO UPDATE SET runs = s.runs + excluded.runs),
ended AS (
    INSERT INTO market_spine.ended_runs AS e (pipeline, job, status, le, runs, seconds)
    SELECT pipeline, job, status, le, count(*), coalesce(sum(seconds), 0) FROM facts WHERE has_ended GROUP BY 1, 2, 3, 4
    ON CONFLICT (pipeline, job, status, le) DO UPDATE
    SET runs = e.runs + excluded.runs, seconds = e.seconds + excluded.seconds)

-- name: next
-- Up to which run may be counted now, the oldest first. Ids are given out before rows are committed, and tags come a moment
-- after their run: one younger than some seconds is left for the next time.
SELECT max(id) FILTER (WHERE create_timestamp < localtimestamp - make_interval(secs => %(settled)s)), count(*)
FROM (SELECT id, create_timestamp FROM runs WHERE id > %(up_to)s ORDER BY id LIMIT %(most)s) AS n;

-- name: add
-- Add those runs, and what has ended since of those before.
WITH facts AS MATERIALIZED ({facts}),
{adding}
UPDATE market_spine.counted_up_to
SET id = %(next)s, not_ended = ARRAY(SELECT id FROM facts WHERE NOT has_ended ORDER BY id)
WHERE %(next)s > %(up_to)s OR EXISTS (SELECT FROM facts WHERE has_ended);

-- name: addable
-- Fragment: the runs that "add" looks at.
r.id > %(up_to)s AND r.id <= %(next)s OR r.id = ANY(%(not_ended)s::bigint[])

-- name: submitted
-- Runs counted as submitted.
SELECT pipeline, lane, trigger_source, runs FROM market_spine.submitted_runs;

-- name: ended
-- Runs counted as ended.
SELECT pipeline, job, status, le, runs, seconds FROM market_spine.ended_runs;

-- name: present
-- What comes on top of the totals: runs that are not in them yet, and every run that has not ended.
WITH facts AS ({facts})
SELECT pipeline, job, lane, trigger_source, status, le, is_new, has_ended, count(*), coalesce(sum(seconds), 0), max(age)
FROM facts
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8;

-- name: present_runs
-- Fragment: the runs that "present" looks at.
r.id > %(up_to)s OR r.id = ANY(%(not_ended)s::bigint[]) OR r.status = ANY(%(under_way)s)

-- name: deleted
-- Fragment: of the runs that a clean-up deletes, those that the totals lack.
r.run_id = ANY(ARRAY(SELECT run_id FROM gone))
AND (r.id > (SELECT id FROM market_spine.counted_up_to)
     OR r.id IN (SELECT unnest(not_ended) FROM market_spine.counted_up_to))
