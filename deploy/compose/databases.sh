#!/usr/bin/env bash
# Makes the two databases and their logins; PostgreSQL's image runs it once, when it has made an empty data folder.
# The owner of the market tables may take the reading role on; the API's login may do no more than that role.
set -euo pipefail

psql --no-psqlrc --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres \
  --set market="$MARKET_SPINE_PASSWORD" --set api="$MARKET_SPINE_API_PASSWORD" --set dagster="$DAGSTER_PASSWORD" <<'SQL'
CREATE ROLE market_spine_reader NOLOGIN;
CREATE ROLE market_spine LOGIN PASSWORD :'market' IN ROLE market_spine_reader;
CREATE ROLE market_spine_api LOGIN PASSWORD :'api' IN ROLE market_spine_reader;
CREATE ROLE dagster LOGIN PASSWORD :'dagster';
CREATE DATABASE market_spine OWNER market_spine;
CREATE DATABASE dagster OWNER dagster;
REVOKE CONNECT, TEMPORARY ON DATABASE market_spine, dagster FROM PUBLIC;
GRANT CONNECT ON DATABASE market_spine TO market_spine_reader;
SQL
