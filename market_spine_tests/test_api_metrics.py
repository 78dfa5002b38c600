"""``GET /otc/metrics/daily`` says what the tables say, digit by digit, now and as of any moment.

Belongs here: the route in its three representations. Does not belong here: errors, other routes.
"""

import csv
import io
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pyarrow as pa
import pyarrow.ipc
import pytest

from market_spine_tests.driving import Platform
from market_spine_tests.serving import ARROW, DAYS, METRICS, Api, exact, serving, settings_for
from market_spine_tests.small_reports import FRI, MON, TUE, WED, deliver, report


@pytest.fixture
def api(market: Platform, tmp_path: Path) -> Iterator[Api]:
    with serving(settings_for(market.database_url, tmp_path)) as running:
        yield running


def stored(market: Platform, columns: str, where: str = "known_to IS NULL") -> list[dict[str, Any]]:
    text = f"SELECT {columns} FROM otc_metrics_daily WHERE {where} ORDER BY symbol, trade_date, revision"
    return market.query(text)


def test_every_value_of_every_column_is_the_one_in_the_table(api: Api, market: Platform) -> None:
    rows = api.data(f"{METRICS}?fields=all")
    expected = stored(market, "*")
    assert len(rows) == len(expected) == 10
    for row, there in zip(rows, expected, strict=True):
        assert list(row) == [name for name in there if name != "known_to"]
        for name, value in row.items():
            wanted = there[name]
            if isinstance(wanted, date):  # PostgreSQL leaves out zeros at the end of a moment, isoformat() does not
                same = type(wanted).fromisoformat(value) == wanted
            else:
                same = float(value) == wanted if isinstance(wanted, float) else value == wanted
            assert same, (name, value, wanted)


def test_decimals_stand_in_json_as_numbers_with_all_their_digits(api: Api) -> None:
    text = api.get(f"{METRICS}?symbol=ACME&start={TUE}&end={TUE}&fields=high_price,low_price").text
    assert '"high_price":12.3456789012,"low_price":10.0000000001}' in text


def test_without_fields_the_usual_ones_come_and_with_some_the_key_and_those(api: Api) -> None:
    usual = api.data(f"{METRICS}?symbol=ACME&start={TUE}&end={TUE}")[0]
    assert list(usual)[:5] == ["symbol", "trade_date", "revision", "trade_count", "total_volume"]
    for asked in ("fields=vwap,close_at", "fields=vwap&fields=close_at", "fields=vwap,close_at,symbol"):
        row = api.data(f"{METRICS}?symbol=ACME&start={TUE}&end={TUE}&{asked}")[0]
        assert list(row) == ["symbol", "trade_date", "revision", "vwap", "close_at"]
        assert row["close_at"] == f"{TUE}T15:00:00+00:00"


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("symbol=ACME", [("ACME", day) for day in DAYS]),
        (
            "symbol=ACME&symbol=BRVX&start=2026-02-03&end=2026-02-04",
            [(s, d) for s in ("ACME", "BRVX") for d in (TUE, WED)],
        ),
        ("symbol=BRVX,ACME,ACME&start=2026-02-06", [("ACME", FRI)]),
        ("symbol=NOPE", []),
        ("symbol=acme", []),
        ("symbol=ECHO/W.A-1&end=2026-02-02", [("ECHO/W.A-1", MON)]),
        ("start=2026-02-07", []),
        ("end=2026-02-02", [("ACME", MON), ("BRVX", MON), ("ECHO/W.A-1", MON)]),
    ],
)
def test_symbols_and_both_ends_included_choose_the_rows(api: Api, asked: str, expected: list[tuple[str, Any]]) -> None:
    rows = api.data(f"{METRICS}?{asked}")
    assert [(row["symbol"], row["trade_date"]) for row in rows] == [(symbol, str(day)) for symbol, day in expected]


@pytest.mark.parametrize(
    "asked",
    ["", "&symbol=ACME", "&symbol=ACME,BRVX", "&fill=calendar&symbol=ACME,NOPE&start=2026-02-02&end=2026-02-06"],
)
@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_pages_put_together_are_the_whole(api: Api, asked: str, limit: int) -> None:
    whole = api.data(f"{METRICS}?fields=all{asked}")
    pages = api.pages(f"{METRICS}?fields=all&limit={limit}{asked}")
    assert [row for page in pages for row in page] == whole
    assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
    assert pages[-1] != []


def test_a_count_comes_only_when_asked_for_and_is_that_of_all_pages(api: Api) -> None:
    assert "count" not in exact(api.get(f"{METRICS}?limit=1"))
    first = exact(api.get(f"{METRICS}?limit=2&count=true"))
    assert first["count"] == 10
    assert exact(api.get(f"{METRICS}?limit=2&count=true&cursor={first['next_cursor']}"))["count"] == 10
    filled = f"{METRICS}?limit=1&count=true&fill=calendar&symbol=ACME,NOPE&start={MON}&end={FRI}"
    assert exact(api.get(filled))["count"] == 10


def test_filled_by_the_calendar_every_session_has_a_row_and_no_other_day(api: Api) -> None:
    rows = api.data(f"{METRICS}?symbol=NOPE,ACME&start=2026-01-31&end=2026-02-09&fill=calendar&fields=vwap")
    sessions = ["2026-02-02", "2026-02-03", "2026-02-04", "2026-02-05", "2026-02-06", "2026-02-09"]
    assert [(row["symbol"], row["trade_date"]) for row in rows] == [(s, d) for s in ("ACME", "NOPE") for d in sessions]
    published = [row["vwap"] is not None for row in rows]
    assert published == [True, True, True, False, True, False] + [False] * 6
    assert [row["revision"] is not None for row in rows] == published


def test_as_of_answers_what_was_published_then(api: Api, market: Platform) -> None:
    first, second = stored(market, "*", f"symbol = 'ACME' AND trade_date = '{MON}'")
    assert (first["revision"], second["revision"]) == (1, 2)
    asked = f"{METRICS}?symbol=ACME&start={MON}&end={MON}&fields=total_volume&as_of="

    def as_of(moment: Any) -> list[Any]:
        return [
            (row["revision"], row["total_volume"]) for row in api.data(asked + moment.isoformat().replace("+", "%2B"))
        ]

    tick = timedelta(microseconds=1)
    assert as_of(first["known_from"] - tick) == []
    assert as_of(first["known_from"]) == [(1, first["total_volume"])]
    assert as_of(second["known_from"] - tick) == [(1, first["total_volume"])]
    assert as_of(second["known_from"]) == [(2, second["total_volume"])]
    assert [row["revision"] for row in api.data(asked + "2100-01-01T00:00:00Z")] == [2]
    filled = api.data(f"{METRICS}?symbol=ACME&start={MON}&end={TUE}&fill=calendar&as_of=2026-01-01T00:00:00Z")
    assert [row["revision"] for row in filled] == [None, None]


# --- streams


def read_csv(answer: httpx.Response) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/csv")
    return list(csv.DictReader(io.StringIO(answer.text)))


def read_arrow(answer: httpx.Response) -> pa.Table:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == ARROW
    return pyarrow.ipc.open_stream(answer.content).read_all()


def test_csv_is_what_copy_writes(api: Api, market: Platform) -> None:
    names = [name for name in stored(market, "*")[0] if name != "known_to"]
    text = api.get(f"{METRICS}?fields=all", accept="text/csv").text
    with psycopg.connect(market.database_url, options="-c timezone=UTC") as connection:
        query = f"""COPY (SELECT {", ".join(names)} FROM otc_metrics_daily WHERE known_to IS NULL
                          ORDER BY trade_date, symbol) TO STDOUT (FORMAT csv, HEADER)"""
        with connection.cursor().copy(query) as copy:
            assert text.encode() == b"".join(bytes(part) for part in copy)


def test_streams_take_the_same_filters_as_pages(api: Api) -> None:
    asked = f"{METRICS}?symbol=ACME,NOPE&start={TUE}&end={FRI}&fields=vwap&fill=calendar&as_of=2100-01-01T00:00:00Z"
    pages = [(row["symbol"], row["trade_date"], row["vwap"]) for row in api.data(asked)]
    lines = [(row["symbol"], row["trade_date"], row["vwap"]) for row in read_csv(api.get(asked, accept="text/csv"))]
    assert lines == [(symbol, day, "" if vwap is None else f"{vwap:f}") for symbol, day, vwap in pages]
    table = read_arrow(api.get(asked, accept=ARROW)).to_pylist()
    assert [(row["symbol"], str(row["trade_date"]), row["vwap"]) for row in table] == pages


def test_arrow_has_exact_types_and_the_meaning_of_each_column(api: Api, market: Platform) -> None:
    table = read_arrow(api.get(f"{METRICS}?fields=all", accept=ARROW))
    assert table.schema.field("vwap").type == pa.decimal128(20, 10)
    assert table.schema.field("trade_date").type == pa.date32()
    assert table.schema.field("open_at").type == pa.timestamp("us", tz="UTC")
    assert table.schema.field("vwap").metadata == {b"comment": b"USD; over price-eligible trades, within [low, high]."}
    there = market.query("SELECT * FROM otc_metrics_daily WHERE known_to IS NULL ORDER BY trade_date, symbol")
    assert table.to_pylist() == [{name: row[name] for name in row if name != "known_to"} for row in there]


def test_a_stream_without_rows_is_a_header(api: Api) -> None:
    assert api.get(f"{METRICS}?symbol=NOPE&fields=vwap", accept="text/csv").text == "symbol,trade_date,revision,vwap\n"
    table = read_arrow(api.get(f"{METRICS}?symbol=NOPE&fields=vwap", accept=ARROW))
    assert (table.num_rows, table.schema.names) == (0, ["symbol", "trade_date", "revision", "vwap"])


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/*", "text/csv; charset=utf-8; header=present"),
        ("text/csv;q=0.5, application/json;q=0.4", "text/csv; charset=utf-8; header=present"),
        ("text/csv;q=0, */*;q=0.1", "application/json"),
        ("image/png, application/vnd.apache.arrow.stream", ARROW),
    ],
)
def test_accept_chooses_the_representation(api: Api, accept: str, media: str) -> None:
    answer = api.get(f"{METRICS}?symbol=ACME", accept=accept)
    assert answer.headers["content-type"] == media
    assert answer.headers["vary"] == "Accept"


# --- ETags


@pytest.mark.parametrize(
    "asked",
    [
        "",
        "&limit=2",
        "&as_of=2100-01-01T00:00:00Z",
        "&count=true",
        f"&fill=calendar&start={MON}&end={FRI}",
        "&fields=all",
    ],
)
def test_the_same_answer_again_is_304_without_a_body(api: Api, asked: str) -> None:
    path = f"{METRICS}?symbol=ACME{asked}"
    tag = api.get(path).headers["etag"]
    for given in (tag, f'"other", W/{tag}', "*"):
        again = api.get(path, if_none_match=given)
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert api.get(path, if_none_match='"other"').status_code == 200


def test_each_request_and_representation_has_a_tag_of_its_own(api: Api) -> None:
    base = f"{METRICS}?symbol=ACME"
    tags = [
        api.get(path).headers["etag"]
        for path in (base, f"{base}&fields=vwap", f"{base}&limit=1", f"{METRICS}?symbol=BRVX")
    ]
    tags += [api.get(base, accept=accept).headers["etag"] for accept in ("text/csv", ARROW)]
    assert len(set(tags)) == len(tags)
    assert api.get(base, accept="text/csv", if_none_match=tags[4]).status_code == 304
    assert api.get(base, accept="text/csv", if_none_match=tags[0]).status_code == 200


def test_a_new_revision_changes_the_tag_of_what_it_is_in_and_of_nothing_else(
    platform: Platform, tmp_path: Path
) -> None:
    for day in (MON, TUE):
        at = {"executed_at": f"{day}T15:00:00Z", "reported_at": f"{day}T16:00:00Z"}
        deliver(platform, day, report(f"{day}1", **at), report(f"{day}2", symbol="BRVX", **at))
    platform.settle()
    acme, brvx = f"{METRICS}?symbol=ACME", f"{METRICS}?symbol=BRVX"
    with serving(settings_for(platform.database_url, tmp_path)) as api:
        tags = {
            (path, accept): api.get(path, accept=accept).headers["etag"]
            for path in (acme, brvx, METRICS)
            for accept in ("application/json", "text/csv")
        }
        deliver(platform, MON, report("late", size="7", executed_at=f"{MON}T15:30:00Z"), name="_b")
        platform.settle(MON)
        for (path, accept), tag in tags.items():
            unchanged = api.get(path, accept=accept, if_none_match=tag).status_code == 304
            assert unchanged == (path == brvx), (path, accept)
