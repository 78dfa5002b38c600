-- What the API asks about itself.

-- name: schema_version
-- The migration the database stands at.
SELECT version FROM api.schema_version;

-- name: allow_seconds
-- A stream may last longer than an answer.
SELECT set_config('statement_timeout', %(limit)s, false);
