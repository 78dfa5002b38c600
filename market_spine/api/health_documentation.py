"""What the OpenAPI says of the answers about the health of the ledger, and of the metrics.

Belongs here: their schemas and examples. Does not belong here: those of the two probes (``documentation``).
"""

from market_spine.api import negotiation
from market_spine.api.documentation import COMPONENTS, EXAMPLE_DAY, Schema, object_of, problem_answer
from market_spine.observability.metrics_sessions import STATES

TEXT, OPEN_METRICS = "text/plain", "application/openmetrics-text"
_WHOLE: Schema = {"type": "integer"}
_NUMBER: Schema = {"type": "number"}
_TEXT: Schema = {"type": "string"}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def schemas() -> dict[str, Schema]:
    """The components."""
    lane = object_of(
        queued={**_WHOLE, "description": "Executions that wait."},
        oldest_seconds={**_NUMBER, "description": "Since the oldest of them was submitted; 0 without any."},
        running={**_WHOLE, "description": "Executions that hold a place to run."},
    )
    session = object_of(
        day={"type": "string", "format": "date"},
        published_at={"type": "string", "format": "date-time"},
        reports={"type": "object", "additionalProperties": _WHOLE, "description": "By what became of them."},
        quarantine_ratio={**_NUMBER, "description": "Share of its reports in quarantine."},
    )
    finding = object_of(
        what=_TEXT, state={"enum": ["ok", "warn", "fail"]}, says=_TEXT,
        do={"type": "string", "description": "What to do about it; empty when there is nothing to do."},
    )  # fmt: skip
    return {
        "LedgerHealth": object_of(
            status={"enum": ["ok", "warn", "fail"], "description": "The worst of the findings."},
            lanes={"type": "object", "additionalProperties": lane},
            daemons={"type": "object", "additionalProperties": _NUMBER, "description": "Seconds since last heard of."},
            slots_held_by_dead_runs=_WHOLE,
            event_log_bytes=_WHOLE,
            dead_letters=_or_null(object_of(unresolved=_WHOLE, oldest_seconds=_NUMBER)),
            sessions_overdue={"type": ["integer", "null"], "description": "Past their hour without metrics."},
            newest_session=_or_null(session),
            sessions=_or_null(object_of(**dict.fromkeys(STATES, _WHOLE))),
            findings={"type": "array", "items": finding, "description": "What spine doctor says of them."},
        )
    }


_EXAMPLE: Schema = {
    "status": "warn",
    "lanes": {
        "normal": {"queued": 1, "oldest_seconds": 4.2, "running": 3},
        "backfill": {"queued": 0, "oldest_seconds": 0.0, "running": 0},
    },
    "daemons": {"SENSOR": 12.5},
    "slots_held_by_dead_runs": 0,
    "event_log_bytes": 650_000_000,
    "dead_letters": {"unresolved": 1, "oldest_seconds": 3600.0},
    "sessions_overdue": 0,
    "newest_session": {
        "day": EXAMPLE_DAY, "published_at": f"{EXAMPLE_DAY}T22:00:05+00:00",
        "reports": {"live": 9, "quarantined": 1}, "quarantine_ratio": 0.1,
    },
    "sessions": {**dict.fromkeys(STATES, 0), "complete": 42},
    "findings": [{
        "what": "dead letters", "state": "warn", "says": "1 unresolved, the oldest for 1 h",
        "do": "spine dead-letter list, then retry or discard",
    }],
}  # fmt: skip
_LINES = """# HELP spine_pending_executions Executions that wait in the queue.
# TYPE spine_pending_executions gauge
spine_pending_executions{lane="backfill"} 0.0
spine_pending_executions{lane="normal"} 1.0
"""
ANSWERS: dict[str, dict[str, dict[int, Schema]]] = {
    "/health/metrics": {
        "get": {
            200: {
                "description": "How it is now.",
                "content": {
                    negotiation.JSON: {"schema": {"$ref": f"{COMPONENTS}LedgerHealth"}, "example": _EXAMPLE},
                },
            },
            422: problem_answer("unknown_parameter"),
            500: problem_answer("internal_error"),
            503: problem_answer("dagster_unavailable"),
        }
    },
    "/metrics": {
        "get": {
            200: {
                "description": "Prometheus' text format, or OpenMetrics where it is accepted.",
                "content": {
                    TEXT: {"schema": _TEXT, "example": _LINES},
                    OPEN_METRICS: {"schema": _TEXT, "example": f"{_LINES}# EOF\n"},
                },
            },
            422: problem_answer("unknown_parameter"),
            500: problem_answer("internal_error"),
        }
    },
}
"""What each route answers, by address and method."""
