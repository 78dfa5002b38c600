"""What is seen of a deployment: one trace, and lines of one format, from the request to the SQL of its run."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from market_spine.observability import traces
from market_spine.observability.logs_setup import read_line
from market_spine.settings import Tokens
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine_tests.collector import Collector, Received, collecting
from market_spine_tests.conftest import DatabaseFactory
from market_spine_tests.deployed import Deployed, deployed
from market_spine_tests.orchestrated import DAYS, TABLES, break_file, deliver
from market_spine_tests.processes import Lines, serving_process

pytestmark = pytest.mark.slow

TOKEN = "operate-0123456789abcdef"
CALLERS_TRACE, CALLERS_SPAN, CALLERS_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "the-caller-s-own-7"
DAY, BROKEN, LATER = DAYS
JOB = "otc_full_refresh"
RUN, API, COMMAND = traces.RUN, traces.API, traces.COMMAND


@dataclass
class Observed:
    """A deployment whose processes send their spans to a collector of the tests."""

    site: Deployed
    collector: Collector
    api: httpx.Client
    api_lines: Lines

    def trace_of(self, run_id: str, *, service: str) -> list[Received]:
        """The whole trace of a run, once the span of what asked for it is there too."""

        def whole() -> list[Received]:
            runs = [span for span in self.collector.spans if span.attributes.get("run_id") == run_id]
            found = [span for span in self.collector.spans if runs and span.trace == runs[0].trace]
            return found if any(span.service == service for span in found) else []

        return self.site.wait_for(whole, 30)

    def run_lines(self, run_id: str) -> list[dict[str, Any]]:
        """Lines of a run: the output of the process it ran in, and the file that the UI shows of its step."""
        printed = (self.site.folder / "code_server.log").read_text().splitlines()
        files = (Path(self.site.environment["DAGSTER_HOME"]) / "storage" / run_id / "compute_logs").glob("*.err")
        captured = [line for path in files for line in path.read_text().splitlines()]
        return [json.loads(line) for line in [*printed, *captured] if run_id in line]


@pytest.fixture(scope="module")
def observed(
    server: EmbeddedServer, new_database: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Observed]:
    tokens = {"api_operate_tokens": Tokens(TOKEN)}
    folder = tmp_path_factory.mktemp("observed")
    with collecting() as collector, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        with (
            deployed(server, new_database, folder, settings=tokens, automation=False) as site,
            serving_process(site.environment, folder) as (url, lines),
            httpx.Client(base_url=url, timeout=60) as api,
        ):
            yield Observed(site, collector, api, lines)


@pytest.fixture(scope="module")
def run_id(observed: Observed) -> str:
    """A run that a POST asked for, of a caller with a trace and a request id of its own."""
    deliver(observed.site.settings, DAY)
    answer = observed.api.post(
        "/api/v1/executions",
        json={"pipeline": JOB, "session": str(DAY)},
        headers={
            "Authorization": f"Bearer {TOKEN}",
            "X-Request-ID": CALLERS_ID,
            "traceparent": f"00-{CALLERS_TRACE}-{CALLERS_SPAN}-01",
        },
    )
    assert answer.status_code == 202, answer.text
    assert answer.headers["x-request-id"] == CALLERS_ID
    made: str = answer.json()["id"]
    assert observed.site.wait_until_finished(made) == ["SUCCESS"]
    return made


@pytest.fixture(scope="module")
def failed_run_id(observed: Observed) -> str:
    """A run of two sessions, one of which fails; asked for in the UI."""
    break_file(deliver(observed.site.settings, BROKEN))
    deliver(observed.site.settings, LATER)
    made = observed.site.launch(JOB, BROKEN, LATER)
    assert observed.site.wait_until_finished(made) == ["FAILURE"]
    return made


def test_one_trace_leads_from_the_post_through_the_run_and_its_session_to_the_sql(
    observed: Observed, run_id: str
) -> None:
    found = observed.trace_of(run_id, service=API)
    assert {span.trace for span in found} == {CALLERS_TRACE}, "the caller's own trace goes on"
    assert {span.service for span in found} == {API, RUN}
    by_name = {span.name: span for span in found}
    request = by_name["POST /api/v1/executions"]
    assert request.parent == CALLERS_SPAN
    assert request.attributes["request_id"] == CALLERS_ID
    above = observed.collector.above
    assert above(by_name[f"run {JOB}"]) == [request.name]
    assert above(by_name[f"session {DAY}"]) == [f"run {JOB}", request.name]
    for step in TABLES:
        assert above(by_name[step]) == [f"session {DAY}", f"run {JOB}", request.name]
        assert (by_name[step].attributes["partition"], by_name[step].failed) == (str(DAY), False)
    statements = [span for span in found if "db.system" in span.attributes]
    assert {above(span)[0] for span in statements if span.service == RUN} >= set(TABLES)
    assert above(by_name["INSERT otc_files"])[0] == "otc_trades_raw"
    assert any(span.service == API and span.name == "SELECT runs" for span in statements)
    tags = dict(observed.site.ledger_rows("SELECT key, value FROM run_tags WHERE run_id = %s", run_id))
    assert tags["market_spine/traceparent"].split("-")[1] == CALLERS_TRACE


def test_every_line_of_a_run_says_which_request_run_job_asset_and_partition_it_is_about(
    observed: Observed, run_id: str
) -> None:
    found = observed.run_lines(run_id)
    assert {line["event"] for line in found} >= {"run started", "built", "run succeeded"}
    assert any(line["logger"] == "dagster" for line in found), "what the step says to Dagster too"
    same = {(line["run_id"], line["job"], line["partition"], line["request_id"], line["trace_id"]) for line in found}
    assert same == {(run_id, JOB, str(DAY), CALLERS_ID, CALLERS_TRACE)}
    built = [line["asset"] for line in found if line["event"] == "built"]
    assert built == [*TABLES, *TABLES], "printed by the process, and kept for the UI"
    assert all(line["asset"] for line in found)
    of_request = [line for line in observed.api_lines() if line.get("request_id") == CALLERS_ID]
    assert [line["event"] for line in of_request] == ["execution queued", "request"]
    assert (of_request[0]["run_id"], of_request[0]["partition"]) == (run_id, str(DAY))
    access = {name: of_request[1][name] for name in ("method", "path", "status", "trace_id")}
    assert list(access.values()) == ["POST", "/api/v1/executions", 202, CALLERS_TRACE]


def test_the_line_of_a_failed_session_names_what_failed_and_its_spans_the_type_of_the_error(
    observed: Observed, failed_run_id: str
) -> None:
    errors = [line for line in observed.run_lines(failed_run_id) if line["level"] == "error"]
    session = next(line for line in errors if "line 11" in line["event"])
    assert (session["asset"], session["partition"]) == ("otc_trades_raw", str(BROKEN))
    ended = next(line for line in errors if line["event"] == "run failed")
    assert (ended["partition"], ended["failed_steps"]) == (f"{BROKEN}..{LATER}", ["otc_sessions"])
    assert any("Failure" in line.get("exception", "") for line in errors)

    found = observed.trace_of(failed_run_id, service=RUN)
    failed = [span.name for span in sorted(found, key=lambda span: span.begun) if span.failed]
    assert failed == [f"run {JOB}", f"session {BROKEN}", "otc_trades_raw"]
    said = [event for span in found for event in span.events]
    assert said == [{"exception.type": "market_spine.errors.FileRefused"}]


def test_a_command_is_the_root_of_what_it_starts_and_prints_no_log_line_for_programs(
    observed: Observed, run_id: str
) -> None:
    observed.site.environment["MARKET_SPINE_LOG_LEVEL"] = "info"
    try:
        done = observed.site.spine("dispatch", "otc_normalize", DAY, "--json")
    finally:
        del observed.site.environment["MARKET_SPINE_LOG_LEVEL"]
    made = json.loads(done.stdout)["id"]
    (line,) = (json.loads(line) for line in done.stderr.splitlines())
    assert (line["event"], line["run_id"]) == ("execution queued", made)
    observed.site.wait_until_finished(made)
    found = observed.trace_of(made, service=COMMAND)
    assert [span.name for span in found if not span.parent] == ["spine dispatch"]
    assert {span.service for span in found} == {COMMAND, RUN}
    assert {span.trace for span in found} == {line["trace_id"]}


def test_no_value_of_a_report_and_no_secret_leaves_in_a_span(observed: Observed, run_id: str) -> None:
    path = "/api/v1/otc/metrics/daily"
    assert observed.api.get(f"{path}?symbol=ACME&start={DAY}&end={DAY}").json()["data"]
    observed.site.wait_for(lambda: any(span.attributes.get("http.target") == path for span in observed.collector.spans))
    sent = b"".join(observed.collector.bodies)
    assert b"otc_trades" in sent
    password = re.search(r"://[^:/@]*:([^@]+)@", observed.site.settings.database_url)
    for value in (b"ACME", b"XOTC", TOKEN.encode(), *([password[1].encode()] if password else [])):
        assert value not in sent


def test_probes_and_the_sign_of_life_make_no_traces_of_their_own(observed: Observed, run_id: str) -> None:
    assert observed.api.get("/health/live").status_code == 200
    assert observed.api.get("/api/v1/otc/symbols").status_code == 200
    observed.site.wait_for(lambda: any("symbols" in span.name for span in observed.collector.spans))
    known = {span.span for span in observed.collector.spans} | {CALLERS_SPAN}
    roots = {span.name for span in observed.collector.spans if span.parent not in known}
    assert roots
    assert [name for name in roots if not name.startswith(("GET /api/", "POST /api/", "spine ", "run "))] == []


def test_no_line_of_the_api_and_of_the_runs_is_in_another_format(observed: Observed, failed_run_id: str) -> None:
    assert observed.api_lines(), "each line was read as JSON"
    first, *others = (observed.site.folder / "code_server.log").read_text().splitlines()
    assert "Starting Dagster code server" in first, "written before any code of ours runs"
    assert others
    assert [line for line in others if read_line(line) is None] == []
