"""Lanes under a real daemon: a day's run waits for no backfill, and two runs of one session are never under way."""

from collections.abc import Iterator
from datetime import date, datetime
from itertools import pairwise

import pytest
import yaml

from market_spine.calendar import TradingCalendar
from market_spine.ledger.executions import Executions
from market_spine.ledger.submission import Desk, Submission
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine_tests.conftest import DatabaseFactory
from market_spine_tests.deployed import Deployed, deployed
from market_spine_tests.orchestrated import PROJECT, deliver

DAYS = TradingCalendar(date(2026, 1, 2)).sessions(end=date(2026, 6, 30))
WAITING = 15
SPANS = """
SELECT min(e.timestamp), to_timestamp(r.end_time) AT TIME ZONE 'UTC'
FROM runs r JOIN event_logs e USING (run_id)
WHERE r.run_id = ANY(%s) AND e.dagster_event_type = 'PIPELINE_STARTING' AND r.end_time IS NOT NULL
GROUP BY r.run_id, r.end_time ORDER BY 1
"""


STARTED_BETWEEN = """
SELECT count(*) FROM event_logs
WHERE dagster_event_type = 'PIPELINE_STARTING'
    AND timestamp > %s::timestamptz AT TIME ZONE 'UTC' AND timestamp < %s::timestamptz AT TIME ZONE 'UTC'
"""


@pytest.fixture(scope="module")
def site(
    server: EmbeddedServer, new_database: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    with deployed(server, new_database, tmp_path_factory.mktemp("lanes"), daemon=False, automation=False) as made:
        yield made


def spans(site: Deployed, runs: list[str]) -> list[tuple[datetime, datetime]]:
    """From when to when each of the runs that are over was under way, in order."""
    return [(start, end) for start, end in site.ledger_rows(SPANS, runs)]


def one_after_the_other(spans: list[tuple[datetime, datetime]]) -> bool:
    return all(end <= start for (_, end), (start, _) in pairwise(spans))


def test_backfills_of_both_kinds_together_leave_a_place_free() -> None:
    config = yaml.safe_load((PROJECT / "dagster.yaml").read_text())["concurrency"]["runs"]
    limits = {
        (one["key"], one.get("value") if isinstance(one.get("value"), str) else None): one["limit"]
        for one in config["tag_concurrency_limits"]
    }
    backfills = limits["market_spine/lane", "backfill"] + limits["dagster/backfill", None]
    assert backfills < config["max_concurrent_runs"]


@pytest.mark.slow
def test_runs_of_one_session_never_overlap_whoever_launched_them(site: Deployed) -> None:
    desk = Desk.of(site.ledger, site.webserver, site.settings)
    day, first, last = DAYS[0], DAYS[1], DAYS[2]
    for one in (day, first, last):
        deliver(site.settings, one)
    same = [
        desk.submit(Submission("otc_full_refresh", day)),
        site.launch("otc_full_refresh", day),
        site.launch("otc_ingest", day),
    ]
    ranges = [desk.submit(Submission("otc_full_refresh", first, last)), site.launch("otc_ingest", first, last)]
    site.start_daemon()
    assert set(site.wait_until_finished(*same, *ranges)) == {"SUCCESS"}
    for runs in (same, ranges):
        assert len(spans(site, runs)) == len(runs)
        assert one_after_the_other(spans(site, runs))
    assert not one_after_the_other(spans(site, [*same, *ranges])), "different sessions were done at the same time"


@pytest.mark.slow
def test_a_days_run_waits_for_nothing_while_two_backfills_do(site: Deployed) -> None:
    site.kill_daemon()
    desk = Desk.of(site.ledger, site.webserver, site.settings)
    ours = [desk.submit(Submission("otc_ingest", day, lane="backfill")) for day in DAYS[:WAITING]]
    uis = [site.launch("otc_ingest", day, dagster__backfill="abcdefgh") for day in DAYS[WAITING : 2 * WAITING]]
    deliver(site.settings, DAYS[-1])
    site.start_daemon()

    def both_under_way() -> bool:
        return all({"STARTING", "STARTED"} & set(site.statuses(*runs)) for runs in (ours, uis))

    site.wait_for(both_under_way, 120)
    run_id = desk.submit(Submission("otc_full_refresh", DAYS[-1]))
    assert site.wait_until_finished(run_id) == ["SUCCESS"]
    assert all(site.statuses(*runs).count("QUEUED") > WAITING // 2 for runs in (ours, uis))
    shown = Executions(site.ledger).show(run_id)
    overtook = site.ledger_rows(STARTED_BETWEEN, shown["queued"], shown["dequeued"])
    assert overtook[0][0] <= 2, "at the most those that the daemon was starting when it was queued, one of each kind"
    for runs in (ours, uis):
        assert len(spans(site, runs)) > 0
        assert one_after_the_other(spans(site, runs))
