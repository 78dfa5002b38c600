"""The outermost layer of the API: the id of each request, its line in the log, an answer to what nobody expected.

What it is: plain ASGI, because it stands in the way of every request: 10 microseconds, where Starlette's own
middleware class costs a task and two queues.
Belongs here: what holds for every request whatever its route. Does not belong here: expected errors (``problems``).
"""

import logging
import re
import time
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from market_spine.api.problems import Problem, answer
from market_spine.observability import logs, traces

HEADER = b"x-request-id"
USABLE = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
"""What is taken over from the caller: it goes into logs and headers."""
PROBES = ("/health/", "/metrics")
"""Paths asked several times a minute by machines; their lines are of level debug."""
log = logging.getLogger(__name__)


class Edge:
    """Gives every request its id, echoes it, logs how it went, and answers an error that nothing else handled."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == HEADER), b"")
        identifier = given if USABLE.fullmatch(given) else uuid.uuid4().hex.encode()
        name = identifier.decode()
        scope.setdefault("state", {})["request_id"] = name
        traces.note(request_id=name)
        with logs.bound(request_id=name):
            await self._answered(scope, receive, _Answer(send, identifier))

    async def _answered(self, scope: Scope, receive: Receive, send: "_Answer") -> None:
        begun = time.perf_counter()
        try:
            await self.app(scope, receive, send)
        except Exception:
            identifier = scope["state"]["request_id"]
            log.exception("request %s failed", identifier, extra={"method": scope["method"], "path": scope["path"]})
            if send.status:
                raise  # the body has begun: only a broken connection tells the caller
            problem = Problem("internal_error", "the request failed; its id finds the reason in the log")
            await answer(problem, identifier)(scope, receive, send)
        finally:
            level = logging.DEBUG if scope["path"].startswith(PROBES) else logging.INFO
            if log.isEnabledFor(level):
                log.log(level, "request", extra=_told(scope, send.status, time.perf_counter() - begun))


class _Answer:
    """Sends an answer on, with the id; knows its status, 0 as long as there is none."""

    def __init__(self, send: Send, identifier: bytes) -> None:
        self._send = send
        self._header = (HEADER, identifier)
        self.status = 0

    async def __call__(self, message: Message) -> None:
        """Send a part of it."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], self._header]
        await self._send(message)


def _told(scope: Scope, status: int, seconds: float) -> dict[str, object]:
    """What the line of a request says; status 0: the caller went away before there was an answer.

    Without the query string: who may read the log need not know who looked at which symbol.
    """
    return {"method": scope["method"], "path": scope["path"], "status": status, "ms": round(seconds * 1000, 2)}
