"""What the OpenAPI says of the answers about executions, dead letters and the inventory.

Belongs here: their schemas and examples. Does not belong here: those of the tables (``documentation``), parameters.
"""

from typing import Any

from market_spine.api import negotiation
from market_spine.api.documentation import COMPONENTS, EXAMPLE_DAY, Schema, object_of, page_of, problem_answer

RUN = "8f14e45f-ceea-4e67-9a1b-0d2c3b4a5f60"
_ID: Schema = {"type": "string", "description": "Id of an execution."}
_DAY: Schema = {"type": "string", "format": "date"}
_DAY_OR_NONE: Schema = {"type": ["string", "null"], "format": "date"}
_AT: Schema = {"type": "string", "format": "date-time"}
_MOMENT: Schema = {"type": ["string", "null"], "format": "date-time"}
_TEXT: Schema = {"type": "string"}
_TEXT_OR_NONE: Schema = {"type": ["string", "null"]}
_WHOLE: Schema = {"type": "integer"}
V1 = "/api/v1"
_EXECUTION = "executions/{id}"
LINKS: dict[str, dict[str, tuple[str, str, str, str]]] = {
    "Submitted": {
        "execution": (_EXECUTION, "get", "/id", "What became of it."),
        "events": (f"{_EXECUTION}/events", "get", "/id", "Its log."),
        "cancel": (f"{_EXECUTION}/cancel", "post", "/id", "Takes it back."),
    },
}
"""Of an answer: name of the link, to which route and method, where the id stands, what it is for."""
SECURITY: Schema = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "One of MARKET_SPINE_API_OPERATE_TOKENS, or to read one of MARKET_SPINE_API_READ_TOKENS. Where "
        "no token to read is set, reads need none.",
    }
}


def schemas() -> dict[str, Schema]:
    """The components."""
    row: Schema = {
        "id": _ID, "pipeline": _TEXT, "sessions": {"type": "string", "description": "A session, or first..last."},
        "lane": _TEXT, "status": _TEXT, "trigger": {"type": "string", "description": "Who asked for it."},
        "created": _AT, "started": _MOMENT, "ended": _MOMENT,
    }  # fmt: skip
    step = object_of(step=_TEXT, state=_TEXT, started=_MOMENT, ended=_MOMENT, tries=_WHOLE)
    more: Schema = {
        "job": _TEXT, "queued": _MOMENT, "dequeued": _MOMENT, "parent": _TEXT_OR_NONE,
        "children": {"type": "array", "items": _ID, "description": "Executions that retry it."},
        "materialized_partitions": _WHOLE,
        "failure": {"type": ["string", "null"], "description": "The one line that says why it failed."},
        "steps": {"type": "array", "items": step},
        "tags": {"type": "object", "additionalProperties": _TEXT},
    }  # fmt: skip
    event = object_of(number=_WHOLE, at=_AT, level=_TEXT, kind=_TEXT, step=_TEXT_OR_NONE, message=_TEXT)
    letter: Schema = {
        "state": {"enum": ["open", "retried", "materialized", "discarded"]},
        "id": _WHOLE, "asset": _TEXT, "partition": _DAY, "reason": _TEXT, "tries": _WHOLE, "retries": _WHOLE,
        "first_failed_at": _AT, "last_failed_at": _AT, "run_id": _ID, "retry_run_id": _TEXT_OR_NONE,
        "resolved_at": _MOMENT, "resolution": _TEXT_OR_NONE, "resolved_by": _TEXT_OR_NONE, "note": _TEXT_OR_NONE,
        "mend": {"type": ["string", "null"], "description": "The command that mends it."},
    }  # fmt: skip
    run = object_of(
        execution=_ID, status=_TEXT, job=_TEXT, started_at=_MOMENT, ended_at=_MOMENT, asked_by=_TEXT_OR_NONE
    )
    file = object_of(path=_TEXT, status=_TEXT, problem=_TEXT_OR_NONE, known_at=_MOMENT)
    runs: Schema = {"type": "array", "items": run}
    files: Schema = {"type": "array", "items": file}
    problem = object_of(asset=_TEXT, status=_TEXT, first=_DAY, last=_DAY, sessions=_WHOLE, reason=_TEXT, command=_TEXT)
    session = object_of(
        asset=_TEXT, session=_DAY, status=_TEXT, is_there={"type": "boolean"}, reason=_TEXT, execution=_TEXT_OR_NONE
    )
    sessions: Schema = {"type": "array", "items": session, "description": "Only where sessions=true."}
    counts: Schema = {
        "type": "object",
        "properties": {"asset": _TEXT},
        "required": ["asset"],
        "additionalProperties": {"type": "integer", "description": "Sessions of this status."},
    }
    inventory = object_of(
        first=_DAY_OR_NONE, last=_DAY_OR_NONE, counts={"type": "array", "items": counts},
        problems={"type": "array", "items": problem}, files_nobody_asks_for={"type": "array", "items": _TEXT},
    )  # fmt: skip
    inventory["properties"]["sessions"] = sessions
    return {
        "Execution": object_of(**row),
        "ExecutionPage": page_of("Execution"),
        "ExecutionDetail": object_of(**row, **more),
        "Event": event,
        "EventPage": page_of("Event"),
        "DeadLetter": object_of(**letter),
        "DeadLetterPage": page_of("DeadLetter"),
        "DeadLetterDetail": object_of(**letter, runs=runs, files=files),
        "Inventory": inventory,
        "Submitted": object_of(id=_ID),
    }  # fmt: skip


def _answer(name: str, example: Any, says: str) -> Schema:
    schema = {"$ref": COMPONENTS + name}
    said: Schema = {"description": says, "content": {negotiation.JSON: {"schema": schema, "example": example}}}
    if links := LINKS.get(name):
        said["links"] = {title: _link(*link) for title, link in links.items()}
    return said


def _link(path: str, method: str, value: str, says: str) -> Schema:
    """Where an id of the answer leads."""
    reference = f"#/paths/{V1.replace('/', '~1')}~1{path.replace('/', '~1')}/{method}"
    return {"operationRef": reference, "parameters": {"id": f"$response.body#{value}"}, "description": says}


def _read(name: str, example: Any, *, one: bool = False, paged: bool = False) -> dict[int, Schema]:
    codes = ["invalid_parameter", "unknown_parameter", *(["invalid_cursor"] if paged else [])]
    return {
        200: _answer(name, example, "A page." if paged else "What is known of it."),
        304: {"description": "What If-None-Match names is still what would be answered."},
        401: problem_answer("unauthenticated"),
        **({404: problem_answer("not_found")} if one else {}),
        406: problem_answer("not_acceptable"),
        422: problem_answer(*codes),
        500: problem_answer("internal_error"),
        503: problem_answer("dagster_unavailable", "database_unavailable", "not_ready"),
    }


def _write(
    status: int, name: str, example: Any, *conflicts: str, unprocessable: tuple[str, ...] = (), one: bool = True
) -> dict[int, Schema]:
    queued = status == 202
    said = _answer(name, example, "It is queued." if queued else "What it is now.")
    if queued:
        where = {"description": "Address of the execution.", "schema": {"type": "string"}}
        said["headers"] = {"Location": where}
    full = {429: problem_answer("queue_full")} if queued else {}
    return {
        status: said,
        401: problem_answer("unauthenticated"),
        403: problem_answer("writes_disabled", "insufficient_scope"),
        **({404: problem_answer("not_found")} if one else {}),
        409: problem_answer(*conflicts),
        413: problem_answer("body_too_large"),
        415: problem_answer("unsupported_media_type"),
        422: problem_answer("invalid_parameter", "unknown_parameter", *unprocessable),
        **full,
        500: problem_answer("internal_error"),
        503: problem_answer("dagster_unavailable", "database_unavailable", "not_ready"),
    }


_AT_NIGHT = f"{EXAMPLE_DAY}T23:30:00+00:00"
_ROW: Schema = {
    "id": RUN, "pipeline": "otc_full_refresh", "sessions": EXAMPLE_DAY, "lane": "normal", "status": "SUCCESS",
    "trigger": "api", "created": _AT_NIGHT, "started": _AT_NIGHT, "ended": _AT_NIGHT,
}  # fmt: skip
_DETAIL: Schema = _ROW | {
    "job": "otc_full_refresh", "queued": _AT_NIGHT, "dequeued": _AT_NIGHT, "parent": None, "children": [],
    "materialized_partitions": 3, "failure": None,
    "steps": [{"step": "otc_session", "state": "SUCCESS", "started": _AT_NIGHT, "ended": _AT_NIGHT, "tries": 1}],
    "tags": {"market_spine/trigger_source": "api"},
}  # fmt: skip
_EVENT: Schema = {
    "number": 4711, "at": _AT_NIGHT, "level": "DEBUG", "kind": "STEP_START", "step": "otc_session",
    "message": "Started execution of step.",
}  # fmt: skip
_LETTER: Schema = {
    "state": "open", "id": 3, "asset": "otc_trades_raw", "partition": EXAMPLE_DAY, "reason": "no file has landed",
    "tries": 1, "retries": 0, "first_failed_at": _AT_NIGHT, "last_failed_at": _AT_NIGHT, "run_id": RUN,
    "retry_run_id": None, "resolved_at": None, "resolution": None, "resolved_by": None, "note": None,
    "mend": "spine dead-letter retry 3",
}  # fmt: skip
_DISCARDED: Schema = _LETTER | {
    "state": "discarded", "resolved_at": _AT_NIGHT, "resolution": "discarded", "resolved_by": "ann",
    "note": "the vendor sends no file that day", "mend": None,
}  # fmt: skip
_INVENTORY: Schema = {
    "first": EXAMPLE_DAY, "last": EXAMPLE_DAY,
    "counts": [{"asset": "otc_metrics_daily", "present": 0, "missing": 1}],
    "problems": [{
        "asset": "otc_metrics_daily", "status": "missing", "first": EXAMPLE_DAY, "last": EXAMPLE_DAY, "sessions": 1,
        "reason": "no file has landed: ask the source", "command": f"spine dispatch otc_full_refresh {EXAMPLE_DAY}",
    }],
    "files_nobody_asks_for": [],
}  # fmt: skip
_SUBMITTED: Schema = {"id": RUN}
ANSWERS: dict[str, dict[str, dict[int, Schema]]] = {
    f"{V1}/executions": {
        "get": _read("ExecutionPage", {"data": [_ROW], "next_cursor": None}, paged=True),
        "post": _write(
            202, "Submitted", _SUBMITTED, "logical_key_active",
            unprocessable=("invalid_submission", "idempotency_key_reused"), one=False,
        ),
    },
    f"{V1}/executions/{{id}}": {"get": _read("ExecutionDetail", _DETAIL, one=True)},
    f"{V1}/executions/{{id}}/events": {
        "get": _read("EventPage", {"data": [_EVENT], "next_cursor": None}, one=True, paged=True)
    },
    f"{V1}/executions/{{id}}/cancel": {"post": _write(200, "Execution", _ROW | {"status": "CANCELED"}, "wrong_state")},
    f"{V1}/dead-letters": {"get": _read("DeadLetterPage", {"data": [_LETTER], "next_cursor": None}, paged=True)},
    f"{V1}/dead-letters/{{id}}": {"get": _read("DeadLetterDetail", _LETTER | {"runs": [], "files": []}, one=True)},
    f"{V1}/dead-letters/{{id}}/retry": {
        "post": _write(202, "Submitted", _SUBMITTED, "wrong_state", "logical_key_active")
    },
    f"{V1}/dead-letters/{{id}}/discard": {"post": _write(200, "DeadLetter", _DISCARDED, "wrong_state")},
    f"{V1}/inventory": {"get": _read("Inventory", _INVENTORY)},
}  # fmt: skip
"""What each route answers, by address and method."""
