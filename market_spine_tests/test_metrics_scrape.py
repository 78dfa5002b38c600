"""``GET /metrics`` and ``GET /health/metrics``: the format, databases that are away, requests, the documentation.

Belongs here: how it is answered. Does not belong here: whether the numbers are right (``test_metrics``).
"""

import asyncio
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from jsonschema_rs import validator_for
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain

from market_spine.ledger import health
from market_spine.observability import metrics_scrape
from market_spine.observability.metrics_reading import Away
from market_spine.settings import Settings, Tokens
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine_tests.conftest import DatabaseFactory
from market_spine_tests.old_runs import storage_of
from market_spine_tests.orchestrated import PROJECT, Orchestra, deliver, shared_orchestra
from market_spine_tests.processes import free_port
from market_spine_tests.scraping import FULL, a_run, families, scraped, settings_of, watched
from market_spine_tests.serving import Api, assert_problem, serving
from market_spine_tests.test_metrics_sessions import GOOD

DOCUMENTATION = PROJECT / "docs" / "monitoring.md"
NOBODY = "postgresql://nobody@127.0.0.1:1/nothing"
LETTER = """INSERT INTO otc_dead_letters (asset, partition, run_id, reason, tries, retries, first_failed_at,
                last_failed_at)
            VALUES ('otc_trades', '2026-01-05', 'x', 'no file', 1, 0, now() - interval '1 h', now())"""


@pytest.fixture(scope="module")
def world(
    server: EmbeddedServer, new_database: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Orchestra]:
    """One session, one run that waits, a daemon heard of, an open dead letter."""
    with shared_orchestra(server, new_database, tmp_path_factory.mktemp("scrape")) as made:
        deliver(made.settings, GOOD)
        assert made.run(FULL, GOOD).success
        a_run(made)
        made.tamper(LETTER)
        with storage_of(made).connect() as connection:
            connection.execute(
                """INSERT INTO daemon_heartbeats (daemon_type, daemon_id, timestamp, body)
                   SELECT name, 'x', localtimestamp, '{}' FROM unnest(%s::text[]) AS name""",
                (list(health.DAEMONS),),
            )
        yield made


@pytest.fixture(scope="module")
def api(world: Orchestra) -> Iterator[Api]:
    with watched(world) as made:
        yield made


# --- the format


def test_prometheus_gets_its_own_format_and_openmetrics_when_it_accepts_that(api: Api) -> None:
    usual = api.get("/metrics")
    assert usual.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert usual.headers["cache-control"] == "no-store"
    names = {family.name for family in plain(usual.text)}
    accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"
    other = api.get("/metrics", accept=accept)
    assert other.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert other.text.endswith("# EOF\n")
    assert {family.name for family in open_metrics(other.text)} == names
    assert len(names) > 30


def test_a_parameter_is_refused_as_everywhere(api: Api) -> None:
    for path in ("/metrics", "/health/metrics"):
        assert_problem(api.get(f"{path}?a=1"), "unknown_parameter", field="a")


def test_neither_address_asks_for_a_token(world: Orchestra) -> None:
    with watched(world, api_read_tokens=Tokens("read-0123456789abcdef")) as guarded:
        assert guarded.get("/api/v1/executions").status_code == 401
        assert guarded.get("/metrics").status_code == 200
        assert guarded.get("/health/metrics").status_code == 200


# --- docs/monitoring.md


def documented() -> dict[str, tuple[str, set[str]]]:
    """Type and labels of each metric that has a line in the documentation."""
    lines = re.findall(
        r"^\| `(spine_\w+)` \| (\w+) \|([^|]*)\| \S", DOCUMENTATION.read_text(encoding="utf-8"), re.MULTILINE
    )
    return {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in lines}


def test_every_metric_has_its_line_with_type_and_labels_and_every_line_its_metric(api: Api) -> None:
    api.get("/health/live")
    found = {}
    for family in families(api):
        if not family.name.startswith("spine_"):
            assert family.name.startswith(("process_", "python_")), family.name
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert family.samples, f"{name} is only documented if the tests see one of it"
        assert family.documentation.endswith("."), name
        found[name] = (family.type, labels)
    assert found == documented()


def test_every_state_and_trigger_is_documented(api: Api) -> None:
    text = DOCUMENTATION.read_text(encoding="utf-8")
    for (state,) in scraped(api)["spine_sessions"]:
        assert f"`{state}`" in text
    for source in ("api", "cli", "schedule", "sensor", "backfill", "retry", "ui"):
        assert f"`{source}`" in text


# --- databases that are away


def assert_without(settings: Settings, *, ledger: bool, warehouse: bool) -> None:
    """What is away is told, its metrics are missing, and all of it quickly."""
    with serving(settings) as api:
        for _ in range(2):
            began = time.monotonic()
            found = scraped(api)
            assert time.monotonic() - began < metrics_scrape.PATIENCE_SECONDS + 2
            assert found["spine_ledger_up"] == {(): ledger}
            assert found["spine_warehouse_up"] == {(): warehouse}
            assert ("spine_pending_executions" in found) == ("spine_executions_total" in found) == ledger
            assert ("spine_dlq_unresolved" in found) == ("spine_sessions_overdue" in found) == warehouse
            assert ("spine_sessions" in found) == (ledger and warehouse)
            assert "process_resident_memory_bytes" in found
            assert found["spine_http_requests_in_progress"] == {(): 1}


def test_a_ledger_that_is_away_leaves_the_sessions_data(world: Orchestra) -> None:
    settings = replace(settings_of(world), dagster_database_url=NOBODY)
    assert_without(settings, ledger=False, warehouse=True)
    with serving(settings) as api:
        assert_problem(api.get("/health/metrics"), "dagster_unavailable", says="cannot be read")


def test_a_market_database_that_is_away_leaves_the_executions(world: Orchestra) -> None:
    settings = replace(settings_of(world), database_url=NOBODY)
    assert_without(settings, ledger=True, warehouse=False)
    with serving(settings) as api:
        body = api.get("/health/metrics").json()
    assert body["lanes"]["normal"]["queued"] == 1
    assert body["dead_letters"] is body["sessions"] is body["newest_session"] is body["sessions_overdue"] is None
    assert body["status"] == "fail"
    (finding,) = [one for one in body["findings"] if one["what"] == "market database"]
    assert "127.0.0.1" in finding["says"]


def test_a_ledger_that_nobody_named_is_away(world: Orchestra) -> None:
    assert_without(replace(settings_of(world), dagster_database_url=""), ledger=False, warehouse=True)


def test_a_database_that_is_not_dagsters_is_away_and_gets_no_schema(world: Orchestra) -> None:
    market = world.settings.database_url
    assert_without(replace(settings_of(world), dagster_database_url=market), ledger=False, warehouse=True)
    assert world.rows("SELECT count(*) FROM pg_namespace WHERE nspname = 'market_spine'") == [(0,)]


def test_a_server_that_accepts_and_never_answers_is_not_waited_for(world: Orchestra) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=8) as mute:
        url = f"postgresql://nobody@127.0.0.1:{mute.getsockname()[1]}/nothing"
        assert_without(replace(settings_of(world), dagster_database_url=url), ledger=False, warehouse=True)


def test_a_connection_that_the_server_ended_costs_no_scrape(world: Orchestra, api: Api) -> None:
    assert scraped(api)["spine_ledger_up"] == {(): 1}
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'market_spine_metrics'"
    assert len(world.rows(kill)) >= 2
    found = scraped(api)
    assert found["spine_ledger_up"] == found["spine_warehouse_up"] == {(): 1}


def test_a_database_that_comes_back_is_read_again_and_both_are_logged_once(
    world: Orchestra, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", metrics_scrape.__name__)
    with watched(world) as api:
        kept = api.app.state.scraper._ledger.kept
        for _ in range(3):
            assert scraped(api)["spine_ledger_up"] == {(): 1}
        right = kept.url
        kept.close()
        kept.url = NOBODY
        for _ in range(3):
            assert scraped(api)["spine_ledger_up"] == {(): 0}
        kept.url = right
        for _ in range(3):
            assert scraped(api)["spine_ledger_up"] == {(): 1}
    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in lines] == ["WARNING", "INFO"]
    assert lines[0][1].startswith("Dagster's database cannot be read for metrics: ")


# --- beside others


def test_while_a_reading_hangs_others_are_answered_and_no_second_one_is_begun(
    world: Orchestra, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_scrape, "PATIENCE_SECONDS", 1.0)
    with watched(world) as api, storage_of(world).hold(autocommit=False) as connection:
        assert scraped(api)["spine_ledger_up"] == {(): 1}
        connection.execute("LOCK TABLE runs IN ACCESS EXCLUSIVE MODE")

        async def together() -> tuple[list[str], float, float]:
            transport = httpx.ASGITransport(app=api.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://api", timeout=60) as client:
                began = time.monotonic()
                scrapes = [asyncio.create_task(client.get("/metrics")) for _ in range(5)]
                await asyncio.sleep(0.2)
                asked = time.monotonic()
                assert (await client.get("/health/live")).status_code == 200
                alive = time.monotonic() - asked
                texts = [(await one).text for one in scrapes]
                return texts, alive, time.monotonic() - began

        texts, alive, whole = api.loop.run_until_complete(together())
        assert alive < 0.3
        assert whole < 3
        assert all("spine_ledger_up 0.0" in text and "spine_warehouse_up 1.0" in text for text in texts)
        waiting = """SELECT count(*) FROM pg_stat_activity WHERE application_name = 'market_spine_metrics'
                     AND wait_event_type = 'Lock' AND datname = current_database()"""
        assert connection.execute(waiting).fetchone() == (1,)
        connection.rollback()
        deadline = time.monotonic() + 10
        while scraped(api)["spine_ledger_up"] != {(): 1}:
            assert time.monotonic() < deadline


def test_scrapes_at_the_same_moment_share_one_reading(api: Api) -> None:
    async def together() -> list[metrics_scrape.Snapshot]:
        return list(await asyncio.gather(*(api.app.state.scraper.snapshot() for _ in range(5))))

    first, *others = api.loop.run_until_complete(together())
    assert not isinstance(first.ledger, Away)
    assert all(one.ledger is first.ledger and one.market is first.market for one in others)
    later = api.loop.run_until_complete(together())[0]
    assert later.ledger is not first.ledger


# --- requests


def test_requests_are_counted_by_the_route_that_answered(world: Orchestra) -> None:
    with watched(world) as api:
        api.get("/health/live")
        for number in range(3):
            api.get(f"/api/v1/executions/{number}")
        api.get("/api/v1/executions/events")
        api.get("/api/v1/otc/metrics/daily?symbol=ACME")
        api.get("/api/v1/executions?limit=0")
        api.ask("POST", "/health/live")
        for number in range(3):
            api.get(f"/wp-admin/{number}.php")
        api.ask("PROPFIND", "/health/live")
        found = scraped(api)
    one = "/api/v1/executions/{id}"
    assert found["spine_http_requests_total"] == {
        ("GET", "/health/live", "200"): 1,
        ("GET", one, "404"): 4,
        ("GET", "/api/v1/otc/metrics/daily", "200"): 1,
        ("GET", "/api/v1/executions", "422"): 1,
        ("POST", "/health/live", "405"): 1,
        ("GET", "unmatched", "404"): 3,
        ("other", "/health/live", "405"): 1,
    }
    assert found["spine_http_request_duration_seconds_count"]["GET", one] == 4
    assert 0 < found["spine_http_request_duration_seconds_sum"]["GET", one] < 10
    assert found["spine_http_requests_in_progress"] == {(): 1}


def test_an_application_counts_only_its_own_requests(world: Orchestra) -> None:
    with watched(world) as one, watched(world) as two:
        one.get("/health/live")
        scraped(two)
        assert ("GET", "/health/live", "200") not in scraped(two)["spine_http_requests_total"]


def test_a_fault_of_the_program_is_counted_as_the_500_that_is_answered(
    world: Orchestra, monkeypatch: pytest.MonkeyPatch
) -> None:
    with watched(world) as api:

        async def fault() -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(api.app.state.scraper, "snapshot", fault)
        assert_problem(api.get("/metrics"), "internal_error")
        monkeypatch.undo()
        assert scraped(api)["spine_http_requests_total"] == {("GET", "/metrics", "500"): 1}


# --- the same for people


def test_the_health_of_the_ledger_holds_its_schema_and_says_what_the_doctor_says(world: Orchestra, api: Api) -> None:
    answer = api.get("/health/metrics")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    body = answer.json()
    schema = api.app.openapi()["components"]["schemas"]["LedgerHealth"]
    validator_for({**schema, "additionalProperties": False}).validate(body)
    assert body["status"] == "warn"
    assert set(body["daemons"]) == set(health.DAEMONS)
    assert (body["lanes"]["normal"]["queued"], body["dead_letters"]["unresolved"]) == (1, 1)
    assert (body["newest_session"]["day"], body["newest_session"]["reports"]["live"]) == (str(GOOD), 10)
    assert body["sessions"]["complete"] == 1
    said = {one["what"]: one for one in body["findings"]}
    assert set(said) == {
        "dagster database", "daemon", "queue normal", "queue backfill", "runs", "slots", "dead letters"
    }  # fmt: skip
    finding = health.queue(storage_of(world), world.settings)[0]
    assert said["queue normal"] == vars(finding)
    assert said["dead letters"]["do"] == "spine dead-letter list, then retry or discard"


def test_an_address_that_no_server_has_is_away_at_once(world: Orchestra, tmp_path: Path) -> None:
    url = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
    with serving(replace(settings_of(world), dagster_database_url=url)) as api:
        began = time.monotonic()
        assert scraped(api)["spine_ledger_up"] == {(): 0}
        assert time.monotonic() - began < 1
