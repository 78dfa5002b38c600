"""Trades, quality, quarantine and symbols over HTTP, held against the tables.

Belongs here: what these routes answer. Does not belong here: errors, metrics.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pytest

from market_spine.errors import FileRefused
from market_spine_tests.driving import Platform
from market_spine_tests.serving import (
    ARROW,
    QUALITY,
    QUARANTINE,
    SYMBOLS,
    TRADES,
    Api,
    exact,
    serving,
    settings_for,
)
from market_spine_tests.small_reports import FRI, MON, THU, TUE, WED, deliver, report


@pytest.fixture(scope="module")
def market(market: Platform) -> Platform:
    """With a file that was refused."""
    market.deliver("otc", f"otc_{THU}.csv", "report_id,action\n1,new,cut off")
    with pytest.raises(FileRefused, match="header lacks"):
        market.load(THU)
    return market


@pytest.fixture
def api(market: Platform, tmp_path: Path) -> Iterator[Api]:
    with serving(settings_for(market.database_url, tmp_path)) as running:
        yield running


# --- trades


def test_a_day_has_every_trade_with_every_column_as_the_table_has_them(api: Api, market: Platform) -> None:
    rows = api.data(f"{TRADES}?date={MON}")
    there = market.trades(MON)
    assert len(rows) == len(there) == 4
    for row, expected in zip(rows, there, strict=True):
        assert list(row) == list(expected)
        assert row == {
            name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in expected.items()
        }
    assert [row["status"] for row in rows] == ["live", "cancelled", "live", "live"]
    assert rows[-1]["venue"] == "X\\Y"
    assert '"price":10.0000000001,"size":100.500000' in api.get(f"{TRADES}?date={MON}").text


@pytest.mark.parametrize(
    ("asked", "ids"),
    [
        (f"date={MON}&symbol=ACME", ["0A", "0B"]),
        (f"date={MON}&symbol=NOPE", []),
        (f"date={MON}&status=live", ["0A", "0C", "0D"]),
        (f"date={MON}&status=cancelled", ["0B"]),
        (f"date={MON}&status=superseded", []),
        (f"date={MON}&eligible=true", ["0A", "0C", "0D"]),
        (f"date={MON}&eligible=false", ["0B"]),
        (f"date={MON}&eligible=true&status=cancelled", []),
        (f"date={THU}", []),
        ("date=2026-02-01", []),
    ],
)
def test_symbol_status_and_eligibility_choose_the_trades(api: Api, asked: str, ids: list[str]) -> None:
    assert [row["report_id"] for row in api.data(f"{TRADES}?{asked}")] == ids


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_pages_of_trades_put_together_are_the_day(api: Api, limit: int) -> None:
    pages = api.pages(f"{TRADES}?date={TUE}&limit={limit}")
    assert [row for page in pages for row in page] == api.data(f"{TRADES}?date={TUE}")
    assert exact(api.get(f"{TRADES}?date={TUE}&limit={limit}&count=true"))["count"] == 4


def test_trades_of_the_same_moment_are_parted_by_their_sequence(platform: Platform, tmp_path: Path) -> None:
    deliver(platform, MON, *(report(number, price=number) for number in range(1, 8)))
    platform.settle()
    with serving(settings_for(platform.database_url, tmp_path)) as api:
        pages = api.pages(f"{TRADES}?date={MON}&limit=2")
    assert [row["report_id"] for page in pages for row in page] == [str(number) for number in range(1, 8)]


def test_a_day_streams_as_csv_and_as_arrow(api: Api, market: Platform) -> None:
    rows = api.data(f"{TRADES}?date={MON}")
    lines = list(csv.DictReader(io.StringIO(api.get(f"{TRADES}?date={MON}", accept="text/csv").text)))
    assert [line["report_id"] for line in lines] == [row["report_id"] for row in rows]
    assert (lines[0]["price"], lines[0]["upd_volume"]) == ("10.0000000001", "true")
    table = pyarrow.ipc.open_stream(api.get(f"{TRADES}?date={MON}", accept=ARROW).content).read_all()
    assert table.to_pylist() == market.trades(MON)
    assert table.schema.field("size").type == pa.decimal128(20, 6)


def test_replacing_a_day_changes_the_tag_of_its_trades_and_of_no_other_day(platform: Platform, tmp_path: Path) -> None:
    for day in (MON, TUE):
        deliver(platform, day, report(f"{day}", executed_at=f"{day}T15:00:00Z"))
    platform.settle()
    with serving(settings_for(platform.database_url, tmp_path)) as api:
        tags = {day: api.get(f"{TRADES}?date={day}").headers["etag"] for day in (MON, TUE)}
        platform.normalize(MON)
        status = {day: api.get(f"{TRADES}?date={day}", if_none_match=tag).status_code for day, tag in tags.items()}
    assert status == {MON: 200, TUE: 304}


# --- quality and quarantine


def test_quality_tells_of_each_day_what_went_in_and_what_became_of_it(api: Api, market: Platform) -> None:
    days = api.data(QUALITY)
    assert [day["day"] for day in days] == [str(day) for day in (MON, TUE, WED, THU, FRI)]
    for day in days:
        row = market.query("SELECT * FROM otc_days WHERE day = %s", (day["day"],))
        assert day["counts"] == (row[0]["counts"] if row else None)
        assert day["reports"] == (row[0]["base_rows"] if row else None)
    tuesday = days[1]
    assert tuesday["computed_at"].endswith("+00:00")
    (file,) = tuesday["files"]
    assert (file["path"], file["status"], file["rows"]) == (f"otc/otc_{TUE}.csv", "live", 5)
    assert (file["exceptions"], file["quarantined"]) == ({"quarantined": 1}, {"non_positive_price": 1})


def test_a_refused_file_makes_a_day_of_its_own_with_the_reason(api: Api) -> None:
    (thursday,) = api.data(f"{QUALITY}?start={THU}&end={THU}")
    assert (thursday["computed_at"], thursday["counts"], thursday["checks"]) == (None, None, [])
    (file,) = thursday["files"]
    assert file["status"] == "rejected"
    assert "header lacks" in file["problem"]


def test_reports_of_another_days_file_are_told_with_that_file(api: Api) -> None:
    (monday,) = api.data(f"{QUALITY}?start={MON}&end={MON}")
    assert [file["report_date"] for file in monday["files"]] == [str(MON), str(WED)]
    assert monday["files"][1]["exceptions"] == {"applied": 1}


def test_checks_stand_with_their_day(api: Api, market: Platform) -> None:
    with market.warehouse.connect() as connection:
        connection.execute(
            "INSERT INTO otc_quality VALUES ('otc_trades', %s, 'late', false, true, %s, now(), 'r')", (TUE, '{"a": 1}')
        )
    (tuesday,) = api.data(f"{QUALITY}?start={TUE}&end={TUE}")
    (check,) = tuesday["checks"]
    assert {name: check[name] for name in ("asset", "check", "passed", "blocking", "details")} == {
        "asset": "otc_trades",
        "check": "late",
        "passed": False,
        "blocking": True,
        "details": {"a": 1},
    }


def test_quarantine_has_each_report_with_its_file_line_reason_and_text(api: Api) -> None:
    rows = api.data(QUARANTINE)
    assert [row["day"] for row in rows] == [str(day) for day in (MON, TUE, WED)]
    first = rows[0]
    assert (first["path"], first["line_no"], first["reason"]) == (f"otc/otc_{MON}.csv", 6, "non_positive_price")
    assert (first["symbol"], first["report"]["price"]) == ("ACME", "-1")
    assert api.data(f"{QUARANTINE}?file_id={rows[1]['file_id']}") == [rows[1]]
    assert api.data(f"{QUARANTINE}?reason=non_positive_price&start={WED}") == [rows[2]]
    assert api.data(f"{QUARANTINE}?reason=bad_time") == []


def test_symbols_have_their_first_and_last_day(api: Api) -> None:
    assert api.data(SYMBOLS) == [
        {"symbol": "ACME", "first_date": str(MON), "last_date": str(FRI), "days": 4},
        {"symbol": "BRVX", "first_date": str(MON), "last_date": str(WED), "days": 3},
        {"symbol": "ECHO/W.A-1", "first_date": str(MON), "last_date": str(WED), "days": 3},
    ]
    for prefix, symbols in {"A": ["ACME"], "ECHO/": ["ECHO/W.A-1"], "B.": [], "acme": []}.items():
        assert [row["symbol"] for row in api.data(f"{SYMBOLS}?prefix={prefix}")] == symbols


@pytest.mark.parametrize(("path", "size"), [(QUALITY, 5), (QUARANTINE, 3), (SYMBOLS, 3)])
def test_small_lists_have_pages_counts_and_tags_too(api: Api, path: str, size: int) -> None:
    assert [len(page) for page in api.pages(f"{path}?limit=1")] == [1] * size
    assert [row for page in api.pages(f"{path}?limit=2") for row in page] == api.data(path)
    body: dict[str, Any] = exact(api.get(f"{path}?limit=1&count=true"))
    assert body["count"] == size
    tag = api.get(path).headers["etag"]
    assert api.get(path, if_none_match=tag).status_code == 304
