"""``spine doctor``: a line for each part, also when parts are down; the connection budget; ``spine db reset``."""

import json
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import psycopg
import pytest
from dagster import DagsterRunStatus
from dagster._core.test_utils import create_run_for_test

from market_spine.cli.examination import examine
from market_spine.errors import SettingsError
from market_spine.ledger import connections, health
from market_spine.ledger.health import FAIL, OK, WARN, Finding, Server
from market_spine.ledger.tags import SIGN_OF_LIFE
from market_spine.settings import LandingAddress, Settings
from market_spine.warehouse import migrate
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine.warehouse.engine import plain_url
from market_spine.warehouse.reset import reset
from market_spine_tests.conftest import DatabaseFactory
from market_spine_tests.deployed import DAEMON, WEBSERVER, Deployed, deployed
from market_spine_tests.orchestrated import PROJECT, deliver, instance_on

PARTS = (
    "market database",
    "market schema",
    "clock",
    "dead letters",
    "dagster database",
    "daemon",
    "code location",
    "queue normal",
    "queue backfill",
    "runs",
    "slots",
    "disk",
    "landing folder",
    "landed files",
    "connections",
)


@pytest.fixture(scope="module")
def site(
    server: EmbeddedServer, new_database: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    with deployed(server, new_database, tmp_path_factory.mktemp("doctor"), automation=False) as made:
        yield made


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {one.what: one for one in findings}


def test_a_deployment_that_is_well_says_so_in_every_line_within_three_seconds(site: Deployed) -> None:
    site.wait_for(lambda: by_name(examine(site.settings))["daemon"].state == OK, 60)
    before = time.monotonic()
    findings = examine(site.settings)
    assert time.monotonic() - before < 3
    assert tuple(one.what for one in findings) == PARTS
    assert {one.what: one.says for one in findings if one.state != OK and one.what != "disk"} == {}
    done = site.spine("doctor", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert {one["what"]: one["state"] for one in json.loads(done.stdout)}.keys() == set(PARTS)


def test_a_run_without_a_process_is_told_and_ended_at_once_when_asked_to(
    site: Deployed, server: EmbeddedServer, tmp_path: Path
) -> None:
    name = site.settings.dagster_database_url.partition("?")[0].rpartition("/")[2]
    with instance_on(server, name, tmp_path / "home") as instance:
        run_id = create_run_for_test(instance, job_name="job", status=DagsterRunStatus.STARTED).run_id
        instance.add_run_tags(run_id, {SIGN_OF_LIFE: run_id})
        said = by_name(examine(site.settings))["runs"]
        assert (said.state, run_id in said.says, "spine doctor --fix" in said.do) == (WARN, True, True)
        done = site.spine("doctor", "--fix")
        assert done.returncode == 0, done.stderr
        assert f"run {run_id} is FAILURE now" in done.stderr
        assert by_name(examine(site.settings))["runs"].state == OK


def test_parts_that_are_down_have_their_line_and_hide_no_other(site: Deployed) -> None:
    site.kill(WEBSERVER)
    site.kill(DAEMON)
    with psycopg.connect(plain_url(site.settings.dagster_database_url)) as connection:
        connection.execute("UPDATE daemon_heartbeats SET timestamp = timestamp - interval '10 minutes'")
    findings = by_name(examine(site.settings))
    failed = {what: one.do or one.says for what, one in findings.items() if one.state == FAIL}
    assert set(failed) == {"code location", "daemon"}
    assert "webserver does not answer" in failed["code location"]
    assert "start the daemon" in failed["daemon"]
    assert site.spine("doctor").returncode == 1


def test_with_everything_down_every_line_says_so_and_none_is_a_traceback(tmp_path: Path) -> None:
    nowhere = "postgresql://postgres@127.0.0.1:1/nothing"
    settings = Settings(
        database_url=nowhere, dagster_database_url=nowhere, landing=tmp_path / "none", state_dir=tmp_path / "state"
    )
    before = time.monotonic()
    findings = by_name(examine(settings))
    assert time.monotonic() - before < 3
    failed = {what for what, one in findings.items() if one.state == FAIL}
    assert failed == {
        "market database", "dagster database", "daemon", "code location", "queue", "runs", "landing folder",
    }  # fmt: skip
    assert all("\n" not in one.says and one.says for one in findings.values())


def test_files_that_will_never_be_loaded_are_told(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state", landing=tmp_path / "landing")
    (saturday, wednesday) = date(2026, 3, 7), date(2026, 3, 4)
    deliver(settings, wednesday)
    said = by_name(examine(settings))["landed files"]
    assert (said.state, said.says) == (OK, "1 files of 1 report dates")
    deliver(settings, wednesday, name=f"otc_{wednesday}.csv.gz")
    said = by_name(examine(settings))["landed files"]
    assert (said.state, "claims the same source, report date, part and version" in said.says) == (WARN, True)
    assert "spine inventory" in said.do
    deliver(settings, saturday)
    said = by_name(examine(settings))["landed files"]
    assert said.state == WARN
    assert said.says.endswith("(and 1 more)")
    (settings.landing / "otc" / f"otc_{wednesday}.csv.gz").unlink()
    assert f"{saturday} is no session of XNYS" in by_name(examine(settings))["landed files"].says


def test_a_store_that_is_slow_to_list_is_a_warning_of_its_files_alone(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as never_answers:
        address = LandingAddress(f"http://127.0.0.1:{never_answers.getsockname()[1]}/landing")
        said = by_name(examine(Settings(state_dir=tmp_path / "state", landing=address)))
    assert (said["landing folder"].state, said["landed files"].state) == (FAIL, WARN)
    assert "spine inventory" in said["landed files"].do


def test_an_embedded_server_that_does_not_run_is_told_and_not_started(tmp_path: Path) -> None:
    findings = by_name(examine(Settings(state_dir=tmp_path / "state", landing=tmp_path)))
    assert "start it with spine up" in findings["market database"].says
    assert EmbeddedServer(tmp_path / "state" / "server").pid is None


@pytest.mark.parametrize(("seconds", "state"), [(0.2, OK), (-2.0, WARN), (31.0, FAIL)])
def test_a_clock_that_is_off_is_told(seconds: float, state: str) -> None:
    assert health.clock(Server(18, seconds, 0, 0, 0)).state == state


def test_migrations_that_were_not_run_are_told(server: EmbeddedServer, tmp_path: Path) -> None:
    server.ensure_database("empty_for_the_doctor")
    url = server.url("empty_for_the_doctor")
    findings = by_name(examine(Settings(database_url=url, dagster_database_url=url, landing=tmp_path)))
    assert findings["market schema"].state == FAIL
    assert "spine db migrate" in findings["market schema"].do
    assert "dagster instance migrate" in findings["daemon"].do


# --- the connection budget


def test_the_budget_grows_with_runs_and_builders() -> None:
    settings = Settings()
    one, two = (connections.most(connections.budget(settings, runs)) for runs in (1, 2))
    assert two - one == connections.RUN + settings.build_connections + connections.AHEAD
    alone = replace(settings, build_connections=1)
    assert connections.most(connections.budget(alone, 2)) == two - 2 * (1 + connections.AHEAD), "nothing begun early"
    more = replace(settings, build_connections=settings.build_connections + 3)
    assert connections.most(connections.budget(more, 2)) == two + 2 * 3


def test_the_project_as_it_is_stays_within_its_budget_and_that_of_the_embedded_server() -> None:
    runs = connections.runs_at_once(PROJECT / "dagster.yaml")
    assert connections.too_many(Settings(), runs, 190) == ""


def test_too_many_connections_are_refused_with_the_figures_and_what_to_lower() -> None:
    problem = connections.too_many(Settings(), 30)
    assert "30 runs at once" in problem
    assert "MARKET_SPINE_MAX_CONNECTIONS is 90" in problem
    assert "max_concurrent_runs" in problem
    assert "the server takes 20" in connections.too_many(Settings(), 2, 20)


def test_an_instance_without_a_limit_of_runs_has_no_budget(tmp_path: Path) -> None:
    path = tmp_path / "dagster.yaml"
    path.write_text("telemetry: {enabled: false}\n")
    assert connections.runs_at_once(path) == connections.DAGSTER_DEFAULT_RUNS
    path.write_text("concurrency: {runs: {max_concurrent_runs: -1}}\n")
    with pytest.raises(SettingsError, match="expected a limit"):
        connections.runs_at_once(path)
    with pytest.raises(SettingsError, match="cannot be read"):
        connections.runs_at_once(tmp_path / "none.yaml")


# --- reset


def test_reset_makes_the_market_tables_anew_and_leaves_those_of_others(database_url: str) -> None:
    with psycopg.connect(plain_url(database_url)) as connection:
        connection.execute("CREATE TABLE somebody_elses (value integer)")
        connection.execute("INSERT INTO otc_dirty_days (day, reason, marked_at) VALUES ('2026-02-02', 'x', now())")
    reset(database_url)
    with psycopg.connect(plain_url(database_url)) as connection:
        assert connection.execute("SELECT count(*) FROM otc_dirty_days").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM somebody_elses").fetchone() == (0,)
    assert migrate.status(database_url) == []


def test_the_command_refuses_while_runs_are_under_way_and_empties_dagsters_tables_too_when_asked(
    server: EmbeddedServer, site: Deployed, tmp_path: Path
) -> None:
    name = site.settings.dagster_database_url.partition("?")[0].rpartition("/")[2]
    with instance_on(server, name, tmp_path / "home") as instance:
        run = create_run_for_test(instance, job_name="job", status=DagsterRunStatus.STARTED)
        done = site.spine("db", "reset", "--yes")
        assert (done.returncode, "1 runs are under way" in done.stderr) == (1, True)
        instance.report_run_failed(run)
    assert site.spine("db", "reset", "--yes").returncode == 0
    assert site.ledger_rows("SELECT count(*) > 0 FROM runs") == [(True,)]
    done = site.spine("db", "reset", "--yes", "--dagster")
    assert done.returncode == 0, done.stderr
    assert site.ledger_rows("SELECT count(*) FROM runs") == [(0,)]
    assert site.rows("SELECT count(*) FROM otc_files") == [(0,)]
