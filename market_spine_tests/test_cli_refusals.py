"""What commands do where the tables are missing or old, and what they say when the database cannot do it: one line.

Belongs here: the embedded server's tables, which are made by whoever needs them first; those at an address, which are
left alone; errors of PostgreSQL at the terminal. Does not belong here: what a command answers when all is well.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.script import ScriptDirectory
from psycopg import sql
from typer.testing import CliRunner, Result

from market_spine.cli.complaints import complaint_about
from market_spine.cli.main import app
from market_spine.warehouse import migrate
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine.warehouse.version import VERSIONS, needed_version
from market_spine_tests.conftest import unmigrated
from market_spine_tests.orchestrated import PROJECT

SESSION = "2026-03-04"
METRICS = ("query", "metrics", "--symbol", "ACME", "--start", SESSION)
NEEDS_THE_TABLES = (
    METRICS,
    ("query", "trades", "--symbol", "ACME", "--date", SESSION),
    ("file", "list"),
    ("file", "void", "1", "--by", "ann", "--why", "a test"),
    ("dead-letter", "list"),
    ("inventory",),
    ("backfill", "plan", SESSION),
    ("run", "otc_full_refresh", SESSION),
)


def spine(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env=environment)


def at(url: str) -> dict[str, str]:
    return {"DATABASE_URL": url, "DAGSTER_DATABASE_URL": url}


def complaint(done: Result) -> str:
    """The one line on stderr of a command that failed without an answer."""
    assert (done.exit_code, done.stdout) == (1, ""), done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith("spine: ")
    return line


@pytest.fixture
def empty(server: EmbeddedServer) -> Iterator[str]:
    """A database of somebody's, in which no migration was ever run."""
    with unmigrated(server, "refusals_empty") as url:
        yield url


def tables(url: str) -> list[Any]:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()


# --- the embedded server


@pytest.fixture
def state(short_folder: Path) -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(dir=short_folder))
    folder.chmod(0o711)
    yield str(folder)
    EmbeddedServer(folder / "server").remove()


@pytest.mark.slow
def test_in_a_fresh_clone_a_run_and_a_query_make_the_tables_themselves(state: str) -> None:
    fresh = {"MARKET_SPINE_STATE": state, "MARKET_SPINE_LANDING": str(PROJECT / "data" / "landing")}
    done = spine(*METRICS, "--json", **fresh)
    assert (done.exit_code, json.loads(done.stdout)) == (0, []), done.output
    done = spine("run", "otc_full_refresh", SESSION, "--json", **fresh)
    assert (done.exit_code, json.loads(done.stdout)["status"]) == (0, "SUCCESS"), done.output
    (row,) = json.loads(spine(*METRICS, "--json", **fresh).stdout)
    assert row["trade_count"] > 0
    assert spine("db", "status", **fresh).exit_code == 0


# --- a database of somebody's


@pytest.mark.parametrize("command", NEEDS_THE_TABLES, ids=lambda command: "-".join(command[:2]))
def test_a_database_without_the_tables_is_refused_and_left_as_it_is(empty: str, command: tuple[str, ...]) -> None:
    line = complaint(spine(*command, **at(empty)))
    assert line == "spine: the market tables are not there: run spine db migrate"
    assert tables(empty) == []


def test_tables_older_than_the_code_are_refused_with_both_migrations(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0002'")
    assert complaint(spine(*METRICS, **at(database_url))) == (
        f"spine: the market tables stand at migration 0002, this code needs {needed_version()}: run spine db migrate"
    )


def test_tables_newer_than_the_code_can_be_read(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert spine(*METRICS, **at(database_url)).exit_code == 0


@pytest.mark.slow
def test_after_the_command_that_is_named_the_same_commands_are_answered(
    server: EmbeddedServer, empty: str, tmp_path: Path
) -> None:
    with unmigrated(server, "refusals_dagster") as dagster:
        places = {"DATABASE_URL": empty, "DAGSTER_DATABASE_URL": dagster, "MARKET_SPINE_STATE": str(tmp_path)}
        for command in (METRICS, ("execution", "list")):
            assert "run spine db migrate" in complaint(spine(*command, **places))
        done = spine("db", "migrate", **places)
        assert done.exit_code == 0, done.output
        for command in (METRICS, ("execution", "list")):
            assert spine(*command, **places).exit_code == 0


def test_the_migration_that_is_needed_is_the_newest_one_alembic_knows() -> None:
    script = ScriptDirectory(str(migrate.MIGRATIONS))
    assert script.get_current_head() == needed_version()
    numbers = {path.name.partition("_")[0] for path in VERSIONS.glob("*.py")}
    assert numbers == {revision.revision for revision in script.walk_revisions()}, "a file is named by its revision"


# --- what PostgreSQL refuses


def test_a_server_that_is_away_is_named_with_the_setting() -> None:
    line = complaint(spine(*METRICS, **at("postgresql://postgres@127.0.0.1:1/nothing")))
    assert "the market database does not answer" in line
    assert "check DATABASE_URL" in line


def test_tables_that_dagster_has_not_made_yet_are_told(database_url: str) -> None:
    line = complaint(spine("execution", "list", **at(database_url)))
    assert 'relation "runs" does not exist' in line
    assert line.endswith("run spine db migrate")


def test_a_login_without_rights_is_told_what_it_lacks(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("CREATE ROLE refusals_nobody LOGIN")
        try:
            line = complaint(spine(*METRICS, **at(database_url.replace("postgres@", "refusals_nobody@"))))
        finally:
            owner.execute("DROP ROLE refusals_nobody")
    assert "permission denied" in line
    assert "DATABASE_URL" in line


def test_a_query_that_takes_too_long_for_its_login_is_told_so(database_url: str) -> None:
    with psycopg.connect(database_url) as other:
        name = sql.Identifier(other.info.dbname)
        other.execute(sql.SQL("ALTER DATABASE {} SET statement_timeout = '300ms'").format(name))
        other.commit()
        other.execute("LOCK TABLE otc_metrics_daily IN ACCESS EXCLUSIVE MODE")
        line = complaint(spine(*METRICS, **at(database_url)))
    assert "statement timeout" in line
    assert "ask for less" in line


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("SELECT nope FROM otc_files", "run spine db migrate"),
        ("SELECT FROM otc_nothing", "run spine db migrate"),
        ("SELECT 'x'::int", "cannot take a value"),
        ("LOCK TABLE otc_files", "try again"),
        ("SET TRANSACTION READ ONLY; DELETE FROM otc_files", "replica"),
        ("SELECT pg_terminate_backend(pg_backend_pid())", "spine doctor"),
        ("SELEC 1", "(SyntaxError)"),
    ],
)
def test_every_error_of_the_server_is_one_line_that_says_what_to_do(
    shared_database: str, statement: str, says: str
) -> None:
    with psycopg.connect(shared_database) as other:
        other.execute("LOCK TABLE otc_files IN ACCESS SHARE MODE")
        with (
            pytest.raises(psycopg.Error) as raised,
            psycopg.connect(shared_database, options="-c lock_timeout=50") as connection,
        ):
            connection.execute(statement.encode())
    line = complaint_about(raised.value) or ""
    assert says in line
    assert "\n" not in line


def test_a_mistake_in_the_code_keeps_its_traceback() -> None:
    assert complaint_about(ValueError("x")) is None
    assert complaint_about(KeyError("otc_files")) is None


# --- what is wrong in the command itself comes before what is wrong around it


@pytest.mark.parametrize("command", ["run", "dispatch"])
@pytest.mark.parametrize(
    ("pipeline", "session", "says"),
    [
        ("otc_full_refresh", "2026-03-07", "2026-03-07 is no session of XNYS; nearest: 2026-03-06 and 2026-03-09"),
        ("otc_full_refresh", "2026-03-05..2026-03-04", "ends before it begins"),
        ("nope", SESSION, "there is no pipeline 'nope'"),
    ],
)
def test_work_that_does_not_exist_is_refused_before_database_and_webserver_are_looked_for(
    command: str, pipeline: str, session: str, says: str
) -> None:
    done = spine(command, pipeline, session, **at("postgresql://postgres@127.0.0.1:1/nothing"))
    assert (done.exit_code, done.stdout) == (2, "")
    assert says in done.stderr
