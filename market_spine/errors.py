"""Every error the package raises on purpose.

What it is: one tree, so that a caller can catch all of it or one kind.

    SpineError
    |-- SettingsError
    |-- FeedError
    |-- FileRefused
    |-- NoFile
    |-- CalendarError
    |-- UpstreamBlocked
    `-- WarehouseError
        `-- PartitionLocked

Belongs here: exception classes. Does not belong here: handling them.
The message is one line that says what is wrong, where, and what to do; the command line prints it as it is.
"""

from pathlib import Path

__all__ = [
    "CalendarError",
    "FeedError",
    "FileRefused",
    "NoFile",
    "PartitionLocked",
    "SettingsError",
    "SpineError",
    "UpstreamBlocked",
    "WarehouseError",
]


class SpineError(Exception):
    """Something the reader of the message can do something about."""


class SettingsError(SpineError):
    """A setting has a value it cannot have."""


class FeedError(SpineError):
    """A feed's declaration is wrong."""


class FileRefused(SpineError):
    """A file cannot be read to its end, so nothing of it was loaded.

    Args:
        path: the file.
        line: physical line at which reading stopped, the header being 1; None when the file as a whole is wrong.
        problem: what is wrong there, and what was expected.
    """

    def __init__(self, path: Path | str, line: int | None, problem: str) -> None:
        self.path = path
        self.line = line
        self.problem = problem
        super().__init__(path, line, problem)  # as given, so that the error survives pickling between processes

    def __str__(self) -> str:
        where = f"{self.path}" if self.line is None else f"{self.path} line {self.line}"
        return f"{where}: {self.problem}"


class NoFile(SpineError):
    """A session has no file in the landing folder."""


class CalendarError(SpineError):
    """A date is no session, or lies outside the calendar."""


class UpstreamBlocked(SpineError):
    """A blocking check of the partition above failed, so nothing may be built on it."""


class WarehouseError(SpineError):
    """The database, or the embedded server, cannot do what was asked."""


class PartitionLocked(WarehouseError):
    """Another run holds the same day."""
