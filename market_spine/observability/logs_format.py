"""What a log line looks like: one JSON object, or one line for a person.

What it is: ``formatter`` makes the formatter of the standard library's handlers, so that our own lines, those of
uvicorn, psycopg and Dagster come out alike; structlog renders those for people. A line has ``timestamp``, ``level``,
``logger`` and ``event`` (as Dagster's own ``--log-format json`` calls them), then what it is about, then what it adds.
Belongs here: fields and their order. Does not belong here: where lines go (``logs_setup``), what is a secret
(``logs_redaction``). structlog takes a tenth of a second to import, so this module is imported with the first line.
"""

import json
import logging
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any

import structlog
from structlog.dev import ConsoleRenderer, plain_traceback
from structlog.stdlib import ProcessorFormatter

from market_spine.observability import logs, traces
from market_spine.observability.logs_redaction import Redactor

SUBJECTS = ("request_id", "run_id", "job", "step", "instigator", "asset", "partition", "trace_id", "span_id")
"""What a line is about, in the order in which it is written."""
DAGSTERS = ("dagster_meta", "dagster_event", "dagster_event_batch_metadata")
"""What Dagster hangs onto its records."""
# What every record has, and what the formatters of others hang onto it.
_OF_ANY_RECORD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "color_message", *DAGSTERS}
_encode = json.JSONEncoder(ensure_ascii=False).encode
_CONTROLS = {number: "\N{REPLACEMENT CHARACTER}" for number in (*range(32), 127) if chr(number) not in "\n\t"}
"""Letters with which a text from outside could paint over a terminal."""

Line = dict[str, Any]


def formatter(redactor: Redactor, *, as_json: bool, colours: bool = False) -> logging.Formatter:
    """The formatter of every handler.

    Args:
        redactor: takes the secrets out.
        as_json: an object a line; otherwise for a person.
        colours: for a terminal.
    """
    if as_json:
        return _Json(redactor)
    render = ConsoleRenderer(colors=colours, sort_keys=False, exception_formatter=plain_traceback, pad_event_to=0)

    def for_person(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> Line:
        return _without_controls(_redacted(redactor, _described(line["_record"], line.get("exc_info"))))

    return ProcessorFormatter(processors=[for_person, render])


class _Json(logging.Formatter):
    """Does what ``ProcessorFormatter`` does with ``JSONRenderer``, in 12 microseconds instead of 18.

    That one copies each record and takes it through a chain; the line of a request has to be cheap.
    """

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """The record as one JSON object."""
        return _encode(_redacted(self._redactor, _described(record, record.exc_info)))


def configure_structlog() -> None:
    """Let structlog's own loggers, of people's own code, write through the standard library's."""
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.stdlib.render_to_log_kwargs],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def _described(record: logging.LogRecord, caught: Any) -> Line:
    """The line as it is written; ``caught`` is the error, as ``sys.exc_info`` has it."""
    meta: Mapping[str, Any] = getattr(record, "dagster_meta", None) or {}
    event = meta.get("dagster_event")
    extra = {name: value for name, value in record.__dict__.items() if name not in _OF_ANY_RECORD and name[0] != "_"}
    # From the general to the particular: the run's range, the session that is worked on, the event's own partition.
    about = {**(_of_run(meta) if meta else {}), **logs.fields(), **traces.ids(), **_of_event(event), **extra}
    line: Line = {
        "timestamp": f"{datetime.fromtimestamp(record.created, UTC).isoformat(timespec='milliseconds')[:-6]}Z",
        "level": record.levelname.lower(),
        "logger": record.name,
        "event": meta.get("orig_message") or record.getMessage(),
    }
    for name in SUBJECTS:
        if name in about:
            line[name] = about.pop(name)
    line.update(about)
    text = _exception(caught) or _error_of(event)
    if text:
        line["exception"] = text
    if record.stack_info:
        line["stack"] = record.stack_info
    return line


def _of_run(meta: Mapping[str, Any]) -> dict[str, str]:
    """What Dagster says a record is about: a run and its step, or the sensor or schedule that speaks."""
    tags = meta.get("job_tags") or {}
    found = {
        "run_id": meta.get("run_id"),
        "job": meta.get("job_name"),
        "step": meta.get("step_key"),
        "instigator": meta.get("name"),
        "partition": logs.partition_of(tags),
    }
    return {name: str(value) for name, value in found.items() if value}


def _of_event(event: Any) -> dict[str, str]:
    """What an event of Dagster's adds."""
    if event is None:
        return {}
    asset = getattr(event, "asset_key", None)
    found = {
        "dagster_event": event.event_type_value,
        "asset": asset.to_user_string() if asset else None,
        "partition": getattr(event, "partition", None),
    }
    return {name: str(value) for name, value in found.items() if value}


def _error_of(event: Any) -> str:
    """The error that an event of Dagster's carries, with its traceback."""
    error = getattr(getattr(event, "event_specific_data", None), "error", None)
    return str(error.to_string()).strip() if error else ""


def _exception(caught: Any) -> str:
    return logging.Formatter().formatException(caught) if caught and caught[0] else ""


def _redacted(redactor: Redactor, line: Line) -> Line:
    return line if redactor.is_harmless(line) else redactor.mapping(line)


def _without_controls(line: Line) -> Line:
    return {name: value.translate(_CONTROLS) if isinstance(value, str) else value for name, value in line.items()}
