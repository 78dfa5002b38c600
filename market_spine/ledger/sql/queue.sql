-- name: lock_admission
-- One submitter at a time looks at the queue and launches; given up by the end of the transaction, or of its process.
SELECT set_config('lock_timeout', %(timeout)s, true), pg_advisory_xact_lock(%(lock)s);

-- name: queued_by_lane
-- Queued runs of each lane; a run of a backfill that the UI launched has no lane tag and is in lane backfill.
SELECT lane, count(*)
FROM (
    SELECT coalesce(
        (SELECT max(t.value) FROM run_tags t WHERE t.run_id = r.run_id AND t.key = %(lane_tag)s),
        CASE
            WHEN EXISTS (SELECT FROM run_tags t WHERE t.run_id = r.run_id AND t.key = %(backfill_tag)s)
                THEN %(backfill)s
            ELSE %(normal)s
        END
    ) AS lane
    FROM runs r
    WHERE r.status = 'QUEUED'
) queued
GROUP BY lane;

-- name: left_the_queue
-- How many of the latest runs that were taken from the queue were of these lanes, and seconds since the first of those.
SELECT count(*), extract(epoch FROM localtimestamp - min(e.timestamp))::float8
FROM (
    SELECT timestamp, run_id
    FROM event_logs
    WHERE dagster_event_type = 'PIPELINE_STARTING'
    ORDER BY id DESC
    LIMIT %(events)s
) e
WHERE e.timestamp > localtimestamp - make_interval(secs => %(window)s)
    AND coalesce(
        (SELECT max(t.value) FROM run_tags t WHERE t.run_id = e.run_id AND t.key = %(lane_tag)s),
        CASE
            WHEN EXISTS (SELECT FROM run_tags t WHERE t.run_id = e.run_id AND t.key = %(backfill_tag)s)
                THEN %(backfill)s
            ELSE %(normal)s
        END
    ) = ANY(%(lanes)s);

-- name: under_way
-- The oldest unfinished run of a logical key, or of the same job and sessions when it was launched without our tags.
SELECT r.run_id
FROM runs r
WHERE r.status = ANY(%(statuses)s)
    AND (
        EXISTS (SELECT FROM run_tags t WHERE t.run_id = r.run_id AND t.key = %(key_tag)s AND t.value = %(key)s)
        OR (
            r.pipeline_name = %(job)s
            AND NOT EXISTS (SELECT FROM run_tags t WHERE t.run_id = r.run_id AND t.key = %(key_tag)s)
            AND %(session_tags)s::jsonb <@ (
                SELECT jsonb_object_agg(t.key, t.value) FROM run_tags t WHERE t.run_id = r.run_id
            )
        )
    )
ORDER BY r.id
LIMIT 1;

-- name: submitted_before
-- The oldest run of an idempotency key, which its retries carry too, and what stands for all that was asked with it.
SELECT r.run_id, coalesce((SELECT max(d.value) FROM run_tags d WHERE d.run_id = r.run_id AND d.key = %(digest_tag)s), '')
FROM runs r
JOIN run_tags t ON t.run_id = r.run_id
WHERE t.key = %(key_tag)s AND t.value = %(key)s
ORDER BY r.id
LIMIT 1;
