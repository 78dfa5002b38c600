"""OpenTelemetry for ``traces``: imported only where a collector is named.

What it is: ``Tracing`` sends spans over OTLP/HTTP in batches from a thread of its own, has psycopg and FastAPI make
theirs, and lets nothing out but what ``Guard`` passes: names and shapes, no values.
Belongs here: everything that imports opentelemetry. Does not belong here: which work has a span.
"""

import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version

from fastapi import FastAPI
from opentelemetry import context, propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Status, StatusCode

from market_spine.observability.logs_redaction import Redactor

UNWATCHED = r"/health/.*,/metrics$"
"""Requests without a span: probes and scrapes, several a minute and all alike."""
STATEMENT = ("db.statement", "db.query.text")
SYSTEM = ("db.system", "db.system.name")
ADDRESS = ("http.target", "http.url", "url.full")
UNSENT = frozenset({"url.query", "db.statement.parameters"})
LONGEST_SHAPE = 1000

_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_LITERAL = re.compile(r"\b[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|(\$\w*\$).*?\1", re.DOTALL)
_NUMBER = re.compile(r"(?<![\w$.])\d+(?:\.\d+)?(?:[eE][+-]?\d+)?\b")
# Not the word in extract(epoch FROM ...).
_TABLE = re.compile(
    r"\b(?:(?<!epoch )FROM|INTO|UPDATE|TABLE|JOIN|COPY)\s+(?:IF (?:NOT )?EXISTS\s+|ONLY\s+)*([\w.\"]+)", re.IGNORECASE
)


class Tracing:
    """What a process traces with.

    Args:
        service: ``service.name``, where OTEL_SERVICE_NAME does not say another.
        redactor: takes secrets out of what is sent.
    """

    def __init__(self, service: str, redactor: Redactor) -> None:
        own = {"service.version": version("market-spine")}
        if not os.environ.get("OTEL_SERVICE_NAME"):
            own["service.name"] = service
        # Its own end at the exit of the process waits 30 s for a collector that is away; ours is flush().
        self._provider = TracerProvider(resource=Resource.create(own), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(Guard(OTLPSpanExporter(), redactor)))
        trace.set_tracer_provider(self._provider)
        self._tracer = self._provider.get_tracer("market_spine", version("market-spine"))
        PsycopgInstrumentor().instrument(tracer_provider=self._provider)

    @contextmanager
    def span(self, name: str, attributes: Mapping[str, str]) -> Iterator[None]:
        """A span for a block."""
        with self._tracer.start_as_current_span(name, attributes=attributes):
            yield

    @contextmanager
    def continued(self, carrier: Mapping[str, str]) -> Iterator[None]:
        """The trace of a carrier, for a block."""
        token = context.attach(propagate.extract(carrier))
        try:
            yield
        finally:
            context.detach(token)

    def carrier(self) -> dict[str, str]:
        """The open span, for somebody else to go on with."""
        found: dict[str, str] = {}
        propagate.inject(found)
        return found

    def failed(self, reason: str) -> None:
        """The open span failed."""
        trace.get_current_span().set_status(Status(StatusCode.ERROR, reason))

    def note(self, attributes: Mapping[str, str]) -> None:
        """Attributes of the open span."""
        trace.get_current_span().set_attributes(attributes)

    def ids(self) -> dict[str, str]:
        """Ids of the open span, as the collector shows them."""
        open_one = trace.get_current_span().get_span_context()
        if not open_one.is_valid:
            return {}
        return {"trace_id": trace.format_trace_id(open_one.trace_id), "span_id": trace.format_span_id(open_one.span_id)}

    def watch(self, app: FastAPI) -> None:
        """A span for each request; none for each part of an answer."""
        FastAPIInstrumentor.instrument_app(
            app, tracer_provider=self._provider, excluded_urls=UNWATCHED, exclude_spans=["receive", "send"]
        )

    def flush(self, seconds: float) -> None:
        """Send what has ended. The SDK's own call knows no time limit, so it is made in a thread that may be left."""
        sending = threading.Thread(target=self._provider.force_flush, name="flush of traces", daemon=True)
        sending.start()
        sending.join(seconds)


class Guard(SpanExporter):
    """Stands before an exporter and hands on what may leave this process.

    Of a statement its shape goes out, of an address its path, of an error its type: the text of an error of PostgreSQL
    quotes rows. The text is in the log, where the line has the trace's id. Statements outside of any work (a run's sign
    of life, every ten seconds) would each be a trace of their own and are left out.
    """

    def __init__(self, inner: SpanExporter, redactor: Redactor) -> None:
        self._inner = inner
        self._redactor = redactor

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send them."""
        passed = [self.passed(span) for span in spans if span.parent is not None or not _is_statement(span)]
        return self._inner.export(passed) if passed else SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Send nothing more."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing is held back here."""
        return self._inner.force_flush(timeout_millis)

    def passed(self, span: ReadableSpan) -> ReadableSpan:
        """The span as it may be seen."""
        attributes = {
            name: self._attribute(name, value)
            for name, value in (span.attributes or {}).items()
            if name not in UNSENT and value is not None
        }
        status = span.status
        if status.description:
            status = Status(status.status_code, status.description.partition(":")[0])
        return ReadableSpan(
            name=_name(span, attributes),
            context=span.context,
            parent=span.parent,
            resource=span.resource,
            attributes=attributes,
            events=[self._event(event) for event in span.events],
            links=span.links,
            kind=span.kind,
            status=status,
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=span.instrumentation_scope,
        )

    def _attribute(self, name: str, value: object) -> str | bool | int | float | list[str]:
        if name in STATEMENT:
            return shape(str(value))
        if name in ADDRESS:
            value = str(value).partition("?")[0]
        if isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            return self._redactor.text(value)
        return [self._redactor.text(str(one)) for one in value] if isinstance(value, Sequence) else str(value)

    def _event(self, event: Event) -> Event:
        kept = {name: value for name, value in (event.attributes or {}).items() if name == "exception.type"}
        return Event(event.name, kept, event.timestamp)


def shape(statement: str) -> str:
    """A statement without comments and values: ``SELECT price FROM otc_trades WHERE symbol = ?``."""
    bare = _LITERAL.sub("?", _COMMENT.sub(" ", statement))
    text = " ".join(_NUMBER.sub("?", bare).split())
    return text if len(text) <= LONGEST_SHAPE else f"{text[: LONGEST_SHAPE - 3]}..."


def _is_statement(span: ReadableSpan) -> bool:
    return any(name in (span.attributes or {}) for name in SYSTEM)


def _name(span: ReadableSpan, attributes: Mapping[str, object]) -> str:
    """Of a statement its verb and first table, ``INSERT otc_files``: the instrumentation has the verb alone.

    Without the day that tables built aside have in their names: spans of the same kind have the same name.
    """
    text = next((str(attributes[name]) for name in STATEMENT if name in attributes), "")
    if not text:
        return span.name
    table = _TABLE.search(text)
    words = [text.partition(" ")[0].upper(), *([re.sub(r"\d+", "*", table[1].replace('"', ""))] if table else [])]
    return " ".join(words)
