"""A landing folder that is an address: an S3 on this machine, and fsspec's own filesystem in memory."""

import gzip
import io
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import fsspec
import pytest

from market_spine.calendar import TradingCalendar
from market_spine.errors import FileRefused, LandingError, NoFile, SettingsError
from market_spine.otc.delivery import Delivery
from market_spine.otc.feeds import load_feeds
from market_spine.otc.intake import Intake
from market_spine.otc.landing import all_report_dates, find_files, survey
from market_spine.otc.remote import READ_AHEAD_BYTES, RemotePath, Stamp, location, stamp_of, without_credentials
from market_spine.settings import LandingAddress, Settings
from market_spine.warehouse.engine import Warehouse
from market_spine_tests.orchestrated import DAYS, HEADER, report
from market_spine_tests.processes import free_port, wait_for

DAY, NEXT, _ = DAYS
FEEDS = load_feeds()
Put = Callable[[str, bytes], None]


def text(day: date, count: int = 10) -> bytes:
    return "\n".join([HEADER, *(report(day, number) for number in range(1, count + 1)), ""]).encode()


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A server that speaks S3, with a bucket; s3fs finds it by the variables its users set.

    In a process of its own: a test counts the memory of this one.
    """
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = [str(Path(sys.executable).with_name("moto_server")), "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(f"{address}/moto-api/data.json", server)
        yield from _with_a_bucket(address)
    finally:
        server.terminate()
        server.wait(20)


def _with_a_bucket(address: str) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", address)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        filesystem = fsspec.filesystem("s3", use_listings_cache=False)
        filesystem.mkdir("deliveries")
        yield filesystem
        fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.fixture
def bucket(s3: Any) -> Iterator[tuple[LandingAddress, Put]]:
    """An empty folder of the bucket, and how to put a file there."""
    address = LandingAddress("s3://deliveries/landing")
    yield address, lambda name, data: s3.pipe(f"deliveries/landing/{name}", data)
    if s3.exists("deliveries/landing"):
        s3.rm("deliveries/landing", recursive=True)


def intake(url: str, landing: Path | str) -> Intake:
    return Intake(Warehouse(url), FEEDS, landing, TradingCalendar(date(2026, 1, 2)))


def test_files_in_a_bucket_are_found_like_files_in_a_folder(bucket: tuple[LandingAddress, Put]) -> None:
    address, put = bucket
    for name in ("otc/otc_2026-03-04.csv", "otc/otc_2026-03-04_b.csv.gz", "otc/otc_2026-03-05.csv", "otc/x.csv"):
        put(name, b"x")
    found = [(file.part, file.compression, str(file.path)) for file in find_files(address, FEEDS, DAY)]
    assert found == [
        ("", "", "s3://deliveries/landing/otc/otc_2026-03-04.csv"),
        ("b", "gzip", "s3://deliveries/landing/otc/otc_2026-03-04_b.csv.gz"),
    ]
    assert all_report_dates(address, FEEDS) == [DAY, NEXT]


def test_a_bucket_ends_in_the_same_rows_as_a_folder(bucket: tuple[LandingAddress, Put], database_url: str) -> None:
    address, put = bucket
    put("otc/otc_2026-03-04.csv", text(DAY))
    put("otc/otc_2026-03-04_b.csv.gz", gzip.compress(text(DAY, 7)))
    loading = intake(database_url, address)
    first = loading.load_day(DAY)
    assert (first.rows, [file.path for file in first.files]) == (
        17,
        ["otc/otc_2026-03-04.csv", "otc/otc_2026-03-04_b.csv.gz"],
    )
    assert loading.load_day(DAY).loaded_rows == 0
    put("otc/otc_2026-03-04.csv", text(DAY, 12))
    assert loading.load_day(DAY).rows == 19


def test_messages_say_where_the_file_is(bucket: tuple[LandingAddress, Put], database_url: str) -> None:
    address, put = bucket
    with pytest.raises(NoFile, match=r"no file for 2026-03-04 under s3://deliveries/landing; looked for"):
        intake(database_url, address).load_day(DAY)
    put("otc/otc_2026-03-04.csv", text(DAY)[:-20])
    with pytest.raises(FileRefused, match=r"^otc/otc_2026-03-04.csv line 11: "):
        intake(database_url, address).load_day(DAY)
    put("otc/otc_2026-03-04.csv.gz", b"")
    with pytest.raises(FileRefused, match=r"as s3://deliveries/landing/otc/otc_2026-03-04.csv; take one of them away"):
        find_files(address, FEEDS, DAY)


def test_a_file_that_lands_later_is_seen_at_once(bucket: tuple[LandingAddress, Put]) -> None:
    address, put = bucket
    assert all_report_dates(address, FEEDS) == []
    put("otc/otc_2026-03-04.csv", text(DAY))
    assert all_report_dates(address, FEEDS) == [DAY]


def test_an_object_store_tells_a_changed_file_by_its_tag(bucket: tuple[LandingAddress, Put]) -> None:
    address, put = bucket
    put("otc/otc_2026-03-04.csv", b"one")
    before = survey(address, FEEDS).days[DAY].version
    time.sleep(1.1)  # times of S3 are whole seconds
    put("otc/otc_2026-03-04.csv", b"one")
    assert survey(address, FEEDS).days[DAY].version == before
    put("otc/otc_2026-03-04.csv", b"two")
    assert survey(address, FEEDS).days[DAY].version != before


def test_a_large_file_is_read_as_a_stream(bucket: tuple[LandingAddress, Put]) -> None:
    address, put = bucket
    size = 6 * READ_AHEAD_BYTES
    put("otc/otc_2026-03-04.csv", b"x" * size)
    (file,) = find_files(address, FEEDS, DAY)
    delivery = Delivery(file.path, "", 393_216)
    read = 0
    most = 0
    tracemalloc.start()
    for piece in delivery.pieces():
        read += len(piece)
        most = max(most, tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert read == size
    assert most < 3 * READ_AHEAD_BYTES


def test_a_bucket_that_is_not_there_has_no_files(s3: Any) -> None:
    assert all_report_dates(LandingAddress("s3://nowhere/landing"), FEEDS) == []


def test_a_store_that_does_not_answer_is_an_error_of_one_line_and_no_verdict_on_the_file(
    bucket: tuple[LandingAddress, Put], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, put = bucket
    put("otc/otc_2026-03-04.csv", text(DAY))
    (file,) = find_files(address, FEEDS, DAY)
    place = location(address)
    assert isinstance(place, RemotePath)
    filesystem = place.filesystem

    def gone(*_: object, **__: object) -> None:
        raise RuntimeError("connection\nlost")

    with monkeypatch.context() as patch:
        patch.setattr(filesystem, "ls", gone)
        with pytest.raises(LandingError, match=r"^s3://deliveries/landing/otc cannot be read: connection lost; is"):
            find_files(address, FEEDS, DAY)

    class Dying(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError("the server hung up")

    with monkeypatch.context() as patch:
        patch.setattr(filesystem, "open", lambda *_, **__: Dying())
        with pytest.raises(LandingError, match="the server hung up"):
            list(Delivery(file.path, "", 1000).pieces())


def test_another_filesystem_of_fsspec_does_as_well(database_url: str) -> None:
    memory = fsspec.filesystem("memory")
    try:
        memory.pipe("/landing/otc/otc_2026-03-04.csv", text(DAY))
        memory.pipe("/landing/vendor_pipe/trades_20260231.v1.txt", b"")
        address = LandingAddress("memory://landing")
        assert intake(database_url, address).load_day(DAY).rows == 10
        found = survey(address, FEEDS)
        assert list(found.days) == [DAY]
        assert str(found.unreadable[0]).startswith("memory://landing/vendor_pipe/trades_20260231.v1.txt: 2026-02-31")
    finally:
        memory.rm("/landing", recursive=True)


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({"size": 3, "mtime": 5.0}, Stamp(3, 5.0)),
        ({"size": 3, "modify": "19700101000007"}, Stamp(3, 7.0)),
        ({"size": 3, "updated": "1970-01-01T00:00:09Z", "etag": "x"}, Stamp(3, 9.0, "x", 9.0)),
        ({"size": None, "modified": "yesterday"}, Stamp(None, None)),
    ],
)
def test_each_filesystem_has_its_own_words_for_time_and_tag(info: dict[str, object], expected: Stamp) -> None:
    memory = location("memory://landing")
    assert isinstance(memory, RemotePath)
    assert stamp_of(replace(memory, info=info)) == expected


# --- the setting


def landing(value: str) -> Path | LandingAddress:
    return Settings.from_env({"MARKET_SPINE_LANDING": value}).landing


@pytest.mark.parametrize("value", ["/srv/landing", "file:///srv/landing", "local:///srv/landing"])
def test_a_local_folder_stays_a_path_however_it_is_written(value: str) -> None:
    assert landing(value) == Path("/srv/landing")
    assert isinstance(landing(value), Path)


def test_an_address_is_kept_and_handed_on_to_child_processes() -> None:
    settings = Settings.from_env({"MARKET_SPINE_LANDING": "s3://bucket/landing/"})
    assert settings.landing == "s3://bucket/landing"
    assert Settings.from_env(settings.to_env()) == settings


@pytest.mark.parametrize("value", ["nosuch://user:secret@host/x", "S3://bucket", "s3://", "simplecache::s3://bucket/x"])
def test_an_address_of_no_known_kind_is_named_without_its_password(value: str) -> None:
    with pytest.raises(SettingsError, match=r"^MARKET_SPINE_LANDING is .*; expected a folder, or an address") as caught:
        landing(value)
    assert "secret" not in str(caught.value)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("market_spine.settings.find_spec", lambda _name: None)
    with pytest.raises(SettingsError, match=r"which needs the package s3fs; install market-spine\[s3\]"):
        landing("s3://bucket")
    with pytest.raises(SettingsError, match=r"gs://, which needs the package gcsfs$"):
        landing("gs://bucket")


def test_a_filesystem_that_finds_a_package_missing_only_when_used_says_so() -> None:
    with pytest.raises(LandingError, match=r"^MARKET_SPINE_LANDING is sftp://host/x: .*paramiko"):
        location("sftp://user:secret@host/x")


def test_passwords_are_not_shown() -> None:
    assert without_credentials("ftp://me:secret@host:21/in/x@y") == "ftp://host:21/in/x@y"
