-- name: build_tables
-- Tables under construction whose name starts with a prefix, parents before their partitions.
SELECT c.relname
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND starts_with(c.relname, %(prefix)s)
ORDER BY c.relname;

-- name: drop_table
-- Drop one table under construction.
DROP TABLE IF EXISTS {table} CASCADE;

-- name: leaves_of
-- The attached leaves of a table whose name starts with a prefix.
SELECT c.relname
FROM pg_inherits AS i
JOIN pg_class AS c ON c.oid = i.inhrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE i.inhparent = %(table)s::regclass AND n.nspname = %(schema)s AND starts_with(c.relname, %(prefix)s)
ORDER BY c.relname;

-- name: lock_for_swap
-- DETACH needs this lock; asked for once and first, so that the timeout is met before anything has been done.
LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE;

-- name: detach_and_drop
-- Take an old leaf away.
ALTER TABLE {table} DETACH PARTITION {leaf};
DROP TABLE {leaf};

-- name: attach
-- Give a finished table its place: rename, move to the leaves' schema, attach.
ALTER TABLE {built} RENAME TO {name};
ALTER TABLE {moved} SET SCHEMA {leaves};
ALTER TABLE {table} ATTACH PARTITION {leaf} {bounds};
