-- A generated day of OTC trade reports, as text columns in the order of the canonical file.
-- Every value is a function of (row number, seed): nothing is kept between rows, so memory stays flat, rows come out in
-- file order without a sort, and a correction can repeat its target by evaluating the same functions at the target.
-- Variables: seed, rows, symbols, cancels, corrections, report_date, day_number, day_start, session_open, session_close,
-- day_end (the last four in microseconds of the UTC epoch).

create or replace temp macro unit(i, salt) as
    hash(i, salt, getvariable('seed'))::double / 18446744073709551616.0;

-- Cancels and corrections sit on odd rows and refer to even ones, so a target is always a trade, never another event.
create or replace temp macro action_of(i) as
    case
        when i % 2 = 0 or i < 2 then 'new'
        when unit(i, 1) < 2 * getvariable('cancels') then 'cancel'
        when unit(i, 1) < 2 * (getvariable('cancels') + getvariable('corrections')) then 'correct'
        else 'new'
    end;

create or replace temp macro target_of(i) as
    i - 1 - 2 * floor(unit(i, 2) * least(i // 2, 50000))::bigint;

create or replace temp macro report_id_of(i) as
    7000000000000000000 + getvariable('day_number')::bigint * 100000000000 + i * 7;

-- The day's activity: share of the reports seen by a share of the clock (pre, first hour, midday, last hour, post).
create or replace temp macro clock_of(part) as
    case
        when part < 0.02 then getvariable('day_start')
            + (part / 0.02) * (getvariable('session_open') - getvariable('day_start'))
        when part < 0.96 then getvariable('session_open')
            + (0.5 - 0.5 * cos(pi() * (0.1 + 0.8 * (part - 0.02) / 0.94)) - 0.024471741852423234) / 0.9510565162951535
            * (getvariable('session_close') - getvariable('session_open'))
        else getvariable('session_close')
            + ((part - 0.96) / 0.04) * (getvariable('day_end') - 20000000 - getvariable('session_close'))
    end;

create or replace temp macro reported_us(i) as
    clock_of((i + unit(i, 3)) / getvariable('rows'))::bigint + 10000000;

create or replace temp macro executed_us(i) as
    reported_us(i) - (10000000 * pow(unit(i, 4), 4))::bigint;

-- Zipf: the k-th symbol trades about 1/k as often as the first.
create or replace temp macro symbol_number(i) as
    least(getvariable('symbols') - 1, floor(exp(unit(i, 5) * ln(getvariable('symbols') + 1)))::bigint - 1);

-- Four letters from a permutation of the number, some with the F and Y that foreign shares and ADRs carry.
create or replace temp macro symbol_name(s) as
    chr((65 + ((s * 7919 + 131) % 456976) // 17576)::integer)
    || chr((65 + ((s * 7919 + 131) % 17576) // 676)::integer)
    || chr((65 + ((s * 7919 + 131) % 676) // 26)::integer)
    || chr((65 + (s * 7919 + 131) % 26)::integer)
    || case when s % 10 < 3 then 'F' when s % 10 < 5 then 'Y' else '' end;

create or replace temp macro base_price(s) as pow(10, 4.4 * unit(s, 6) - 2.2);

-- One octave of a random walk: noise between fixed points of the day, whose distance halves from octave to octave.
create or replace temp macro octave(s, t, steps, salt) as
    ((1 - (t * steps - floor(t * steps))) * (unit(s * 65536 + floor(t * steps)::bigint, salt) - 0.5)
        + (t * steps - floor(t * steps)) * (unit(s * 65536 + floor(t * steps)::bigint + 1, salt) - 0.5)) / sqrt(steps);

create or replace temp macro walk(s, t) as
    octave(s, t, 1, 10) + octave(s, t, 4, 11) + octave(s, t, 16, 12) + octave(s, t, 64, 13)
    + octave(s, t, 256, 14) + octave(s, t, 1024, 15) + octave(s, t, 4096, 16);

create or replace temp macro price_of(i, s, us) as
    greatest(0.0002, base_price(s) * exp(
        0.08 * walk(s, (us - getvariable('day_start'))::double / (getvariable('day_end') - getvariable('day_start')))
        + 0.002 * (unit(i, 7) - 0.5)));

create or replace temp macro size_of(i, s) as
    case
        when unit(i, 8) < 0.02 then round(0.001 + unit(i, 9) * 40, 1 + (hash(i) % 6)::integer)
        when unit(i, 8) < 0.22 then 1 + floor(unit(i, 9) * 99)
        else 100 * (1 + floor(pow(unit(i, 9), 5) * 60)) * (case when base_price(s) < 0.1 then 50 else 1 end)
    end::decimal(18, 6);

create or replace temp macro conditions_of(i, us, size) as
    (case when us < getvariable('session_open') or us >= getvariable('session_close')
          then case when unit(i, 17) < 0.9 then 'T' else 'U' end else '' end)
    || (case when size < 100 and unit(i, 18) < 0.8 then 'I' else '' end)
    || (case when unit(i, 19) < 0.04 then ['W', 'Z', '4', 'P', 'C', 'N', 'R', 'W'][1 + (hash(i, 20) % 8)::bigint] else '' end);

create or replace temp macro instant(us) as strftime(make_timestamp(us), '%Y-%m-%dT%H:%M:%S.%fZ');

create or replace temp macro decimal_text(value) as regexp_replace(value::varchar, '\.?0+$', '');

create or replace temp view generated_day as
with report as (
    select i, action_of(i) as action, case when action_of(i) = 'new' then i else target_of(i) end as t
    from range(getvariable('rows')) as r(i)
), traded as (
    select *, symbol_number(t) as s, executed_us(t) as us, size_of(t, symbol_number(t)) as size from report
), priced as (
    -- A correction changes the price on two rows of three, the size on the third.
    select *,
        price_of(t, s, us) * (case when action = 'correct' and i % 3 > 0 then 1.001 + 0.004 * unit(i, 21) else 1 end)
            as price,
        size + (case when action = 'correct' and i % 3 = 0 then 100 else 0 end) as final_size
    from traded
)
select
    'ORF' as facility,
    report_id_of(i)::varchar as report_id,
    getvariable('report_date') as report_date,
    instant(reported_us(i)) as reported_at,
    action,
    case when t <> i then report_id_of(t)::varchar end as original_report_id,
    case when t <> i then getvariable('report_date') end as original_report_date,
    symbol_name(s) as symbol,
    ['OTCN', 'OTCX', 'OTCN', 'ARCA', 'XOTC', 'OTCN', 'ORFN', 'OTCX'][1 + (hash(t, 22) % 8)::bigint] as venue,
    ['B', 'S', 'B', 'S', 'X'][1 + (hash(t, 23) % 5)::bigint] as side,
    ['P', 'A', 'P'][1 + (hash(t, 24) % 3)::bigint] as capacity,
    instant(us) as executed_at,
    (price + 0.00005 * (case when action = 'correct' and i % 3 > 0 then 2 else 0 end))::decimal(18, 4)::varchar as price,
    case when final_size % 1 = 0 then final_size::bigint::varchar else decimal_text(final_size) end as size,
    nullif(conditions_of(t, us, size), '') as conditions
from priced;
