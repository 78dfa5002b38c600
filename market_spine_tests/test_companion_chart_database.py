"""The chart's own PostgreSQL cluster: what its operator is told to run makes databases our logins can work with.

Belongs here: the bootstrap of that cluster on a real server, and the migration's command as its Job runs it. Does not
belong here: whether the operator knows every field of the object, for its definition is not ours to ship.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from market_spine.settings import Settings
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine_tests.conftest import QUICK
from market_spine_tests.helm import ROOT, Object, render_companion
from market_spine_tests.kubernetes_objects import find, named_by, pods
from market_spine_tests.serving import assert_problem, serving


@cache
def objects() -> list[Object]:
    return render_companion("production", {"postgresqlCluster.enabled": "true"})


def cluster() -> dict[str, Any]:
    return dict(find(objects(), "Cluster", "market-spine-postgresql")["spec"])


@pytest.fixture(scope="module")
def made(short_folder: Path) -> Iterator[EmbeddedServer]:
    """A server as CloudNativePG makes it: the owner's login, postInitSQL as superuser, the database, managed roles."""
    server = EmbeddedServer(short_folder / "cluster", extra_config=QUICK)
    server.start()
    try:
        spec = cluster()
        initial = spec["bootstrap"]["initdb"]
        owner, database = sql.Identifier(initial["owner"]), sql.Identifier(initial["database"])
        with psycopg.connect(server.url("postgres"), autocommit=True) as admin:
            admin.execute(sql.SQL("CREATE ROLE {} LOGIN").format(owner))
            for statement in initial["postInitSQL"]:
                admin.execute(statement)
            admin.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, owner))
            there = {name for (name,) in admin.execute("SELECT rolname FROM pg_roles").fetchall()}
            for role in spec["managed"]["roles"]:
                name = sql.Identifier(role["name"])
                if role["name"] not in there:
                    admin.execute(sql.SQL("CREATE ROLE {} LOGIN INHERIT").format(name))
                for group in role.get("inRoles", []):
                    admin.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(group), name))
        yield server
    finally:
        server.remove()


def address(server: EmbeddedServer, database: str, login: str) -> str:
    return server.url(database).replace("postgresql://postgres@", f"postgresql://{login}@")


@pytest.fixture(scope="module")
def settings(made: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The addresses of the Secret market-spine."""
    return Settings(
        database_url=address(made, "market_spine", "market_spine"),
        dagster_database_url=address(made, "dagster", "dagster"),
        api_database_url=address(made, "market_spine", "market_spine_api"),
        state_dir=tmp_path_factory.mktemp("cluster"),
    )


@pytest.fixture(scope="module")
def migrated(settings: Settings) -> "subprocess.CompletedProcess[str]":
    """The migration's own command, with the variables its Job has and no others."""
    (pod,) = [pod for pod in pods(objects()) if pod.owner == "Job market-spine-migration"]
    keys = {one.key for one in named_by(pod) if one.kind == "Secret"}
    given = {name: value for name, value in settings.to_env().items() if name in keys}
    assert set(given) == {"DATABASE_URL", "DAGSTER_DATABASE_URL"}
    command = pod.containers[0]["command"]
    path = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        command,
        env={**path, **given, "MARKET_SPINE_STATE": str(settings.state_dir)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_migration_makes_both_schemas_as_logins_that_are_no_superusers(
    made: EmbeddedServer, migrated: "subprocess.CompletedProcess[str]"
) -> None:
    assert migrated.returncode == 0, migrated.stderr
    owners = "SELECT tableowner FROM pg_tables WHERE schemaname = 'public' AND tablename = %s"
    for database, table, login in (("market_spine", "otc_files", "market_spine"), ("dagster", "runs", "dagster")):
        with psycopg.connect(made.url(database)) as connection:
            assert connection.execute(owners, [table]).fetchall() == [(login,)]
            assert connection.execute(
                "SELECT rolsuper, rolcreaterole FROM pg_roles WHERE rolname = %s", [login]
            ).fetchall() == [(False, False)]


@pytest.mark.usefixtures("migrated")
def test_the_login_of_the_api_reads_views_and_nothing_else(made: EmbeddedServer, settings: Settings) -> None:
    with serving(settings) as api:
        assert api.get("/health/ready").status_code == 200
        assert api.get("/api/v1/otc/symbols").json()["data"] == []
    reader = psycopg.connect(address(made, "market_spine", "market_spine_api"))
    with reader, pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute("SELECT * FROM otc_files")


@pytest.mark.usefixtures("migrated")
def test_a_login_that_the_cluster_was_not_told_of_is_not_ready(made: EmbeddedServer, settings: Settings) -> None:
    with serving(replace(settings, api_database_url=address(made, "market_spine", "dagster"))) as api:
        assert_problem(api.get("/health/ready"), "not_ready")


def test_each_login_has_a_secret_and_one_that_the_other_release_reads_too() -> None:
    spec = cluster()
    named = {
        spec["bootstrap"]["initdb"]["secret"]["name"],
        *(role["passwordSecret"]["name"] for role in spec["managed"]["roles"]),
    }
    assert named == {"market-spine-postgresql-owner", "market-spine-postgresql", "market-spine-postgresql-reader"}


def test_its_server_is_set_up_for_partitions_and_as_many_connections_as_the_budget() -> None:
    parameters = cluster()["postgresql"]["parameters"]
    assert int(parameters["max_locks_per_transaction"]) >= 512
    settings = Settings.from_env(find(objects(), "ConfigMap", "market-spine")["data"])
    assert int(parameters["max_connections"]) >= settings.max_connections
