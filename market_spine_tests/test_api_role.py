"""The API reads as a role that can read the views and nothing else.

Belongs here: what the role may do, the session it works in. Does not belong here: routes.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from market_spine.api.app import build_app
from market_spine.api.database import ROLE, Reader
from market_spine.api.health import SCHEMA
from market_spine.errors import SettingsError
from market_spine.settings import Settings
from market_spine.warehouse import migrate, reset
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine.warehouse.schema import metadata
from market_spine.warehouse.sql import statements
from market_spine_tests.serving import assert_problem, serving, settings_for

DENIED = psycopg.errors.InsufficientPrivilege
VIEWS = {
    "metrics_daily", "metrics_revisions", "trades", "days", "files", "exceptions", "quarantine", "checks", "symbols",
    "schema_version",
}  # fmt: skip


@pytest.fixture
def reading(database_url: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A connection like those of the pool."""
    settings = Reader(database_url)._connection_settings()
    with psycopg.connect(database_url, **settings) as connection:
        yield connection


def test_it_may_read_every_view_and_no_table(reading: psycopg.Connection[tuple[object, ...]]) -> None:
    text = """SELECT c.relname, n.nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
              WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
                AND n.nspname NOT IN ('pg_catalog', 'information_schema')
                AND has_schema_privilege(current_user, n.oid, 'USAGE')
                AND CASE c.relkind WHEN 'S' THEN has_sequence_privilege(current_user, c.oid, 'USAGE, SELECT, UPDATE')
                    ELSE has_any_column_privilege(current_user, c.oid, 'SELECT, INSERT, UPDATE, REFERENCES')
                         OR has_table_privilege(current_user, c.oid, 'DELETE, TRUNCATE, TRIGGER') END"""
    assert {row for row in reading.execute(text).fetchall() if row[1] != "pg_toast"} == {
        (view, "api") for view in VIEWS
    }
    for view in VIEWS:
        reading.execute(f"SELECT * FROM api.{view}")
    for table in [*metadata.tables, "alembic_version"]:
        with pytest.raises(DENIED):
            reading.execute(f"SELECT * FROM public.{table}")


@pytest.mark.parametrize("view", sorted(VIEWS - {"exceptions", "quarantine", "symbols"}))
def test_it_may_write_no_view_even_outside_of_the_read_only_session(
    reading: psycopg.Connection[tuple[object, ...]], view: str
) -> None:
    assert reading.execute("SHOW default_transaction_read_only").fetchone() == ("on",)
    reading.execute("SET default_transaction_read_only = off")
    for text in (f"DELETE FROM api.{view}", f"INSERT INTO api.{view} DEFAULT VALUES", f"TRUNCATE api.{view}"):
        with pytest.raises((DENIED, psycopg.errors.WrongObjectType)):
            reading.execute(text)


@pytest.mark.parametrize(
    "text", ["CREATE TABLE t (a int)", "CREATE TABLE api.t (a int)", "CREATE SCHEMA s", "CREATE ROLE r"]
)
def test_it_may_make_nothing(reading: psycopg.Connection[tuple[object, ...]], text: str) -> None:
    reading.execute("SET default_transaction_read_only = off")
    with pytest.raises((DENIED, psycopg.errors.InvalidSchemaName)):
        reading.execute(text)


def test_resetting_the_role_leads_back_to_it(reading: psycopg.Connection[tuple[object, ...]]) -> None:
    for text in ("RESET ROLE", "DISCARD ALL", "RESET ALL"):
        reading.execute(text)
        assert reading.execute("SELECT current_user").fetchone() == (ROLE,)
    assert reading.execute("SHOW statement_timeout").fetchone() == ("10s",)


def test_a_login_of_its_own_that_is_only_a_member_serves(
    database_url: str, server: EmbeddedServer, tmp_path: Path
) -> None:
    with psycopg.connect(server.url("postgres"), autocommit=True) as admin:
        admin.execute("CREATE ROLE api_login LOGIN PASSWORD 'x' IN ROLE market_spine_reader")
    own = re.sub(r"//[^@]*@", "//api_login:x@", database_url)
    try:
        with psycopg.connect(own) as connection, pytest.raises(DENIED):
            connection.execute("SELECT * FROM public.otc_days")
        with serving(settings_for("postgresql://nobody@127.0.0.1:1/none", tmp_path, api_database_url=own)) as api:
            assert api.get("/health/ready").json() == {"status": "ready", "schema": migrate_head()}
            assert api.data("/api/v1/otc/symbols") == []
    finally:
        with psycopg.connect(server.url("postgres"), autocommit=True) as admin:
            admin.execute("DROP ROLE api_login")


def migrate_head() -> str:
    return max(path.stem for path in (migrate.MIGRATIONS / "versions").glob("0*.py")).partition("_")[0]


def test_the_schema_the_code_needs_is_one_of_the_migrations() -> None:
    assert [path.stem for path in (migrate.MIGRATIONS / "versions").glob(f"{SCHEMA}_*.py")] == [f"{SCHEMA}_reading"]


# --- readiness says what is wrong


def test_an_older_schema_a_missing_one_and_a_server_that_is_away_are_told_apart(
    database_url: str, server: EmbeddedServer, tmp_path: Path
) -> None:
    def ready(url: str) -> httpx.Response:
        with serving(settings_for(url, tmp_path)) as api:
            return api.get("/health/ready")

    assert ready(database_url).status_code == 200
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0004'")
    assert_problem(ready(database_url), "not_ready", says="stands at migration 0004, this code needs 0005")
    with psycopg.connect(database_url) as connection:
        connection.execute("DROP SCHEMA api CASCADE")
    assert_problem(ready(database_url), "not_ready", says="run spine db migrate")
    away = ready("postgresql://nobody:secret@127.0.0.1:1/none")
    assert_problem(away, "not_ready", says="127.0.0.1")
    assert "secret" not in away.text


def test_the_api_does_not_start_without_a_database() -> None:
    with pytest.raises(SettingsError, match="MARKET_SPINE_API_DATABASE_URL"):
        build_app(Settings())


# --- the migration


def test_the_schema_can_be_taken_away_and_made_again_and_the_role_stays(server: EmbeddedServer) -> None:
    named = statements("market_spine.warehouse", "embedded.sql")
    server.ensure_database("test_api_reset")
    try:
        url = server.url("test_api_reset")
        for _ in range(2):
            reset.reset(url)
            with psycopg.connect(url) as connection:
                rows = connection.execute("SELECT viewname FROM pg_views WHERE schemaname = 'api'").fetchall()
            assert {row[0] for row in rows} == VIEWS
    finally:
        with psycopg.connect(server.url("postgres"), autocommit=True) as admin:
            admin.execute(named("drop_database", database="test_api_reset"))


def test_an_owner_who_is_no_superuser_can_migrate_and_serve(server: EmbeddedServer, tmp_path: Path) -> None:
    with psycopg.connect(server.url("postgres"), autocommit=True) as admin:
        admin.execute("CREATE ROLE plain_owner LOGIN PASSWORD 'x'")
        admin.execute("CREATE DATABASE test_api_owner OWNER plain_owner")
        admin.execute("GRANT market_spine_reader TO plain_owner")
    try:
        url = server.url("test_api_owner").replace("postgres@", "plain_owner:x@")
        migrate.upgrade(url)
        with serving(settings_for(url, tmp_path)) as api:
            assert api.get("/health/ready").status_code == 200
            assert api.data("/api/v1/otc/metrics/daily") == []
    finally:
        with psycopg.connect(server.url("postgres"), autocommit=True) as admin:
            admin.execute("DROP DATABASE test_api_owner WITH (FORCE)")
            admin.execute("DROP ROLE plain_owner")
