-- One day's pass: the reports of its live files and those carried in from other days become the day's trades.
-- The tables named {rep}, {patch}, {conditions}, {dups} are built aside in otc_build and dropped at the end.

-- name: create_tables
-- rep: every report that needs more than the fast path. patch: what the fast path must know about single rows.
CREATE TABLE {rep} (
    rep_id integer GENERATED ALWAYS AS IDENTITY,
    role text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    tape text COLLATE "C" NOT NULL,
    file_rank integer NOT NULL,
    report_date date NOT NULL,
    file_id integer NOT NULL,
    line_no integer NOT NULL,
    facility text COLLATE "C",
    report_id text COLLATE "C",
    kind text COLLATE "C",
    status0 text COLLATE "C",
    original_id text COLLATE "C",
    original_date date,
    reported_at timestamptz,
    order_key text COLLATE "C",
    symbol text COLLATE "C",
    executed_at timestamptz,
    trade_date date,
    price numeric,
    size numeric,
    is_capped boolean,
    venue text COLLATE "C",
    side text COLLATE "C",
    capacity text COLLATE "C",
    conditions text COLLATE "C",
    trade_id text COLLATE "C",
    reason text COLLATE "C",
    bad_original_date boolean,
    report jsonb,
    final_status text COLLATE "C",
    carry_to date,
    link_id text COLLATE "C",
    link_date date,
    disposition text COLLATE "C",
    why text COLLATE "C",
    detail text
);
CREATE TABLE {patch} (file_id integer, line_no integer, status text COLLATE "C");
CREATE TABLE {conditions} (tape text COLLATE "C", conditions text COLLATE "C", upd_volume boolean, upd_high_low boolean,
    upd_last boolean, last_if_only boolean, unknown_condition boolean);
CREATE TABLE {dups} (source text COLLATE "C", hash bigint);

-- name: add_rows
-- Put carefully typed reports into rep.
INSERT INTO {rep} (role, source, tape, file_rank, report_date, file_id, line_no, facility, report_id, kind, status0,
                   original_id, original_date, reported_at, order_key, symbol, executed_at, trade_date, price, size,
                   is_capped, venue, side, capacity, conditions, trade_id, reason, bad_original_date, report)
{careful};

-- name: files_of_day
-- The live files of the report date, and the live files that reports carried in come from.
SELECT f.file_id, f.source, f.report_date, f.part, f.rows, f.report_date = %(day)s AS is_base, f.columns, f.quirks
FROM otc_files AS f
WHERE f.status = 'live'
  AND (f.report_date = %(day)s
       OR f.file_id IN (SELECT c.file_id FROM otc_carried AS c WHERE c.day = %(day)s AND c.origin_day <> %(day)s))
ORDER BY f.report_date, f.source, f.part;

-- name: carried_in_count
-- Reports taken in from other days, one each however they came.
SELECT count(*)
FROM (SELECT DISTINCT c.file_id, c.line_no, c.hop
      FROM otc_carried AS c
      JOIN otc_files AS f ON f.file_id = c.file_id AND f.status = 'live'
      WHERE c.day = %(day)s AND c.origin_day <> %(day)s) AS s;

-- name: carried_rows
-- The reports carried in, once each.
(SELECT DISTINCT ON (c.file_id, c.line_no, c.hop) c.*
 FROM otc_carried AS c
 WHERE c.day = {day} AND c.origin_day <> {day} AND c.file_id IN ({files})
 ORDER BY c.file_id, c.line_no, c.hop, c.origin_day)

-- name: base_rows
-- The day's own reports of some files.
(SELECT * FROM otc_trades_raw WHERE report_date = {day} AND file_id IN ({files}))

-- name: base_targets
-- The day's own plain reports that an event refers to.
(SELECT r.*
 FROM otc_trades_raw AS r
 WHERE r.report_date = {day} AND r.file_id IN ({files})
   AND {report_id} IN (SELECT e.original_id FROM {rep} AS e
                       WHERE e.source = {source} AND e.role = 'event' AND e.original_id <> ''
                         AND (e.original_date IS NULL OR e.original_date = {day})))

-- name: base_symbols
-- The day's own plain reports of the symbols that unlinked cancels name, where they are not in rep yet.
(SELECT b.*
 FROM otc_trades_raw AS b
 WHERE b.report_date = {day} AND b.file_id IN ({files})
   AND btrim(b.symbol) IN (SELECT e.symbol FROM {rep} AS e
                           WHERE e.source = {source} AND e.role = 'event' AND e.kind = 'cancel' AND e.original_id = ''
                             AND e.reason IS NULL AND e.disposition IS NULL)
   AND NOT EXISTS (SELECT FROM {rep} AS k WHERE k.file_id = b.file_id AND k.line_no = b.line_no))

-- name: base_lines
-- The day's own reports that were put aside.
(SELECT b.*
 FROM otc_trades_raw AS b
 JOIN ({aside}) AS a ON a.line_no = b.line_no AND a.file_id = b.file_id
 WHERE b.report_date = {day} AND b.file_id IN ({files}))

-- name: add_conditions
-- Every distinct text of conditions with its flags: AND over the codes it holds; an unknown code counts as regular.
INSERT INTO {conditions}
SELECT {tape}, s.conditions,
       coalesce(bool_and(f.upd_volume), true),
       coalesce(bool_and(f.upd_high_low), true),
       coalesce(bool_and(f.upd_last), true),
       -- the exception holds only when nothing but the exceptional codes keeps the print from setting the last
       coalesce(bool_and(f.upd_last OR f.last_if_only) AND NOT bool_and(f.upd_last), false),
       coalesce(bool_or(f.code IS NULL AND codes.code IS NOT NULL), false)
FROM ({texts}) AS s
LEFT JOIN LATERAL {codes} AS codes (code) ON btrim(codes.code) <> ''
LEFT JOIN otc_sale_conditions AS f
  ON f.tape = {tape} AND f.code = btrim(codes.code) AND {day} BETWEEN f.valid_from AND f.valid_to
WHERE NOT EXISTS (SELECT FROM {conditions} AS known WHERE known.tape = {tape} AND known.conditions = s.conditions)
GROUP BY s.conditions;

-- name: padded
-- Whether a column that the fast path takes as it is has blanks around it anywhere.
SELECT EXISTS (SELECT FROM otc_trades_raw AS r WHERE r.report_date = {day} AND r.file_id IN ({files}) AND ({is_padded}));

-- name: usual_after_all
-- A new trade whose code was written unusually (blanks around it) is a trade like any other.
UPDATE {rep} SET role = 'trade' WHERE role = 'event' AND kind IN ('new', 'as_of') AND status0 IS NOT NULL;

-- name: ranked_symbols
-- The symbols of the day's reports as they were written, the symbol meant, its place among them, and whether it is one.
-- Looked at once a symbol and not once a report; and two reports are put in order by one integer, not by two texts.
WITH base AS MATERIALIZED (
    SELECT coalesce(symbol, '') AS written FROM otc_trades_raw
    WHERE report_date = {day} AND file_id IN ({files}) GROUP BY 1)
SELECT written, symbol, dense_rank() OVER (ORDER BY symbol) AS rank,
       symbol ~ '^[A-Za-z0-9][A-Za-z0-9./-]*$' AND octet_length(symbol) <= 15 AS is_symbol
FROM (SELECT written, btrim(written) AS symbol FROM base
      UNION
      -- carefully typed reports bear their symbol without the blanks around it
      SELECT btrim(written), btrim(written) FROM base
      UNION
      SELECT symbol, symbol FROM {rep} WHERE symbol IS NOT NULL) AS s

-- name: with_symbols
-- For a day in one slice.
WITH symbols AS MATERIALIZED ({ranked})

-- name: keep_symbols
-- For a day in several slices, each of which asks for its part of them.
CREATE TABLE {symbols} AS {ranked};
ANALYZE {symbols};

-- name: base_condition_texts
-- Distinct condition texts of the day's own reports.
SELECT DISTINCT coalesce(conditions, '') AS conditions FROM otc_trades_raw
WHERE report_date = {day} AND file_id IN ({files})

-- name: rep_condition_texts
-- Distinct condition texts of the reports in rep.
SELECT DISTINCT coalesce(conditions, '') AS conditions FROM {rep} WHERE tape = {tape}

-- name: find_repeated_ids
-- Hashes of report ids that occur more than once. Sorting two million hashes takes half the time of a hash table of them,
-- which does not fit the cache.
SET LOCAL enable_hashagg = off;
INSERT INTO {dups}
SELECT {source}, hash
FROM (SELECT hashtextextended({report_id}, {seed}) AS hash
      FROM otc_trades_raw AS r
      WHERE r.report_date = {day} AND r.file_id IN ({files}) AND {report_id} <> '') AS s
GROUP BY hash
HAVING count(*) > 1;
SET LOCAL enable_hashagg = on;

-- name: repeated_ids
-- The reports behind the hashes: all but the first of each identity, equal ones as duplicates, others as conflicts.
SELECT file_id, line_no, verdict
FROM (SELECT file_id, line_no,
             CASE WHEN row_number() OVER same = 1 THEN NULL
                  WHEN content = first_value(content) OVER same THEN 'duplicate' ELSE 'conflicting_identity' END AS verdict
      FROM (SELECT r.file_id, r.line_no, {facility} AS facility, {report_id} AS report_id, {file_rank} AS file_rank, {content} AS content
            FROM otc_trades_raw AS r
            WHERE r.report_date = {day} AND r.file_id IN ({files}) AND {report_id} <> ''
              AND hashtextextended({report_id}, {seed}) IN (SELECT hash FROM {dups} WHERE source = {source})) AS k
      WINDOW same AS (PARTITION BY facility, report_id ORDER BY file_rank, line_no)) AS ranked
WHERE verdict IS NOT NULL

-- name: repeated_trades
-- Reports without a report id: by trade id where there is one, else by content and its occurrence within the file.
SELECT file_id, line_no, verdict
FROM (SELECT file_id, line_no,
             CASE WHEN row_number() OVER same = 1 THEN NULL
                  WHEN content = first_value(content) OVER same THEN 'duplicate' ELSE 'conflicting_identity' END AS verdict
      FROM (SELECT file_id, line_no, file_rank, content,
                   CASE WHEN trade_id <> '' AND day_text <> '' THEN 'T' || trade_id || '/' || day_text
                        ELSE 'C' || content || '/' || row_number() OVER (PARTITION BY file_id, content ORDER BY line_no)
                   END AS identity
            FROM (SELECT r.file_id, r.line_no, {file_rank} AS file_rank, {content} AS content,
                         coalesce(btrim(r.trade_id), '') AS trade_id, {trade_day} AS day_text
                  FROM {rows} AS r
                  WHERE coalesce({report_id}, '') = '' AND ({all_files} OR r.trade_id <> '')) AS k) AS identified
      WINDOW same AS (PARTITION BY identity ORDER BY file_rank, line_no)) AS ranked
WHERE verdict IS NOT NULL

-- name: repeat_lines
-- The repeats that are not in rep yet, so that they get their text.
SELECT p.file_id, p.line_no FROM {patch} AS p
WHERE p.status IN ('duplicate', 'conflicting_identity')
  AND NOT EXISTS (SELECT FROM {rep} AS r WHERE r.file_id = p.file_id AND r.line_no = p.line_no)

-- name: settle_repeats
-- Give the repeats their disposition; the fast path passes them by.
UPDATE {rep} AS r
SET role = 'repeat', disposition = CASE WHEN p.status = 'duplicate' THEN 'duplicate' ELSE 'quarantined' END,
    why = CASE WHEN p.status = 'duplicate' THEN 'replayed' ELSE p.status END
FROM {patch} AS p
WHERE p.file_id = r.file_id AND p.line_no = r.line_no AND p.status IN ('duplicate', 'conflicting_identity');
UPDATE {patch} SET status = 'drop' WHERE status IN ('duplicate', 'conflicting_identity');

-- name: analyze_rep
-- Statistics of the columns that the life cycle joins on; all columns would take ten times as long.
ANALYZE {rep} (rep_id, role, kind, source, report_id, original_id);

-- name: refuse_events
-- Events that can change nothing: unknown codes, corrections that are no valid trade, dates that cannot be read.
UPDATE {rep}
SET disposition = CASE WHEN kind = 'not_trade' AND reason IS NULL THEN 'applied' ELSE 'quarantined' END,
    why = CASE WHEN kind = 'not_trade' AND reason IS NULL THEN 'not_a_trade'
               -- a cancel needs its link and nothing else
               WHEN kind = 'cancel' AND original_id <> '' AND status0 IS NOT NULL THEN 'bad_original_date'
               ELSE coalesce(reason, 'missing_link') END
WHERE role = 'event' AND disposition IS NULL
  AND (kind IS NULL OR status0 IS NULL OR kind = 'not_trade' OR bad_original_date
       OR (kind = 'correct' AND (reason IS NOT NULL OR original_id = ''))
       OR (kind = 'cancel' AND original_id = '' AND reason IS NOT NULL));

-- name: link_events
-- Where each event's chain ends: the trade, or the last event whose target is not here. The direct target bears the id it
-- names: a trade or a correction, by the date it names, else of its own report date; the log is searched for a nearest one
-- on another date (search_other_days). A correction carried here is a link of a chain that is kept where it was reported.
-- Quarantined corrections keep their place in the chain, so that what refers to them still reaches the trade. A circle
-- ends nowhere.
CREATE TABLE {links} AS
WITH RECURSIVE direct AS MATERIALIZED (
    SELECT DISTINCT ON (e.rep_id) e.rep_id, t.rep_id AS target_rep, t.role <> 'event' AS is_trade
    FROM {rep} AS e
    JOIN {rep} AS t
      ON t.source = e.source AND t.report_id = e.original_id AND t.report_id <> ''
     AND coalesce(t.facility, '') = coalesce(e.facility, '')
     AND t.report_date = coalesce(e.original_date, e.report_date)
     AND t.rep_id <> e.rep_id
     AND CASE t.role WHEN 'target' THEN true WHEN 'trade' THEN t.kind IS DISTINCT FROM 'correct'
                     WHEN 'event' THEN t.kind = 'correct' ELSE false END
    WHERE e.role = 'event' AND e.original_id <> '' AND e.kind IN ('cancel', 'correct') AND NOT e.bad_original_date
    ORDER BY e.rep_id, t.rep_id),
walk AS (
    SELECT e.rep_id, e.rep_id AS at, d.target_rep, d.is_trade, 1 AS steps
    FROM {rep} AS e LEFT JOIN direct AS d USING (rep_id)
    WHERE e.role = 'event' AND e.original_id <> '' AND e.kind IN ('cancel', 'correct')
    UNION ALL
    SELECT w.rep_id, w.target_rep, d.target_rep, d.is_trade, w.steps + 1
    FROM walk AS w LEFT JOIN direct AS d ON d.rep_id = w.target_rep
    WHERE w.target_rep IS NOT NULL AND NOT w.is_trade AND w.steps < 100)
SELECT rep_id, at AS last_rep, CASE WHEN is_trade THEN target_rep END AS root_rep
FROM walk WHERE target_rep IS NULL OR is_trade;
ANALYZE {links};

-- name: route_events
-- Events whose trade lives on another day go there; those whose trade is nowhere yet are held.
UPDATE {rep} AS e
SET carry_to = routed.day, link_id = routed.link_id, link_date = routed.link_date,
    disposition = CASE WHEN routed.day IS NOT NULL THEN 'carried' ELSE 'held' END,
    why = CASE WHEN routed.day IS NOT NULL THEN 'other_day' ELSE 'target_unknown' END,
    detail = coalesce('to ' || routed.day, 'waits for report ' || e.original_id)
FROM (SELECT e.rep_id, k.root_rep,
             CASE WHEN t.role = 'target' THEN nullif(CASE WHEN t.reason IS NULL THEN t.trade_date ELSE {day} END, {day})
                  WHEN t.role = 'trade' THEN NULL
                  WHEN l.report_date = {day} THEN nullif(l.original_date, {day}) END AS day,
             -- the next day looks for the end of the chain, whatever became of the corrections on the way
             nullif(coalesce(t.report_id, l.original_id), '') AS link_id, coalesce(t.report_date, l.original_date) AS link_date
      FROM {rep} AS e
      LEFT JOIN {links} AS k ON k.rep_id = e.rep_id
      LEFT JOIN {rep} AS l ON l.rep_id = k.last_rep
      LEFT JOIN {rep} AS t ON t.rep_id = k.root_rep
      WHERE e.role = 'event' AND e.disposition IS NULL AND e.original_id <> '' AND e.kind IN ('cancel', 'correct')
     ) AS routed
WHERE e.rep_id = routed.rep_id AND (routed.day IS NOT NULL OR routed.root_rep IS NULL);

-- name: refuse_dead_ends
-- An event that names a date that is no session can never find its trade; what refers to such a correction waits for it.
UPDATE {rep} AS e
SET disposition = CASE WHEN k.last_rep = e.rep_id THEN 'quarantined' ELSE 'held' END,
    why = CASE WHEN k.last_rep = e.rep_id THEN 'bad_original_date' ELSE 'target_unknown' END,
    carry_to = NULL, detail = 'original report date ' || e.carry_to || ' is no session'
FROM {links} AS k
WHERE k.rep_id = e.rep_id AND e.disposition = 'carried' AND e.role = 'event'
  AND (e.carry_to < {first_session} OR NOT EXISTS (SELECT FROM otc_sessions AS s WHERE s.day = e.carry_to));

-- name: waiting_without_date
-- Held events whose chain ends in a link without a date, to be looked for in the log of other days.
SELECT count(*)
FROM {rep} AS e JOIN {links} AS k USING (rep_id) JOIN {rep} AS l ON l.rep_id = k.last_rep
WHERE e.disposition = 'held' AND l.original_date IS NULL AND l.original_id <> '' AND NOT l.bad_original_date;

-- name: search_other_days
-- Look for their report in the log: the nearest at or before the event, else the nearest after. The log has no index on
-- ids (it would cost every day's load a third), so the search reads the days of the look-back, once for all such events.
UPDATE {rep} AS e
SET carry_to = found.report_date, disposition = 'carried', why = 'other_day', detail = 'to ' || found.report_date,
    link_id = found.original_id, link_date = found.report_date
FROM (SELECT DISTINCT ON (e.rep_id) e.rep_id, b.report_date, l.original_id
      FROM {rep} AS e
      JOIN {links} AS k ON k.rep_id = e.rep_id
      JOIN {rep} AS l ON l.rep_id = k.last_rep
      JOIN otc_trades_raw AS b ON btrim(b.report_id) = l.original_id AND b.report_date >= {oldest}
      JOIN otc_files AS f ON f.file_id = b.file_id AND f.status = 'live' AND f.source = e.source
      WHERE e.disposition = 'held' AND l.original_date IS NULL AND l.original_id <> '' AND NOT l.bad_original_date AND b.report_date <> {day}
        AND coalesce(btrim(b.facility), l.facility, '') = coalesce(l.facility, '')
        AND NOT (b.file_id = l.file_id AND b.line_no = l.line_no)
      ORDER BY e.rep_id, b.report_date <= l.report_date DESC, abs(b.report_date - l.report_date)) AS found
WHERE e.rep_id = found.rep_id;

-- name: hold_circles
-- A report that comes round to the day it was sent on from would go round for ever: the second copy stays, held.
UPDATE {rep} AS e
SET disposition = 'held', why = 'circular_link', carry_to = NULL, link_id = NULL, link_date = NULL
FROM (SELECT rep_id, row_number() OVER (PARTITION BY file_id, line_no, carry_to, link_id, link_date ORDER BY rep_id) AS copy
      FROM {rep} WHERE role = 'event' AND disposition = 'carried') AS c
WHERE c.rep_id = e.rep_id AND c.copy > 1;

-- name: life_cycle
-- The life of each trade of this day, in the order of the reports: the first cancel ends it, corrections before that
-- replace it one after another, what comes after is a repeat or an error.
WITH ordered AS (
    SELECT e.rep_id, k.root_rep, e.kind, t.status0 = 'cancelled' AS born_dead,
           row_number() OVER (PARTITION BY k.root_rep
               ORDER BY e.report_date, e.reported_at NULLS FIRST, length(e.report_id), e.report_id, e.file_rank, e.line_no
           ) AS turn
    FROM {rep} AS e JOIN {links} AS k USING (rep_id) JOIN {rep} AS t ON t.rep_id = k.root_rep
    WHERE e.role = 'event' AND e.disposition IS NULL),
lives AS (
    SELECT root_rep, CASE WHEN bool_or(born_dead) THEN 0 ELSE min(turn) FILTER (WHERE kind = 'cancel') END AS death
    FROM ordered GROUP BY root_rep),
judged AS (
    SELECT o.rep_id, o.root_rep, o.kind, o.turn, l.death,
           o.kind = 'correct' AND (l.death IS NULL OR o.turn < l.death) AS effective
    FROM ordered AS o JOIN lives AS l USING (root_rep)),
last_word AS (
    SELECT root_rep, max(turn) FILTER (WHERE effective) AS turn, min(death) AS death FROM judged GROUP BY root_rep),
settled AS (
    SELECT j.rep_id,
           CASE WHEN j.effective AND j.turn < w.turn THEN 'superseded'
                WHEN j.effective AND w.death IS NOT NULL THEN 'cancelled'
                WHEN j.effective THEN 'live' END AS final_status,
           CASE WHEN j.effective THEN NULL
                WHEN j.kind = 'correct' THEN 'quarantined'
                WHEN j.turn = w.death THEN 'applied' ELSE 'duplicate' END AS disposition,
           CASE WHEN j.effective THEN NULL
                WHEN j.kind = 'correct' THEN 'correct_after_cancel'
                WHEN j.turn = w.death THEN 'cancel' ELSE 'cancelled_already' END AS why
    FROM judged AS j JOIN last_word AS w USING (root_rep)
    UNION ALL
    SELECT w.root_rep, CASE WHEN w.turn IS NOT NULL THEN 'superseded' ELSE 'cancelled' END, NULL, NULL
    FROM last_word AS w WHERE w.turn IS NOT NULL OR w.death IS NOT NULL)
UPDATE {rep} AS r
SET final_status = s.final_status, disposition = s.disposition, why = s.why
FROM settled AS s
WHERE s.rep_id = r.rep_id;

-- name: route_unlinked
-- A cancel without a link belongs to the day it says the trade was executed on.
UPDATE {rep}
SET carry_to = trade_date, disposition = 'carried', why = 'other_day', detail = 'to ' || trade_date
WHERE role = 'event' AND disposition IS NULL AND kind = 'cancel' AND original_id = '' AND trade_date <> {day};

-- name: match_unlinked
-- The n-th cancel without a link ends the n-th live trade that looks the same.
WITH wanted AS (
    SELECT rep_id, source, symbol, price, size, coalesce(side, '') AS side, coalesce(venue, '') AS venue,
           row_number() OVER (PARTITION BY source, symbol, price, size, coalesce(side, ''), coalesce(venue, '')
               ORDER BY report_date, reported_at NULLS FIRST, length(report_id), report_id, file_rank, line_no) AS turn
    FROM {rep}
    WHERE role = 'event' AND disposition IS NULL AND kind = 'cancel' AND original_id = '' AND reason IS NULL),
candidates AS (
    SELECT rep_id, source, symbol, price, size, coalesce(side, '') AS side, coalesce(venue, '') AS venue,
           row_number() OVER (PARTITION BY source, symbol, price, size, coalesce(side, ''), coalesce(venue, '')
               ORDER BY executed_at, length(order_key), order_key, report_date, file_rank, line_no) AS turn
    FROM {rep}
    WHERE reason IS NULL AND trade_date = {day} AND disposition IS NULL
      AND coalesce(final_status, status0) = 'live'
      AND (role IN ('target', 'trade') OR (role = 'event' AND kind = 'correct' AND final_status = 'live'))),
matched AS (
    SELECT w.rep_id AS event_rep, c.rep_id AS trade_rep
    FROM wanted AS w JOIN candidates AS c USING (source, symbol, price, size, side, venue, turn)),
settled AS (
    SELECT trade_rep AS rep_id, 'cancelled' AS final_status, NULL AS disposition, NULL AS why FROM matched
    UNION ALL
    SELECT w.rep_id, NULL, CASE WHEN m.event_rep IS NULL THEN 'quarantined' ELSE 'applied' END,
           CASE WHEN m.event_rep IS NULL THEN 'unmatched_reversal' ELSE 'cancel' END
    FROM wanted AS w LEFT JOIN matched AS m ON m.event_rep = w.rep_id)
UPDATE {rep} AS r
SET final_status = s.final_status, disposition = s.disposition, why = s.why
FROM settled AS s
WHERE s.rep_id = r.rep_id;

-- name: patch_targets
-- Tell the fast path which of its rows are dead or replaced.
INSERT INTO {patch}
SELECT file_id, line_no, final_status FROM {rep} WHERE role = 'target' AND final_status IN ('cancelled', 'superseded');
ANALYZE {patch}, {conditions};

-- name: settle_extra
-- Carried trades and corrections that are no rows of this day's leaf: invalid ones, and those of another day, which go
-- there with the end they came to.
UPDATE {rep}
SET disposition = CASE WHEN reason IS NULL THEN 'carried'
                       WHEN final_status IN ('cancelled', 'superseded') THEN final_status ELSE 'quarantined' END,
    carry_to = CASE WHEN reason IS NULL THEN trade_date END,
    why = coalesce(reason, 'other_day'),
    detail = 'trade date ' || coalesce(trade_date::text, 'unreadable')
WHERE disposition IS NULL AND (role = 'trade' OR (role = 'event' AND final_status IS NOT NULL))
  AND (reason IS NOT NULL OR trade_date <> {day});

-- name: extra_rows
-- Carried trades and corrections of this day, shaped like the fast rows.
SELECT {place} AS place, e.symbol, e.executed_at, e.price, e.size, e.file_id, e.line_no, e.kind = 'as_of' OR e.report_date > {day} AS is_late,
       e.is_capped, c.upd_volume, c.upd_high_low, c.upd_last, c.last_if_only, c.unknown_condition,
       coalesce(e.final_status, e.status0) AS status, e.venue, e.side, e.capacity, e.conditions, e.facility, e.report_id,
       e.trade_id, e.order_key, e.file_rank, true AS ok, e.kind = 'correct' AS is_correction
FROM {rep} AS e
JOIN {symbols} AS s ON s.written = e.symbol AND {in_slice}
LEFT JOIN {conditions} AS c ON c.tape = e.tape AND c.conditions = coalesce(e.conditions, '')
WHERE e.disposition IS NULL AND e.reason IS NULL AND e.trade_date = {day}
  AND (e.role = 'trade' OR (e.role = 'event' AND e.kind = 'correct' AND e.final_status IS NOT NULL))

-- name: create_slice
-- A slice of the day under construction: good rows route to the leaf, the rest aside, in one pass over the text.
CREATE TABLE {parent} ({columns}) PARTITION BY LIST (status);
CREATE TABLE {aside} PARTITION OF {parent} FOR VALUES IN ('aside');
CREATE TABLE {leaf} PARTITION OF {parent} DEFAULT;
CREATE TEMPORARY SEQUENCE {numbers} CACHE 10000;

-- name: fill_slice
-- Sorted by symbol and time: the index comes out presorted, a symbol's day is read from few pages. The sorted rows are
-- numbered by a sequence, at a fifth of the cost of a window function.
INSERT INTO {parent} (trade_date, symbol, executed_at, trade_seq, price, size, file_id, line_no, is_correction, is_late,
    is_capped, is_outlier, upd_volume, upd_high_low, upd_last, last_if_only, unknown_condition, status, venue, side,
    capacity, conditions, facility, report_id, trade_id)
{with_symbols}
SELECT {day}, CASE WHEN ok THEN symbol ELSE '' END, CASE WHEN ok THEN executed_at ELSE 'epoch' END,
       nextval({counter}), CASE WHEN ok THEN price ELSE 0 END, CASE WHEN ok THEN size ELSE 0 END,
       file_id, line_no, is_correction, is_late, is_capped, false, upd_volume, upd_high_low, upd_last, last_if_only,
       unknown_condition, CASE WHEN ok THEN status ELSE 'aside' END, venue, side, capacity, conditions, facility,
       report_id, trade_id
FROM (SELECT * FROM ({rows}) AS s
      ORDER BY place, executed_at, octet_length(order_key), order_key, file_rank, line_no
      OFFSET 0) AS sorted;

-- name: drop_numbers
-- The sequence has done its work.
DROP SEQUENCE {numbers};

-- name: symbol_stats
-- One look at the finished slice: rows by status, and which symbols can have an outlier at all.
CREATE TEMPORARY TABLE {stats} ON COMMIT DROP AS
SELECT symbol, count(*) FILTER (WHERE status = 'live') AS live, count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
       count(*) FILTER (WHERE status = 'superseded') AS superseded,
       max(price) FILTER (WHERE status = 'live') > {factor} * min(price) FILTER (WHERE status = 'live')
       AND count(*) FILTER (WHERE status = 'live' AND upd_volume AND upd_high_low) >= {minimum} AS wide
FROM {leaf} GROUP BY symbol;

-- name: flag_outliers
-- Far from the median of the day's eligible prints. Only symbols whose highest print is far above the lowest can have one.
UPDATE {leaf} AS t
SET is_outlier = true
FROM (SELECT l.symbol, (percentile_disc(0.5) WITHIN GROUP (ORDER BY l.price)
                        + percentile_disc(0.5) WITHIN GROUP (ORDER BY l.price DESC)) / 2 AS median
      FROM {leaf} AS l
      JOIN {stats} AS wide ON wide.symbol = l.symbol AND wide.wide
      WHERE l.status = 'live' AND l.upd_volume AND l.upd_high_low
      GROUP BY l.symbol) AS m
WHERE t.symbol = m.symbol AND t.status = 'live' AND (t.price > m.median * {factor} OR t.price * {factor} < m.median);

-- name: any_wide
-- Whether a symbol can have an outlier.
SELECT EXISTS (SELECT FROM {stats} WHERE wide);

-- name: finish_slice
-- Index and bounds before the swap, so that attaching reads nothing.
CREATE INDEX ON {leaf} (symbol, executed_at, trade_seq);
ALTER TABLE {parent} DETACH PARTITION {leaf};
ALTER TABLE {leaf} ADD CHECK ({bounds});

-- name: counts
-- Rows of a finished slice by status.
SELECT coalesce(sum(live), 0), coalesce(sum(cancelled), 0), coalesce(sum(superseded), 0) FROM {stats};

-- name: aside_lines
-- What the fast path put aside.
SELECT file_id, line_no FROM {aside}

-- name: settle_aside
-- Reports put aside: dead ones keep their end, invalid ones go to quarantine, valid ones to their own day.
UPDATE {rep} AS r
SET final_status = p.status,
    disposition = CASE WHEN r.reason IS NULL AND r.trade_date = {day} THEN NULL
                       WHEN p.status IS NOT NULL THEN p.status
                       WHEN r.reason IS NOT NULL THEN 'quarantined' ELSE 'carried' END,
    why = CASE WHEN p.status IS NOT NULL THEN coalesce(r.reason, 'other_day')
               WHEN r.reason IS NOT NULL THEN r.reason ELSE 'other_day' END,
    carry_to = CASE WHEN p.status IS NULL AND r.reason IS NULL THEN r.trade_date END,
    detail = CASE WHEN p.status IS NULL AND r.reason IS NULL THEN 'to ' || r.trade_date END
FROM {rep} AS s
LEFT JOIN (SELECT DISTINCT file_id, line_no, status FROM {patch}) AS p ON p.file_id = s.file_id AND p.line_no = s.line_no
WHERE s.rep_id = r.rep_id AND r.role = 'aside';

-- name: adopt_aside
-- What the fast path could not read and the careful one could is a trade of the day: it goes in by the careful path.
WITH adopted AS (
    UPDATE {rep} SET role = 'trade' WHERE role = 'aside' AND disposition IS NULL RETURNING file_id, line_no),
forgotten AS (
    DELETE FROM {patch} AS p USING adopted AS a WHERE a.file_id = p.file_id AND a.line_no = p.line_no)
INSERT INTO {patch} SELECT file_id, line_no, 'drop' FROM adopted;

-- name: forget_aside
-- The day is written once more; what is put aside then is typed again.
DELETE FROM {rep} WHERE role = 'aside';

-- name: home
-- The day a quarantined report counts on: its own trade date where that is a session it can belong to, whatever else is
-- wrong with it, else its report date.
CASE WHEN trade_date BETWEEN {first_session} AND report_date
       AND EXISTS (SELECT FROM otc_sessions AS s WHERE s.day = trade_date)
     THEN trade_date ELSE report_date END

-- name: old_carried
-- What the last pass of this day told other days: reports carried there, and quarantined reports that count there.
CREATE TEMPORARY TABLE old_carried ON COMMIT DROP AS
SELECT day, file_id, line_no, concat_ws(' ', hop, status) AS role FROM otc_carried WHERE origin_day = %(day)s
UNION ALL
SELECT home, file_id, line_no, 'rejected' FROM otc_exceptions
WHERE day = %(day)s AND home <> day AND disposition = 'quarantined';

-- name: replace_carried
-- What this pass carries, in its place.
DELETE FROM otc_carried WHERE origin_day = {day};
INSERT INTO otc_carried (day, origin_day, file_id, line_no, hop, role, status, link_id, link_date,
                         report_date, {raw_columns}, extra)
SELECT carry_to, {day}, file_id, line_no,
       concat_ws('/', CASE WHEN role = 'event' AND final_status IS NULL THEN 'event' ELSE 'trade' END,
                 md5(link_id), link_date),  -- an id may be longer than an index takes
       CASE WHEN role = 'event' AND final_status IS NULL THEN 'event' ELSE 'trade' END,
       CASE WHEN role = 'event' AND final_status IS NULL THEN NULL ELSE coalesce(final_status, status0) END, link_id, link_date,
       report_date, {from_report},
       report -> 'extra'
FROM {rep} WHERE disposition = 'carried'
ON CONFLICT DO NOTHING;

-- name: mark_days
-- Days that gain or lose a report by this pass are to be computed again.
INSERT INTO otc_dirty_days (day, reason, marked_at, run_id)
SELECT day, count(*) || ' reports of the pass of ' || {day}::text, clock_timestamp(), {run_id}
FROM (SELECT coalesce(o.day, n.day) AS day
      FROM old_carried AS o
      FULL JOIN (SELECT day, file_id, line_no, concat_ws(' ', hop, status) AS role FROM otc_carried WHERE origin_day = {day}
                 UNION ALL
                 SELECT home, file_id, line_no, 'rejected' FROM otc_exceptions
                 WHERE day = {day} AND home <> day AND disposition = 'quarantined') AS n
        ON n.day = o.day AND n.file_id = o.file_id AND n.line_no = o.line_no AND n.role = o.role
      WHERE o.day IS NULL OR n.day IS NULL) AS changed
GROUP BY day;

-- name: wake_holders
-- Events that name a report without its date: when this day has a report of that id, the day that sent or holds the event
-- is looked at again, for this may be the nearer one.
INSERT INTO otc_dirty_days (day, reason, marked_at, run_id)
SELECT DISTINCT w.day, 'a report of an id it names came with ' || {day}::text, clock_timestamp(), {run_id}
FROM ({waiting}) AS w
JOIN otc_files AS f ON f.file_id = w.file_id AND f.status = 'live'
JOIN otc_trades_raw AS b ON b.report_date = {day} AND btrim(b.report_id) = w.original_id
JOIN otc_files AS g ON g.file_id = b.file_id AND g.status = 'live' AND g.source = f.source;

-- name: waiting
-- Events of other days that name a report without its date, held or sent on; and corrections in quarantine, for an event
-- that is held may name one of them.
SELECT day, file_id, btrim(report ->> 'original_report_id') AS original_id FROM otc_exceptions
WHERE disposition IN ('held', 'quarantined') AND day <> {day} AND btrim(report ->> 'original_report_id') <> ''
  AND coalesce(btrim(report ->> 'original_report_date'), '') = ''
UNION ALL
SELECT report_date, file_id, btrim(original_report_id) FROM otc_carried
WHERE role = 'event' AND report_date <> {day} AND day <> {day} AND original_report_id <> ''
  AND coalesce(btrim(original_report_date), '') = ''

-- name: anyone_waits
-- Whether there are such events at all.
SELECT EXISTS ({waiting});

-- name: replace_exceptions
-- Every report of the pass that is not a row of otc_trades, with its reason.
DELETE FROM otc_exceptions WHERE day = {day};
INSERT INTO otc_exceptions (day, file_id, line_no, entry, report_date, home, disposition, reason, symbol, detail, report)
SELECT {day}, file_id, line_no, row_number() OVER (PARTITION BY file_id, line_no ORDER BY rep_id), report_date, {home}, disposition, why, symbol, detail,
       CASE WHEN disposition IN ('quarantined', 'held') THEN report END
FROM {rep} WHERE disposition IS NOT NULL AND role <> 'target';

-- name: dispositions
-- Reports by disposition and reason.
SELECT disposition, why, count(*) FROM {rep}
WHERE disposition IS NOT NULL AND role <> 'target' GROUP BY disposition, why ORDER BY disposition, why;

-- name: seen_marks
-- The marks this pass answers; later ones stay.
SELECT mark_id FROM otc_dirty_days WHERE day = %(day)s;

-- name: clear_marks
-- Take the answered marks away.
DELETE FROM otc_dirty_days WHERE mark_id = ANY(%(marks)s);

-- name: files_before
-- The files that the day's last pass read.
SELECT file_ids FROM otc_days WHERE day = %(day)s;

-- name: record_day
-- What went in and what came out.
INSERT INTO otc_days (day, normalized_at, file_ids, base_rows, carried_in, counts, rules_version, normalize_run_id)
VALUES (%(day)s, clock_timestamp(), %(file_ids)s, %(base_rows)s, %(carried_in)s, %(counts)s, %(rules_version)s, %(run_id)s)
ON CONFLICT (day) DO UPDATE
SET normalized_at = excluded.normalized_at, file_ids = excluded.file_ids, base_rows = excluded.base_rows,
    carried_in = excluded.carried_in,
    counts = excluded.counts, rules_version = excluded.rules_version, normalize_run_id = excluded.normalize_run_id;

-- name: symbol_bounds
-- Symbols that part the day into slices of about the same size, from a sample of its pages.
SELECT percentile_disc({shares}::float8[]) WITHIN GROUP (ORDER BY symbol)
FROM otc_trades_raw TABLESAMPLE SYSTEM ({percent}) REPEATABLE (1)
WHERE report_date = {day} AND file_id IN ({files});

-- name: preview
-- The first trades of the day, for people.
SELECT symbol, executed_at, price, size, status, conditions, venue
FROM otc_trades WHERE trade_date = %(day)s ORDER BY symbol, executed_at, trade_seq LIMIT 5;

-- name: marked_days
-- Days marked in this transaction.
SELECT DISTINCT day FROM otc_dirty_days WHERE xmin = pg_current_xact_id()::xid ORDER BY day;
