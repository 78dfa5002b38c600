-- name: version
-- The migration the database stands at, in Alembic's own table.
SELECT version_num FROM alembic_version;
