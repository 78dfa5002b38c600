"""Requests counted and timed by the route that answered them.

What it is: plain ASGI around everything else, because it stands in the way of every request.
Belongs here: counting. Does not belong here: the metrics' names (``metrics``), request ids (``api.edge``).
"""

import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from market_spine.observability.metrics import Process

UNMATCHED = "unmatched"
"""Requests that no route answered: unknown addresses, and what was refused before a route was looked for. Their paths
are anybody's free text, and each would be a time series."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER = "other"
NO_ANSWER = "499"
"""The caller was gone before the answer began."""


class Measured:
    """Counts and times every request.

    Args:
        app: what answers.
        process: where it is counted.
    """

    def __init__(self, app: ASGIApp, process: Process) -> None:
        self.app = app
        self._process = process
        self._templates: dict[Any, str] = {}
        self._kept: dict[tuple[str, str, str], tuple[Any, Any]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = NO_ANSWER

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        began = time.perf_counter()
        self._process.in_progress.inc()
        try:
            await self.app(scope, receive, noting)
        finally:
            self._process.in_progress.dec()
            taken = time.perf_counter() - began
            method = scope["method"] if scope["method"] in METHODS else OTHER
            requests, seconds = self._series(method, self._route(scope), status)
            requests.inc()
            seconds.observe(taken)

    def _series(self, method: str, route: str, status: str) -> tuple[Any, Any]:
        """The counter and the histogram; looking them up by their labels each time costs as much as counting."""
        key = (method, route, status)
        if key not in self._kept:
            process = self._process
            self._kept[key] = process.requests.labels(method, route, status), process.seconds.labels(method, route)
        return self._kept[key]

    def _route(self, scope: Scope) -> str:
        """The template of the route that the router chose; it left its endpoint in the scope."""
        endpoint = scope.get("endpoint")
        if endpoint is None:
            return UNMATCHED
        if endpoint not in self._templates:
            self._templates[endpoint] = _template(scope)
        return self._templates[endpoint]


def _template(scope: Scope) -> str:
    """A route knows its address below its router's prefix; what stands before that is in every path of it."""
    path: str = scope["path"]
    route = scope.get("route")
    if route is None:
        return UNMATCHED if scope.get("path_params") else path
    below = str(route.path)
    return "/".join(path.split("/")[: -below.count("/")]) + below
