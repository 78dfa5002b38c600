-- Dead letters. The first part asks Dagster's database what failed and what was materialized since; the second part keeps
-- otc_dead_letters in the market database. Every statement of the second part may be repeated without a change.

-- name: failed_runs
-- Runs that failed, from an event on, in the order in which they ended. A run waits while it may still get another try:
-- Dagster says so (dagster/will_retry) a moment after the failure, and starts the other try some seconds later; where it
-- never does, the run failed for good.
SELECT e.id, e.run_id, e.timestamp AT TIME ZONE 'UTC', e.event,
       CASE WHEN t.retried_by IS NOT NULL THEN 'retried'
            WHEN t.will_retry = 'true' AND e.timestamp > localtimestamp - make_interval(secs => %(retry_seconds)s) THEN 'waits'
            WHEN t.will_retry IS NULL AND %(run_retries)s
                 AND e.timestamp > localtimestamp - make_interval(secs => %(tag_seconds)s) THEN 'waits'
            ELSE 'failed' END
FROM event_logs AS e
JOIN runs AS r ON r.run_id = e.run_id AND r.status = 'FAILURE'
CROSS JOIN LATERAL (SELECT max(t.value) FILTER (WHERE t.key = %(will_retry)s) AS will_retry,
                           max(t.value) FILTER (WHERE t.key = %(retried_by)s) AS retried_by
                    FROM run_tags AS t WHERE t.run_id = e.run_id) AS t
WHERE e.dagster_event_type = 'PIPELINE_FAILURE' AND e.id > %(after)s
ORDER BY e.id
LIMIT %(most)s;

-- name: partitions_of_run
-- What a run planned, made and told of each partition: ids of these events, and the last event that tells of a failure.
SELECT e.asset_key, e.partition,
       max(e.id) FILTER (WHERE e.dagster_event_type = 'ASSET_MATERIALIZATION_PLANNED') AS planned,
       max(e.id) FILTER (WHERE e.dagster_event_type = 'ASSET_MATERIALIZATION') AS made,
       max(e.id) FILTER (WHERE e.dagster_event_type = 'ASSET_OBSERVATION') AS told,
       max(e.timestamp) FILTER (WHERE e.dagster_event_type = 'ASSET_OBSERVATION') AT TIME ZONE 'UTC' AS told_at,
       (array_agg(e.event ORDER BY e.id DESC) FILTER (WHERE e.dagster_event_type = 'ASSET_OBSERVATION'))[1] AS event
FROM event_logs AS e
WHERE e.run_id = %(run_id)s AND e.partition IS NOT NULL AND e.asset_key = ANY(%(keys)s)
  AND (e.dagster_event_type IN ('ASSET_MATERIALIZATION_PLANNED', 'ASSET_MATERIALIZATION')
       OR e.dagster_event_type = 'ASSET_OBSERVATION' AND position(%(mark)s IN e.event) > 0)
GROUP BY e.asset_key, e.partition;

-- name: made_since
-- Which of these partitions another run has materialized after an event.
SELECT f.number
FROM unnest(%(numbers)s::int[], %(keys)s::text[], %(partitions)s::text[], %(since)s::bigint[], %(runs)s::text[])
     AS f (number, asset_key, partition, since, run_id)
WHERE EXISTS (SELECT FROM event_logs AS e
              WHERE e.asset_key = f.asset_key AND e.dagster_event_type = 'ASSET_MATERIALIZATION'
                AND e.partition = f.partition AND e.id > f.since AND e.run_id <> f.run_id);

-- name: materialized
-- Of each open letter the last materialization since its failure, once the run has ended and told of no failure after it
-- (a blocking check of the table itself); with the letter that the run is a retry of.
SELECT l.id, m.run_id, m.timestamp AT TIME ZONE 'UTC', t.value
FROM unnest(%(ids)s::bigint[], %(keys)s::text[], %(partitions)s::text[], %(failed)s::timestamptz[])
     AS l (id, asset_key, partition, failed_at)
CROSS JOIN LATERAL (SELECT e.id, e.run_id, e.timestamp
                    FROM event_logs AS e
                    WHERE e.asset_key = l.asset_key AND e.dagster_event_type = 'ASSET_MATERIALIZATION'
                      AND e.partition = l.partition AND e.timestamp > l.failed_at AT TIME ZONE 'UTC'
                    ORDER BY e.id DESC
                    LIMIT 1) AS m
LEFT JOIN runs AS r ON r.run_id = m.run_id
LEFT JOIN run_tags AS t ON t.run_id = m.run_id AND t.key = %(letter_tag)s
WHERE (r.run_id IS NULL OR r.status = ANY(%(finished)s))
  AND NOT EXISTS (SELECT FROM event_logs AS o
                  WHERE o.run_id = m.run_id AND o.asset_key = l.asset_key AND o.partition = l.partition AND o.id > m.id
                    AND o.dagster_event_type = 'ASSET_OBSERVATION' AND position(%(mark)s IN o.event) > 0);

-- name: runs_of_partition
-- The last runs that were asked for a partition, the newest first.
SELECT r.run_id, r.status, r.pipeline_name, to_timestamp(r.start_time), to_timestamp(r.end_time),
       (SELECT t.value FROM run_tags AS t WHERE t.run_id = r.run_id AND t.key = %(trigger_tag)s)
FROM (SELECT DISTINCT e.run_id FROM event_logs AS e
      WHERE e.asset_key = %(key)s AND e.dagster_event_type = 'ASSET_MATERIALIZATION_PLANNED'
        AND e.partition = %(partition)s) AS p
JOIN runs AS r ON r.run_id = p.run_id
ORDER BY r.id DESC
LIMIT %(most)s;

-- name: status_of_run
-- Where a run stands.
SELECT status FROM runs WHERE run_id = %(run_id)s;

-- name: assets_of_run
-- The assets that a run was asked for.
SELECT DISTINCT asset_key FROM event_logs
WHERE run_id = %(run_id)s AND dagster_event_type = 'ASSET_MATERIALIZATION_PLANNED' AND asset_key IS NOT NULL;

-- name: record
-- Open a letter for each failure, or count it on the open one. A failure that is not newer than the last one of any letter
-- of its partition was dealt with.
INSERT INTO otc_dead_letters AS d (asset, partition, run_id, reason, tries, retries, first_failed_at, last_failed_at)
SELECT f.asset, f.partition, f.run_id, f.reason, 1, 0, f.failed_at, f.failed_at
FROM jsonb_to_recordset(%(failures)s::jsonb) AS f (asset text, partition date, run_id text, reason text,
                                                   failed_at timestamptz)
WHERE NOT EXISTS (SELECT FROM otc_dead_letters AS o
                  WHERE o.asset = f.asset AND o.partition = f.partition AND o.last_failed_at >= f.failed_at)
ON CONFLICT (asset, partition) WHERE resolved_at IS NULL DO UPDATE
SET run_id = excluded.run_id, reason = excluded.reason, tries = d.tries + 1, last_failed_at = excluded.last_failed_at
WHERE d.last_failed_at < excluded.last_failed_at
RETURNING d.tries;

-- name: open_letters
-- Every open letter, as far as it is needed to see whether it was resolved.
SELECT id, asset, partition, last_failed_at, retry_run_id FROM otc_dead_letters WHERE resolved_at IS NULL;

-- name: resolve
-- Close letters whose partition was materialized.
UPDATE otc_dead_letters AS d
SET resolved_at = m.made_at, resolution = m.resolution, resolved_by = m.run_id
FROM jsonb_to_recordset(%(letters)s::jsonb) AS m (id bigint, run_id text, made_at timestamptz, resolution text)
WHERE d.id = m.id AND d.resolved_at IS NULL AND d.last_failed_at < m.made_at
RETURNING d.id;

-- name: letters
-- Letters, the oldest session first: all, the open ones, or those of some numbers.
SELECT id, asset, partition, reason, tries, retries, first_failed_at, last_failed_at, run_id, retry_run_id, resolved_at,
       resolution, resolved_by, note
FROM otc_dead_letters
WHERE (%(every)s OR resolved_at IS NULL) AND (%(ids)s::bigint[] IS NULL OR id = ANY(%(ids)s))
ORDER BY partition, asset, id;

-- name: files_of_day
-- File versions of a session and what was wrong with them, the newest first.
SELECT path, status, problem, known_at FROM otc_files WHERE report_date = %(day)s ORDER BY file_id DESC LIMIT %(most)s;

-- name: discard
-- Close an open letter by hand.
UPDATE otc_dead_letters
SET resolved_at = clock_timestamp(), resolution = 'discarded', resolved_by = %(by)s, note = %(why)s
WHERE id = %(id)s AND resolved_at IS NULL
RETURNING id;

-- name: lock_letter
-- Hold an open letter while it is retried, so that two people do not retry it at once.
SELECT retries, retry_run_id FROM otc_dead_letters WHERE id = %(id)s AND resolved_at IS NULL FOR UPDATE;

-- name: note_retry
-- Count a retry on a letter.
UPDATE otc_dead_letters SET retries = retries + 1, retry_run_id = %(run_id)s WHERE id = %(id)s;
