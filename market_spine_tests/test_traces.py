"""Traces exist where a collector is named, and nothing leaves in them but names and shapes.

What a deployment sends as a whole is in ``test_observed``.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext, Status, StatusCode

from market_spine.observability import traces
from market_spine.observability.logs_redaction import Redactor
from market_spine.observability.traces_otel import Guard, shape
from market_spine.settings import Settings

RUN, API = traces.RUN, traces.API

# --- what leaves


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (
            "SELECT price\nFROM otc_trades -- ACME\nWHERE symbol = 'ACME'",
            "SELECT price FROM otc_trades WHERE symbol = ?",
        ),
        ("SELECT 1.5, -2e3, x2 FROM t_20260304", "SELECT ?, -?, x2 FROM t_20260304"),
        ("INSERT INTO t VALUES (E'it\\'s', 'it''s', $a$b$a$)", "INSERT INTO t VALUES (?, ?, ?)"),
        ("UPDATE t SET a = %(a)s /* 'x' */", "UPDATE t SET a = %(a)s"),
    ],
)
def test_of_a_statement_the_shape_is_sent(statement: str, expected: str) -> None:
    assert shape(statement) == expected


def test_a_long_statement_is_cut() -> None:
    assert len(shape(f"SELECT {', '.join(f'column_{number}' for number in range(500))}")) == 1000


class _Kept(SpanExporter):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += spans
        return SpanExportResult.SUCCESS


def test_the_guard_lets_out_no_text_of_an_error_no_query_string_and_no_secret() -> None:
    kept, context = _Kept(), SpanContext(1, 2, is_remote=False)
    span = ReadableSpan(
        "GET",
        context=context,
        parent=context,
        attributes={
            "http.target": "/otc/metrics?symbol=ACME",
            "url.query": "symbol=ACME",
            "http.status_code": 500,
            "note": "postgresql://me:hidden@db/market",
        },
        events=[Event("exception", {"exception.type": "UniqueViolation", "exception.message": "(symbol)=(ACME)"})],
        status=Status(StatusCode.ERROR, "UniqueViolation: (symbol)=(ACME)"),
    )
    Guard(kept, Redactor()).export([span])
    sent = kept.spans[0]
    assert dict(sent.attributes or {}) == {
        "http.target": "/otc/metrics",
        "http.status_code": 500,
        "note": "postgresql://me:***@db/market",
    }
    assert [dict(event.attributes or {}) for event in sent.events] == [{"exception.type": "UniqueViolation"}]
    assert sent.status.description == "UniqueViolation"


def test_a_statement_outside_of_any_work_is_not_sent_and_one_within_is() -> None:
    kept, context = _Kept(), SpanContext(1, 2, is_remote=False)
    attributes = {"db.system": "postgresql", "db.statement": "SELECT 1 FROM otc_files"}
    alone = ReadableSpan("SELECT", context=context, attributes=attributes)
    within = ReadableSpan("SELECT", context=context, parent=context, attributes=attributes)
    Guard(kept, Redactor()).export([alone, within])
    assert [(span.name, (span.attributes or {})["db.statement"]) for span in kept.spans] == [
        ("SELECT otc_files", "SELECT ? FROM otc_files")
    ]


# --- when they are on


@pytest.mark.parametrize(
    ("env", "asked_by"),
    [
        ({}, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://tempo:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t/v1/traces"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://tempo:4318", "OTEL_SDK_DISABLED": "True"}, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://tempo:4318", "OTEL_TRACES_EXPORTER": "none"}, ""),
    ],
)
def test_a_collector_that_is_named_turns_them_on(env: dict[str, str], asked_by: str) -> None:
    assert traces.wanted(env) == asked_by


def test_off_every_call_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in traces.ENDPOINTS:
        monkeypatch.delenv(name, raising=False)
    traces.start(API, Settings())
    with traces.continued({"market_spine/traceparent": "00-1-2-01"}, RUN, Settings()), traces.span("a", b="c"):
        traces.note(d="e")
        traces.failed("f")
        assert (traces.carrier(), dict(traces.ids())) == ({}, {})
    traces.flush()


OFF = """
import sys
import market_spine.definitions, market_spine.api.app, market_spine.cli.main
parts = ("opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.instrumentation")  # FastAPI imports the API
raise SystemExit(", ".join(sorted(name for name in sys.modules if name.startswith(parts))) or 0)
"""
WITHOUT_THE_EXTRA = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
from market_spine.observability import traces
from market_spine.observability.logs_setup import configure
from market_spine.settings import Settings
configure(Settings())
traces.start(traces.API, Settings())
with traces.span("work"):
    print("worked", traces.carrier())
"""


def in_python(code: str, **env: str) -> "subprocess.CompletedProcess[str]":
    root = Path(__file__).resolve().parents[1]
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **env}, cwd=root, capture_output=True, text=True, timeout=60
    )


def test_off_nothing_of_opentelemetry_is_imported() -> None:
    done = in_python(OFF)
    assert (done.returncode, done.stderr.strip()) == (0, "")


def test_on_without_the_extra_one_line_says_what_to_install_and_the_work_goes_on() -> None:
    done = in_python(WITHOUT_THE_EXTRA, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (0, "worked {}\n"), done.stderr
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["level"] == "warning"
    assert "install market-spine[traces]" in json.loads(line)["event"]


def test_on_another_protocol_is_named_in_one_line() -> None:
    code = WITHOUT_THE_EXTRA.replace("sys.meta_path.insert(0, Missing())", "")
    done = in_python(code, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1", OTEL_EXPORTER_OTLP_PROTOCOL="grpc")
    assert "worked {'market_spine/traceparent': '00-" in done.stdout
    assert "traces are sent as http/protobuf, not as grpc" in done.stderr
