-- name: dirty_days
-- Days whose inputs changed since they were computed, with the number of the last mark.
SELECT day, max(mark_id), count(*), (array_agg(reason ORDER BY mark_id DESC))[1]
FROM otc_dirty_days
GROUP BY day
ORDER BY day;
