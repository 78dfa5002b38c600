-- Taking a file back, and counting one again.

-- name: files
-- File versions, newest report date first.
SELECT file_id, report_date, source, part, version, path, rows, status, known_at, superseded_by, voided_at, voided_by,
       problem
FROM otc_files
WHERE %(session)s::date IS NULL OR report_date = %(session)s
ORDER BY report_date DESC, source, part, file_id DESC
LIMIT %(limit)s;

-- name: by_path
-- Versions that were read from a path and are not refused, the one that counts first.
SELECT file_id, status FROM otc_files WHERE path = %(path)s AND status <> 'rejected'
ORDER BY status = 'live' DESC, file_id DESC;

-- name: one_file
-- One version, locked until the end.
SELECT report_date, source, part, path, status, expired_at IS NOT NULL, voided_by, problem, superseded_by
FROM otc_files WHERE file_id = %(file_id)s FOR UPDATE;

-- name: report_date
-- Its report date, before its day is locked.
SELECT report_date FROM otc_files WHERE file_id = %(file_id)s;

-- name: void
-- It counts no more.
UPDATE otc_files SET status = 'voided', voided_at = clock_timestamp(), voided_by = %(by)s, problem = %(why)s
WHERE file_id = %(file_id)s;

-- name: restore
-- It counts again.
UPDATE otc_files
SET status = 'live', voided_at = NULL, voided_by = NULL, problem = NULL, superseded_at = NULL, superseded_by = NULL
WHERE file_id = %(file_id)s;

-- name: counting
-- The version that counts in its place.
SELECT f.file_id, f.path FROM otc_files AS f
JOIN otc_files AS g ON g.source = f.source AND g.report_date = f.report_date AND g.part = f.part
WHERE g.file_id = %(file_id)s AND f.status = 'live';

-- name: previous
-- The version that the file had taken the place of.
SELECT file_id, path FROM otc_files WHERE superseded_by = %(file_id)s AND status = 'superseded' ORDER BY file_id DESC LIMIT 1;

-- name: mark
-- Every computed day that a report of the file touched: its own, the days its reports were sent to, counted on or led
-- through; and the days from which an event came that looked for its report there without knowing the date: with the
-- file gone another report may be the nearest.
INSERT INTO otc_dirty_days (day, reason, marked_at)
SELECT d.day, %(reason)s, clock_timestamp()
FROM otc_days AS d
WHERE d.day IN (
    SELECT %(report_date)s::date
    UNION SELECT day FROM otc_carried WHERE file_id = %(file_id)s
    UNION SELECT origin_day FROM otc_carried WHERE file_id = %(file_id)s
    UNION SELECT day FROM otc_exceptions WHERE file_id = %(file_id)s
    UNION SELECT home FROM otc_exceptions WHERE file_id = %(file_id)s AND home IS NOT NULL
    UNION SELECT unnest(ARRAY[origin_day, report_date]) FROM otc_carried
          WHERE role = 'event' AND day = %(report_date)s AND coalesce(btrim(original_report_date), '') = '')
RETURNING day;

-- name: expired_days
-- Days among them whose own reports retention has dropped: they can never be computed again.
SELECT DISTINCT report_date FROM otc_files
WHERE report_date = ANY(%(days)s) AND status = 'live' AND expired_at IS NOT NULL ORDER BY report_date;
