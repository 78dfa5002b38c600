-- Raw reports past their time: which report dates can be dropped, and which have to wait.

-- name: raw_days
-- Report dates before the limit whose reports are there, with files, rows and bytes on disk, and what they still wait for:
-- a mark that no pass has answered, or a live file that no pass has read.
SELECT f.report_date, count(*), coalesce(sum(f.rows), 0),
       coalesce(sum(pg_total_relation_size(to_regclass(quote_ident({leaves}) || '.' || quote_ident(
           'otc_trades_raw_' || to_char(f.report_date, 'YYYYMMDD') || '_' || f.file_id)))), 0)::bigint,
       CASE WHEN EXISTS (SELECT FROM otc_dirty_days AS m WHERE m.day = f.report_date)
            THEN 'is marked to be computed again'
            WHEN NOT bool_and(f.status <> 'live' OR EXISTS (SELECT FROM otc_days AS d WHERE d.day = f.report_date
                                                              AND f.file_id = ANY(d.file_ids)))
            THEN 'has files that were never normalized' END
FROM otc_files AS f
WHERE f.report_date < %(before)s AND f.report_date >= %(first)s AND f.status <> 'rejected' AND f.expired_at IS NULL
GROUP BY f.report_date
ORDER BY f.report_date;

-- name: expire_files
-- The files remember that their reports are gone.
UPDATE otc_files SET expired_at = clock_timestamp()
WHERE report_date = %(day)s AND status <> 'rejected' AND expired_at IS NULL;

-- name: expired_file
-- A file that counts on a report date and whose reports were dropped.
SELECT path, expired_at::date FROM otc_files
WHERE report_date = %(day)s AND status = 'live' AND expired_at IS NOT NULL
ORDER BY file_id LIMIT 1;

-- name: marked_expired_days
-- Marked days whose reports were dropped: nobody can compute them again.
SELECT m.day, max(m.reason) FROM otc_dirty_days AS m
WHERE EXISTS (SELECT FROM otc_files AS f WHERE f.report_date = m.day AND f.status = 'live' AND f.expired_at IS NOT NULL)
GROUP BY m.day ORDER BY m.day;
