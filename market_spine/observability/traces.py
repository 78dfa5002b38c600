"""Traces: one from the request through the run to its statements; off unless a collector is named.

What it is: what the rest of the house calls. As long as ``start`` found no address to send to, every call does nothing
and OpenTelemetry is not even imported; with one, ``traces_otel`` does the work.
Belongs here: when traces are on, and the calls. Does not belong here: OpenTelemetry (``traces_otel``).

They are on when OpenTelemetry's own variable OTEL_EXPORTER_OTLP_ENDPOINT (or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) is
set, unless its OTEL_SDK_DISABLED is true or its OTEL_TRACES_EXPORTER is none. The context travels in a run's tags.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from market_spine.observability.logs import NOTHING
from market_spine.observability.logs_redaction import Redactor
from market_spine.settings import Settings

if TYPE_CHECKING:
    from market_spine.observability.traces_otel import Tracing

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"
PREFIX = "market_spine/"
"""Of the tags that carry the context."""
W3C = ("traceparent", "tracestate")
"""What the W3C calls the two parts of a context."""
API, RUN, COMMAND = "market-spine-api", "market-spine-run", "market-spine-cli"
"""Names of the kinds of processes, unless OTEL_SERVICE_NAME says another."""
FLUSH_SECONDS = 5.0
"""A run or a command waits this long for the collector, and not longer: its work is done."""


class _Process:
    """What this process traces with; nothing as long as traces are off."""

    tracing: "Tracing | None" = None


_off = nullcontext()
log = logging.getLogger(__name__)


def wanted(env: Mapping[str, str]) -> str:
    """The variable that turns traces on; empty when they are off."""
    if env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or env.get("OTEL_TRACES_EXPORTER") == "none":
        return ""
    return next((name for name in ENDPOINTS if env.get(name, "").strip()), "")


def start(service: str, settings: Settings) -> None:
    """Begin to trace this process, where a collector is named; a second call does nothing.

    Without the packages of the extra ``traces`` one line says so, and the work goes on untraced.

    Args:
        service: name of the process's kind, where OTEL_SERVICE_NAME is not set.
        settings: the secrets that are hidden.
    """
    asked_by = wanted(os.environ)
    if _Process.tracing or not asked_by:
        return
    protocol = next((found for name in PROTOCOLS if (found := os.environ.get(name, ""))), PROTOCOL)
    if protocol != PROTOCOL:
        log.warning("traces are sent as %s, not as %s: name the collector's port for that", PROTOCOL, protocol)
    try:
        from market_spine.observability.traces_otel import Tracing
    except ImportError as missing:
        log.warning(
            "%s asks for traces, but the package %s is missing: install market-spine[traces]; nothing is traced",
            asked_by,
            missing.name,
        )
        return
    _Process.tracing = Tracing(service, Redactor.of(settings))


def span(name: str, /, **attributes: str) -> AbstractContextManager[None]:
    """A span for a block, below the one that is open; an error that leaves the block is the span's."""
    tracing = _Process.tracing
    return tracing.span(name, attributes) if tracing else _off


@contextmanager
def continued(tags: Mapping[str, str], service: str, settings: Settings) -> Iterator[None]:
    """Go on with the trace that a run's tags carry, for a block; what ended in it is sent when it is over.

    Within a block of this kind it does nothing: steps that run in their run's process are below the run's span, and
    steps that Celery runs elsewhere take the trace up themselves.
    """
    start(service, settings)
    tracing = _Process.tracing
    if tracing is None or ids():
        yield
        return
    carried = {name: tags[f"{PREFIX}{name}"] for name in W3C if f"{PREFIX}{name}" in tags}
    try:
        with tracing.continued(carried):
            yield
    finally:
        tracing.flush(FLUSH_SECONDS)


def carrier() -> dict[str, str]:
    """Tags for a run that is started now, so that it goes on with this trace; none without one."""
    tracing = _Process.tracing
    return {f"{PREFIX}{name}": value for name, value in tracing.carrier().items()} if tracing else {}


def failed(reason: str) -> None:
    """Say of the open span that its work failed, where no error leaves its block."""
    if tracing := _Process.tracing:
        tracing.failed(reason)


def note(**attributes: str) -> None:
    """Add attributes to the open span."""
    if tracing := _Process.tracing:
        tracing.note(attributes)


def ids() -> Mapping[str, str]:
    """``trace_id`` and ``span_id`` of the open span, for log lines."""
    tracing = _Process.tracing
    return tracing.ids() if tracing else NOTHING


def watch(app: Any) -> None:
    """A span for each request of a FastAPI application."""
    if tracing := _Process.tracing:
        tracing.watch(app)


def flush() -> None:
    """Send what has ended; waits for the collector no longer than ``FLUSH_SECONDS``."""
    if tracing := _Process.tracing:
        tracing.flush(FLUSH_SECONDS)
