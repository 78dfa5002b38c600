-- name: dirty_days
-- Days whose inputs changed since they were computed, with the number of the last mark; and days whose metrics are older
-- than their trades, because a run was killed between the two. A run that is under way gets ten minutes to finish. A day
-- whose raw reports were dropped cannot be computed again: its runs would only fail; each clean-up names it.
SELECT day, concat_ws('-', max(mark_id), max(unfinished)), count(*), (array_agg(reason ORDER BY mark_id DESC))[1]
FROM (SELECT day, mark_id, NULL::bigint AS unfinished, reason FROM otc_dirty_days
      UNION ALL
      SELECT day, NULL, (extract(epoch FROM normalized_at) * 1000000)::bigint, 'its metrics are older than its trades'
      FROM otc_days
      WHERE computed_at < normalized_at AND normalized_at < clock_timestamp() - interval '10 minutes') AS marks
WHERE NOT EXISTS (SELECT FROM otc_files AS f
                  WHERE f.report_date = day AND f.status = 'live' AND f.expired_at IS NOT NULL)
GROUP BY day
ORDER BY day;

-- name: loaded_files
-- Files that were read on these report dates, where the session has metrics: place, size, and since when it is known.
SELECT f.report_date, f.path, f.bytes, max(f.known_at)
FROM otc_files AS f
JOIN otc_days AS d ON d.day = f.report_date AND d.computed_at IS NOT NULL
WHERE f.report_date = ANY(%(days)s) AND f.status <> 'rejected'
GROUP BY f.report_date, f.path, f.bytes;
