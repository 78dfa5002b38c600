-- How the text of a report becomes values: twice the same meaning. `fast_rows` is for the millions: one verdict, no
-- reason. `careful_rows` is for the few: events, their targets, and what the fast verdict put aside; it names the reason.

-- name: number
-- A number as it came: plain first, thousands separators and caps only where that fails. What begins with 0 and is no
-- decimal fraction may be hexadecimal (0x1F), which PostgreSQL calls a number and a price list does not.
CASE WHEN ({text} >= '.' AND {text} < '0/' OR {text} >= '1' OR {text} !~ '[xXoObB]') AND pg_input_is_valid({text}, 'numeric') THEN {text}::numeric
     WHEN {text} ~ '^\s*[+-]?\d{{1,3}}(,\d{{3}})*(\.\d+)?\s*$' THEN replace({text}, ',', '')::numeric END

-- name: size
-- Shares as they came; 1,176,262,090+ and 250MM+ are lower bounds.
CASE WHEN ({text} >= '.' AND {text} < '0/' OR {text} >= '1' OR {text} !~ '[xXoObB]') AND pg_input_is_valid({text}, 'numeric') THEN {text}::numeric
     WHEN {text} ~ '^\s*[+]?(\d{{1,3}}(,\d{{3}})*|\d+)(\.\d+)?(MM|K)?\+?\s*$'
     THEN substring(replace({text}, ',', '') FROM '[\d.]+')::numeric
          * CASE WHEN {text} LIKE '%%MM%%' THEN 1000000 WHEN {text} LIKE '%%K%%' THEN 1000 ELSE 1 END END

-- name: is_capped
-- A plus sign that is no sign of a number.
({text} LIKE '%%+%%' AND NOT pg_input_is_valid({text}, 'numeric'))

-- name: strict_number
-- A number in a file with blanks or underscores somewhere: PostgreSQL reads 1_000 and ' 0x1F' as numbers.
CASE WHEN {text} !~ '[xXoObB_]' THEN {number} END

-- name: moment_utc
-- A moment of a feed whose clock is UTC. Words (now, today, infinity) and bare dates are no moments.
CASE WHEN {text} < ':' AND octet_length({text}) >= 13 AND pg_input_is_valid({text}, 'timestamptz')
     THEN {text}::timestamptz END

-- name: moment_zone
-- A moment of a feed with a clock of its own: an offset in the text wins; the name of a zone is no offset, and casting
-- to local time would drop it silently.
CASE WHEN {text} < ':' AND octet_length({text}) >= 13 AND pg_input_is_valid({text}, 'timestamptz')
     THEN CASE WHEN {text} ~ '([Zz]|[+-]\d\d(:?\d\d)?)\s*$' THEN {text}::timestamptz
               WHEN {text} ~ '^\s*\d{{4}}-?\d\d-?\d\d[ T]\d\d:?\d\d(:?\d\d(\.\d+)?)?\s*$'
               THEN {text}::timestamp AT TIME ZONE {zone} END END

-- name: moment_usual
-- A moment that starts with this day's date or the next is cast without asking first, which halves the cost: asking takes
-- as long as casting. Where the rest cannot be read the statement fails, and the day is written again asking everywhere.
CASE WHEN {text} >= {first} AND {text} < {beyond} AND octet_length({text}) >= 19 THEN {text}::timestamptz
     ELSE {moment} END

-- name: link_readable
-- The date of the report it names is blank or a date.
({text} = '' OR {text} IS NULL OR btrim({text}) = ''
 OR btrim({text}) ~ '^\d{{4}}-?\d\d-?\d\d$' AND pg_input_is_valid({text}, 'date'))

-- name: clock_problem_none
-- A feed whose clock is UTC has no skipped and no repeated hours.
NULL::text

-- name: clock_problem_zone
-- A wall-clock time that does not exist on that day, or exists twice.
CASE WHEN {text} ~ '([Zz]|[+-]\d\d(:?\d\d)?)\s*$' OR NOT pg_input_is_valid({text}, 'timestamp') THEN NULL
     WHEN ({text}::timestamp AT TIME ZONE {zone}) AT TIME ZONE {zone} <> {text}::timestamp THEN 'nonexistent_time'
     WHEN ({text}::timestamp AT TIME ZONE {zone} + interval '1 hour') AT TIME ZONE {zone} = {text}::timestamp
       OR ({text}::timestamp AT TIME ZONE {zone} - interval '1 hour') AT TIME ZONE {zone} = {text}::timestamp
     THEN 'ambiguous_time' END

-- name: place
-- Symbol and moment as one integer: the symbol's rank, and microseconds from a day before the trade date on, of which two
-- days and a half after it have room. What is farther away is told apart by its moment. Sorting a million reports by it
-- takes 0.6 s, by symbol and moment 1.6.
{rank} * 274877906944
    + (least(greatest(date_part('epoch', {moment}) - {origin}, 0), 259200) * 1000000)::bigint

-- name: day_executed
-- The row belongs to the day by the New York clock.
(executed_at >= {day_start} AND executed_at < {day_end})

-- name: day_declared
-- The source declares the trade date; where it left it blank, the clock decides.
(executed_at IS NOT NULL AND CASE WHEN coalesce(btrim(declared), '') = ''
      THEN executed_at >= {day_start} AND executed_at < {day_end}
      ELSE declared = {iso} OR declared = {basic} END)

-- name: fast_rows
-- One source's plain reports of the day, typed, with one verdict (ok) instead of a reason. OFFSET 0 keeps the planner
-- from computing a value once per use.
SELECT {place} AS place, symbol, executed_at, price, size, file_id, line_no, is_late, {is_capped} AS is_capped, upd_volume,
       upd_high_low, upd_last, last_if_only, unknown_condition, status, venue, side, capacity, conditions, facility,
       report_id, trade_id, order_key, file_rank,
       coalesce({in_day} AND price > 0 AND price < 1e10 AND (scale(price) <= 10 OR min_scale(price) <= 10)
                AND size > 0 AND size < 1e14 AND (scale(size) <= 6 OR min_scale(size) <= 6)
                AND is_symbol AND clock_problem IS NULL AND link_readable, false) AS ok,
       false AS is_correction
FROM (
    SELECT s.symbol, s.rank, s.is_symbol, {moment} AS executed_at, {clock_problem} AS clock_problem, {link_readable} AS link_readable, r.trade_date AS declared,
           {price} AS price, {size} AS size, r.size AS size_text, r.file_id, r.line_no, {is_late} AS is_late,
           c.upd_volume, c.upd_high_low, c.upd_last, c.last_if_only, c.unknown_condition,
           coalesce(p.status, {status}) AS status, {venue} AS venue, {side} AS side, r.capacity,
           r.conditions, {facility} AS facility, r.report_id, r.trade_id, {order_key} AS order_key,
           {file_rank} AS file_rank
    FROM otc_trades_raw AS r
    JOIN {symbols} AS s ON s.written = coalesce(r.symbol, '') AND {in_slice}
    LEFT JOIN {patch} AS p ON p.line_no = r.line_no AND p.file_id = r.file_id
    LEFT JOIN {conditions} AS c ON c.tape = {tape} AND c.conditions = coalesce(r.conditions, '')
    WHERE r.report_date = {day} AND r.file_id IN ({files}) AND {plain}
      AND p.status IS DISTINCT FROM 'drop'
    OFFSET 0
) AS typed

-- name: original_id
-- The report it names.
coalesce(btrim(r.original_report_id), '')

-- name: original_date
-- The date of that report.
CASE WHEN btrim(r.original_report_date) ~ '^\d{{4}}-?\d\d-?\d\d$' AND pg_input_is_valid(r.original_report_date, 'date')
     THEN r.original_report_date::date END

-- name: condition_codes
-- The codes in a text of conditions, in linear time however long it is.
string_to_table(s.conditions, {separator})

-- name: content
-- All published fields as one digest; a column that is blank and one that is missing say the same.
md5(ROW({fields}, CASE WHEN r.extra IS NOT NULL
    THEN (SELECT jsonb_object_agg(x.key, x.value) FROM jsonb_each_text(r.extra) AS x WHERE x.value <> '') END)::text)

-- name: careful_rows
-- Reports of one source, typed one by one with the first reason that keeps each out. `{rows}` is any table with the
-- raw columns.
SELECT role, {source} AS source, {tape} AS tape, {file_rank} AS file_rank, report_date, file_id, line_no, facility,
       report_id, kind, status0, original_id, original_date, reported_at, order_key, symbol, executed_at, trade_date,
       price, size, is_capped, venue, side, capacity, conditions, trade_id,
       CASE WHEN kind IS NULL THEN 'bad_action'
            WHEN status0 IS NULL THEN 'bad_correction'
            WHEN symbol IS NULL OR symbol !~ '^[A-Za-z0-9][A-Za-z0-9./-]*$' OR octet_length(symbol) > 15 THEN 'bad_symbol'
            WHEN executed_at IS NULL OR NOT isfinite(executed_at) THEN 'bad_time'
            WHEN clock_problem IS NOT NULL THEN clock_problem
            WHEN trade_date IS NULL THEN 'bad_trade_date'
            WHEN trade_date < {first_session} OR trade_date > report_date
              OR NOT EXISTS (SELECT FROM otc_sessions AS s WHERE s.day = trade_date) THEN 'not_a_session'
            WHEN price IS NULL OR price = 'NaN' OR abs(price) >= 1e10 OR min_scale(price) > 10 THEN 'bad_price'
            WHEN price <= 0 THEN 'non_positive_price'
            WHEN size IS NULL OR size = 'NaN' OR abs(size) >= 1e14 OR min_scale(size) > 6 THEN 'bad_size'
            WHEN size <= 0 THEN 'non_positive_size'
            WHEN bad_original_date THEN 'bad_original_date' END AS reason,
       bad_original_date,
       report
FROM (
    SELECT {role} AS role, r.report_date, r.file_id, r.line_no, {facility} AS facility, coalesce(btrim(r.report_id), '') AS report_id,
           {kind} AS kind, {status0} AS status0, {original_id} AS original_id, {original_date} AS original_date,
           coalesce(btrim(r.original_report_date), '') <> ''
             AND NOT (btrim(r.original_report_date) ~ '^\d{{4}}-?\d\d-?\d\d$' AND pg_input_is_valid(r.original_report_date, 'date'))
             AS bad_original_date,
           {reported} AS reported_at, {order_key} AS order_key, btrim(r.symbol) AS symbol, {moment} AS executed_at,
           {clock_problem} AS clock_problem,
           CASE WHEN coalesce(btrim(r.trade_date), '') <> ''
                THEN CASE WHEN btrim(r.trade_date) ~ '^\d{{4}}-?\d\d-?\d\d$' AND pg_input_is_valid(r.trade_date, 'date')
                          THEN r.trade_date::date END
                ELSE ({moment} AT TIME ZONE 'America/New_York')::date END AS trade_date,
           {price} AS price, {size} AS size, {is_capped} AS is_capped, btrim(r.venue) AS venue,
           btrim(r.side) AS side, r.capacity, r.conditions, btrim(r.trade_id) AS trade_id,
           CASE WHEN {keep_text} THEN {report} END AS report
    FROM {rows} AS r
    WHERE {chosen}
    OFFSET 0
) AS typed
