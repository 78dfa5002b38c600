"""The landing folder: which file is whose, and what no name may claim."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from market_spine.errors import FileRefused
from market_spine.otc import remote
from market_spine.otc.feeds import Feed, load_feeds
from market_spine.otc.landing import all_report_dates, find_files, unreadable_names

DAY = date(2026, 3, 2)
FEEDS = load_feeds()


def land(landing: Path, *names: str) -> None:
    for name in names:
        path = landing / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def feed(name: str, path: str) -> Feed:
    columns = {one: one for one in ("executed_at", "symbol", "price", "size")}
    return Feed(name=name, path=path, columns=columns, time_zone="UTC", tape="cta")


def found(landing: Path, day: date = DAY) -> list[tuple[str, str, int | None, str]]:
    files = find_files(landing, FEEDS, day)
    return [(one.feed.name, one.part, one.version, one.compression) for one in files]


def test_the_files_of_a_date_come_by_source_part_and_version(tmp_path: Path) -> None:
    land(
        tmp_path,
        "vendor_pipe/trades_20260302.v2.txt",
        "otc/otc_2026-03-02_b.csv.zst",
        "otc/otc_2026-03-02_a.v10.csv",
        "otc/otc_2026-03-02_a.v9.csv.gz",
        "otc/otc_2026-03-02.csv",
        "otc/otc_2026-03-03.csv",
    )
    assert found(tmp_path) == [
        ("otc", "", 0, ""),
        ("otc", "a", 9, "gzip"),
        ("otc", "a", 10, ""),
        ("otc", "b", 0, "zstd"),
        ("vendor_pipe", "", 2, ""),
    ]


def test_a_pattern_without_a_version_gives_none(tmp_path: Path) -> None:
    land(tmp_path, "desk/2026-03-02.csv")
    (file,) = find_files(tmp_path, {"desk": feed("desk", "desk/{report_date}.csv")}, DAY)
    assert file.version is None


@pytest.mark.parametrize(
    "name",
    [
        "otc/otc_2026-03-02.csv.part",
        "otc/otc_2026-03-02.csv.bz2",
        "otc/OTC_2026-03-02.csv",
        "otc/otc_2026-03-02_.csv",
        "otc/otc_2026-03-02.vx.csv",
        "otc/deeper/otc_2026-03-02.csv",
        "vendor_pipe/trades_20260302.txt",
        "otc_2026-03-02.csv",
    ],
)
def test_a_name_that_does_not_fit_is_no_file_of_the_date(tmp_path: Path, name: str) -> None:
    land(tmp_path, name)
    assert found(tmp_path) == []


def test_a_folder_with_the_name_of_a_file_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "otc" / "otc_2026-03-02.csv").mkdir(parents=True)
    assert found(tmp_path) == []


def test_a_landing_folder_that_is_not_there_has_no_files(tmp_path: Path) -> None:
    assert found(tmp_path / "nowhere") == []
    assert all_report_dates(tmp_path / "nowhere", FEEDS) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("otc/otc_2026-03-02.csv", "otc/otc_2026-03-02.csv.gz"),
        ("otc/otc_2026-03-02.v1.csv", "otc/otc_2026-03-02.v01.csv"),
        ("otc/otc_2026-03-02_a.csv", "otc/otc_2026-03-02_a.v0.csv"),
    ],
)
def test_two_files_for_the_same_place_are_refused_with_both_names(tmp_path: Path, one: str, other: str) -> None:
    land(tmp_path, one, other)
    with pytest.raises(FileRefused, match="claims the same source, report date, part and version") as refusal:
        found(tmp_path)
    assert Path(one).name in str(refusal.value)
    assert Path(other).name in str(refusal.value)


def test_a_file_that_fits_two_feeds_is_refused(tmp_path: Path) -> None:
    land(tmp_path, "in/a_2026-03-02.csv")
    feeds = {
        "any": feed("any", "in/{part}_{report_date}.csv"),
        "one": feed("one", "in/a_{report_date}.csv"),
    }
    with pytest.raises(FileRefused, match="two feeds, any and one"):
        find_files(tmp_path, feeds, DAY)


def test_the_date_may_stand_in_folders_and_names_if_it_is_the_same(tmp_path: Path) -> None:
    feeds = {"deep": feed("deep", "deep/{report_date:%Y}/{report_date:%m-%d}/{part}.{report_date:%Y%m%d}.csv")}
    land(
        tmp_path,
        "deep/2026/03-02/a.20260302.csv.gz",
        "deep/2026/03-02/b.20260303.csv",
        "deep/2026/03-03/a.20260303.csv",
    )
    assert [file.path.name for file in find_files(tmp_path, feeds, DAY)] == ["a.20260302.csv.gz"]
    assert all_report_dates(tmp_path, feeds) == [DAY, DAY + timedelta(days=1)]


def test_all_report_dates_are_those_of_every_feed_once(tmp_path: Path) -> None:
    land(tmp_path, "otc/otc_2026-03-03.csv", "otc/otc_2026-03-02_a.csv", "vendor_pipe/trades_20260302.v1.txt")
    assert all_report_dates(tmp_path, FEEDS) == [DAY, DAY + timedelta(days=1)]


def test_a_date_that_does_not_exist_is_reported_and_not_passed_over(tmp_path: Path) -> None:
    land(
        tmp_path,
        "vendor_pipe/trades_20260231.v1.txt",
        "vendor_pipe/trades_20260302.v99999999999.txt",
        "vendor_pipe/trades_20260302.v1.txt",
    )
    said = [str(name) for name in unreadable_names(tmp_path, FEEDS)]
    assert len(said) == 2
    assert "trades_20260231.v1.txt: 2026-02-31 is no date; rename the file" in said[0]
    assert "version 99999999999 is over 2147483647" in said[1]
    assert found(tmp_path) == [("vendor_pipe", "", 1, "")]
    assert all_report_dates(tmp_path, FEEDS) == [DAY]


def test_a_date_among_hundreds_costs_one_listing_for_each_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"otc/otc_{date(2019, 11, 1) + timedelta(days=day)}.csv" for day in range(500)]
    land(tmp_path, *names)
    listed: list[Path] = []
    listing = remote._listing
    monkeypatch.setattr(remote, "_listing", lambda folder: listed.append(folder) or listing(folder))
    (file,) = find_files(tmp_path, FEEDS, date(2020, 2, 29))
    assert file.path.name == "otc_2020-02-29.csv"
    assert sorted(folder.name for folder in listed) == ["otc", "taq", "vendor_pipe"]
    assert len(all_report_dates(tmp_path, FEEDS)) == 500
