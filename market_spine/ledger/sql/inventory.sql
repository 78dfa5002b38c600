-- What Dagster's storage says of partitions, and of those that were asked for and not made.

-- name: partitions
-- Of each partition: whether it was ever materialized; since then, the last run under way for it, and the last that failed.
-- A cancelled run leaves a partition as it was. One pass, and a look at the runs of few rows only (OFFSET keeps it one):
-- where statistics are old, joins become nested loops over everything (2,500 sessions of three assets: 1.8 s).
SELECT e.asset_key, e.partition, bool_or(e.made),
       (array_agg(r.run_id ORDER BY e.id DESC) FILTER (WHERE r.status <> 'FAILURE'))[1],
       (array_agg(r.status ORDER BY e.id DESC) FILTER (WHERE r.status <> 'FAILURE'))[1],
       (array_agg(r.run_id ORDER BY e.id DESC) FILTER (WHERE r.status = 'FAILURE'))[1]
FROM (SELECT asset_key, partition, run_id, id, dagster_event_type = 'ASSET_MATERIALIZATION' AS made,
             max(id) FILTER (WHERE dagster_event_type = 'ASSET_MATERIALIZATION')
                 OVER (PARTITION BY asset_key, partition) AS last_made
      FROM event_logs
      WHERE asset_key = ANY(%(keys)s) AND partition >= %(since)s
        AND dagster_event_type IN ('ASSET_MATERIALIZATION', 'ASSET_MATERIALIZATION_PLANNED')) AS e
LEFT JOIN LATERAL (SELECT t.run_id, t.status FROM runs AS t
                   WHERE t.run_id = e.run_id AND NOT e.made AND e.id > coalesce(e.last_made, 0)
                     AND (t.status = 'FAILURE' OR t.status = ANY(%(under_way)s))
                   OFFSET 0) AS r ON true
GROUP BY e.asset_key, e.partition
HAVING bool_or(e.made) OR count(r.run_id) > 0;
