"""The sensor `landing_files` asks for one run for each version of a session's files, and loses none."""

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dagster import RunRequest, SensorResult, SkipReason, build_sensor_context

from market_spine.automation import landed_days
from market_spine.automation.jobs import FULL_REFRESH, REDO
from market_spine.automation.landing_sensor import Seen, landing_sensor
from market_spine.automation.sensors import dirty_days
from market_spine.calendar import TradingCalendar
from market_spine.ledger import tags
from market_spine.otc.steps import Steps
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine_tests.conftest import DatabaseFactory
from market_spine_tests.deployed import Deployed, deployed
from market_spine_tests.orchestrated import DAYS, Orchestra, break_file, cancel, deliver
from market_spine_tests.played_daemon import PlayedDaemon

FIRST, SECOND, THIRD = DAYS
SATURDAY = date(2026, 3, 7)
HOUR_AGO = 3600


class Watched(PlayedDaemon):
    """A landing folder of its own, and the sensor's cursor from tick to tick."""

    def __init__(self, world: Orchestra, landing: Path, **settings: Any) -> None:
        super().__init__(world, replace(world.settings, landing=landing, landing_quiet_seconds=0, **settings))
        self.cursor: str | None = None
        self.steps = Steps(self.settings)

    def look(self) -> SensorResult | SkipReason:
        definition = landing_sensor(self.settings)
        with build_sensor_context(
            instance=self.world.instance,
            definitions=self.world.defs,
            cursor=self.cursor,
            # As an argument of the call it would make a copy of the context, and the cursor would be lost with it.
            resources={"steps": self.steps},
        ) as context:
            answer = definition(context)
            self.cursor = context.cursor
        assert isinstance(answer, SensorResult | SkipReason)
        return answer

    def tick(self) -> list[RunRequest]:
        """The runs that a tick asks for."""
        answer = self.look()
        return list(answer.run_requests or ()) if isinstance(answer, SensorResult) else []

    def days(self) -> list[str | None]:
        return [request.partition_key for request in self.tick()]

    def reason(self) -> str:
        answer = self.look()
        assert isinstance(answer, SkipReason), answer
        return answer.skip_message or ""


@pytest.fixture
def watched(unasked: Orchestra, tmp_path: Path) -> Watched:
    return Watched(unasked, tmp_path / "landing")


def test_an_empty_folder_and_a_missing_one_are_named(watched: Watched) -> None:
    assert watched.reason() == f"no file of any feed is in {watched.settings.landing}"


def test_each_session_with_files_gets_one_run(watched: Watched) -> None:
    deliver(watched.settings, SECOND)
    deliver(watched.settings, FIRST, name=f"otc_{FIRST}_a.csv")
    deliver(watched.settings, FIRST, name=f"otc_{FIRST}_b.csv")
    requests = watched.tick()
    assert [one.partition_key for one in requests] == [str(FIRST), str(SECOND)]
    assert requests[0].tags == {
        tags.LANE: "backfill",
        tags.PRIORITY: "-10",
        tags.LOGICAL_KEY: f"otc_full_refresh:{FIRST}",
        tags.TRIGGER: "sensor",
    }
    assert watched.reason() == "nothing new: 2 report dates have files"


def test_a_recent_session_is_in_lane_normal_and_comes_first(watched: Watched) -> None:
    recent = TradingCalendar(date(2026, 1, 2)).previous_session(datetime.now(UTC).date(), 2)
    for day in (FIRST, recent):
        deliver(watched.settings, day)
    assert [(one.partition_key, one.tags[tags.LANE]) for one in watched.tick()] == [
        (str(recent), "normal"),
        (str(FIRST), "backfill"),
    ]


def test_a_restart_asks_for_nothing_again(watched: Watched) -> None:
    deliver(watched.settings, FIRST)
    (request,) = watched.tick()
    watched.cursor = str(watched.cursor)  # all that survives
    assert watched.tick() == []
    watched.launch(request)
    watched.cursor = None  # not even that
    assert watched.tick() == []
    assert "nothing new" in watched.reason()


def test_a_changed_file_gets_one_new_run_with_another_key(watched: Watched) -> None:
    deliver(watched.settings, FIRST)
    (before,) = watched.tick()
    watched.end(watched.launch(before))
    deliver(watched.settings, FIRST, count=12)
    (after,) = watched.tick()
    assert (after.partition_key, after.run_key == before.run_key) == (str(FIRST), False)
    assert watched.tick() == []


def test_a_change_of_neither_size_nor_day_is_seen(watched: Watched) -> None:
    path = deliver(watched.settings, FIRST)
    (request,) = watched.tick()
    watched.end(watched.launch(request))
    text = path.read_text()
    path.write_text(text.replace("ACME", "ACNE"))
    assert watched.days() == [str(FIRST)]


def test_a_file_that_changes_while_its_run_works_waits_and_is_not_forgotten(watched: Watched) -> None:
    deliver(watched.settings, FIRST)
    (request,) = watched.tick()
    run_id = watched.launch(request)
    deliver(watched.settings, FIRST, count=12)
    assert watched.reason() == f"{FIRST} waits for run {run_id[:8]}, which is under way"
    watched.end(run_id)
    assert watched.days() == [str(FIRST)]


def test_a_run_that_read_the_changed_file_already_is_answer_enough(watched: Watched, shared: Orchestra) -> None:
    day = TradingCalendar(date(2026, 1, 2)).sessions()[20]
    deliver(watched.settings, day)
    assert watched.days() == [str(day)]
    deliver(watched.settings, day, count=12)
    for _ in watched.steps.run_session(day, ("otc_trades_raw", "otc_trades", "otc_metrics_daily")):
        pass
    assert watched.tick() == []
    deliver(watched.settings, day, count=13)
    assert watched.days() == [str(day)]


def test_an_old_time_on_a_new_file_hides_nothing(watched: Watched) -> None:
    day = TradingCalendar(date(2026, 1, 2)).sessions()[21]
    path = deliver(watched.settings, day)
    for _ in watched.steps.run_session(day, ("otc_trades_raw", "otc_trades", "otc_metrics_daily")):
        pass
    assert watched.tick() == []
    path.write_text(path.read_text().replace("ACME", "ACNE"))
    os.utime(path, (time.time() - HOUR_AGO,) * 2)
    assert watched.days() == [str(day)]


def test_a_session_that_is_not_over_waits_without_being_lost(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver(watched.settings, FIRST)
    with monkeypatch.context() as patch:
        patch.setattr(landed_days, "is_over", lambda _calendar, _day: False)
        assert watched.reason() == f"{FIRST} is not over yet"
    assert watched.days() == [str(FIRST)]


def test_a_file_that_may_still_be_written_waits(watched: Watched) -> None:
    path = deliver(watched.settings, FIRST)
    watched.steps = Steps(replace(watched.settings, landing_quiet_seconds=2))
    assert watched.reason() == f"otc/otc_{FIRST}.csv may still be written"
    (path.parent / f"otc_{SECOND}.csv.part").write_text("x")
    (path.parent / f"otc_{SECOND}.csv.tmp").write_text("x")
    time.sleep(2.1)
    assert watched.days() == [str(FIRST)]


def test_a_clock_that_is_ahead_is_no_reason_to_wait_for_ever(watched: Watched, tmp_path: Path) -> None:
    path = deliver(watched.settings, FIRST)
    watched.steps = Steps(replace(watched.settings, landing_quiet_seconds=2))
    os.utime(path, (time.time() + HOUR_AGO,) * 2)
    assert watched.days() == [str(FIRST)]


def test_dates_without_a_session_and_bad_names_are_told_and_get_no_run(watched: Watched) -> None:
    for day in (SATURDAY, date(2025, 12, 31), date(2050, 1, 3)):
        deliver(watched.settings, day)
    deliver(watched.settings, FIRST, name="otc_2026-02-31.csv")
    told = watched.reason()
    assert "otc_2026-02-31.csv: 2026-02-31 is no date; rename the file" in told
    for day in (SATURDAY, date(2025, 12, 31), date(2050, 1, 3)):
        assert f"otc/otc_{day}.csv: {day} is no session of XNYS from 2026-01-02 on" in told


def test_files_that_claim_one_place_are_told_and_their_run_says_it_too(watched: Watched, shared: Orchestra) -> None:
    path = deliver(watched.settings, FIRST)
    (path.parent / f"otc_{FIRST}.csv.gz").write_bytes(b"")
    assert watched.days() == [str(FIRST)]
    assert "claims the same source, report date, part and version" in watched.reason()


def test_a_refused_file_is_not_asked_for_again_until_it_changes(watched: Watched) -> None:
    path = deliver(watched.settings, FIRST)
    break_file(path)
    (request,) = watched.tick()
    watched.end(watched.launch(request))
    watched.cursor = None
    assert watched.tick() == []
    deliver(watched.settings, FIRST)
    assert watched.days() == [str(FIRST)]


def test_one_tick_asks_for_a_bounded_number_of_runs(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landed_days, "RUNS_A_TICK", 2)
    for day in DAYS:
        deliver(watched.settings, day)
    assert watched.days() == [str(FIRST), str(SECOND)]
    assert watched.days() == [str(THIRD)]


def test_a_full_queue_is_the_reason_to_wait_and_nothing_is_lost(watched: Watched) -> None:
    for day in DAYS:
        deliver(watched.settings, day)
    watched.steps = Steps(replace(watched.settings, queue_limit_backfill=2))
    assert watched.days() == [str(FIRST), str(SECOND)]
    watched.steps = Steps(replace(watched.settings, queue_limit=1))
    assert watched.days() == [str(THIRD)]


def test_no_room_at_all_is_said(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver(watched.settings, FIRST)
    monkeypatch.setattr("market_spine.ledger.queue.Queue.room", lambda _self, _lane: 0)
    assert watched.reason() == f"{FIRST} waits for room in the queue: lane backfill takes no more"
    monkeypatch.undo()
    assert watched.days() == [str(FIRST)]


def test_what_another_automation_has_just_asked_for_waits_until_its_run_is_there(
    watched: Watched, shared: Orchestra
) -> None:
    deliver(watched.settings, FIRST)
    shared.tamper("INSERT INTO otc_dirty_days (day, reason, marked_at) VALUES (%s, 'a test', now())", FIRST)
    with build_sensor_context(instance=shared.instance, definitions=shared.defs) as context:
        asked = dirty_days(context, steps=watched.steps)
    shared.tamper("DELETE FROM otc_dirty_days")
    assert isinstance(asked, SensorResult)
    assert watched.reason() == f"{FIRST} was asked for by dirty_days a moment ago"
    (request,) = asked.run_requests or ()
    run_id = watched.launch(request)
    assert watched.reason() == f"{FIRST} waits for run {run_id[:8]}, which is under way"
    watched.end(run_id)
    assert watched.days() == [str(FIRST)]


def test_a_folder_or_a_database_that_does_not_answer_is_the_reason_to_skip(watched: Watched, tmp_path: Path) -> None:
    deliver(watched.settings, FIRST)
    watched.steps = Steps(replace(watched.settings, database_url=f"postgresql://postgres@/gone?host={tmp_path}"))
    assert "the market database does not answer" in watched.reason()
    watched.steps = Steps(watched.settings)
    assert watched.days() == [str(FIRST)]


def test_the_cursor_is_compact_and_forgets_what_is_gone(watched: Watched) -> None:
    ten_years = {date(2016, 1, 1) + timedelta(days=number): "0123abcd" for number in range(2520)}
    assert len(Seen(ten_years, "").text) < 27_000
    assert Seen.parse(Seen(ten_years, "ab").text) == Seen(ten_years, "ab")
    assert Seen.parse("no cursor of ours") == Seen()
    path = deliver(watched.settings, FIRST)
    watched.tick()
    assert Seen.parse(watched.cursor).days.keys() == {FIRST}
    path.unlink()
    watched.tick()
    assert Seen.parse(watched.cursor) == Seen()


# --- a real daemon


@pytest.fixture(scope="module")
def site(
    server: EmbeddedServer, new_database: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    quick = {"landing_seconds": 1, "landing_quiet_seconds": 0}
    with deployed(server, new_database, tmp_path_factory.mktemp("landed"), settings=quick) as made:
        yield made


def runs_of(site: Deployed, job: str = FULL_REFRESH) -> list[tuple[str, str]]:
    """Session and status of each run of a job."""
    return [
        (str(day), str(status))
        for day, status in site.ledger_rows(
            "SELECT t.value, r.status FROM runs r JOIN run_tags t USING (run_id) "
            "WHERE t.key = 'dagster/partition' AND r.pipeline_name = %s ORDER BY t.value, r.id",
            job,
        )
    ]


def ticks_after(site: Deployed, count: int) -> None:
    """Wait until the landing sensor has looked so many times more."""
    query = "SELECT count(*) FROM job_ticks WHERE tick_body LIKE '%%landing_files%%' AND status <> 'STARTED'"
    before = site.ledger_rows(query)[0][0]
    site.wait_for(lambda: site.ledger_rows(query)[0][0] >= before + count, 60)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_sessions_that_land_while_the_daemon_is_down_get_one_run_each_and_a_change_one_more(site: Deployed) -> None:
    site.kill_daemon()
    deliver(site.settings, FIRST)
    deliver(site.settings, SECOND)
    deliver(site.settings, THIRD, cancel(THIRD, 11, 3, FIRST))
    site.start_daemon()
    wanted = [(str(day), "SUCCESS") for day in DAYS]
    site.wait_for(lambda: runs_of(site) == wanted, 90)
    ticks_after(site, 2)
    assert runs_of(site) == wanted
    deliver(site.settings, SECOND, count=12)
    site.wait_for(lambda: len(runs_of(site)) == 4, 60)
    site.kill_daemon()
    site.start_daemon()
    wanted = sorted([*wanted, (str(SECOND), "SUCCESS")])
    # A daemon that is killed while it starts a run leaves it to the start timeout (90 s), after which it is retried.
    site.wait_for(lambda: runs_of(site) == wanted, 200)
    ticks_after(site, 2)
    assert runs_of(site) == wanted
    assert site.rows("SELECT count(*) FROM otc_trades WHERE trade_date = %s", SECOND) == [(12,)]
    # The cancel was answered once, by the session's own run or by one of dirty_days.
    assert runs_of(site, REDO) in ([], [(str(FIRST), "SUCCESS")])
    assert site.rows("SELECT day FROM otc_dirty_days") == []
    cancelled = "SELECT sum(cancelled_count) FROM otc_metrics_daily WHERE trade_date = %s AND known_to IS NULL"
    assert site.rows(cancelled, FIRST) == [(1,)]
