"""``GET /otc/metrics/revisions`` says what was published of a symbol, from when until when.

Belongs here: that route. Does not belong here: what is published now (``test_api_metrics``).
"""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from market_spine_tests.conftest import DatabaseFactory
from market_spine_tests.driving import Platform
from market_spine_tests.serving import FIRST, METRICS, REVISIONS, Api, assert_problem, serving, settings_for, week
from market_spine_tests.small_reports import FRI, MON, WED, deliver, report


@pytest.fixture(scope="module")
def market(new_database: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with new_database() as url:
        platform = Platform(url, tmp_path_factory.mktemp("api") / "landing", FIRST)
        week(platform)
        # A file comes again without the only report about a symbol.
        at = f"{FRI}T15:00:00Z"
        for symbol in ("FOXT", "ACME"):
            deliver(platform, FRI, report("9A", symbol=symbol, executed_at=at), name="_b")
            platform.settle()
        yield platform


@pytest.fixture
def api(market: Platform, tmp_path: Path) -> Iterator[Api]:
    with serving(settings_for(market.database_url, tmp_path)) as running:
        yield running


def stored(market: Platform, symbol: str) -> list[dict[str, Any]]:
    text = "SELECT * FROM otc_metrics_daily WHERE symbol = %s ORDER BY trade_date, revision"
    return market.query(text, (symbol,))


def test_every_revision_is_there_with_every_column_as_it_is_stored(api: Api, market: Platform) -> None:
    rows = api.data(f"{REVISIONS}?symbol=ACME&fields=all")
    expected = stored(market, "ACME")
    assert [(row["trade_date"], row["revision"]) for row in rows] == [
        (str(row["trade_date"]), row["revision"]) for row in expected
    ]
    assert max(row["revision"] for row in rows) > 1
    for row, there in zip(rows, expected, strict=True):
        assert set(row) == set(there)
        for name, value in row.items():
            wanted = there[name]
            if isinstance(wanted, date):
                assert type(wanted).fromisoformat(value) == wanted, name
            else:
                assert (float(value) if isinstance(wanted, float) else value) == wanted, name


def test_a_revision_ends_when_the_next_one_begins(api: Api) -> None:
    rows = api.data(f"{REVISIONS}?symbol=ACME&start={MON}&end={MON}")
    assert len(rows) > 1
    assert [row["known_to"] for row in rows] == [row["known_from"] for row in rows[1:]] + [None]
    assert rows[0]["total_volume"] != rows[-1]["total_volume"]


def test_what_is_published_no_more_ends_with_a_closed_revision(api: Api) -> None:
    (row,) = api.data(f"{REVISIONS}?symbol=FOXT&fields=total_volume")
    assert list(row) == ["symbol", "trade_date", "revision", "total_volume", "known_from", "known_to"]
    assert row["known_to"] is not None
    assert api.data(f"{METRICS}?symbol=FOXT") == []


def test_pages_continue_behind_the_last_revision_and_are_counted_when_asked(api: Api, market: Platform) -> None:
    whole = api.data(f"{REVISIONS}?symbol=ACME")
    pages = api.pages(f"{REVISIONS}?symbol=ACME&limit=1")
    assert [row for page in pages for row in page] == whole
    assert len(pages) == len(whole) == len(stored(market, "ACME"))
    assert api.get(f"{REVISIONS}?symbol=ACME&limit=1&count=true").json()["count"] == len(whole)


def test_an_unchanged_answer_is_not_sent_again(api: Api) -> None:
    path = f"{REVISIONS}?symbol=ACME&start={MON}&end={WED}"
    tag = api.get(path).headers["etag"]
    assert api.get(path, if_none_match=tag).status_code == 304


def test_a_symbol_is_needed_and_a_range_has_an_order(api: Api) -> None:
    assert_problem(api.get(REVISIONS), "invalid_parameter", field="symbol", says="required")
    assert_problem(api.get(f"{REVISIONS}?symbol=A,B"), "invalid_parameter", field="symbol", says="pattern")
    backwards = f"{REVISIONS}?symbol=ACME&start={WED}&end={MON}"
    assert_problem(api.get(backwards), "invalid_parameter", field="end", says="before start")
    assert_problem(api.get(f"{REVISIONS}?symbol=ACME", accept="text/csv"), "not_acceptable")
