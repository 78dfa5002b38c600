-- Taking tables away. Leaves go in batches of their own: all of a long history in one transaction is more locks than a
-- server holds.

-- name: tables_of
-- Tables of some schemas, by batches that one transaction can lock.
SELECT c.oid::regclass::text
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = ANY(%(schemas)s) AND c.relkind IN ('r', 'p')
ORDER BY c.relname
LIMIT %(most)s;

-- name: drop_table
-- Drop one table and what depends on it.
DROP TABLE IF EXISTS {table} CASCADE;

-- name: drop_schema
-- Drop a schema that is empty by now.
DROP SCHEMA IF EXISTS {schema} CASCADE;
