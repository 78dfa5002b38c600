"""Every error has one shape, whatever went wrong and wherever.

Belongs here: errors of every route, the id of a request. Does not belong here: what a route answers when all is well.
"""

import http.client
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from market_spine.api import cursors, problems
from market_spine.api.columns import metric_columns
from market_spine.api.protocol import LONGEST_ADDRESS
from market_spine_tests.processes import serving_process
from market_spine_tests.serving import (
    METRICS,
    QUALITY,
    QUARANTINE,
    ROUTES,
    SYMBOLS,
    TRADES,
    Api,
    assert_problem,
    serving,
    settings_for,
)

READS = tuple(route for route in ROUTES if route.startswith("/api"))
PAGED = tuple(f"{route}{'&' if '?' in route else '?'}" for route in READS)


@pytest.fixture(scope="module")
def api(shared_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(settings_for(shared_database, tmp_path_factory.mktemp("api"))) as running:
        yield running


@pytest.mark.parametrize("path", ["/nope", "/api/v1", "/api/v1/otc/metrics", f"{METRICS}/", "/docs", "/%00", "/ü"])
def test_an_address_that_is_none_is_not_found(api: Api, path: str) -> None:
    assert_problem(api.get(path), "not_found")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ROUTES)
def test_another_method_is_not_allowed(api: Api, path: str, method: str) -> None:
    answer = api.ask(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET"
    assert_problem(answer, "method_not_allowed", says=method)


@pytest.mark.parametrize("path", ROUTES)
def test_an_unknown_parameter_is_refused_and_the_known_ones_are_named(api: Api, path: str) -> None:
    answer = api.get(f"{path}{'&' if '?' in path else '?'}symbl=ACME")
    assert_problem(answer, "unknown_parameter", field="symbl", says="there are ")


@pytest.mark.parametrize(
    ("path", "field", "says"),
    [
        (f"{METRICS}?start=2026-02-30", "start", "no day of the calendar"),
        (f"{METRICS}?start=17", "start", "write 2026-03-04"),
        (f"{METRICS}?end=2026-3-4", "end", "write 2026-03-04"),
        (f"{METRICS}?end=", "end", "write 2026-03-04"),
        (f"{METRICS}?start=2026-03-05&end=2026-03-04", "end", "before start"),
        (f"{METRICS}?start=2026-03-05&start=2026-03-06", "start", "twice"),
        (f"{METRICS}?symbol=A%20B", "symbol", "pattern"),
        (f"{METRICS}?symbol=", "symbol", "pattern"),
        (f"{METRICS}?symbol=%00", "symbol", "pattern"),
        (f"{METRICS}?symbol=A,,B", "symbol", "pattern"),
        (f"{METRICS}?symbol={','.join(f'S{n}' for n in range(1001))}", "symbol", "at most 1000"),
        (f"{METRICS}?as_of=2026-03-04", "as_of", "no moment"),
        (f"{METRICS}?as_of=2026-03-04T25:00:00Z", "as_of", "calendar"),
        (f"{METRICS}?as_of=2026-03-04T12:00:00", "as_of", "no moment"),
        (f"{METRICS}?fill=zero", "fill", "calendar"),
        (f"{METRICS}?fill=calendar&start=2026-03-04&end=2026-03-05", "symbol", "needs symbol, start and end"),
        (f"{METRICS}?fill=calendar&symbol=ACME&end=2026-03-05", "start", "needs symbol, start and end"),
        (f"{METRICS}?fill=calendar&symbol=ACME&start=2026-03-05", "end", "needs symbol, start and end"),
        (f"{METRICS}?fill=calendar&symbol=ACME&start=2026-03-05&end=2199-01-01", "end", "calendar"),
        (f"{METRICS}?limit=0", "limit", "greater than or equal to 1"),
        (f"{METRICS}?limit=10001", "limit", "less than or equal to 10000"),
        (f"{METRICS}?limit=1.5", "limit", "no whole number"),
        (f"{METRICS}?count=yes", "count", "neither true nor false"),
        (TRADES, "date", "required"),
        (f"{TRADES}?date=2026-02-02&symbol=A,B", "symbol", "pattern"),
        (f"{TRADES}?date=2026-02-02&status=dead", "status", "live"),
        (f"{TRADES}?date=2026-02-02&eligible=1", "eligible", "neither true nor false"),
        (f"{QUALITY}?limit=367", "limit", "366"),
        (f"{QUALITY}?start=2026-03-05&end=2026-03-04", "end", "before start"),
        (f"{QUARANTINE}?file_id=0", "file_id", "greater"),
        (f"{QUARANTINE}?file_id=99999999999999999999", "file_id", "no whole number"),
        (f"{QUARANTINE}?reason=BAD", "reason", "pattern"),
        (f"{SYMBOLS}?prefix=%25", "prefix", "pattern"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_its_parameter(api: Api, path: str, field: str, says: str) -> None:
    assert_problem(api.get(path), "invalid_parameter", field=field, says=says)


def test_an_unknown_field_is_answered_with_those_there_are(api: Api) -> None:
    answer = api.get(f"{METRICS}?fields=vwap,vwop,nope")
    assert_problem(answer, "unknown_field", field="fields", says="vwop, nope")
    for name in metric_columns():
        assert f", {name}" in answer.json()["detail"]


@pytest.mark.parametrize("fields", ["", "vwap,", ",vwap"])
def test_no_name_is_no_field(api: Api, fields: str) -> None:
    assert_problem(api.get(f"{METRICS}?fields={fields}"), "unknown_field", field="fields", says="''")


def test_an_unknown_symbol_is_an_empty_list(api: Api) -> None:
    for path in (f"{METRICS}?symbol=NOPE", f"{TRADES}?date=2026-02-02&symbol=NOPE", f"{SYMBOLS}?prefix=NOPE"):
        assert api.data(path) == []


WRONG_CURSORS: list[Any] = [
    "", "x", "%", "ü", "W10", "e30", "bnVsbA", "A" * 2000,
    cursors.write("metrics", []), cursors.write("metrics", ["A", 1]), cursors.write("metrics", ["A", "2026-02-30"]),
    cursors.write("metrics", ["A\0", "2026-02-02"]), cursors.write("quality", ["x"]), cursors.write("nowhere", ["A"]),
    cursors.write("trades", ["A", "2026-02-02T10:00:00Z", -1]), cursors.write("trades", ["A", "x", 1]),
    cursors.write("quarantine", ["2026-02-02", 1, 2, 2**40]),
]  # fmt: skip


@pytest.mark.parametrize("path", PAGED)
@pytest.mark.parametrize("cursor", WRONG_CURSORS)
def test_a_cursor_that_nobody_gave_out_is_refused(api: Api, path: str, cursor: str) -> None:
    assert_problem(api.get(f"{path}cursor={cursor}"), "invalid_cursor", field="cursor")


def test_a_cursor_of_another_route_is_refused(api: Api) -> None:
    cursor = cursors.write("metrics", ["A"])
    assert_problem(api.get(f"{SYMBOLS}?cursor={cursor}"), "invalid_cursor", field="cursor", says="another address")


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("accept", ["image/png", "text/html, application/xml", "application/json;q=0", "nonsense"])
def test_media_types_that_cannot_be_made_are_not_acceptable(api: Api, path: str, accept: str) -> None:
    assert_problem(api.get(path, accept=accept), "not_acceptable", says="application/json")


@pytest.mark.parametrize("path", [QUALITY, QUARANTINE, SYMBOLS])
def test_small_lists_are_json_only(api: Api, path: str) -> None:
    assert_problem(api.get(path, accept="text/csv"), "not_acceptable")


@pytest.mark.parametrize("path", [f"{METRICS}?symbol=A", f"{TRADES}?date=2026-02-02"])
@pytest.mark.parametrize("asked", ["limit=5", "count=true", f"cursor={cursors.write('metrics', ['A', '2026-02-02'])}"])
def test_a_stream_has_no_pages(api: Api, path: str, asked: str) -> None:
    if path.startswith(TRADES) and asked.startswith("cursor"):
        asked = f"cursor={cursors.write('trades', ['A', '2026-02-02T10:00:00Z', 1])}"
    field = asked.partition("=")[0]
    assert_problem(api.get(f"{path}&{asked}", accept="text/csv"), "invalid_parameter", field=field, says="stream")


# --- the id of a request


@pytest.mark.parametrize("path", [*ROUTES, "/nope", f"{METRICS}?limit=x"])
def test_every_answer_has_the_id_that_the_caller_gave_or_one_of_its_own(api: Api, path: str) -> None:
    assert api.get(path, x_request_id="my-id/7").headers["x-request-id"] == "my-id/7"
    first, second = (api.get(path).headers["x-request-id"] for _ in range(2))
    assert len(first) == 32
    assert first != second


@pytest.mark.parametrize("given", ["", "two words", "x" * 129, "a\x01b", "<script>"])
def test_an_id_that_does_not_belong_into_a_log_is_replaced(api: Api, given: str) -> None:
    assert len(api.get("/nope", x_request_id=given).headers["x-request-id"]) == 32


# --- what is nobody's fault


@pytest.mark.parametrize("path", [*READS, f"{METRICS}#csv"])
def test_a_database_that_is_away_is_503_with_a_time_to_come_back(tmp_path: Path, path: str) -> None:
    path, _, csv = path.partition("#")
    with serving(settings_for("postgresql://nobody@127.0.0.1:1/none", tmp_path)) as api:
        answer = api.get(path, accept="text/csv" if csv else "*/*")
        assert_problem(answer, "database_unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        assert api.get("/health/live").json() == {"status": "live"}


@pytest.mark.parametrize("accept", ["*/*", "text/csv"])
def test_an_answer_that_takes_too_long_is_503_and_says_so(database_url: str, tmp_path: Path, accept: str) -> None:
    with (
        psycopg.connect(database_url) as blocking,
        serving(settings_for(database_url, tmp_path, api_query_seconds=1, api_stream_seconds=1)) as api,
    ):
        blocking.execute("LOCK TABLE otc_metrics_daily")
        assert_problem(api.get(METRICS, accept=accept), "query_timeout", says="1 s")
        blocking.rollback()
        assert api.get(METRICS, accept=accept).status_code == 200


def test_views_that_are_missing_are_told_apart_from_a_database_that_is_away(database_url: str, tmp_path: Path) -> None:
    with serving(settings_for(database_url, tmp_path)) as api:
        for accept in ("*/*", "text/csv"):
            assert api.get(METRICS, accept=accept).status_code == 200
        with psycopg.connect(database_url) as connection:
            connection.execute("DROP VIEW api.metrics_daily")
        for accept in ("*/*", "text/csv"):
            assert_problem(api.get(METRICS, accept=accept), "not_ready", says="run spine db migrate")


def test_a_failure_that_nobody_expected_is_a_problem_too(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret of the code")

    monkeypatch.setattr("market_spine.api.quality.queries.quality", broken)
    answer = api.get(QUALITY, x_request_id="find-me")
    assert_problem(answer, "internal_error")
    assert "secret" not in answer.text
    assert "find-me" in caplog.text
    assert "secret of the code" in caplog.text


@pytest.fixture(scope="module")
def place(shared_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Host and port of the API in a process of its own: the server is a part of these answers."""
    folder = tmp_path_factory.mktemp("process")
    environment = {**os.environ, "DATABASE_URL": shared_database, "DAGSTER_DATABASE_URL": shared_database}
    with serving_process(environment, folder) as (address, _lines):
        yield address.removeprefix("http://")


def asked(place: str, method: str, target: str) -> httpx.Response:
    """The answer to a request line that a careful client would not write."""
    with closing(http.client.HTTPConnection(place, timeout=20)) as connection:
        connection.request(method, target)
        answer = connection.getresponse()
        return httpx.Response(answer.status, headers=answer.getheaders(), content=answer.read())


@pytest.mark.parametrize(("method", "target"), [("GET", f"{METRICS}?symbol={'ACME,' * 13_200}"), ("FETCH", SYMBOLS)])
def test_what_is_no_request_is_a_problem_and_the_connection_ends(place: str, method: str, target: str) -> None:
    answer = asked(place, method, target)
    assert_problem(answer, "bad_request", says="longer than 65,535 bytes")
    assert answer.headers["connection"] == "close"


def test_the_longest_address_that_is_said_to_be_taken_is_taken(place: str) -> None:
    target = f"{SYMBOLS}?long=".ljust(LONGEST_ADDRESS, "a")
    assert_problem(asked(place, "GET", target), "unknown_parameter", field="long")
    assert_problem(asked(place, "GET", f"{target}a"), "bad_request")


def test_every_code_is_documented_where_it_is_answered(api: Api) -> None:
    said = api.app.openapi()
    codes = said["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]
    assert codes == sorted(problems.KINDS)
