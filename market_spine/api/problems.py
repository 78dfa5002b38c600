"""The one shape of every error: RFC 9457 problem details.

What it is: the codes there are, ``Problem`` to raise one, and the body and handlers that make an answer of it.
Belongs here: what an error looks like. Does not belong here: deciding that something is one.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:market-spine:problem:"
RETRY_SECONDS = 2
"""What ``Retry-After`` says while the database is away: its restart takes about as long."""


@dataclass(frozen=True)
class Kind:
    """A code's status and title."""

    status: int
    title: str


KINDS: Mapping[str, Kind] = {
    "invalid_parameter": Kind(422, "A parameter has a value it cannot have"),
    "unknown_parameter": Kind(422, "There is no such parameter"),
    "unknown_field": Kind(422, "There is no such field"),
    "invalid_cursor": Kind(422, "The cursor is not one of this request"),
    "not_found": Kind(404, "There is nothing at this address"),
    "method_not_allowed": Kind(405, "This address does not take this method"),
    "not_acceptable": Kind(406, "None of the accepted media types can be made"),
    "unauthenticated": Kind(401, "The request carries no token that is known"),
    "insufficient_scope": Kind(403, "The token does not allow this"),
    "writes_disabled": Kind(403, "This deployment takes no writes over HTTP"),
    "logical_key_active": Kind(409, "The same work is under way"),
    "wrong_state": Kind(409, "It is in a state in which this cannot be done"),
    "body_too_large": Kind(413, "The body is too large"),
    "unsupported_media_type": Kind(415, "The body has to be JSON"),
    "invalid_submission": Kind(422, "What was submitted does not exist"),
    "idempotency_key_reused": Kind(422, "The idempotency key belongs to another request"),
    "queue_full": Kind(429, "The queue is full"),
    "bad_request": Kind(400, "The request cannot be understood"),
    "internal_error": Kind(500, "The request failed through no fault of its own"),
    "not_ready": Kind(503, "The API cannot serve yet"),
    "query_timeout": Kind(503, "The database needed too long"),
    "database_unavailable": Kind(503, "The database does not answer"),
    "dagster_unavailable": Kind(503, "Dagster cannot do it now"),
}
"""Every code, which a program may rely on; titles and details are for people."""
_BY_STATUS = {404: "not_found", 405: "method_not_allowed", 406: "not_acceptable", 400: "bad_request"}


class Problem(Exception):
    """An error that is answered.

    Args:
        code: one of ``KINDS``.
        detail: one sentence: what is wrong, and what to do.
        field: the parameter it is about.
        headers: more headers for the answer.
        execution: the execution it is about.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
        execution: str | None = None,
    ) -> None:
        self.code = code
        self.detail = detail
        self.field = field
        self.headers = dict(headers or {})
        self.execution = execution
        if KINDS[code].status == 503:
            self.headers.setdefault("Retry-After", str(RETRY_SECONDS))
        super().__init__(code, detail)


def answer(problem: Problem, request_id: str) -> Response:
    """The response of a problem."""
    kind = KINDS[problem.code]
    body = {
        "type": TYPE_PREFIX + problem.code,
        "title": kind.title,
        "status": kind.status,
        "code": problem.code,
        "detail": problem.detail,
        "field": problem.field,
        "request_id": request_id,
    }
    if problem.execution is not None:
        body["execution"] = problem.execution
    content = json.dumps(body, ensure_ascii=False).encode("utf-8", errors="replace")
    headers = {"Cache-Control": "no-store", **problem.headers}
    return Response(content, status_code=kind.status, headers=headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Answer every error that a route or the router raises as a problem."""
    app.exception_handler(Problem)(_raised)
    app.exception_handler(HTTPException)(_from_router)


def request_id_of(request: Request) -> str:
    """The id that the outermost layer gave this request."""
    return str(request.state.request_id)


async def _raised(request: Request, error: Problem) -> Response:
    return answer(error, request_id_of(request))


async def _from_router(request: Request, error: HTTPException) -> Response:
    path, method = request.url.path, request.method
    code = _BY_STATUS.get(error.status_code, "internal_error")
    detail = {
        "not_found": f"there is nothing at {path}; /api/v1/openapi.json lists what there is",
        "method_not_allowed": f"{path} does not take {method}",
    }.get(code, str(error.detail))
    headers = dict(error.headers or {})
    if code == "method_not_allowed":
        headers["Allow"] = ", ".join(_methods_of(request)) or headers.get("Allow", "")
    return answer(Problem(code, detail, headers=headers), request_id_of(request))


def _methods_of(request: Request) -> list[str]:
    """What an address takes: the router itself names the methods of the first route only."""
    paths = request.app.openapi()["paths"]
    parts = request.url.path.split("/")
    return sorted(
        {method.upper() for path, methods in paths.items() if _is_like(path.split("/"), parts) for method in methods}
    )


def _is_like(pattern: list[str], parts: list[str]) -> bool:
    return len(pattern) == len(parts) and all(
        wanted == part or (wanted.startswith("{") and part != "") for wanted, part in zip(pattern, parts, strict=True)
    )
