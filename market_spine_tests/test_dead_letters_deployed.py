"""Dead letters on a deployed instance: real daemon, real queue, the `spine` command, killed processes.

Belongs here: that the parts work together. Does not belong here: each rule by itself (``test_dead_letters``).
"""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

import psycopg
import pytest

from market_spine.calendar import TradingCalendar
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine.warehouse.engine import LOCKS
from market_spine_tests.conftest import DatabaseFactory
from market_spine_tests.deployed import LOCATION, Deployed, deployed
from market_spine_tests.orchestrated import break_file, deliver

FULL = "otc_full_refresh"
BAD, EMPTY, LATE, KILLED, KILLED_FOR_GOOD = TradingCalendar(date(2026, 1, 2)).sessions()[:5]
START_SENSOR = """mutation ($sensor: SensorSelector!) { startSensor(sensorSelector: $sensor) { __typename
  ... on PythonError { message } } }"""
SET_CURSOR = """mutation ($sensor: SensorSelector!) { setSensorCursor(sensorSelector: $sensor) { __typename
  ... on Sensor { sensorState { typeSpecificData { ... on SensorData { lastCursor } } } }
  ... on PythonError { message } } }"""
CURSOR = """query ($sensor: SensorSelector!) { sensorOrError(sensorSelector: $sensor) { __typename
  ... on Sensor { sensorState { typeSpecificData { ... on SensorData { lastCursor } } } } } }"""


@pytest.fixture(scope="module")
def site(
    server: EmbeddedServer, new_database: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    settings = {"retry_seconds": 1, "stuck_seconds": 10}
    folder = tmp_path_factory.mktemp("letters_deployed")
    # No other sensor: the one of the landing folder would run every session that a test delivers by itself.
    with deployed(server, new_database, folder, settings=settings, automation=False) as made:
        for name in ("dead_letters", "reconcile_runs"):
            answer = made.webserver.ask(START_SENSOR, {"sensor": selector(made, name)})["startSensor"]
            assert answer["__typename"] == "Sensor", answer
        yield made


def selector(site: Deployed, sensor: str) -> dict[str, str]:
    return {"repositoryLocationName": LOCATION, "repositoryName": site.repository, "sensorName": sensor}


def letters(site: Deployed, day: date) -> list[dict[str, Any]]:
    done = site.spine("dead-letter", "list", "--all", "--json")
    assert done.returncode == 0, done.stderr
    return [one for one in json.loads(done.stdout) if one["partition"] == str(day)]


def states(site: Deployed, day: date) -> list[str]:
    """How the letters of a session stand, straight from the table."""
    rows = site.rows("SELECT coalesce(resolution, 'open') FROM otc_dead_letters WHERE partition = %s ORDER BY id", day)
    return [str(row[0]) for row in rows]


@pytest.fixture(scope="module")
def failed(site: Deployed) -> dict[date, dict[str, Any]]:
    """A letter for each of the first three days: a bad file on the first, none on the others. All at once, for time."""
    break_file(deliver(site.settings, BAD))
    runs = {day: site.launch(FULL, day) for day in (BAD, EMPTY, LATE)}
    assert site.wait_until_finished(*runs.values()) == ["FAILURE"] * 3
    site.wait_for(lambda: all(states(site, day) == ["open"] for day in runs), 60)
    found = {day: letters(site, day)[0] for day in runs}
    assert {day: one["run_id"] for day, one in found.items()} == runs
    return found


def test_a_bad_file_becomes_a_letter_and_its_retry_resolves_it_once_the_file_is_mended(
    site: Deployed, failed: dict[date, dict[str, Any]]
) -> None:
    letter = failed[BAD]
    assert letter["reason"].startswith(f"otc/otc_{BAD}.csv line 11: ")
    tags = "SELECT value FROM run_tags WHERE run_id = %s AND key = 'dagster/will_retry'"
    assert site.ledger_rows(tags, letter["run_id"]) == [("false",)]
    deliver(site.settings, BAD)
    done = site.spine("dead-letter", "retry", letter["id"], "--json")
    assert done.returncode == 0, done.stderr
    mended = json.loads(done.stdout)[0]["execution"]
    assert site.wait_until_finished(mended) == ["SUCCESS"]
    site.wait_for(lambda: states(site, BAD) == ["retried"], 60)
    (letter,) = letters(site, BAD)
    assert (letter["resolved_by"], letter["retries"], letter["tries"]) == (mended, 1, 1)
    linked: dict[str, str] = dict(site.ledger_rows("SELECT key, value FROM run_tags WHERE run_id = %s", mended))
    assert linked["dagster/parent_run_id"] == linked["market_spine/retry_of"] == failed[BAD]["run_id"]
    assert linked["market_spine/trigger_source"] == "retry"
    shown = site.spine("dead-letter", "show", letter["id"])
    assert shown.returncode == 0
    assert mended in shown.stdout
    assert f"otc/otc_{BAD}.csv" in shown.stdout
    assert site.rows("SELECT count(*) FROM otc_metrics_daily WHERE trade_date = %s", BAD) == [(3,)]
    refused = site.spine("dead-letter", "retry", letter["id"])
    assert (refused.returncode, "was retried on" in refused.stderr) == (1, True)


def test_a_discarded_letter_stays_discarded_when_the_sensor_has_lost_its_cursor(
    site: Deployed, failed: dict[date, dict[str, Any]]
) -> None:
    number = failed[EMPTY]["id"]
    done = site.spine("dead-letter", "discard", number, "--by", "ops", "--why", "no file will come")
    assert done.returncode == 0, done.stderr
    assert "is discarded" in done.stdout
    before = site.rows("SELECT * FROM otc_dead_letters ORDER BY id")
    site.kill_daemon()
    site.webserver.ask(SET_CURSOR, {"sensor": selector(site, "dead_letters")})
    assert not cursor(site)
    site.start_daemon()
    site.wait_for(lambda: cursor(site), 60)
    assert site.rows("SELECT * FROM otc_dead_letters ORDER BY id") == before


def cursor(site: Deployed) -> str | None:
    """Where the sensor stands."""
    found = site.webserver.ask(CURSOR, {"sensor": selector(site, "dead_letters")})["sensorOrError"]
    data = found["sensorState"]["typeSpecificData"]
    return str(data["lastCursor"]) if data and data["lastCursor"] else None


@pytest.mark.usefixtures("failed")
def test_a_letter_is_resolved_by_any_run_that_materializes_its_session(site: Deployed) -> None:
    deliver(site.settings, LATE)
    run_id = site.launch(FULL, LATE)
    assert site.wait_until_finished(run_id) == ["SUCCESS"]
    site.wait_for(lambda: states(site, LATE) == ["materialized"], 60)
    assert letters(site, LATE)[0]["resolved_by"] == run_id


@contextmanager
def held(site: Deployed, day: date) -> Iterator[None]:
    """The trades of a session are held by somebody, so that a run waits in the middle of it."""
    with psycopg.connect(site.settings.database_url) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCKS["otc_trades"], day.toordinal()))
        yield


def kill_worker(site: Deployed, run_id: str) -> None:
    """Kill the process of a run once it is in the middle of a session."""
    pid = "SELECT (event::json -> 'dagster_event' ->> 'pid')::int FROM event_logs WHERE run_id = %s AND "
    loaded = "dagster_event_type = 'ASSET_MATERIALIZATION'"
    ((found,),) = site.wait_for(lambda: site.ledger_rows(pid + loaded, run_id), 90)
    os.kill(int(found), signal.SIGKILL)


def test_a_killed_run_is_started_again_and_leaves_a_letter_only_when_it_is_not(site: Deployed) -> None:
    deliver(site.settings, KILLED)
    deliver(site.settings, KILLED_FOR_GOOD)
    with held(site, KILLED), held(site, KILLED_FOR_GOOD):
        runs = [site.launch(FULL, KILLED), site.launch(FULL, KILLED_FOR_GOOD, dagster__max_retries="0")]
        for run_id in runs:
            kill_worker(site, run_id)
    assert site.wait_until_finished(*runs) == ["FAILURE", "FAILURE"]

    again = "SELECT value FROM run_tags WHERE run_id = %s AND key = 'dagster/auto_retry_run_id'"
    ((child,),) = site.wait_for(lambda: site.ledger_rows(again, runs[0]), 60)
    assert site.wait_until_finished(str(child)) == ["SUCCESS"]

    site.wait_for(lambda: states(site, KILLED_FOR_GOOD) == ["open"], 60)
    assert states(site, KILLED) == []
    (letter,) = letters(site, KILLED_FOR_GOOD)
    assert (letter["asset"], letter["run_id"], letter["tries"]) == ("otc_trades", runs[1], 1)
    assert letter["reason"]
    done = site.spine("dead-letter", "retry", letter["id"], "--json")
    assert done.returncode == 0, done.stderr
    assert site.wait_until_finished(json.loads(done.stdout)[0]["execution"]) == ["SUCCESS"]
    site.wait_for(lambda: states(site, KILLED_FOR_GOOD) == ["retried"], 60)
