-- name: known_content
-- The file version that has these bytes already, if any.
SELECT file_id, status
FROM otc_files
WHERE source = %(source)s AND report_date = %(report_date)s AND part = %(part)s AND sha256 = %(sha256)s
  AND status <> 'rejected';

-- name: known_size
-- Whether a version of the same size is known: only then is a file hashed before it is read.
SELECT count(*)
FROM otc_files
WHERE source = %(source)s AND report_date = %(report_date)s AND part = %(part)s AND bytes = %(bytes)s
  AND status <> 'rejected';

-- name: live_version
-- The version that counts today.
SELECT file_id, version
FROM otc_files
WHERE source = %(source)s AND report_date = %(report_date)s AND part = %(part)s AND status = 'live';

-- name: same_version
-- A version of that number that is known already; one that was taken back may be delivered again with other content.
SELECT file_id FROM otc_files
WHERE source = %(source)s AND report_date = %(report_date)s AND part = %(part)s AND version = %(version)s
  AND status NOT IN ('rejected', 'voided');

-- name: raise_version
-- The same bytes under a higher number.
UPDATE otc_files SET version = %(version)s WHERE file_id = %(file_id)s AND version < %(version)s;

-- name: register
-- A new file version; its counts follow when it has been read to its end.
INSERT INTO otc_files (source, report_date, part, version, path, rows, lines, blank_lines, trailer_lines, columns, status,
                       known_at, run_id)
VALUES (%(source)s, %(report_date)s, %(part)s, %(version)s, %(path)s, 0, 0, 0, 0, %(columns)s, 'superseded',
        clock_timestamp(), %(run_id)s)
RETURNING file_id;

-- name: finish
-- What was read.
UPDATE otc_files
SET sha256 = %(sha256)s, bytes = %(bytes)s, rows = %(rows)s, lines = %(lines)s, blank_lines = %(blank)s,
    trailer_lines = %(trailer)s, declared_rows = %(declared)s, quirks = %(quirks)s
WHERE file_id = %(file_id)s;

-- name: supersede
-- The old version gives way to the new one.
UPDATE otc_files
SET status = 'superseded', superseded_at = clock_timestamp(), superseded_by = %(file_id)s
WHERE file_id = %(old)s;

-- name: make_live
-- The new version counts from now on.
UPDATE otc_files SET status = 'live', superseded_at = NULL, superseded_by = NULL WHERE file_id = %(file_id)s;

-- name: born_superseded
-- An older version that arrived after a newer one: kept in the log, never live.
UPDATE otc_files SET superseded_at = clock_timestamp(), superseded_by = %(live)s WHERE file_id = %(file_id)s;

-- name: reject
-- A refused file: no row of it is loaded, the refusal itself is kept. One line per file and problem.
INSERT INTO otc_files (source, report_date, part, version, path, rows, lines, blank_lines, trailer_lines, status, problem,
                       known_at, run_id)
SELECT %(source)s, %(report_date)s, %(part)s, %(version)s, %(path)s, 0, 0, 0, 0, 'rejected', %(problem)s,
       clock_timestamp(), %(run_id)s
WHERE NOT EXISTS (
    SELECT FROM otc_files
    WHERE source = %(source)s AND report_date = %(report_date)s AND part = %(part)s AND path = %(path)s
      AND status = 'rejected' AND problem = %(problem)s);

-- name: create_leaf
-- The file's leaf, made in the transaction that fills it so that COPY may freeze its rows.
CREATE TABLE {leaf} (LIKE otc_trades_raw INCLUDING DEFAULTS);
ALTER TABLE {leaf} ALTER report_date SET DEFAULT {report_date}, ALTER file_id SET DEFAULT {file_id},
    ADD CHECK (report_date = {report_date} AND file_id = {file_id});

-- name: copy
-- The payload: line number first, then the file's columns in their order.
COPY {target} ({columns}) FROM STDIN (FORMAT csv, DELIMITER {delimiter}, QUOTE {quote}, NULL E'\x01' {freeze});

-- name: create_staging
-- A file with columns the feed does not know goes through a temporary table of its own shape.
CREATE TEMPORARY TABLE {staging} ({columns}) ON COMMIT DROP;

-- name: from_staging
-- Known columns to their places, unknown ones into the extra object, the nameless one nowhere.
INSERT INTO {leaf} (line_no, {targets}, extra)
SELECT line_no, {sources}, {extra}
FROM {staging};

-- name: attach
-- The leaf joins the log; its CHECK spares the scan.
ALTER TABLE {built} SET SCHEMA {leaves};
ALTER TABLE otc_trades_raw ATTACH PARTITION {leaf} FOR VALUES FROM ({report_date}, {file_id}) TO ({report_date}, {next_id});

-- name: mark_dirty
-- The day's inputs changed: where it was computed before, it is computed again.
INSERT INTO otc_dirty_days (day, reason, marked_at, run_id)
SELECT %(day)s, %(reason)s, clock_timestamp(), %(run_id)s
WHERE EXISTS (SELECT FROM otc_days WHERE day = %(day)s);

-- name: voided_file
-- Who took a version back and why, where that was done.
SELECT voided_by, problem FROM otc_files WHERE file_id = %(file_id)s AND status = 'voided';

-- name: live_files
-- The versions that count on a report date.
SELECT file_id, source, part, path, rows, lines, blank_lines, trailer_lines, declared_rows, known_at
FROM otc_files
WHERE report_date = %(report_date)s AND status = 'live'
ORDER BY source, part;

-- name: preview
-- The first rows of a report date, for people.
SELECT f.source, r.line_no, r.action, r.report_id, r.symbol, r.executed_at, r.price, r.size, r.conditions
FROM otc_trades_raw AS r
JOIN otc_files AS f ON f.file_id = r.file_id
WHERE r.report_date = %(report_date)s AND f.status = 'live'
LIMIT 5;
