-- What a scrape asks of the two databases beside what the ledger asks itself. Every statement answers in milliseconds,
-- however many runs and events there are.

-- name: event_log_bytes
-- What Dagster's event log takes on disk, with its indexes.
SELECT pg_total_relation_size('event_logs');

-- name: last_event
-- The newest event.
SELECT coalesce(max(id), 0) FROM event_logs;

-- name: first_partition
-- The earliest partition that was ever made or asked for.
SELECT min(p.earliest)
FROM unnest(%(keys)s::text[]) AS k (asset_key)
CROSS JOIN unnest(%(types)s::text[]) AS t (type)
CROSS JOIN LATERAL (SELECT min(partition) AS earliest FROM event_logs AS e
                    WHERE e.asset_key = k.asset_key AND e.dagster_event_type = t.type AND e.partition IS NOT NULL) AS p;

-- name: changed_partitions
-- Partitions that were made or asked for since an event.
SELECT DISTINCT asset_key, partition
FROM event_logs
WHERE dagster_event_type = ANY(%(types)s) AND id > %(after)s AND asset_key = ANY(%(keys)s) AND partition IS NOT NULL;

-- name: partitions
-- What the inventory's statement of this name says of all partitions, of some: two looks into an index for each, where the
-- inventory reads every event there is (70,000 runs: 5 s).
SELECT k.asset_key, k.partition, m.id IS NOT NULL, a.active, a.status, a.failed
FROM unnest(%(keys)s::text[], %(partitions)s::text[]) AS k (asset_key, partition)
CROSS JOIN LATERAL (SELECT max(e.id) AS id FROM event_logs AS e
                    WHERE e.asset_key = k.asset_key AND e.dagster_event_type = 'ASSET_MATERIALIZATION'
                      AND e.partition = k.partition) AS m
CROSS JOIN LATERAL (SELECT (array_agg(r.run_id ORDER BY e.id DESC) FILTER (WHERE r.status <> 'FAILURE'))[1] AS active,
                           (array_agg(r.status ORDER BY e.id DESC) FILTER (WHERE r.status <> 'FAILURE'))[1] AS status,
                           (array_agg(r.run_id ORDER BY e.id DESC) FILTER (WHERE r.status = 'FAILURE'))[1] AS failed
                    FROM event_logs AS e JOIN runs AS r ON r.run_id = e.run_id
                    WHERE e.asset_key = k.asset_key AND e.dagster_event_type = 'ASSET_MATERIALIZATION_PLANNED'
                      AND e.partition = k.partition AND e.id > coalesce(m.id, 0)
                      AND (r.status = 'FAILURE' OR r.status = ANY(%(under_way)s))) AS a;

-- name: dead_letters_by_asset
-- Dead letters ever opened, those that retention has removed included.
SELECT asset, sum(letters)::bigint
FROM (SELECT asset, count(*) AS letters FROM otc_dead_letters GROUP BY asset
      UNION ALL SELECT asset, letters FROM otc_dead_letter_counts) AS every
GROUP BY asset;

-- name: newest_session
-- The newest session whose metrics are published, seconds since then, and its reports by what became of them.
SELECT day, computed_at, extract(epoch FROM now() - computed_at)::float8, counts
FROM otc_days
WHERE computed_at IS NOT NULL
ORDER BY day DESC
LIMIT 1;
