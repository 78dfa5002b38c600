"""A collector of traces: an HTTP server that takes OTLP as Tempo does, and what came in.

Belongs here: receiving and decoding. Does not belong here: expectations.
"""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class Received:
    """A span as it came in; ids in hexadecimal, times in seconds since 1970."""

    service: str
    name: str
    trace: str
    span: str
    parent: str
    begun: float
    ended: float
    failed: bool
    attributes: dict[str, str]
    events: list[dict[str, str]]


@dataclass
class Collector:
    """What was received, and the bytes of it."""

    endpoint: str
    spans: list[Received] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def of(self, service: str) -> list[Received]:
        """Spans of one kind of process, in the order in which they began."""
        return sorted((span for span in self.spans if span.service == service), key=lambda span: span.begun)

    def above(self, span: Received) -> list[str]:
        """Names of the spans above one, from the nearest to the root."""
        by_id = {one.span: one for one in self.spans}
        names: list[str] = []
        while span.parent in by_id:
            span = by_id[span.parent]
            names.append(span.name)
        return names

    def take(self, body: bytes) -> None:
        """Decode a request."""
        self.bodies.append(body)
        for part in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = {one.key: one.value.string_value for one in part.resource.attributes}
            for scope in part.scope_spans:
                for span in scope.spans:
                    self.spans.append(
                        Received(
                            resource["service.name"],
                            span.name,
                            span.trace_id.hex(),
                            span.span_id.hex(),
                            span.parent_span_id.hex(),
                            span.start_time_unix_nano / 1e9,
                            span.end_time_unix_nano / 1e9,
                            span.status.code == 2,
                            {one.key: one.value.string_value for one in span.attributes},
                            [{one.key: one.value.string_value for one in event.attributes} for event in span.events],
                        )
                    )


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free port of this machine."""
    found = Collector("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            known = self.path == "/v1/traces"
            if known:
                found.take(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
            self.send_response(200 if known else 404)
            self.send_header("content-type", "application/x-protobuf")
            self.end_headers()
            self.wfile.write(ExportTraceServiceResponse().SerializeToString())

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Nothing: the tests' output is the tests'."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()
