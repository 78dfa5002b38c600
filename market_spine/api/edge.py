"""The outermost layer of the API: the id of each request, and an answer to what nobody expected.

What it is: plain ASGI, because it stands in the way of every request: 10 microseconds, where Starlette's own
middleware class costs a task and two queues.
Belongs here: what holds for every request whatever its route. Does not belong here: expected errors (``problems``).
"""

import logging
import re
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from market_spine.api.problems import Problem, answer

HEADER = b"x-request-id"
USABLE = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
"""What is taken over from the caller: it goes into logs and headers."""
log = logging.getLogger(__name__)


class Edge:
    """Gives every request its id, echoes it, and answers an error that nothing else handled."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == HEADER), b"")
        identifier = given if USABLE.fullmatch(given) else uuid.uuid4().hex.encode()
        scope.setdefault("state", {})["request_id"] = identifier.decode()
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], (HEADER, identifier)]
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except Exception:
            log.exception("request %s %s %s failed", identifier.decode(), scope["method"], scope["path"])
            if started:
                raise  # the body has begun: only a broken connection tells the caller
            problem = Problem("internal_error", "the request failed; its id finds the reason in the log")
            await answer(problem, identifier.decode())(scope, receive, send_with_id)
