"""Partitions as DataFrames: the values of the tables, what was published then, exact or as floats, and the refusals.

Belongs here: ``market_spine.frames`` on a real database. Does not belong here: what a metric is, the tutorial.
"""

import re
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
import pytest

from market_spine.errors import CalendarError, FrameError, NotComputed, RawExpired, SpineError, WarehouseError
from market_spine.frames import arrow, load_metrics, load_raw, load_trades
from market_spine.frames.loader import FILE_STATUSES
from market_spine.otc.raw_retention import RawRetention
from market_spine.warehouse.engine import Warehouse, plain_url
from market_spine.warehouse.schema import otc_metrics_daily, otc_trades, otc_trades_raw
from market_spine_tests.driving import Platform
from market_spine_tests.serving import METRICS, TRADES, Api, serving, settings_for
from market_spine_tests.small_reports import FRI, MON, TUE, WED, deliver, report

SATURDAY = date(2026, 2, 7)
NEXT_MONDAY = date(2026, 2, 9)


@pytest.fixture
def url(market: Platform) -> str:
    return market.database_url


@pytest.fixture
def api(market: Platform, tmp_path: Path) -> Iterator[Api]:
    with serving(settings_for(market.database_url, tmp_path)) as running:
        yield running


def plain(value: Any) -> Any:
    """A cell as the database driver gives it."""
    if isinstance(value, pd.Timestamp):
        return value.to_pydatetime()
    return None if value is pd.NaT or (isinstance(value, float) and value != value) else value


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): plain(value) for name, value in row.items()} for row in frame.to_dict("records")]


def expected(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the driver; a day is midnight without a zone."""
    return [
        {name: datetime.combine(value, time.min) if type(value) is date else value for name, value in row.items()}
        for row in rows
    ]


# --- metrics


def test_every_metric_is_the_value_in_the_table(market: Platform, url: str) -> None:
    frame = load_metrics(MON, FRI, fields="all", database=url)
    stored = market.query(
        "SELECT * FROM otc_metrics_daily WHERE known_to IS NULL AND trade_date BETWEEN %s AND %s"
        ' ORDER BY symbol COLLATE "C", trade_date',
        (MON, FRI),
    )
    assert len(stored) > 8
    assert list(frame.index.names) == ["symbol", "trade_date"]
    assert frame.index.is_monotonic_increasing
    assert rows_of(frame.reset_index()) == expected(stored)


def test_the_frame_says_what_the_api_says(api: Api, url: str) -> None:
    frame = load_metrics(MON, FRI, symbols=["ACME", "BRVX"], database=url).reset_index()
    answered = api.data(f"{METRICS}?symbol=ACME,BRVX&start={MON}&end={FRI}")
    assert [{**row, "trade_date": f"{row['trade_date']:%Y-%m-%d}"} for row in rows_of(frame)] == answered


def test_a_number_is_a_decimal_with_every_digit_or_the_nearest_float(url: str) -> None:
    exact = load_metrics(FRI, symbols="ACME", fields=["vwap", "stddev_price"], database=url)
    floats = load_metrics(FRI, symbols="ACME", fields=["vwap", "stddev_price"], decimals="float", database=url)
    (vwap,) = exact["vwap"]
    assert isinstance(vwap, Decimal)
    assert vwap.as_tuple().exponent == -10
    assert floats["vwap"].dtype == "float64"
    assert list(floats["vwap"]) == [float(vwap)]
    assert float(vwap) != round(float(vwap), 4), "the digits have something to lose"
    assert list(exact["stddev_price"]) == list(floats["stddev_price"]), "what is binary in the database stays so"


def test_types_are_those_of_the_documentation_with_rows_and_without(url: str) -> None:
    frame = load_metrics(MON, fields="all", database=url)
    nothing = load_metrics(MON, symbols=["NONE"], fields="all", database=url)
    assert nothing.empty
    assert list(nothing.dtypes) == list(frame.dtypes)
    assert list(nothing.index.names) == list(frame.index.names)
    for name in set(otc_metrics_daily.columns.keys()) - {"symbol", "trade_date"}:
        kind = str(otc_metrics_daily.columns[name].type)
        wanted = {"INTEGER": "int32", "BIGINT": "int64", "DOUBLE": "float64", "TIMESTAMP": "datetime64[us, UTC]"}
        assert frame[name].dtype == wanted.get(kind, "object" if kind.startswith("NUMERIC") else "str"), name
    assert frame.index.get_level_values("trade_date").dtype == "datetime64[us]"


def test_one_day_is_a_day_and_a_range_has_both_its_ends(url: str) -> None:
    def days(start: Any, end: Any = None) -> list[date]:
        found = load_metrics(start, end, symbols="ACME", database=url).index.get_level_values("trade_date")
        return [day.date() for day in found]

    assert days(MON) == days(str(MON)) == days(pd.Timestamp(MON)) == [MON]
    assert days(MON, WED) == [MON, TUE, WED]
    assert days("2026-01-30", SATURDAY) == [MON, TUE, WED, FRI], "a day without metrics in a range has no row"


def test_as_of_answers_with_what_was_published_at_that_moment(market: Platform, url: str) -> None:
    revisions = market.query(
        "SELECT revision, total_volume, known_from, known_to FROM otc_metrics_daily"
        " WHERE symbol = 'ACME' AND trade_date = %s ORDER BY revision",
        (MON,),
    )
    assert len(revisions) > 1
    for row in revisions:
        then = load_metrics(MON, symbols="ACME", as_of=row["known_from"], database=url)
        assert list(then["revision"]) == [row["revision"]]
        assert list(then["total_volume"]) == [row["total_volume"]]
        if row["known_to"]:
            last = row["known_to"] - timedelta(microseconds=1)
            assert list(load_metrics(MON, symbols="ACME", as_of=last, database=url)["revision"]) == [row["revision"]]
    before = revisions[0]["known_from"] - timedelta(microseconds=1)
    assert load_metrics(MON, symbols="ACME", as_of=before, database=url).empty
    assert load_metrics(NEXT_MONDAY, as_of=before, database=url).empty, "then nothing had been computed either"


def test_a_moment_without_a_zone_is_utc(market: Platform, url: str) -> None:
    (row,) = market.query(
        "SELECT known_from FROM otc_metrics_daily WHERE symbol = 'ACME' AND trade_date = %s AND revision = 1", (MON,)
    )
    naive = row["known_from"].replace(tzinfo=None)
    assert list(load_metrics(MON, symbols="ACME", as_of=naive, database=url)["revision"]) == [1]
    assert list(load_metrics(MON, symbols="ACME", as_of=naive.isoformat(), database=url)["revision"]) == [1]


def test_fields_stand_in_the_order_asked_for(url: str) -> None:
    frame = load_metrics(MON, fields=["vwap", "adv5", "trade_count"], database=url)
    assert list(frame.columns) == ["revision", "vwap", "adv5", "trade_count"]
    assert list(load_metrics(MON, fields="vwap, symbol", database=url).columns) == ["revision", "vwap"]
    assert list(load_metrics(MON, fields=["symbol"], database=url).columns) == ["revision"]


# --- trades and reports


def test_every_trade_is_the_row_of_the_table_in_the_order_of_the_metrics(market: Platform, url: str) -> None:
    frame = load_trades(MON, status=None, database=url)
    stored = market.query(
        'SELECT * FROM otc_trades WHERE trade_date = %s ORDER BY symbol COLLATE "C", executed_at, trade_seq', (MON,)
    )
    assert list(frame.columns) == otc_trades.columns.keys()
    assert rows_of(frame) == expected(stored)
    assert str(frame["executed_at"].dtype) == "datetime64[us, UTC]"
    assert frame["is_late"].dtype == "bool"
    assert "X\\Y" in set(frame["venue"])


def test_only_live_trades_are_loaded_unless_others_are_asked_for(api: Api, url: str) -> None:
    every = load_trades(MON, status=None, database=url)
    assert set(every["status"]) > {"live"}
    for status in ("live", "cancelled"):
        found = load_trades(MON, status=status, database=url)
        assert list(found["report_id"]) == list(every.loc[every["status"] == status, "report_id"])
        assert list(found["price"]) == [row["price"] for row in api.data(f"{TRADES}?date={MON}&status={status}")]
    assert load_trades(MON, database=url).equals(load_trades(MON, status="live", database=url))


def test_trades_of_some_symbols_and_as_floats(url: str) -> None:
    found = load_trades(MON, symbols=["BRVX", "ECHO/W.A-1"], decimals="float", database=url)
    assert list(found["symbol"]) == ["BRVX", "ECHO/W.A-1"]
    assert list(found["price"]) == [0.0001, 7.0]
    assert found["size"].dtype == "float64"


def test_reports_come_as_text_with_their_file_and_line(market: Platform, url: str) -> None:
    frame = load_raw(MON, database=url)
    assert list(frame.columns) == ["source", "file_status", *otc_trades_raw.columns.keys()]
    stored = market.query("SELECT line_no, report_id, price FROM otc_trades_raw WHERE report_date = %s", (MON,))
    found = frame[["line_no", "report_id", "price"]].to_dict("records")
    assert sorted(found, key=lambda row: row["line_no"]) == sorted(stored, key=lambda row: row["line_no"])
    assert "-1" in set(frame["price"]), "what cannot be taken is there as it came"
    assert set(frame["source"]) == {"otc"}


def test_a_superseded_file_is_loaded_when_it_is_asked_for(platform: Platform) -> None:
    for price in ("10", "11"):
        deliver(platform, MON, report("1", price=price))
        platform.run(MON)
    url = platform.database_url
    prices = {status: list(load_raw(MON, status=status, database=url)["price"]) for status in ("live", "superseded")}
    assert prices == {"live": ["11"], "superseded": ["10"]}
    assert list(load_raw(MON, status=None, database=url)["price"]) == ["10", "11"]
    with pytest.raises(NotComputed, match=f"{MON}: no voided file"):
        load_raw(MON, status="voided", database=url)


def test_a_stream_of_many_blocks_is_the_same_frame(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load_trades(MON, status=None, database=url)
    monkeypatch.setattr(arrow, "BLOCK_BYTES", 1)
    assert load_trades(MON, status=None, database=url).equals(whole)


# --- what cannot be loaded


REFUSALS: dict[str, tuple[Callable[..., pd.DataFrame], tuple[Any, ...], dict[str, Any], type[SpineError], str]] = {
    "no session": (load_trades, (SATURDAY,), {}, CalendarError, "2026-02-06 and 2026-02-09"),
    "no session in metrics": (load_metrics, (SATURDAY,), {}, CalendarError, "is no session"),
    "no session in raw": (load_raw, (SATURDAY,), {}, CalendarError, "is no session"),
    "a range of none": (load_metrics, (SATURDAY, "2026-02-08"), {}, CalendarError, "no session from"),
    "before the calendar": (load_metrics, ("1999-01-04",), {}, CalendarError, "first session that is known"),
    "backwards": (load_metrics, (WED, MON), {}, FrameError, f"end {MON} is before start {WED}"),
    "no day": (load_metrics, ("04/03/2026",), {}, FrameError, "'04/03/2026' is no day"),
    "no moment": (load_metrics, (MON,), {"as_of": "noon"}, FrameError, "as_of is 'noon'"),
    "no field": (load_metrics, (MON,), {"fields": ["vwop"]}, FrameError, "no field is named vwop; there are all, "),
    "no way": (load_metrics, (MON,), {"decimals": "double"}, FrameError, "there are exact and float"),
    "no status": (load_trades, (MON,), {"status": "dead"}, FrameError, "there are live, cancelled, superseded"),
    "no file status": (load_raw, (MON,), {"status": "dead"}, FrameError, ", ".join(FILE_STATUSES)),
    "no metrics yet": (load_metrics, (NEXT_MONDAY,), {}, NotComputed, f"spine run otc_full_refresh {NEXT_MONDAY}"),
    "no trades yet": (load_trades, (NEXT_MONDAY,), {}, NotComputed, "has no trades yet"),
    "no file yet": (load_raw, (NEXT_MONDAY,), {}, NotComputed, "no live file of it was loaded"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_loaded_is_refused_in_one_line(url: str, case: str) -> None:
    load, days, options, kind, says = REFUSALS[case]
    with pytest.raises(kind) as caught:
        load(*days, **options, database=url)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_reports_that_retention_dropped_are_told_from_reports_that_never_came(platform: Platform) -> None:
    deliver(platform, MON, report("1"))
    platform.settle()
    RawRetention(platform.warehouse, lambda _done, _total: None).drop(TUE)
    with pytest.raises(RawExpired, match=str(MON)):
        load_raw(MON, database=platform.database_url)
    assert len(load_trades(MON, database=platform.database_url)) == 1


def test_a_server_that_is_away_and_a_database_without_tables_are_named(url: str) -> None:
    with pytest.raises(WarehouseError, match="does not answer"):
        load_metrics(MON, database="postgresql://nobody@127.0.0.1:1/none")
    base, _, _ = url.partition("?")
    other = url.replace(f"{base.rpartition('/')[2]}?", "postgres?")
    assert other != url
    with pytest.raises(WarehouseError, match="spine db migrate"):
        load_metrics(MON, database=other)


# --- where the database is found


def test_without_an_address_the_settings_say_where_the_database_is(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = load_metrics(MON, database=url)
    assert load_metrics(MON, database=Warehouse(url)).equals(given)
    monkeypatch.setenv("DATABASE_URL", url)
    assert load_metrics(MON).equals(given)


def test_where_no_database_is_known_the_two_settings_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKET_SPINE_STATE", str(tmp_path / "state"))
    with pytest.raises(WarehouseError, match=r"set DATABASE_URL, or MARKET_SPINE_STATE"):
        load_metrics(MON)
    assert not (tmp_path / "state").exists(), "asking makes nothing"


def test_a_login_of_the_reading_role_loads_metrics_and_trades_and_no_raw_reports(market: Platform, url: str) -> None:
    with psycopg.connect(plain_url(url), autocommit=True) as admin:
        admin.execute("DROP ROLE IF EXISTS frames_reader")
        admin.execute("CREATE ROLE frames_reader LOGIN PASSWORD 'x' IN ROLE market_spine_reader")
    reader = re.sub(r"//[^@]*@", "//frames_reader:x@", url)
    try:
        assert load_metrics(MON, database=reader).equals(load_metrics(MON, database=url))
        assert load_trades(MON, database=reader).equals(load_trades(MON, database=url))
        with pytest.raises(WarehouseError, match="the login may not read this: permission denied"):
            load_raw(MON, database=reader)
    finally:
        with psycopg.connect(plain_url(url), autocommit=True) as admin:
            admin.execute("DROP ROLE frames_reader")
