"""Raw reports past their time: dropped by the day, and no day is ever built of what is left.

Belongs here: dropping, what waits, the guard. Does not belong here: Dagster's storage (``test_retention``).
"""

import threading
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import psycopg
import pytest

from market_spine.automation.cleaning import clean
from market_spine.errors import RawExpired
from market_spine.otc.raw_retention import DropResult, RawRetention
from market_spine.settings import Settings
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine_tests.conftest import DatabaseFactory
from market_spine_tests.driving import Platform
from market_spine_tests.old_runs import storage_of
from market_spine_tests.orchestrated import DAYS, Orchestra, cancel, deliver, shared_orchestra

OLD, NEXT, YOUNG = DAYS
READER_MS = 400
"""A drop waits 100 ms at most for other readers; the rest is for a busy machine."""


@pytest.fixture
def platform(settings: Settings) -> Platform:
    """Two sessions that are done."""
    made = Platform(settings.database_url, settings.landing)
    for day in (OLD, NEXT):
        deliver(settings, day)
        made.load(day)
        made.normalize(day)
        made.compute(day)
    return made


def drop(platform: Platform, before: date = NEXT, *, dry_run: bool = False) -> DropResult:
    return RawRetention(platform.warehouse, lambda _done, _total: None, dry_run).drop(before)


def reports(platform: Platform, day: date) -> int:
    return int(platform.query("SELECT count(*) AS n FROM otc_trades_raw WHERE report_date = %s", (day,))[0]["n"])


def published(platform: Platform, day: date) -> list[object]:
    """Everything a reader sees of a day."""
    return [
        platform.query(query, (day,))
        for query in (
            "SELECT * FROM otc_trades WHERE trade_date = %s ORDER BY symbol, trade_seq",
            "SELECT * FROM otc_metrics_daily WHERE trade_date = %s ORDER BY symbol, revision",
            "SELECT * FROM otc_exceptions WHERE day = %s ORDER BY file_id, line_no",
        )
    ]


def test_an_old_day_loses_its_reports_and_nothing_else(platform: Platform) -> None:
    before = published(platform, OLD)
    result = drop(platform)
    assert [(one.day, one.files, one.rows) for one in result.dropped] == [(OLD, 1, 10)]
    assert result.dropped[0].bytes > 8000
    assert (reports(platform, OLD), reports(platform, NEXT)) == (0, 10)
    assert published(platform, OLD) == before
    assert platform.query("SELECT relname FROM pg_class WHERE relname LIKE 'otc_trades_raw_20260304%'") == []
    files = platform.query("SELECT report_date, status, expired_at IS NOT NULL AS expired FROM otc_files ORDER BY 1")
    assert [(one["report_date"], one["status"], one["expired"]) for one in files] == [
        (OLD, "live", True),
        (NEXT, "live", False),
    ]
    assert drop(platform) == DropResult((), (), ())


def test_a_dry_run_names_the_same_days_and_drops_none(platform: Platform) -> None:
    found = drop(platform, YOUNG, dry_run=True)
    assert [one.day for one in found.dropped] == [OLD, NEXT]
    assert (reports(platform, OLD), reports(platform, NEXT)) == (10, 10)
    assert drop(platform, YOUNG) == found


def test_superseded_versions_go_with_their_day(platform: Platform, settings: Settings) -> None:
    deliver(settings, OLD, count=12)
    platform.load(OLD)
    platform.normalize(OLD)
    assert [(one.files, one.rows) for one in drop(platform).dropped] == [(2, 22)]
    assert reports(platform, OLD) == 0


def test_a_day_that_is_marked_or_was_never_normalized_waits_with_its_reports(
    platform: Platform, settings: Settings
) -> None:
    deliver(settings, OLD, count=12)
    platform.load(OLD)  # known, marked, and not computed again yet
    deliver(settings, YOUNG)
    platform.load(YOUNG)
    result = drop(platform, date(2026, 4, 1))
    assert [one.day for one in result.dropped] == [NEXT]
    assert dict(result.waiting) == {
        OLD: "is marked to be computed again",
        YOUNG: "has files that were never normalized",
    }
    assert (reports(platform, OLD), reports(platform, YOUNG)) == (22, 10)


def test_a_correction_that_comes_later_does_not_wipe_the_day(platform: Platform, settings: Settings) -> None:
    drop(platform)
    before = published(platform, OLD)
    deliver(settings, YOUNG, cancel(YOUNG, 99, of=1, on=OLD))
    platform.load(YOUNG)
    assert platform.normalize(YOUNG).marked == (OLD,)
    with pytest.raises(RawExpired, match=rf"otc_trades {OLD}: its reports .* were dropped by retention") as error:
        platform.normalize(OLD)
    assert "\n" not in str(error.value)
    assert published(platform, OLD) == before
    # The mark stays, and every clean-up names the day.
    assert platform.dirty() == [OLD]
    assert [day for day, _ in drop(platform).lost] == [OLD]


def test_a_whole_new_version_brings_a_dropped_day_back(platform: Platform, settings: Settings) -> None:
    drop(platform)
    deliver(settings, OLD, count=12)
    platform.load(OLD)
    result = platform.normalize(OLD)
    assert result.base_rows == 12
    assert [one.rows for one in drop(platform).dropped] == [12]


def test_one_new_part_does_not_stand_in_for_those_that_were_dropped(platform: Platform, settings: Settings) -> None:
    drop(platform)
    before = published(platform, OLD)
    deliver(settings, OLD, count=3, name=f"otc_{OLD}_b.csv")
    platform.load(OLD)
    with pytest.raises(RawExpired):
        platform.normalize(OLD)
    assert published(platform, OLD) == before
    # What no pass has read is not dropped either.
    assert drop(platform).waiting == ((OLD, "is marked to be computed again"),)
    assert reports(platform, OLD) == 3


# --- beside others


def test_readers_pass_while_days_are_dropped(platform: Platform) -> None:
    stop = threading.Event()
    reads, problems = [0], []

    def read() -> None:
        with psycopg.connect(platform.database_url, autocommit=True) as connection:
            connection.execute(f"SET lock_timeout = {READER_MS}")
            while not stop.is_set():
                try:
                    connection.execute("SELECT count(*) FROM otc_trades_raw")
                except psycopg.Error as error:
                    problems.append(error)
                reads[0] += 1

    # One reader that does not end makes the drop wait; the other, which comes behind it, must not notice.
    with psycopg.connect(platform.database_url) as slow:
        slow.execute("SELECT count(*) FROM otc_trades_raw WHERE report_date = '2026-03-05'")
        thread = threading.Thread(target=read)
        thread.start()
        try:
            result = drop(platform)
        finally:
            stop.set()
            thread.join()
    assert problems == []
    assert reads[0] > 5
    assert result.waiting == ((OLD, "is being read or written; the next clean-up tries again"),)
    assert reports(platform, OLD) == 10
    assert [one.day for one in drop(platform).dropped] == [OLD]


def test_a_drop_that_is_rolled_back_leaves_the_day_whole(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(platform.warehouse), "swap_day", killed)
        with pytest.raises(KeyboardInterrupt):
            drop(platform)
    assert reports(platform, OLD) == 10
    assert platform.query("SELECT file_id FROM otc_files WHERE expired_at IS NOT NULL") == []
    assert [one.day for one in drop(platform).dropped] == [OLD]


# --- under Dagster


@pytest.fixture(scope="module")
def dagster(
    server: EmbeddedServer, new_database: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Orchestra]:
    with shared_orchestra(server, new_database, tmp_path_factory.mktemp("raw")) as made:
        deliver(made.settings, OLD)
        assert made.run("otc_full_refresh", OLD).success
        yield made


def test_a_run_of_a_dropped_day_fails_with_one_line_and_changes_nothing(dagster: Orchestra, tmp_path: Path) -> None:
    storage = storage_of(dagster)
    warehouse = Platform(dagster.settings.database_url, tmp_path).warehouse
    (result,) = clean(dagster.settings, storage, warehouse, lambda *_: None, parts=["raw"]).results
    assert [(one.what, one.rows) for one in result.removed] == [("raw days", 1), ("raw reports", 10)]
    trades = dagster.rows("SELECT * FROM otc_trades ORDER BY symbol, trade_seq")
    run = dagster.run("otc_full_refresh", OLD)
    assert not run.success
    failure = run.failure_data_for_node("otc_sessions")
    assert failure is not None
    assert "were dropped by retention" in str(failure.error)
    assert dagster.rows("SELECT * FROM otc_trades ORDER BY symbol, trade_seq") == trades
    # The reports were checked while they were there, and that they are gone is no finding.
    assert dagster.run("otc_ingest", OLD).success
    assert dagster.rows("SELECT check_name FROM otc_quality WHERE asset = 'otc_trades_raw' AND NOT passed") == []
