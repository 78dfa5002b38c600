"""The migrations and the declared tables say the same, and the database itself keeps the invariants.

Belongs here: what the schema promises. Does not belong here: what the steps write into it.
"""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Column, Index, UniqueConstraint, create_engine, pool
from sqlalchemy.schema import CreateIndex

from market_spine.errors import WarehouseError
from market_spine.warehouse import migrate
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine.warehouse.schema import BUILD, LEAVES, METRIC_VALUES, metadata
from market_spine_tests.conftest import unmigrated

Connection = psycopg.Connection[tuple[Any, ...]]
PARTITIONED = {"otc_trades_raw": "RANGE (report_date, file_id)", "otc_trades": "RANGE (trade_date, symbol)"}


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(database_url) as opened:
        yield opened


# --- migrations and declaration


def test_migrations_build_what_the_schema_declares(database_url: str) -> None:
    engine = create_engine(migrate.sqlalchemy_url(database_url), poolclass=pool.NullPool)
    with engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []


def test_every_column_is_what_it_is_declared_to_be(connection: Connection) -> None:
    # Alembic compares neither collations nor identities, and takes a type of another precision for the same.
    rows = connection.execute("""
        SELECT c.relname || '.' || a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity::text,
               CASE WHEN a.attcollation <> 0 AND a.attcollation <> t.typcollation THEN o.collname::text END,
               col_description(c.oid, a.attnum)
        FROM pg_attribute AS a
        JOIN pg_class AS c ON c.oid = a.attrelid
        JOIN pg_type AS t ON t.oid = a.atttypid
        LEFT JOIN pg_collation AS o ON o.oid = a.attcollation
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname LIKE 'otc%'
          AND a.attnum > 0 AND NOT a.attisdropped""").fetchall()
    declared = {
        f"{table.name}.{column.name}": (
            _type_name(column),
            not column.nullable,
            "a" if column.identity else "",
            getattr(column.type, "collation", None),
            column.comment,
        )
        for table in metadata.sorted_tables
        for column in table.columns
    }
    assert {row[0]: row[1:] for row in rows} == declared


@pytest.mark.parametrize(
    "drift",
    [
        "ALTER TABLE otc_days ADD extra integer",
        "COMMENT ON COLUMN otc_days.day IS 'Other.'",
        "COMMENT ON TABLE otc_days IS 'Other.'",
        "DROP INDEX otc_files_day",
        "ALTER TABLE otc_days ALTER base_rows DROP NOT NULL",
        # views stand on the columns: whoever changes one makes them anew
        "DROP SCHEMA api CASCADE; ALTER TABLE otc_trades ALTER price TYPE numeric(20, 9)",
    ],
)
def test_a_database_that_drifted_is_told_apart(connection: Connection, database_url: str, drift: str) -> None:
    connection.execute(drift)
    connection.commit()
    with pytest.raises(AssertionError):
        test_migrations_build_what_the_schema_declares(database_url)


def _type_name(column: Column[Any]) -> str:
    name = str(column.type.compile(dialect=create_engine("postgresql+psycopg://").dialect)).split(" COLLATE")[0].lower()
    names = {"double": "double precision", "timestamp with time zone": "timestamp with time zone"}
    return names.get(name, name).replace(", ", ",")


def test_columns_stand_in_the_declared_order(connection: Connection) -> None:
    for table in metadata.sorted_tables:
        rows = connection.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum",
            (table.name,),
        ).fetchall()
        assert [row[0] for row in rows] == [column.name for column in table.columns], table.name


def test_every_index_is_what_it_is_declared_to_be(connection: Connection) -> None:
    rows = connection.execute("""
        SELECT indexname, indexdef FROM pg_indexes
        WHERE schemaname = 'public' AND tablename LIKE 'otc%' AND indexname NOT LIKE '%\\_pkey'""").fetchall()
    dialect = create_engine("postgresql+psycopg://").dialect
    indexes = [index for table in metadata.sorted_tables for index in table.indexes]
    declared = {str(index.name): _plain(str(CreateIndex(index).compile(dialect=dialect))) for index in indexes}
    uniques = [
        constraint
        for table in metadata.sorted_tables
        for constraint in table.constraints
        if isinstance(constraint, UniqueConstraint)
    ]
    found = {name: _plain(text) for name, text in rows}
    named_by_the_server = {f"{one.table.name}_{'_'.join(column.name for column in one.columns)}_key" for one in uniques}
    assert {name: text for name, text in found.items() if name not in named_by_the_server} == declared
    assert set(found) - set(declared) == named_by_the_server


def _plain(text: str) -> str:
    """An index definition without what PostgreSQL adds: schema, method, casts and brackets."""
    for noise in ("public.", "USING btree ", " ONLY", "::text", "(", ")"):
        text = text.replace(noise, "")
    return " ".join(text.split())


def test_every_table_and_column_says_what_it_is() -> None:
    for table in metadata.sorted_tables:
        assert table.comment, table.name
        assert [column.name for column in table.columns if not (column.comment or "").endswith(".")] == [], table.name


def test_every_index_carries_its_reason_by_name_and_belongs_to_its_table() -> None:
    indexes: list[Index] = [index for table in metadata.sorted_tables for index in table.indexes]
    assert [index.name for index in indexes if not str(index.name).startswith(f"{index.table.name}_")] == []


@pytest.mark.parametrize("table", PARTITIONED)
def test_the_big_tables_are_partitioned_as_declared(connection: Connection, table: str) -> None:
    row = connection.execute("SELECT pg_get_partkeydef(%s::regclass)", (table,)).fetchone()
    assert row is not None
    assert row[0] == PARTITIONED[table] == metadata.tables[table].dialect_options["postgresql"]["partition_by"]


def test_leaves_and_tables_under_construction_have_schemas_of_their_own(
    connection: Connection,
) -> None:
    rows = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'otc%' ORDER BY 1").fetchall()
    assert [row[0] for row in rows] == sorted([BUILD, LEAVES])


# --- running migrations


def test_status_lists_what_is_pending_and_migrating_twice_is_a_no_op(server: EmbeddedServer) -> None:
    with unmigrated(server, "test_schema_pending") as url:
        pending = migrate.status(url)
        assert pending[0] == "0001"
        assert pending == sorted(pending)
        migrate.upgrade(url)
        assert migrate.status(url) == []
        with psycopg.connect(url) as connection:
            before = connection.execute("SELECT oid, relname FROM pg_class ORDER BY oid").fetchall()
        migrate.upgrade(url)
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT oid, relname FROM pg_class ORDER BY oid").fetchall() == before


def test_a_migration_that_fails_leaves_nothing_behind_and_says_so_in_one_line(server: EmbeddedServer) -> None:
    with unmigrated(server, "test_schema_failing") as url:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE otc_trades (other integer)")
        with pytest.raises(WarehouseError) as error:
            migrate.upgrade(url)
        assert "rolled back" in str(error.value)
        assert "otc_trades" in str(error.value)
        assert "\n" not in str(error.value)
        with psycopg.connect(url) as connection:
            rows = connection.execute("SELECT tablename FROM pg_tables WHERE tablename LIKE 'otc%'").fetchall()
        assert [row[0] for row in rows] == ["otc_trades"]
        assert migrate.status(url) != []


@pytest.mark.parametrize("ask", [migrate.upgrade, migrate.status])
def test_a_database_that_does_not_answer_is_one_line(ask: Any) -> None:
    with pytest.raises(WarehouseError) as error:
        ask("postgresql://nobody@127.0.0.1:1/nothing?connect_timeout=2")
    assert "\n" not in str(error.value)
    with pytest.raises(WarehouseError, match="must be a postgresql:// address"):
        ask("mysql://somewhere/else")


# --- invariants the database keeps by itself


FILE = """
    INSERT INTO otc_files (source, report_date, part, path, sha256, rows, lines, blank_lines, trailer_lines, status,
                           known_at)
    VALUES ('otc', '2026-03-02', %s, 'x', %s, 1, 2, 0, 0, %s, now())"""
METRIC = """
    INSERT INTO otc_metrics_daily
        (symbol, trade_date, revision, known_to, {counts}, rules_version, computed_at, known_from)
    VALUES ('ACME', '2026-03-02', %s, %s, {zeros}, 'x', now(), now())"""


def metric(connection: Connection, revision: int, known_to: str | None) -> None:
    """A row of nothing but what must be there."""
    counts = [column.name for column in METRIC_VALUES if not column.nullable] + ["input_rows"]
    text = METRIC.format(counts=", ".join(counts), zeros=", ".join("0" for _ in counts))
    connection.execute(text, (revision, known_to))


def test_two_live_versions_of_a_file_are_impossible(connection: Connection) -> None:
    connection.execute(FILE, ("", "a", "live"))
    connection.execute(FILE, ("", "b", "superseded"))
    connection.execute(FILE, ("b", "a", "live"))
    with pytest.raises(psycopg.errors.UniqueViolation, match="otc_files_live"):
        connection.execute(FILE, ("", "c", "live"))


def test_the_same_bytes_twice_are_impossible_unless_they_were_refused(
    connection: Connection,
) -> None:
    connection.execute(FILE, ("", "a", "rejected"))
    connection.execute(FILE, ("", "a", "rejected"))
    connection.execute(FILE, ("", "a", "superseded"))
    with pytest.raises(psycopg.errors.UniqueViolation, match="otc_files_content"):
        connection.execute(FILE, ("", "a", "live"))


def test_two_current_rows_of_a_symbol_and_day_are_impossible(connection: Connection) -> None:
    metric(connection, 1, "2026-03-03")
    metric(connection, 2, None)
    with pytest.raises(psycopg.errors.UniqueViolation, match="otc_metrics_daily_current"):
        metric(connection, 3, None)


def test_a_row_outside_every_leaf_is_impossible(connection: Connection) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="no partition"):
        connection.execute("INSERT INTO otc_trades_raw (report_date, file_id, line_no) VALUES ('2026-03-02', 1, 2)")
