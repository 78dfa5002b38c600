"""Executions seen, canceled and retried on a deployed instance, and the commands that do it."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner, Result

from market_spine.cli.executions import parse_sessions
from market_spine.cli.main import app
from market_spine.errors import LedgerError, LogicalKeyActive, NotFound, QueueFull
from market_spine.ledger import tags as names
from market_spine.ledger.execution import Execution, Filters
from market_spine.ledger.executions import Executions
from market_spine.ledger.queue import Limits
from market_spine.ledger.submission import Desk, Submission
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine_tests.conftest import DatabaseFactory
from market_spine_tests.deployed import Deployed, deployed
from market_spine_tests.orchestrated import PROJECT, TABLES, break_file, deliver

GOOD, BAD, BUSY, LATER, NOW = (date(2026, 3, day) for day in (4, 5, 6, 9, 10))

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class World:
    """An instance with three finished runs."""

    site: Deployed
    desk: Desk
    executions: Executions
    good: str
    failed: str
    plain: str

    def spine(self, *arguments: object) -> Result:
        """The command in this process: a process of its own takes two seconds longer."""
        return CliRunner().invoke(app, [str(one) for one in arguments], env=self.site.environment)

    def answer(self, *arguments: object) -> Any:
        done = self.spine(*arguments, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def world(
    server: EmbeddedServer, new_database: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    with deployed(server, new_database, tmp_path_factory.mktemp("executions"), automation=False) as site:
        deliver(site.settings, GOOD)
        break_file(deliver(site.settings, BAD))
        desk = Desk.of(site.ledger, site.webserver, site.settings)
        good = desk.submit(Submission("otc_full_refresh", GOOD))
        failed = desk.submit(Submission("otc_backfill_range", GOOD, BAD))
        plain = site.launch("otc_normalize", GOOD, who="ui")
        assert site.wait_until_finished(good, failed, plain) == ["SUCCESS", "FAILURE", "SUCCESS"]
        yield World(site, desk, Executions(site.ledger), good, failed, plain)


# --- looking


def test_executions_are_listed_newest_first_and_page_by_page(world: World) -> None:
    everything = [one.run_id for one in world.executions.find(limit=100)]
    assert [one for one in everything if one in (world.good, world.failed, world.plain)] == [
        world.plain,
        world.failed,
        world.good,
    ]
    pages: list[str] = []
    while page := world.executions.find(limit=2, before=pages[-1] if pages else None):
        pages += [one.run_id for one in page]
    assert pages == everything
    with pytest.raises(NotFound, match="no execution nothing"):
        world.executions.find(before="nothing")


def found(world: World, **filters: Any) -> set[str]:
    runs = {one.run_id for one in world.executions.find(Filters(**filters), limit=100)}
    return runs & {world.good, world.failed, world.plain}


def test_each_filter_leaves_out_what_it_should(world: World) -> None:
    good, failed, plain = world.good, world.failed, world.plain
    assert found(world, statuses=["FAILURE"]) == {failed}
    assert found(world, statuses=["FAILURE", "SUCCESS"]) == {good, failed, plain}
    assert found(world, pipeline="otc_full_refresh") == {good}
    assert found(world, pipeline="otc_backfill_range") == {failed}
    assert found(world, pipeline="otc_normalize") == {plain}
    assert found(world, lane="backfill") == {failed}
    assert found(world, lane="normal") == {good, plain}
    assert found(world, session=GOOD) == {good, failed, plain}
    assert found(world, session=BAD) == {failed}
    assert found(world, session=BUSY) == set()
    assert found(world, tag=("who", "ui")) == {plain}
    assert found(world, since=datetime.now(UTC) - timedelta(hours=1)) == {good, failed, plain}
    assert found(world, since=datetime.now(UTC) + timedelta(hours=1)) == set()


def test_an_execution_is_shown_whole(world: World) -> None:
    good = world.executions.show(world.good)
    assert [good[name] for name in ("pipeline", "job", "sessions", "lane", "status", "trigger", "failure")] == [
        "otc_full_refresh",
        "otc_full_refresh",
        "2026-03-04",
        "normal",
        "SUCCESS",
        "cli",
        None,
    ]
    assert good["created"] <= good["queued"] <= good["dequeued"] <= good["started"] <= good["ended"]
    assert good["ended"] <= datetime.now(UTC)
    assert good["materialized_partitions"] == len(TABLES)
    assert [(step["step"], step["state"], step["tries"]) for step in good["steps"]] == [
        ("otc_sessions", "succeeded", 1)
    ]
    failed = world.executions.show(world.failed)
    assert (failed["sessions"], failed["lane"], failed["materialized_partitions"]) == (f"{GOOD}..{BAD}", "backfill", 3)
    assert failed["failure"].startswith("1 of 2 sessions failed; first: ")
    assert "\n" not in failed["failure"]
    assert failed["steps"][0]["state"] == "failed"
    plain = world.executions.show(world.plain)
    assert (plain["pipeline"], plain["trigger"], plain["parent"]) == ("otc_normalize", "dagster", None)


def test_the_beginning_of_an_id_is_enough_when_only_one_begins_so(world: World) -> None:
    assert world.executions.get(world.good[:8]).run_id == world.good
    for wrong in ("", world.good[:5], "ffffffffffff", f"{world.good}x", "%%%%%%%%"):
        with pytest.raises(NotFound, match="there is no execution"):
            world.executions.get(wrong)


def test_events_go_on_from_a_cursor(world: World) -> None:
    events = world.executions.events(world.failed)
    assert events == sorted(events, key=lambda event: event.number)
    head = world.executions.events(world.failed, limit=7)
    assert head + world.executions.events(world.failed, after=head[-1].number) == events
    assert {"PIPELINE_ENQUEUED", "STEP_START", "ASSET_MATERIALIZATION", "LOG", "PIPELINE_FAILURE"} <= {
        event.kind for event in events
    }
    refused = [event for event in events if event.level == "ERROR" and event.kind == "LOG"]
    assert len(refused) == 1
    assert refused[0].message.startswith("2 of 2 sessions, 2026-03-05: ")
    assert world.executions.failure(world.good) is None


# --- giving orders


def test_what_is_queued_is_canceled_at_once(world: World) -> None:
    world.site.kill_daemon()
    run_id = world.desk.submit(Submission("otc_ingest", LATER))
    assert world.executions.cancel(world.site.webserver, run_id[:10]).status == "CANCELED"
    with pytest.raises(LedgerError, match="nothing to cancel"):
        world.executions.cancel(world.site.webserver, run_id)
    with pytest.raises(NotFound):
        world.executions.cancel(world.site.webserver, "ffffffffffff")
    forced = world.desk.submit(Submission("otc_ingest", LATER))
    assert world.executions.cancel(world.site.webserver, forced, force=True).status == "CANCELED"
    world.site.start_daemon()


def test_what_runs_is_followed_refused_a_double_and_canceled(world: World) -> None:
    deliver(world.site.settings, BUSY)
    work = Submission("otc_ingest", BUSY)
    heard: list[str] = []
    with world.site.warehouse.connect() as connection:
        world.site.warehouse.lock_day(connection, "otc_trades_raw", BUSY)
        run_id = world.desk.submit(work)
        follower = threading.Thread(
            target=lambda: heard.extend(event.kind for event in world.executions.follow(run_id, every=0.1))
        )
        follower.start()
        world.site.wait_for(lambda: "STEP_START" in heard, every=0.1)
        with pytest.raises(LogicalKeyActive):
            world.desk.submit(work)
        with pytest.raises(LedgerError, match="is STARTED; wait for its end"):
            world.executions.retry(world.desk, run_id)
        world.executions.cancel(world.site.webserver, run_id)
        assert world.site.wait_until_finished(run_id, seconds=30) == ["CANCELED"]
        follower.join(10)
    assert not follower.is_alive()
    assert "PIPELINE_CANCELED" in heard
    assert len(heard) >= len(world.executions.events(run_id)) - 1  # the process says it is gone a moment later
    retried = world.executions.retry(world.desk, run_id)
    assert world.site.wait_until_finished(retried) == ["SUCCESS"]
    assert world.executions.get(retried).parent == run_id


def test_a_retry_is_a_new_execution_whose_parent_is_linked(world: World) -> None:
    deliver(world.site.settings, BAD)
    full = Desk(world.desk.ledger, world.desk.webserver, Limits(0, {}), world.desk.calendar)
    with pytest.raises(QueueFull):
        world.executions.retry(full, world.failed)
    retried = world.executions.retry(world.desk, world.failed)
    with pytest.raises(LogicalKeyActive) as caught:
        world.executions.retry(world.desk, world.failed)
    assert caught.value.run_id == retried
    assert world.site.wait_until_finished(retried) == ["SUCCESS"]
    one, parent = world.executions.get(retried), world.executions.show(world.failed)
    assert (one.parent, one.trigger, one.lane, one.sessions) == (world.failed, "retry", "backfill", f"{GOOD}..{BAD}")
    assert one.tags["dagster/priority"] == "-10"
    assert (parent["children"], parent["status"]) == ([retried], "FAILURE")
    assert str(BAD) in world.site.materialized("otc_metrics_daily")


def test_a_run_of_the_ui_is_retried_with_the_tags_it_had(world: World) -> None:
    retried = world.executions.retry(world.desk, world.plain)
    one = world.executions.get(retried)
    assert one.tags.items() >= {"who": "ui", names.PARTITION: str(GOOD), names.LANE: "normal"}.items()
    assert world.site.wait_until_finished(retried) == ["SUCCESS"]


# --- commands


def test_run_works_past_the_queue_and_says_how_it_ended(world: World) -> None:
    deliver(world.site.settings, NOW)
    done = world.site.spine("run", "otc_full_refresh", NOW, "--json", timeout=120)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["status"], answer["sessions"], answer["materialized_partitions"]) == ("SUCCESS", str(NOW), 3)
    assert "1 of 1 sessions, 2026-03-10: 10 reports, 10 trades, 3 symbols" in done.stderr
    assert world.executions.show(answer["id"])["queued"] is None


def test_ctrl_c_ends_the_run_and_its_process(world: World) -> None:
    with world.site.warehouse.connect() as connection:
        world.site.warehouse.lock_day(connection, "otc_trades_raw", BUSY)
        command = [sys.executable, "-m", "market_spine.cli.main", "run", "otc_ingest", str(BUSY)]
        process = subprocess.Popen(command, env=world.site.environment, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
        run_id = world.site.wait_for(
            lambda: [one.run_id for one in world.executions.find(Filters(session=BUSY, statuses=["STARTED"]))]
        )[0]
        world.site.wait_for(lambda: "STEP_START" in {one.kind for one in world.executions.events(run_id)})
        below = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert run_id in said
    assert world.site.statuses(run_id)[0] in ("FAILURE", "CANCELED")
    assert below
    assert [one for one in below if one.is_running()] == []


def test_run_says_why_it_failed_and_refuses_what_does_not_exist(world: World) -> None:
    failed = world.spine("run", "otc_ingest", "2026-03-11")
    assert failed.exit_code == 1
    assert "FAILURE" in failed.stdout
    assert "otc_2026-03-11" in failed.stdout or "2026-03-11" in failed.stdout
    for arguments, said in (
        (("otc_ingest", "2026-03-07"), "nearest: 2026-03-06 and 2026-03-09"),
        (("otc_ingest", "tomorrow"), "'tomorrow' is neither a date"),
        (("otc_nothing", "2026-03-06"), "no pipeline 'otc_nothing'"),
    ):
        for command in ("run", "dispatch"):
            refused = world.spine(command, *arguments)
            assert refused.exit_code == 2
            assert said in refused.stderr


def test_dispatch_queues_waits_and_tells_what_became_of_it(world: World) -> None:
    done = world.site.spine("dispatch", "otc_full_refresh", f"{GOOD}..{BAD}", "--lane", "backfill", "--wait", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["status"], answer["sessions"]) == ("SUCCESS", f"{GOOD}..{BAD}")
    assert "1 of 2 sessions" in done.stderr
    assert world.executions.get(answer["id"]).lane == "backfill"


def test_dispatch_of_what_is_under_way_ends_with_3(world: World) -> None:
    world.site.kill_daemon()
    run_id = world.answer("dispatch", "otc_ingest", LATER)["id"]
    again = world.spine("dispatch", "otc_ingest", LATER)
    assert again.exit_code == 3
    assert f"otc_ingest:{LATER} is under way as execution {run_id}" in again.stderr
    in_process = world.spine("run", "otc_ingest", LATER)
    assert in_process.exit_code == 3
    full = CliRunner().invoke(
        app, ["dispatch", "otc_ingest", str(NOW)], env={**world.site.environment, "MARKET_SPINE_QUEUE_LIMIT": "1"}
    )
    assert full.exit_code == 3
    assert "the queue holds 1 of at most 1 runs; try again in" in full.stderr
    assert world.answer("execution", "cancel", run_id) == [{"id": run_id, "status": "CANCELED"}]
    world.site.start_daemon()


def test_the_reads_answer_in_json_and_in_tables(world: World) -> None:
    listed = world.answer("execution", "list", "--status", "failure", "--session", BAD, "--limit", 1)
    assert [one["id"] for one in listed] == [world.failed]
    assert world.spine("execution", "list", "--pipeline", "otc_nothing").stdout == "no executions\n"
    assert world.failed[:8] in world.spine("execution", "list", "--lane", "backfill").stdout
    shown = world.answer("execution", "show", world.failed[:8])
    assert (shown["id"], shown["steps"][0]["state"]) == (world.failed, "failed")
    assert "otc_sessions" in world.spine("execution", "show", world.failed).stdout
    events = world.answer("execution", "events", world.good)
    later = world.answer("execution", "events", world.good, "--after", events[3]["number"])
    assert later == events[4:]
    lines = world.spine("execution", "events", "-f", world.good, "--json").stdout.splitlines()
    assert [json.loads(line)["number"] for line in lines] == [event["number"] for event in events]
    assert world.spine("execution", "show", "ffffffff").exit_code == 4
    assert world.spine("execution", "list", "--since", "soon").exit_code == 2


def test_a_range_is_two_dates_with_dots_between() -> None:
    assert parse_sessions("2026-03-04") == (GOOD, None)
    assert parse_sessions("2026-03-04..2026-03-05") == (GOOD, BAD)


def test_sessions_of_a_run_without_any_are_nothing() -> None:
    one = Execution(1, "a", "job", "STARTED", datetime.now(UTC), None, None, {})
    assert (one.sessions, one.pipeline, one.lane, one.parent, one.finished) == ("", "job", "normal", None, False)
