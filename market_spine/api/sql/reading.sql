-- Reads of the views in schema api. {columns} are composed from the declared columns; conditions are the fragments below,
-- joined with AND.

-- name: rows
-- Rows of one view in the order of their key.
SELECT {columns} FROM {source} AS m WHERE {conditions} ORDER BY {order} LIMIT %(limit)s

-- name: all_rows
-- The same without an end, for a stream.
SELECT {columns} FROM {source} AS m WHERE {conditions} ORDER BY {order}

-- name: count_rows
-- How many there are; asked only when somebody asks.
SELECT count(*) FROM {source} AS m WHERE {conditions}

-- name: metrics_state
-- What an ETag of a stream of metrics is made of. Revisions only grow and known_from is a clock: whatever is published later
-- moves the last moment, and rows that only went away move the count.
SELECT count(*), coalesce(sum(m.revision), 0), max(m.known_from) FROM {source} AS m WHERE {conditions}

-- name: trades_state
-- When the day's trades were last replaced.
SELECT normalized_at FROM api.days WHERE day = %(day)s

-- name: copy_csv
-- A stream with its header.
COPY ({query}) TO STDOUT (FORMAT csv, HEADER)

-- name: copy_values
-- A stream of values alone.
COPY ({query}) TO STDOUT (FORMAT csv)

-- name: as_json
-- A value as PostgreSQL writes it in JSON: quoted, escaped, a moment with its T, true and false.
to_json({column})::text AS {name}

-- name: as_text
-- A boolean as true and false, where a plain one would be t and f.
{column}::text AS {name}

-- name: every_row
-- No condition.
true

-- name: of_symbol
-- One symbol.
m.symbol = %(symbol)s

-- name: of_symbols
-- Some symbols.
m.symbol = ANY(%(symbols)s)

-- name: from_date
-- From a trade date on.
m.trade_date >= %(start)s

-- name: to_date
-- Up to a trade date.
m.trade_date <= %(end)s

-- name: published_then
-- What was published at a moment.
m.known_from <= %(as_of)s AND (m.known_to > %(as_of)s OR m.known_to IS NULL)

-- name: after_metric
-- Behind the last row of the page before.
(m.symbol, m.trade_date) > (%(after_symbol)s, %(after_date)s::date)

-- name: after_revision
-- Behind the last row of the page before.
(m.trade_date, m.revision) > (%(after_date)s::date, %(after_revision)s::integer)

-- name: filled
-- A row for each of some symbols and sessions, with nulls where nothing was published.
(SELECT s.symbol COLLATE "C" AS symbol, d.trade_date, {columns}
 FROM unnest(%(symbols)s::text[]) AS s (symbol)
 CROSS JOIN unnest(%(sessions)s::date[]) AS d (trade_date)
 LEFT JOIN (SELECT m.* FROM {source} AS m WHERE {conditions}) AS f
   ON f.symbol = s.symbol COLLATE "C" AND f.trade_date = d.trade_date)

-- name: on_date
-- The partition of a trade date.
m.trade_date = %(day)s

-- name: of_status
-- Live, cancelled or superseded ones.
m.status = %(status)s

-- name: eligible
-- What high, low and vwap are made of.
(m.status = 'live' AND m.upd_volume AND m.upd_high_low AND NOT m.is_outlier)

-- name: not_eligible
-- Everything else.
NOT (m.status = 'live' AND m.upd_volume AND m.upd_high_low AND NOT m.is_outlier)

-- name: after_trade
-- Behind the last row of the page before.
(m.symbol, m.executed_at, m.trade_seq) > (%(after_symbol)s, %(after_at)s::timestamptz, %(after_seq)s::integer)

-- name: starts_with
-- Symbols of a prefix.
starts_with(m.symbol, %(prefix)s)

-- name: from_prefix
-- The same as a range, which the index knows.
m.symbol >= %(prefix)s

-- name: after_symbol
-- Behind the last row of the page before.
m.symbol > %(after_symbol)s

-- name: from_day
-- From a day on.
m.day >= %(start)s

-- name: to_day
-- Up to a day.
m.day <= %(end)s

-- name: after_day
-- Behind the last day of the page before.
m.day > %(after_day)s::date

-- name: of_file
-- One file version.
m.file_id = %(file_id)s

-- name: of_reason
-- One reason.
m.reason = %(reason)s

-- name: after_report
-- Behind the last row of the page before.
(m.day, m.file_id, m.line_no, m.entry) > (%(after_day)s::date, %(after_file)s::integer, %(after_line)s::integer,
                                          %(after_entry)s::integer)

-- name: count_days
-- How many days there are; asked only when somebody asks.
SELECT count(*) FROM (SELECT day FROM api.days UNION SELECT report_date FROM api.files) AS m WHERE {conditions}

-- name: quality
-- Days with what went in and what came out, quarantine by file and reason, and checks. A day that has only refused files,
-- or files that were not normalized yet, is a day too.
SELECT k.day, to_json(d.normalized_at)::text, to_json(d.computed_at)::text, d.base_rows, d.carried_in,
       to_json(d.rules_version)::text, d.counts, coalesce(f.files, '[]'), coalesce(c.checks, '[]')
FROM (SELECT m.day FROM (SELECT day FROM api.days UNION SELECT report_date FROM api.files) AS m
      WHERE {conditions} ORDER BY m.day LIMIT %(limit)s) AS k
LEFT JOIN api.days AS d ON d.day = k.day
LEFT JOIN LATERAL (
    SELECT json_agg(json_build_object(
               'file_id', f.file_id, 'source', f.source, 'path', f.path, 'version', f.version,
               'report_date', f.report_date, 'status', f.status, 'problem', f.problem, 'rows', f.rows,
               'known_at', f.known_at, 'exceptions', coalesce(x.exceptions, '{{}}'),
               'quarantined', coalesce(x.quarantined, '{{}}')) ORDER BY f.source, f.path, f.file_id) AS files
    FROM api.files AS f
    LEFT JOIN LATERAL (
        SELECT json_object_agg(e.disposition, e.reports) AS exceptions, json_object_agg_strict(e.disposition, e.reasons)
               -> 'quarantined' AS quarantined
        FROM (SELECT g.disposition, sum(g.reports) AS reports,
                     CASE WHEN g.disposition = 'quarantined' THEN json_object_agg(g.reason, g.reports) END AS reasons
              FROM api.exceptions AS g WHERE g.day = k.day AND g.file_id = f.file_id GROUP BY g.disposition) AS e) AS x
      ON true
    WHERE f.report_date = k.day
       OR f.file_id IN (SELECT g.file_id FROM api.exceptions AS g WHERE g.day = k.day)) AS f ON true
LEFT JOIN LATERAL (
    SELECT json_agg(json_build_object('asset', c.asset, 'check', c.check_name, 'passed', c.passed,
               'blocking', c.blocking, 'details', c.details, 'checked_at', c.checked_at)
               ORDER BY c.asset, c.check_name) AS checks
    FROM api.checks AS c WHERE c.day = k.day) AS c ON true
ORDER BY k.day
