-- name: state
-- What the database holds of the two reference tables, as digests: of the sessions as ``reference`` makes it of the
-- packaged ones, in whole numbers, which cost a third of numerics as text.
SELECT (SELECT md5(string_agg(concat_ws(',', day - date '1970-01-01', ordinal, date_part('epoch', opens_at)::bigint,
                                        date_part('epoch', closes_at)::bigint), ';' ORDER BY day))
        FROM otc_sessions),
       (SELECT max(rules_version) FROM otc_sale_conditions);

-- name: replace_sessions
-- The packaged sessions take the place of those in the database.
DELETE FROM otc_sessions;
INSERT INTO otc_sessions (day, ordinal, opens_at, closes_at)
SELECT * FROM unnest(%(days)s::date[], %(ordinals)s::integer[], %(opens)s::timestamptz[], %(closes)s::timestamptz[]);

-- name: replace_conditions
-- The packaged eligibility facts take the place of those in the database.
DELETE FROM otc_sale_conditions;
INSERT INTO otc_sale_conditions (tape, code, valid_from, valid_to, upd_high_low, upd_last, upd_volume, last_if_only, name,
                                 rules_version)
SELECT *, %(version)s FROM unnest(%(tape)s::text[], %(code)s::text[], %(valid_from)s::date[], %(valid_to)s::date[],
    %(upd_high_low)s::boolean[], %(upd_last)s::boolean[], %(upd_volume)s::boolean[], %(last_if_only)s::boolean[],
    %(name)s::text[]);

-- name: lock
-- One process brings the tables up to date, the others wait and find them so.
LOCK TABLE otc_sale_conditions, otc_sessions IN SHARE ROW EXCLUSIVE MODE;
