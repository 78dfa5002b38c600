"""Counters that come from the ledger: right, and the same from every process.

Belongs here: what a run is counted as. Does not belong here: clean-ups and gauges (``test_metrics_kept``), sessions
(``test_metrics_sessions``), how it is answered (``test_metrics_scrape``).
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

import httpx
import pytest
from dagster import DagsterRunStatus

from market_spine.calendar import TradingCalendar
from market_spine.ledger.tally import BUCKETS
from market_spine.settings import Settings
from market_spine_tests.old_runs import storage_of
from market_spine_tests.orchestrated import PROJECT, Orchestra, deliver
from market_spine_tests.processes import free_port
from market_spine_tests.scraping import (
    BY_JOB,
    COMPLETED,
    DURATION,
    FULL,
    SUBMITTED,
    a_run,
    count_everything,
    counters,
    end,
    risen,
    scraped,
    settings_of,
    watched,
)
from market_spine_tests.serving import Api

DAYS = iter(TradingCalendar(date(2026, 1, 2)).sessions(end=date(2026, 6, 30)))


@pytest.fixture(scope="module")
def world(shared: Orchestra) -> Orchestra:
    return shared


@pytest.fixture(scope="module")
def api(world: Orchestra) -> Iterator[Api]:
    with watched(world) as made:
        yield made


# --- counting


def test_a_run_that_ends_well_raises_its_counters_by_one(world: Orchestra, api: Api) -> None:
    day = next(DAYS)
    deliver(world.settings, day)
    before, all_before = counters(api), scraped(api)
    assert world.run(FULL, day).success
    after = counters(api)
    assert risen(before, after) == {
        (SUBMITTED, "normal", FULL, "ui"): 1,
        (COMPLETED, FULL, "success"): 1,
        (BY_JOB, FULL, "success"): 1,
    }
    assert after[f"{DURATION}_count"][FULL,] == before[f"{DURATION}_count"][FULL,] + 1
    took = after[f"{DURATION}_sum"][FULL,] - before[f"{DURATION}_sum"][FULL,]
    assert 0 < took < 60
    for bound in BUCKETS[:-1]:
        key = (str(bound), FULL)
        more = after[f"{DURATION}_bucket"][key] - before[f"{DURATION}_bucket"][key]
        assert more == (1 if took <= bound else 0), bound
    assert scraped(api)["spine_executions_total"][FULL, "success"] == (
        all_before["spine_executions_total"][FULL, "success"] + 1
    )


def test_a_run_that_fails_is_no_success(world: Orchestra, api: Api) -> None:
    before = counters(api)
    assert not world.run(FULL, next(DAYS)).success
    assert risen(before, counters(api)) == {
        (SUBMITTED, "normal", FULL, "ui"): 1,
        (COMPLETED, FULL, "failure"): 1,
        (BY_JOB, FULL, "failure"): 1,
    }


def test_a_run_is_submitted_once_and_completed_when_it_ends_before_or_after_it_is_in_the_totals(
    world: Orchestra, api: Api
) -> None:
    start = counters(api)
    early, late = a_run(world), a_run(world)
    submitted = {(SUBMITTED, "normal", FULL, "ui"): 2.0}
    assert risen(start, counters(api)) == submitted
    end(world, early, failed=True)
    count_everything(world)
    with_one = submitted | {(COMPLETED, FULL, "failure"): 1, (BY_JOB, FULL, "failure"): 1}
    assert risen(start, counters(api)) == with_one
    end(world, late)
    both = with_one | {(COMPLETED, FULL, "canceled"): 1, (BY_JOB, FULL, "canceled"): 1}
    assert risen(start, counters(api)) == both
    for _ in range(2):
        count_everything(world)
        assert risen(start, counters(api)) == both


def test_a_run_that_never_started_has_no_duration(world: Orchestra, api: Api) -> None:
    before = counters(api)
    end(world, a_run(world))
    count_everything(world)
    after = counters(api)
    assert after[f"{DURATION}_count"] == before[f"{DURATION}_count"]
    assert after[COMPLETED][FULL, "canceled"] == before[COMPLETED][FULL, "canceled"] + 1


def test_a_run_that_comes_to_life_again_never_lowers_a_counter(world: Orchestra, api: Api) -> None:
    run = a_run(world, DagsterRunStatus.STARTED)
    end(world, run, failed=True)
    count_everything(world)
    before = counters(api)
    with storage_of(world).connect() as connection:
        connection.execute("UPDATE runs SET status = 'STARTED' WHERE run_id = %s", (run,))
    assert counters(api) == before
    assert scraped(api)["spine_running_executions"]["normal",] == 1
    with storage_of(world).connect() as connection:
        connection.execute("UPDATE runs SET status = 'SUCCESS' WHERE run_id = %s", (run,))
    count_everything(world)
    assert counters(api) == before


@pytest.mark.parametrize(
    ("given", "lane", "pipeline", "source"),
    [
        ({}, "normal", FULL, "ui"),
        ({"market_spine__trigger_source": "api"}, "normal", FULL, "api"),
        ({"market_spine__trigger_source": "cli", "market_spine__lane": "backfill"}, "backfill", FULL, "cli"),
        ({"market_spine__trigger_source": "schedule", "dagster__schedule_name": "x"}, "normal", FULL, "schedule"),
        ({"dagster__schedule_name": "nightly_cleanup"}, "normal", FULL, "schedule"),
        ({"dagster__sensor_name": "landed_days"}, "normal", FULL, "sensor"),
        ({"market_spine__trigger_source": "retry"}, "normal", FULL, "retry"),
        ({"market_spine__trigger_source": "cli", "dagster__backfill": "abc"}, "backfill", FULL, "backfill"),
        (
            {
                "market_spine__logical_key": "otc_backfill_range:2026-01-02..2026-02-02",
                "market_spine__lane": "backfill",
            },
            "backfill",
            "otc_backfill_range",
            "ui",
        ),
        # somebody's free text makes no series of its own
        (
            {
                "market_spine__logical_key": "mine:17",
                "market_spine__lane": "fast",
                "market_spine__trigger_source": "me",
            },
            "normal",
            FULL,
            "ui",
        ),
    ],
)
def test_a_run_is_counted_by_what_its_tags_say(
    world: Orchestra, api: Api, given: dict[str, str], lane: str, pipeline: str, source: str
) -> None:
    before = counters(api)
    end(world, a_run(world, **given))
    expected = {
        (SUBMITTED, lane, pipeline, source): 1.0,
        (COMPLETED, pipeline, "canceled"): 1.0,
        (BY_JOB, FULL, "canceled"): 1.0,
    }
    assert risen(before, counters(api)) == expected
    count_everything(world)
    assert risen(before, counters(api)) == expected


# --- the same from every process


def test_two_apis_and_one_that_was_started_again_say_the_same(world: Orchestra, api: Api) -> None:
    a_run(world)
    with watched(world) as other:
        assert counters(other) == counters(api)
        count_everything(world)
        assert counters(other) == counters(api)
        end(world, a_run(world))
        assert counters(other) == counters(api)
    with watched(world) as again:
        assert counters(again) == counters(api)


@contextmanager
def served(settings: Settings) -> Iterator[str]:
    """``spine api`` as a process; answers with its address."""
    port = free_port()
    command = [sys.executable, "-m", "market_spine.cli.main", "api", "--port", str(port)]
    environment = {**os.environ, **settings.to_env(), "PYTHONPATH": str(PROJECT)}
    with subprocess.Popen(command, env=environment, cwd=PROJECT, stderr=subprocess.DEVNULL) as process:
        try:
            yield f"http://127.0.0.1:{port}/metrics"
        finally:
            process.terminate()


def _asked(address: str) -> list[str]:
    """The counters' lines."""
    transport = httpx.HTTPTransport(retries=9)  # 0.5, 1, 2, ... s: it is only starting
    with httpx.Client(transport=transport, timeout=30) as client:
        lines = client.get(address).raise_for_status().text.splitlines()
    names = (SUBMITTED, COMPLETED, BY_JOB, DURATION)
    return [line for line in lines if line.startswith(names)]


@pytest.mark.slow
def test_two_processes_of_the_api_say_the_same_also_after_both_were_killed(world: Orchestra) -> None:
    end(world, a_run(world))
    settings = settings_of(world)
    with served(settings) as one, served(settings) as two:
        said = _asked(one)
        assert len(said) > 100
        assert _asked(two) == said
    with served(settings) as again:
        assert _asked(again) == said


def test_runs_that_dagster_itself_deletes_stay_counted(world: Orchestra, api: Api) -> None:
    run = a_run(world)
    end(world, run)
    count_everything(world)
    before = counters(api)
    world.instance.delete_run(run)
    assert counters(api) == before
