"""Executions, dead letters and the inventory over HTTP, on a real webserver whose daemon is not running.

Belongs here: what these routes answer, errors of each. Does not belong here: who may ask (``test_api_auth``), runs from
end to end (``test_api_end_to_end``), no ledger at all (``test_api_ledger_away``).
"""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from market_spine.ledger import tags as names
from market_spine.ledger.submission import Desk, Submission
from market_spine.settings import Tokens, WebAddress
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine_tests.conftest import DatabaseFactory
from market_spine_tests.deployed import Deployed, deployed
from market_spine_tests.ledger_api import (
    BEARER,
    DAYS,
    EXECUTIONS,
    INVENTORY,
    LETTERS,
    NOBODY,
    TOKEN,
    a_letter,
    post,
    submit,
)
from market_spine_tests.serving import METRICS, Api, assert_problem, serving


@pytest.fixture(scope="module")
def site(
    server: EmbeddedServer, new_database: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    tokens = {"api_operate_tokens": Tokens(TOKEN)}
    with deployed(server, new_database, tmp_path_factory.mktemp("api"), daemon=False, settings=tokens) as made:
        yield made


@pytest.fixture(scope="module")
def running(site: Deployed) -> Iterator[Api]:
    with serving(site.settings) as made:
        yield made


@pytest.fixture
def api(site: Deployed, running: Api) -> Iterator[Api]:
    yield running
    with site.ledger.connect() as connection:
        for table in ("event_logs", "runs"):
            connection.execute(f"DELETE FROM {table}")
    with site.warehouse.connect() as connection:
        connection.execute("DELETE FROM otc_dead_letters")


# --- handing in


@pytest.mark.slow
def test_work_is_queued_within_half_a_second_and_nothing_is_run(site: Deployed, api: Api) -> None:
    submit(api, DAYS[5])
    began = time.monotonic()
    answer = post(api, EXECUTIONS, {"pipeline": "otc_full_refresh", "session": str(DAYS[0])})
    assert time.monotonic() - began < 0.5
    run_id = answer.json()["id"]
    assert (answer.status_code, answer.json()) == (202, {"id": run_id})
    assert answer.headers["location"] == f"{EXECUTIONS}/{run_id}"
    assert site.statuses(run_id) == ["QUEUED"]
    seen = api.get(answer.headers["location"]).json()
    assert (seen["pipeline"], seen["sessions"], seen["lane"], seen["trigger"]) == (
        "otc_full_refresh", str(DAYS[0]), "normal", "api",
    )  # fmt: skip


def test_a_range_is_one_execution_in_its_lane_with_its_key(api: Api) -> None:
    body = {"pipeline": "otc_backfill_range", "first": str(DAYS[0]), "last": str(DAYS[9])}
    run_id = post(api, EXECUTIONS, {**body, "logical_key": "otc_backfill_range:mine"}).json()["id"]
    seen = api.get(f"{EXECUTIONS}/{run_id}").json()
    assert (seen["lane"], seen["sessions"]) == ("backfill", f"{DAYS[0]}..{DAYS[9]}")
    assert seen["tags"][names.LOGICAL_KEY] == "otc_backfill_range:mine"


DAY = str(DAYS[0])


@pytest.mark.parametrize(
    ("body", "code", "field", "says"),
    [
        ({}, "invalid_parameter", "pipeline", "required"),
        ({"pipeline": "otc_nothing", "session": DAY}, "invalid_parameter", "pipeline", "otc_ingest"),
        ({"pipeline": "otc_redo_dirty_days", "session": DAY}, "invalid_parameter", "pipeline", "otc_ingest"),
        ({"pipeline": "otc_ingest"}, "invalid_parameter", "session", "either"),
        ({"pipeline": "otc_ingest", "session": DAY, "first": DAY}, "invalid_parameter", "session", "either"),
        ({"pipeline": "otc_ingest", "session": DAY, "last": DAY}, "invalid_parameter", "last", "first"),
        ({"pipeline": "otc_ingest", "session": 17}, "invalid_parameter", "session", "date"),
        ({"pipeline": "otc_ingest", "session": "17"}, "invalid_parameter", "session", "write 2026-03-04"),
        ({"pipeline": "otc_ingest", "session": DAY, "lane": "fast"}, "invalid_parameter", "lane", "normal"),
        ({"pipeline": "otc_ingest", "session": DAY, "logical_key": "x:1"}, "invalid_parameter", "logical_key", "begin"),
        ({"pipeline": "otc_ingest", "session": DAY, "logical_key": "x"}, "invalid_parameter", "logical_key", "pattern"),
        ({"pipeline": "otc_ingest", "day": DAY}, "unknown_parameter", "day", "there are pipeline, session"),
        ({"pipeline": "otc_ingest", "session": "2026-03-07"}, "invalid_submission", "session", "nearest: 2026-03-06"),
        ({"pipeline": "otc_ingest", "first": "2026-03-07"}, "invalid_submission", "first", "no session"),
        ({"pipeline": "otc_ingest", "first": DAY, "last": "2026-03-07"}, "invalid_submission", "last", "no session"),
        ({"pipeline": "otc_ingest", "first": "2026-03-06", "last": DAY}, "invalid_submission", "last", "ends before"),
        ({"pipeline": "otc_ingest", "session": "2999-03-07"}, "invalid_submission", "session", "2999"),
        ([], "bad_request", None, "object"),
    ],
)
def test_what_cannot_be_submitted_is_named_with_its_member(
    site: Deployed, api: Api, body: object, code: str, field: str | None, says: str
) -> None:
    assert_problem(post(api, EXECUTIONS, body), code, field=field, says=says)
    assert site.ledger_rows("SELECT count(*) FROM runs") == [(0,)]


@pytest.mark.parametrize(
    ("content", "kind", "code"),
    [
        (b"{", "application/json", "bad_request"),
        (b"\xff", "application/json", "bad_request"),
        (b"[" * 60_000, "application/json", "bad_request"),
        (b"{}", "text/plain", "unsupported_media_type"),
        (b"{}", "", "unsupported_media_type"),
        (b" " * 70_000, "application/json", "body_too_large"),
    ],
)
def test_a_body_that_is_no_small_json_is_refused(api: Api, content: bytes, kind: str, code: str) -> None:
    headers = {**BEARER, **({"Content-Type": kind} if kind else {})}
    assert_problem(api.ask("POST", EXECUTIONS, headers, content=content), code)


# --- the same work twice


def test_work_under_way_is_a_conflict_that_names_its_execution(api: Api) -> None:
    holder = submit(api)
    answer = post(api, EXECUTIONS, {"pipeline": "otc_ingest", "session": DAY})
    assert_problem(answer, "logical_key_active", execution=holder, says=holder)


def test_the_same_idempotency_key_is_answered_the_same_even_when_the_work_is_over(site: Deployed, api: Api) -> None:
    body = {"pipeline": "otc_ingest", "session": DAY}
    first = post(api, EXECUTIONS, body, idempotency_key="my-key/1")
    assert "idempotency-replayed" not in first.headers
    with serving(site.settings) as replica:
        for status in ("QUEUED", "SUCCESS"):
            with site.ledger.connect() as connection:
                connection.execute("UPDATE runs SET status = %s", (status,))
            for one in (api, replica):
                again = post(one, EXECUTIONS, {**body, "lane": "normal"}, idempotency_key="my-key/1")
                assert (again.status_code, again.content) == (202, first.content)
                assert again.headers["location"] == first.headers["location"]
                assert again.headers["idempotency-replayed"] == "true"
    assert site.ledger_rows("SELECT count(*) FROM runs") == [(1,)]


def test_the_same_idempotency_key_with_another_body_is_refused(api: Api) -> None:
    first = post(api, EXECUTIONS, {"pipeline": "otc_ingest", "session": DAY}, idempotency_key="k").json()["id"]
    for other in (
        {"session": str(DAYS[1])},
        {"session": DAY, "lane": "backfill"},
        {"first": DAY, "last": str(DAYS[1])},
    ):
        answer = post(api, EXECUTIONS, {"pipeline": "otc_ingest", **other}, idempotency_key="k")
        assert_problem(answer, "idempotency_key_reused", field="Idempotency-Key", execution=first)


@pytest.mark.parametrize("key", ["", "two words", "x" * 256])
def test_an_idempotency_key_that_cannot_be_one_is_refused(api: Api, key: str) -> None:
    answer = post(api, EXECUTIONS, {"pipeline": "otc_ingest", "session": DAY}, idempotency_key=key)
    assert_problem(answer, "invalid_parameter", field="Idempotency-Key")


def test_a_key_that_several_send_at_once_makes_one_execution(site: Deployed, api: Api) -> None:
    desk = Desk.of(site.ledger, site.webserver, site.settings)
    marks = {names.IDEMPOTENCY_KEY: "race", names.IDEMPOTENCY_DIGEST: "same"}
    asked = [Submission("otc_ingest", day, tags=marks) for day in DAYS[:6]]
    with ThreadPoolExecutor(6) as threads:
        done = [future.exception() for future in [threads.submit(desk.submit, one) for one in asked]]
    assert sum(error is None for error in done) == 1
    assert {type(error).__name__ for error in done if error} == {"AlreadySubmitted"}


# --- backpressure, and what is away


def test_a_full_queue_says_when_to_come_back(site: Deployed, api: Api) -> None:
    submit(api)
    tight = replace(site.settings, queue_limit=1, queue_limit_normal=1, queue_limit_backfill=1)
    with serving(tight) as other:
        answer = post(other, EXECUTIONS, {"pipeline": "otc_ingest", "session": str(DAYS[1])})
    assert_problem(answer, "queue_full", says="the queue holds 1 of at most 1 runs")
    assert answer.headers["retry-after"] == "300"


def test_a_webserver_that_is_away_is_503_and_reads_go_on(site: Deployed, api: Api) -> None:
    run_id = submit(api)
    with serving(replace(site.settings, webserver_url=WebAddress("http://127.0.0.1:9"))) as other:
        for path, body in (
            (EXECUTIONS, {"pipeline": "otc_ingest", "session": str(DAYS[1])}),
            (f"{EXECUTIONS}/{run_id}/cancel", None),
            (f"{LETTERS}/{a_letter(site)}/retry", None),
        ):
            assert_problem(post(other, path, body), "dagster_unavailable", says="webserver does not answer")
        for path in (METRICS, EXECUTIONS, f"{EXECUTIONS}/{run_id}", LETTERS, INVENTORY):
            assert other.get(path).status_code == 200, path


READS = (EXECUTIONS, f"{EXECUTIONS}/{NOBODY}", f"{EXECUTIONS}/{NOBODY}/events", f"{LETTERS}/1", INVENTORY)


def test_without_the_market_database_letters_and_inventory_are_503(site: Deployed, tmp_path: Path) -> None:
    away = replace(site.settings, database_url="postgresql://nobody@127.0.0.1:1/none")
    with serving(away) as api:
        for path in (LETTERS, f"{LETTERS}/1", INVENTORY):
            assert_problem(api.get(path), "database_unavailable")
        assert api.get(EXECUTIONS).status_code == 200


def test_too_many_at_once_are_told_to_come_back(site: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("market_spine.api.ledger_access.MOST_WAITING", 0)
    with serving(site.settings) as api:
        assert_problem(api.get(EXECUTIONS), "dagster_unavailable", says="wait already")


# --- reads


def test_executions_come_newest_first_page_by_page(api: Api) -> None:
    ids = [submit(api, day) for day in DAYS[:5]]
    pages = api.pages(f"{EXECUTIONS}?limit=2")
    assert [[row["id"] for row in page] for page in pages] == [ids[:2:-1], ids[2:0:-1], ids[:1]]


def test_filters_are_those_of_the_command(site: Deployed, api: Api) -> None:
    one = submit(api)
    two = submit(api, DAYS[1], lane="backfill")
    three = str(
        post(api, EXECUTIONS, {"pipeline": "otc_normalize", "first": str(DAYS[2]), "last": str(DAYS[4])}).json()["id"]
    )
    with site.ledger.connect() as connection:
        connection.execute("UPDATE runs SET status = 'SUCCESS' WHERE run_id = %s", (one,))
    for asked, found in (
        ("status=SUCCESS", [one]),
        ("status=SUCCESS&status=QUEUED", [three, two, one]),
        ("pipeline=otc_ingest", [two, one]),
        ("lane=backfill", [two]),
        (f"session={DAYS[3]}", [three]),
        ("since=2026-01-01T00:00:00Z", [three, two, one]),
        ("since=2199-01-01T00:00:00Z", []),
    ):
        assert [row["id"] for row in api.data(f"{EXECUTIONS}?{asked}")] == found, asked


def test_the_log_of_an_execution_goes_on_behind_what_is_known(api: Api) -> None:
    path = f"{EXECUTIONS}/{submit(api)}/events"
    everything = api.data(path)
    assert "PIPELINE_ENQUEUED" in [row["kind"] for row in everything]
    paged = [row for page in api.pages(f"{path}?limit=1") for row in page]
    assert paged == everything
    assert api.data(f"{path}?after={everything[-1]['number']}") == []


@pytest.mark.parametrize(
    "path",
    [f"{EXECUTIONS}/{NOBODY}", f"{EXECUTIONS}/x", f"{EXECUTIONS}/%00", f"{EXECUTIONS}/{NOBODY}/events",
     f"{LETTERS}/4711", f"{LETTERS}/x", f"{LETTERS}/0", f"{LETTERS}/99999999999999"],
)  # fmt: skip
def test_an_id_that_nobody_has_is_not_found(api: Api, path: str) -> None:
    assert_problem(api.get(path), "not_found", says="there is no ")


@pytest.mark.parametrize("path", [f"{EXECUTIONS}/{NOBODY}/cancel", f"{LETTERS}/4711/retry", f"{LETTERS}/x/retry"])
def test_an_order_for_what_is_not_there_is_not_found(api: Api, path: str) -> None:
    assert_problem(post(api, path), "not_found", says="there is no ")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (f"{EXECUTIONS}?status=DONE", "status"),
        (f"{EXECUTIONS}?lane=fast", "lane"),
        (f"{EXECUTIONS}?since=0001-01-01T00:00:00%2B14:00", "since"),
        (f"{EXECUTIONS}?session=17", "session"),
        (f"{EXECUTIONS}?limit=1001", "limit"),
        (f"{EXECUTIONS}/{NOBODY}/events?after=-1", "after"),
        (f"{LETTERS}?all=1", "all"),
        (f"{INVENTORY}?asset=x", "asset"),
        (f"{INVENTORY}?since=x", "since"),
    ],
)
def test_a_value_that_cannot_be_is_named(api: Api, path: str, field: str) -> None:
    assert_problem(api.get(path), "invalid_parameter", field=field)


@pytest.mark.parametrize("path", [EXECUTIONS, LETTERS])
def test_a_cursor_that_nobody_gave_out_is_refused(api: Api, path: str) -> None:
    assert_problem(api.get(f"{path}?cursor=x"), "invalid_cursor", field="cursor")


@pytest.mark.parametrize("path", READS)
def test_reads_are_json_only_and_strict(api: Api, path: str) -> None:
    assert_problem(api.get(path, accept="text/csv"), "not_acceptable")
    assert_problem(api.get(f"{path}?nope=1"), "unknown_parameter", field="nope")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_another_method_is_answered_with_those_there_are(api: Api, method: str) -> None:
    answer = api.ask(method, EXECUTIONS, BEARER)
    assert_problem(answer, "method_not_allowed", says=method)
    assert answer.headers["allow"] == "GET, POST"


def test_what_did_not_change_is_not_sent_again(api: Api) -> None:
    submit(api)
    tag = api.get(EXECUTIONS).headers["etag"]
    assert api.get(EXECUTIONS, if_none_match=tag).status_code == 304
    submit(api, DAYS[1])
    assert api.get(EXECUTIONS, if_none_match=tag).status_code == 200


# --- cancel, dead letters, inventory


def test_an_execution_is_taken_from_the_queue_once(site: Deployed, api: Api) -> None:
    run_id = submit(api)
    answer = post(api, f"{EXECUTIONS}/{run_id}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "CANCELED")
    assert site.statuses(run_id) == ["CANCELED"]
    assert_problem(post(api, f"{EXECUTIONS}/{run_id}/cancel", {"force": True}), "wrong_state", says="finished")


def test_dead_letters_are_listed_the_oldest_session_first(site: Deployed, api: Api) -> None:
    numbers = [a_letter(site, day) for day in DAYS[2::-1]]
    pages = api.pages(f"{LETTERS}?limit=2")
    assert [[row["id"] for row in page] for page in pages] == [numbers[:0:-1], numbers[:1]]
    one = api.get(f"{LETTERS}/{numbers[0]}").json()
    assert (one["state"], one["partition"], one["runs"], one["files"]) == ("open", str(DAYS[2]), [], [])
    assert one["mend"] == f"spine dead-letter retry {numbers[0]}"


def test_a_retry_is_a_new_execution_and_waits_for_its_end(site: Deployed, api: Api) -> None:
    number = a_letter(site)
    answer = post(api, f"{LETTERS}/{number}/retry", {"lane": "backfill"})
    run_id = answer.json()["id"]
    assert (answer.status_code, answer.headers["location"]) == (202, f"{EXECUTIONS}/{run_id}")
    assert api.get(f"{EXECUTIONS}/{run_id}").json()["lane"] == "backfill"
    assert_problem(post(api, f"{LETTERS}/{number}/retry"), "wrong_state", says=f"its retry {run_id} is QUEUED")


def test_a_retry_of_what_is_under_way_is_a_conflict(site: Deployed, api: Api) -> None:
    holder = post(api, EXECUTIONS, {"pipeline": "otc_full_refresh", "session": DAY}).json()["id"]
    assert_problem(post(api, f"{LETTERS}/{a_letter(site)}/retry"), "logical_key_active", execution=holder, says=holder)


def test_a_letter_is_discarded_once_by_somebody_for_a_reason(site: Deployed, api: Api) -> None:
    number = a_letter(site)
    path = f"{LETTERS}/{number}/discard"
    for body, field in (({}, "by"), ({"by": "ann"}, "why"), ({"by": "ann", "why": "  "}, "why"), ({"by": 1}, "by")):
        assert_problem(post(api, path, body), "invalid_parameter", field=field)
    answer = post(api, path, {"by": "ann", "why": "no trading for us"})
    assert answer.status_code == 200, answer.text
    assert (answer.json()["state"], answer.json()["resolved_by"]) == ("discarded", "ann")
    assert_problem(post(api, path, {"by": "ann", "why": "again"}), "wrong_state", says="by ann")
    assert_problem(post(api, f"{LETTERS}/{number}/retry"), "wrong_state", says="was discarded")
    assert api.data(LETTERS) == []
    assert [row["id"] for row in api.data(f"{LETTERS}?all=true")] == [number]


def test_the_inventory_names_what_is_missing_and_what_mends_it(api: Api) -> None:
    found = api.get(f"{INVENTORY}?since={DAYS[0]}&asset=otc_metrics_daily").json()
    assert found["first"] == DAY
    (counts,) = found["counts"]
    assert counts["asset"] == "otc_metrics_daily"
    assert counts["missing"] > 0
    assert found["problems"][0]["command"].startswith("spine ")
    assert "sessions" not in found
    assert api.get(f"{INVENTORY}?since=2199-01-01").json()["counts"] == []


def test_the_inventory_lists_every_session_when_asked(api: Api) -> None:
    found = api.get(f"{INVENTORY}?since={DAYS[0]}&asset=otc_metrics_daily&sessions=true").json()
    listed = Counter(one["status"] for one in found["sessions"])
    assert {status: count for status, count in found["counts"][0].items() if count and status != "asset"} == listed
    assert found["sessions"][0]["session"] == DAY
    assert {one["asset"] for one in found["sessions"]} == {"otc_metrics_daily"}
    missing = next(one for one in found["sessions"] if one["status"] == "missing")
    assert (missing["is_there"], missing["execution"]) == (False, None)
    assert missing["reason"]
