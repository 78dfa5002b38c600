"""A file that was taken back: the tables are those of a world in which it never came, and the record of it stays."""

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from market_spine.errors import FileRefused, FileStateError, NoFile, NotFound
from market_spine.otc.quality import METRICS, TRADES
from market_spine.otc.steps import Steps
from market_spine.otc.void import restore, void
from market_spine.settings import Settings
from market_spine_tests.conftest import DatabaseFactory
from market_spine_tests.driving import Platform, Row
from market_spine_tests.oracle.world import OTC, Knobs, make_world
from market_spine_tests.small_reports import MON, TUE, WED, deliver, event, fates, report, volume
from market_spine_tests.test_oracle_agrees import SINGLE, differences, play, tables

NOON = "2026-02-03T17:00:00Z"


def take_back(platform: Platform, day: date, name: str = "", why: str = "test data") -> tuple[date, ...]:
    """Void the file of a day and compute what it touched."""
    changed = void(platform.warehouse, f"otc/otc_{day}{name}.csv", by="ann", why=why)
    redo(platform)
    return changed.days


def redo(platform: Platform) -> None:
    for _ in range(10):
        dirty = platform.dirty()
        for day in dirty:
            platform.normalize(day)
            platform.compute(day)
        if not dirty:
            return
    raise AssertionError(f"still dirty: {platform.dirty()}")


def only_file(platform: Platform, day: date) -> Row:
    (found,) = platform.files(day)
    return found


# --- as if it had never come


@pytest.mark.parametrize("seed", [0, 3])
def test_after_it_every_report_and_metric_is_as_if_it_had_never_come(
    seed: int, new_database: DatabaseFactory, tmp_path: Path
) -> None:
    world = make_world(random.Random(seed), Knobs(feeds=(OTC,), reports=100, sessions=4))
    rng = random.Random(seed)
    with new_database() as url:
        assert differences(world, play(world, url, tmp_path / "landing", slice_rows=SINGLE)) == []
        platform = Platform(url, tmp_path / "landing", world.first_session)
        counting = platform.query("SELECT file_id, source, report_date, part FROM otc_files WHERE status = 'live'")
        gone = rng.sample(sorted(counting, key=lambda row: row["file_id"]), 2)
        for one in gone:
            void(platform.warehouse, str(one["file_id"]), by="ann", why="wrong delivery")
            redo(platform)
        places = {(one["source"], one["report_date"], one["part"]) for one in gone}
        left = [one for one in world.deliveries if (one.source, one.report_date, one.part) not in places]
        without = replace(world, deliveries=tuple(left))
        found = tables(platform.warehouse)
        # what the tables tell of reports of the voided files would be a difference
        assert differences(without, found) == []
        days = {one.report_date for one in left} | {day for *_, day in found.reports.values() if day}
        assert found.computed <= days
        for one in gone:  # and back again
            restore(platform.warehouse, str(one["file_id"]))
            redo(platform)
        assert differences(world, tables(platform.warehouse)) == []


def test_cancels_and_corrections_in_it_no_longer_hit_other_days(platform: Platform) -> None:
    deliver(platform, MON, report(1), report(2), report(3, price="11"))
    deliver(
        platform, TUE, event("cancel", 4, 1, MON), event("correct", 5, 2, MON, size="7"), report(6, executed_at=NOON)
    )
    platform.settle()
    assert (int(volume(platform)), fates(platform, MON)) == (107, ["cancelled", "superseded", "live"])
    assert take_back(platform, TUE) == (MON, TUE)
    assert (int(volume(platform)), fates(platform, MON)) == (300, ["live", "live", "live"])
    assert platform.metrics("ACME", TUE) is None
    published = platform.revisions("ACME", TUE)
    assert published, "what was published stays on record"
    assert all(row["known_to"] for row in published)


def test_an_event_without_a_date_finds_the_next_nearest_report(platform: Platform) -> None:
    deliver(platform, MON, report(1, size=30))
    deliver(platform, TUE, report(1, executed_at=NOON, size=50))
    deliver(platform, WED, event("cancel", 9, 1, reported_at="2026-02-04T15:00:00Z"))
    platform.settle()
    assert (fates(platform, MON), fates(platform, TUE)) == (["live"], ["cancelled"])
    assert WED in take_back(platform, TUE)
    assert fates(platform, MON) == ["cancelled"]


def test_an_event_whose_report_was_taken_back_waits_for_it_again(platform: Platform) -> None:
    deliver(platform, MON, report(1))
    deliver(platform, TUE, event("cancel", 2, 1, MON), report(3, executed_at=NOON))
    platform.settle()
    assert fates(platform, MON) == ["cancelled"]
    take_back(platform, MON)
    held = [row["disposition"] for row in platform.exceptions(MON)]
    assert held == ["held"]
    deliver(platform, MON, report(1), report(8))
    platform.settle()
    assert fates(platform, MON) == ["cancelled", "live"]


def averages(platform: Platform, days: Sequence[date]) -> list[object]:
    """ACME's volume of the five sessions before each day."""
    return [row["adv5"] for day in days if (row := platform.metrics("ACME", day))]


def test_a_session_without_any_report_left_is_no_session_of_zero_volume(platform: Platform) -> None:
    days = platform.calendar.sessions(MON, MON + timedelta(days=11))[:7]
    for day in days:
        deliver(platform, day, report(1, executed_at=f"{day}T15:00:00Z"))
    long_ago = replace(platform, first_session=MON)
    long_ago.settle()
    assert averages(long_ago, days[5:]) == [100, 100]
    take_back(long_ago, days[1])
    assert averages(long_ago, days[5:]) == [None, None]
    deliver(long_ago, days[1], report(1, executed_at=f"{days[1]}T15:00:00Z", size=600))
    long_ago.settle()
    assert averages(long_ago, days[5:]) == [200, 200]


# --- the record, and what lands later


def test_who_when_and_why_stay_on_record_and_so_do_its_reports(platform: Platform) -> None:
    deliver(platform, MON, report(1))
    platform.settle()
    take_back(platform, MON, why="test data of\nthe vendor")
    file = only_file(platform, MON)
    assert (file["status"], file["voided_by"], file["problem"]) == ("voided", "ann", "test data of the vendor")
    assert file["voided_at"] > file["known_at"]
    assert len(platform.raw(MON)) == 1


def test_the_same_bytes_landing_again_do_not_count_and_the_error_says_why(platform: Platform) -> None:
    deliver(platform, MON, report(1))
    platform.settle()
    take_back(platform, MON)
    with pytest.raises(NoFile, match=r"taken back as file \d+ by ann \(test data\).*spine file restore \d+"):
        platform.load(MON)
    deliver(platform, MON, report(1, size=5), name="_b")
    (first, second) = platform.load(MON).files
    assert ("taken back" in first.voided, first.loaded, second.voided, second.loaded) == (True, False, "", True)


def test_other_content_counts_also_under_the_number_of_the_voided_version(platform: Platform) -> None:
    deliver(platform, MON, report(1), name=".v1")
    platform.settle()
    deliver(platform, MON, report(1, size=5), name=".v1")
    with pytest.raises(FileRefused, match="new version"):
        platform.load(MON)
    take_back(platform, MON, ".v1")
    platform.settle(MON)
    assert volume(platform) == 5


def test_the_version_before_it_does_not_come_back_by_itself_but_can_be_restored(platform: Platform) -> None:
    deliver(platform, MON, report(1))
    platform.settle()
    deliver(platform, MON, report(1, size=5))
    platform.settle()
    first, second = (row["file_id"] for row in platform.files(MON))
    changed = void(platform.warehouse, str(second), by="ann", why="wrong")
    redo(platform)
    assert changed.previous == first
    assert platform.metrics("ACME", MON) is None
    restore(platform.warehouse, str(first))
    redo(platform)
    assert volume(platform) == 100
    with pytest.raises(FileStateError, match=f"version {first} counts in its place"):
        restore(platform.warehouse, str(second))


def test_a_superseded_version_is_taken_back_without_touching_anything(platform: Platform) -> None:
    deliver(platform, MON, report(1))
    platform.settle()
    deliver(platform, MON, report(1, size=5))
    platform.settle()
    changed = void(platform.warehouse, str(platform.files(MON)[0]["file_id"]), by="ann", why="wrong")
    assert (changed.days, changed.previous, platform.dirty()) == ((), None, [])
    assert volume(platform) == 5


# --- what cannot be taken back


def test_what_was_refused_or_taken_back_before_or_is_unknown_is_refused(platform: Platform) -> None:
    platform.deliver("otc", f"otc_{MON}.csv", "not,a,header\n1,2,3\n")
    with pytest.raises(FileRefused):
        platform.load(MON)
    with pytest.raises(FileStateError, match="was refused"):
        void(platform.warehouse, str(only_file(platform, MON)["file_id"]), by="ann", why="x")
    for unknown in ("12345", "otc/nothing.csv"):
        with pytest.raises(NotFound, match="spine file list"):
            void(platform.warehouse, unknown, by="ann", why="x")
    deliver(platform, TUE, report(1, executed_at=NOON))
    platform.settle(TUE)
    take_back(platform, TUE)
    with pytest.raises(FileStateError, match="taken back before"):
        take_back(platform, TUE)


def test_a_file_whose_reports_retention_has_dropped_is_refused(platform: Platform) -> None:
    deliver(platform, MON, report(1))
    deliver(platform, TUE, report(2), report(3, executed_at=NOON))
    platform.settle()
    with platform.warehouse.connect() as connection:
        connection.execute("UPDATE otc_files SET expired_at = now() WHERE report_date = %s", (MON,))
    with pytest.raises(FileStateError, match="retention has dropped"):
        take_back(platform, MON)
    with pytest.raises(FileStateError, match=f"{MON} holds reports of this file"):
        take_back(platform, TUE)
    assert {row["status"] for row in platform.query("SELECT status FROM otc_files")} == {"live"}
    assert platform.dirty() == []


# --- the gate and the command


@pytest.fixture
def steps(settings: Settings) -> Steps:
    return Steps(settings)


def test_the_automation_can_compute_a_session_whose_only_file_was_taken_back(steps: Steps) -> None:
    landing = steps.settings.landing
    assert isinstance(landing, Path)
    platform = Platform(steps.settings.database_url, landing)
    deliver(platform, MON, report(1))
    assert [done.rows for done in steps.run_session(MON, ("otc_trades_raw", TRADES, METRICS))] == [1, 1, 1]
    void(steps.warehouse, f"otc/otc_{MON}.csv", by="ann", why="wrong")
    assert [done.rows for done in steps.run_session(MON, (TRADES, METRICS))] == [0, 0]
    assert platform.dirty() == []


def test_the_commands_list_void_and_restore(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from market_spine.cli.main import app

    def spine(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            app(list(arguments))
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    monkeypatch.setenv("DATABASE_URL", platform.database_url)
    monkeypatch.setenv("DAGSTER_DATABASE_URL", platform.database_url)
    deliver(platform, MON, report(1))
    platform.settle()
    path = f"otc/otc_{MON}.csv"
    code, out, _ = spine("file", "void", path, "--by", "ann", "--why", "test data", "--json")
    answer = json.loads(out)
    assert (code, answer["status"], answer["days_to_compute_again"]) == (0, "voided", [str(MON)])
    code, out, _ = spine("file", "list", "--session", str(MON), "--json")
    (listed,) = json.loads(out)
    assert (listed["path"], listed["status"], listed["voided_by"], listed["problem"]) == (
        path,
        "voided",
        "ann",
        "test data",
    )
    assert spine("file", "void", path, "--by", " ", "--why", "x")[0] == 2
    assert spine("file", "void", "nothing.csv", "--by", "ann", "--why", "x")[0] == 4
    code, _, err = spine("file", "void", path, "--by", "ann", "--why", "x")
    assert (code, err.count("\n")) == (1, 1)
    assert "taken back before" in err
    code, out, _ = spine("file", "restore", path)
    assert (code, "live" in out) == (0, True)
