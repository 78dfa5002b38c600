-- name: database_exists
-- One row when the database is there.
SELECT 1 FROM pg_database WHERE datname = %(name)s;

-- name: create_database
-- A new, empty database; fails with DuplicateDatabase when another process was quicker.
CREATE DATABASE {database};

-- name: create_database_from
-- A copy of a database nobody is connected to.
CREATE DATABASE {database} TEMPLATE {template};

-- name: drop_database
-- Remove a database and end whoever is connected to it.
DROP DATABASE IF EXISTS {database} WITH (FORCE);

-- name: set_password
-- The superuser's password for connections over TCP; the private socket asks for none.
ALTER ROLE postgres PASSWORD {password};
