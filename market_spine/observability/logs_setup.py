"""Where log lines go: every logger of a process to stderr, in the one format.

What it is: ``configure`` is called once by whoever starts a process; ``configure_dagster`` by the definitions, for
the processes that Dagster starts: its runs and code servers. ``read_line`` reads such lines again.
Belongs here: handlers, levels, the loggers of others. Does not belong here: the look of a line (``logs_format``).
"""

import json
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TextIO

from market_spine.observability.logs_redaction import Redactor
from market_spine.settings import LogFormat, LogLevel, Settings

OURS = "market_spine"
DAGSTER = ("dagster", "dagster-webserver", "dagit")
UVICORN = ("uvicorn", "uvicorn.error", "uvicorn.access")


class _Formatter(logging.Formatter):
    """The formatter of ``logs_format``, made with the first line: most commands never log one."""

    def __init__(self, redactor: Redactor, wanted: LogFormat) -> None:
        super().__init__()
        self.redactor = redactor
        self._wanted = wanted
        self._made: logging.Formatter | None = None

    def format(self, record: logging.LogRecord) -> str:
        if self._made is None:
            from market_spine.observability.logs_format import formatter

            terminal = sys.stderr.isatty()
            as_json = self._wanted is LogFormat.json or (self._wanted is LogFormat.auto and not terminal)
            self._made = formatter(self.redactor, as_json=as_json, colours=terminal)
        return self._made.format(record)


class _Handler(logging.StreamHandler[TextIO]):
    """Writes to what ``sys.stderr`` is at that moment: Dagster puts a step's own file in its place."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, _stream: TextIO) -> None:
        raise AttributeError("always stderr")


class _MadeByDagster(logging.Logger):
    """What Dagster builds its console loggers from: their coloured lines become those of the one format.

    Each run, sensor and schedule gets a logger of its own, to which Dagster adds a handler of coloredlogs. Its setting
    for handlers (``python_logs``) only adds more of them, and every line would come twice.
    """

    formatter = logging.Formatter()
    threshold = logging.NOTSET

    def handle(self, record: logging.LogRecord) -> None:
        """Write the record."""
        for handler in self.handlers:
            if handler.formatter is not self.formatter and type(handler).__module__.startswith("coloredlogs"):
                handler.setFormatter(self.formatter)
                handler.setLevel(max(handler.level, self.threshold))
        super().handle(record)


def configure(settings: Settings, *, command: bool = False) -> Redactor:
    """Let every logger of this process write to stderr; done again, it takes the place of what was there.

    Our own lines are written from the level of the settings on, those of others from warnings on.

    Args:
        settings: format and level, and the secrets that are hidden.
        command: what a person types, and reads the answer of: without a level in the settings, warnings only.
    """
    redactor = Redactor.of(settings)
    handler = _Handler()
    handler.setFormatter(_Formatter(redactor, settings.log_format))
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old, _Handler):
            root.removeHandler(old)
    root.addHandler(handler)
    logging.getLogger(OURS).setLevel(_level(settings, logging.WARNING if command else logging.INFO))
    for name in UVICORN:
        theirs = logging.getLogger(name)
        theirs.handlers.clear()
        theirs.propagate = True
    return redactor


def configure_dagster(settings: Settings) -> None:
    """The same in a process that Dagster started, for its own loggers too."""
    redactor = configure(settings)
    from market_spine.observability.logs_format import configure_structlog

    configure_structlog()
    for name in DAGSTER:
        theirs = logging.getLogger(name)
        for handler in theirs.handlers[:]:
            if isinstance(handler, logging.StreamHandler):
                theirs.removeHandler(handler)
    _MadeByDagster.formatter = _Formatter(redactor, settings.log_format)
    _MadeByDagster.threshold = _level(settings, logging.INFO)
    logging.setLoggerClass(_MadeByDagster)


def _level(settings: Settings, otherwise: int) -> int:
    if settings.log_level is LogLevel.auto:
        return otherwise
    return logging.getLevelNamesMapping()[settings.log_level.upper()]


def log_unexpected() -> None:
    """Let the traceback of an error that ends this process go the way of all lines."""
    sys.excepthook = _unexpected


def _unexpected(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger(OURS).critical("ended by an error that nobody expected", exc_info=(kind, error, trace))


@dataclass(frozen=True)
class Line:
    """A line that a process of ours wrote.

    Args:
        level: debug, info, warning, error, critical.
        logger: who wrote it.
        event: what it says.
    """

    level: str
    logger: str
    event: str

    @property
    def is_progress(self) -> bool:
        """Whether who waits for a run wants to see it: what its steps say, and every warning."""
        return self.level in ("warning", "error", "critical") or (self.level == "info" and self.logger == DAGSTER[0])


def telling_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a run whose lines are read by ``read_line``."""
    wanted = Settings(log_format=LogFormat.json, log_level=LogLevel.info).to_env()
    return {**environment, **wanted}


def read_line(text: str) -> Line | None:
    """The line in a text of format ``json``; None of any other text."""
    if not text.startswith("{"):
        return None
    try:
        found = json.loads(text)
        return Line(str(found["level"]), str(found["logger"]), str(found["event"]))
    except (ValueError, KeyError):
        return None
