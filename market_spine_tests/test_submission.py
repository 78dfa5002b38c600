"""Admission: what may be submitted, once, and how much may wait; on a real webserver whose daemon is not running."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from market_spine.automation.jobs import otc_jobs
from market_spine.calendar import TradingCalendar
from market_spine.errors import InvalidSubmission, LedgerError, LogicalKeyActive, QueueFull
from market_spine.ledger import tags as names
from market_spine.ledger.queue import Limits
from market_spine.ledger.submission import PIPELINES, Desk, Submission, logical_key
from market_spine.ledger.webserver import Webserver
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine_tests.conftest import DatabaseFactory
from market_spine_tests.deployed import Deployed, deployed

DAYS = TradingCalendar(date(2026, 1, 2)).sessions(end=date(2026, 6, 30))
COPY_RUNS = """
INSERT INTO runs (run_id, snapshot_id, pipeline_name, status, run_body, create_timestamp, update_timestamp)
SELECT 'copy-' || %s || '-' || n, snapshot_id, pipeline_name, 'QUEUED', run_body, localtimestamp, localtimestamp
FROM runs, generate_series(1, %s) n WHERE run_id = %s RETURNING run_id
"""
COPY_TAGS = "INSERT INTO run_tags (run_id, key, value) SELECT run_id, %s, %s FROM unnest(%s::text[]) run_id"
LEFT = """
INSERT INTO event_logs (run_id, event, dagster_event_type, timestamp)
SELECT run_id, '', 'PIPELINE_STARTING', localtimestamp - interval '10 minutes' * n / 20
FROM generate_series(1, 20) n, (SELECT run_id FROM runs LIMIT 1) r ORDER BY n DESC
"""


@pytest.fixture(scope="module")
def site(
    server: EmbeddedServer, new_database: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    with deployed(server, new_database, tmp_path_factory.mktemp("submission"), daemon=False) as made:
        yield made


@pytest.fixture
def desk(site: Deployed) -> Iterator[Desk]:
    yield Desk.of(site.ledger, site.webserver, site.settings)
    change(site, "DELETE FROM event_logs")
    change(site, "DELETE FROM runs")


def change(site: Deployed, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with site.ledger.connect() as connection:
        done = connection.execute(statement, values)
        return done.fetchall() if done.description else []


def queue_up(site: Deployed, count: int, like: str, tags: dict[str, str], word: str = "x") -> None:
    """So many queued runs, as the coordinator leaves them in its tables."""
    ids = [run_id for (run_id,) in change(site, COPY_RUNS, word, count, like)]
    for key, value in tags.items():
        change(site, COPY_TAGS, key, value, ids)


def run_tags(site: Deployed, run_id: str) -> dict[str, str]:
    return dict(site.ledger_rows("SELECT key, value FROM run_tags WHERE run_id = %s", run_id))


# --- what may be submitted


def test_each_pipeline_is_a_job_that_exists() -> None:
    assert set(PIPELINES.values()) <= {job.name for job in otc_jobs()}


@pytest.mark.parametrize(
    ("submission", "said"),
    [
        (Submission("otc_nothing", DAYS[0]), "there is no pipeline 'otc_nothing'; there are otc_ingest, "),
        (Submission("otc_ingest", DAYS[0], lane="express"), "no lane 'express'; there are normal, backfill"),
        (
            Submission("otc_ingest", date(2026, 3, 7)),
            "2026-03-07 is no session of XNYS; nearest: 2026-03-06 and 2026-03-09",
        ),
        (Submission("otc_ingest", date(2025, 12, 31)), "2025-12-31 is no session of XNYS; nearest: 2026-01-02"),
        (Submission("otc_ingest", date(2026, 3, 6), date(2026, 4, 3)), "2026-04-03 is no session"),
        (Submission("otc_ingest", date(2026, 3, 6), date(2026, 3, 5)), "2026-03-06..2026-03-05 ends before it begins"),
        (Submission("otc_ingest", date(2999, 3, 6)), "2999-03-06 is after "),
    ],
)
def test_what_does_not_exist_is_refused_in_one_line_that_says_what_does(submission: Submission, said: str) -> None:
    with pytest.raises(InvalidSubmission) as caught:
        submission.check(TradingCalendar(DAYS[0]))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_session_that_is_not_over_is_refused() -> None:
    calendar = TradingCalendar(DAYS[0])
    coming = calendar.next_session((datetime.now(UTC) + timedelta(days=1)).date())
    with pytest.raises(InvalidSubmission, match="not over yet"):
        Submission("otc_ingest", coming).check(calendar)


def test_pipeline_and_sessions_make_the_logical_key() -> None:
    assert logical_key("otc_ingest", DAYS[0]) == logical_key("otc_ingest", DAYS[0], DAYS[0]) == "otc_ingest:2026-01-02"
    assert logical_key("otc_ingest", DAYS[0], DAYS[1]) == "otc_ingest:2026-01-02..2026-01-05"


# --- launching


@pytest.mark.slow
def test_a_submission_is_queued_with_its_tags(site: Deployed, desk: Desk) -> None:
    run_id = desk.submit(Submission("otc_ingest", DAYS[0], trigger="api", parent="earlier", tags={"desk": "a"}))
    assert site.statuses(run_id) == ["QUEUED"]
    assert (
        run_tags(site, run_id).items()
        >= {
            names.PARTITION: "2026-01-02",
            names.LANE: "normal",
            names.PRIORITY: "0",
            names.LOGICAL_KEY: "otc_ingest:2026-01-02",
            names.TRIGGER: "api",
            names.RETRY_OF: "earlier",
            "desk": "a",
        }.items()
    )


def test_a_backfill_range_is_a_full_refresh_in_lane_backfill(site: Deployed, desk: Desk) -> None:
    run_id = desk.submit(Submission("otc_backfill_range", DAYS[0], DAYS[9]))
    assert site.ledger_rows("SELECT pipeline_name FROM runs WHERE run_id = %s", run_id) == [("otc_full_refresh",)]
    assert (
        run_tags(site, run_id).items()
        >= {
            names.RANGE_START: str(DAYS[0]),
            names.RANGE_END: str(DAYS[9]),
            names.LANE: "backfill",
            names.PRIORITY: "-10",
            names.LOGICAL_KEY: f"otc_backfill_range:{DAYS[0]}..{DAYS[9]}",
        }.items()
    )
    assert desk.queue.depths() == {"normal": 0, "backfill": 1}


def test_a_webserver_that_is_away_is_one_line(desk: Desk) -> None:
    with pytest.raises(LedgerError, match="the Dagster webserver does not answer"):
        replace(desk, webserver=Webserver("http://127.0.0.1:9")).submit(Submission("otc_ingest", DAYS[0]))


# --- the same work twice


def test_the_same_work_is_not_queued_twice_but_again_when_it_is_over(site: Deployed, desk: Desk) -> None:
    work = Submission("otc_ingest", DAYS[0])
    first = desk.submit(work)
    for status in names.UNDER_WAY:
        change(site, "UPDATE runs SET status = %s", status)
        with pytest.raises(LogicalKeyActive) as caught:
            desk.submit(work)
        assert (caught.value.key, caught.value.run_id) == (work.key, first)
    desk.submit(Submission("otc_ingest", DAYS[1]))
    desk.submit(Submission("otc_normalize", DAYS[0]))
    change(site, "UPDATE runs SET status = 'FAILURE' WHERE run_id = %s", first)
    assert desk.submit(work) != first


def test_a_run_that_the_ui_launched_is_the_same_work_too(site: Deployed, desk: Desk) -> None:
    run_id = site.launch("otc_ingest", DAYS[0])
    ranged = site.launch("otc_ingest", DAYS[1], DAYS[3])
    for first, last, holder in ((DAYS[0], None, run_id), (DAYS[1], DAYS[3], ranged)):
        with pytest.raises(LogicalKeyActive) as caught:
            desk.submit(Submission("otc_ingest", first, last))
        assert caught.value.run_id == holder
    desk.submit(Submission("otc_ingest", DAYS[1], DAYS[2]))
    desk.submit(Submission("otc_ingest", DAYS[1]))


def test_of_submitters_at_the_same_moment_one_is_admitted(desk: Desk) -> None:
    admitted, refused = at_once(desk, [Submission("otc_ingest", DAYS[0])] * 8)
    assert len(admitted) == 1
    assert len(refused) == 7
    assert {error.run_id for error in refused if isinstance(error, LogicalKeyActive)} == {admitted[0]}
    assert all(isinstance(error, LogicalKeyActive) for error in refused)


# --- backpressure


def test_the_1101st_queued_run_is_refused_with_the_figures(site: Deployed, desk: Desk) -> None:
    one = desk.submit(Submission("otc_ingest", DAYS[0]))
    queue_up(site, 600, one, {names.LANE: "normal"}, "normal")
    queue_up(site, 300, one, {names.LANE: "backfill"}, "lane")
    queue_up(site, 198, one, {names.BACKFILL_ID: "abcdefgh"}, "ui")
    assert desk.queue.depths() == {"normal": 601, "backfill": 498}
    assert (desk.room("normal"), desk.room("backfill")) == (1, 1)
    desk.submit(Submission("otc_ingest", DAYS[1]))
    with pytest.raises(QueueFull) as caught:
        desk.submit(Submission("otc_ingest", DAYS[2]))
    error = caught.value
    assert (error.what, error.queued, error.limit, error.retry_after) == ("the queue", 1100, 1100, 300)
    assert str(error) == "the queue holds 1100 of at most 1100 runs; try again in 300 s"
    assert desk.room("normal") == 0


def test_a_full_lane_of_backfills_leaves_the_days_work_its_room(site: Deployed, desk: Desk) -> None:
    tight = replace(desk, limits=Limits(100, {"normal": 100, "backfill": 40}))
    one = tight.submit(Submission("otc_ingest", DAYS[0], lane="backfill"))
    queue_up(site, 39, one, {names.LANE: "backfill"})
    with pytest.raises(QueueFull, match="lane backfill holds 40 of at most 40 runs"):
        tight.submit(Submission("otc_backfill_range", DAYS[1], DAYS[4]))
    assert (tight.room("normal"), tight.room("backfill")) == (60, 0)
    tight.submit(Submission("otc_ingest", DAYS[1]))


def test_when_to_try_again_follows_from_how_fast_runs_left_lately(site: Deployed, desk: Desk) -> None:
    tight = replace(desk, limits=Limits(1, {"normal": 1, "backfill": 1}))
    tight.submit(Submission("otc_ingest", DAYS[0]))
    change(site, LEFT)
    with pytest.raises(QueueFull) as caught:
        tight.submit(Submission("otc_ingest", DAYS[1]))
    assert caught.value.retry_after in (30, 31)
    change(site, "UPDATE event_logs SET timestamp = localtimestamp WHERE dagster_event_type = 'PIPELINE_STARTING'")
    with pytest.raises(QueueFull) as caught:
        tight.submit(Submission("otc_ingest", DAYS[1]))
    assert caught.value.retry_after == 5
    change(site, "UPDATE event_logs SET timestamp = localtimestamp - interval '1 hour'")
    with pytest.raises(QueueFull) as caught:
        tight.submit(Submission("otc_ingest", DAYS[1]))
    assert caught.value.retry_after == 300


def test_submitters_at_the_same_moment_never_pass_the_limit_together(desk: Desk) -> None:
    tight = replace(desk, limits=Limits(5, {"normal": 5, "backfill": 5}))
    admitted, refused = at_once(tight, [Submission("otc_ingest", day) for day in DAYS[:12]])
    assert (len(admitted), {type(error) for error in refused}) == (5, {QueueFull})
    assert tight.queue.depths() == {"normal": 5, "backfill": 0}


def test_a_launch_that_fails_leaves_the_door_open(desk: Desk) -> None:
    with suppress(LedgerError), desk.queue.admission(Submission("otc_ingest", DAYS[0]).claim):
        raise LedgerError("the webserver went away")
    desk.submit(Submission("otc_ingest", DAYS[0]))


def at_once(desk: Desk, submissions: list[Submission]) -> tuple[list[str], list[LedgerError]]:
    admitted: list[str] = []
    refused: list[LedgerError] = []
    start = threading.Barrier(len(submissions))

    def submit(one: Submission) -> None:
        start.wait()
        try:
            admitted.append(desk.submit(one))
        except LedgerError as error:
            refused.append(error)

    threads = [threading.Thread(target=submit, args=(one,)) for one in submissions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return admitted, refused
