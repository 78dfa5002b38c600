"""Every error the package raises on purpose.

What it is: one tree, so that a caller can catch all of it or one kind.

    SpineError
    |-- SettingsError
    |-- FeedError
    |-- FileRefused
    |-- FileStateError
    |-- NoFile
    |-- LandingError
    |-- CalendarError
    |-- UpstreamBlocked
    |-- RawExpired
    |-- NotComputed
    |-- FrameError
    |-- LedgerError
    |   |-- AlreadySubmitted
    |   |-- InvalidSubmission
    |   |-- LogicalKeyActive
    |   |-- NotFound
    |   |-- QueueFull
    |   `-- WrongState
    `-- WarehouseError
        `-- PartitionLocked

Belongs here: exception classes. Does not belong here: handling them.
The message is one line that says what is wrong, where, and what to do; the command line prints it as it is.
"""

__all__ = [
    "AlreadySubmitted",
    "CalendarError",
    "FeedError",
    "FileRefused",
    "FileStateError",
    "FrameError",
    "InvalidSubmission",
    "LandingError",
    "LedgerError",
    "LogicalKeyActive",
    "NoFile",
    "NotComputed",
    "NotFound",
    "PartitionLocked",
    "QueueFull",
    "RawExpired",
    "SettingsError",
    "SpineError",
    "UpstreamBlocked",
    "WarehouseError",
    "WrongState",
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
        path: the file: its path, or whatever prints as its place.
        line: physical line at which reading stopped, the header being 1; None when the file as a whole is wrong.
        problem: what is wrong there, and what was expected.
    """

    def __init__(self, path: object, line: int | None, problem: str) -> None:
        self.path = path
        self.line = line
        self.problem = problem
        super().__init__(path, line, problem)  # as given, so that the error survives pickling between processes

    def __str__(self) -> str:
        where = f"{self.path}" if self.line is None else f"{self.path} line {self.line}"
        return f"{where}: {self.problem}"


class LandingError(SpineError):
    """The landing folder is at an address that does not answer, or cannot be used."""


class FileStateError(SpineError):
    """A file version cannot be taken back, or counted again, in the state it is in."""


class NoFile(SpineError):
    """A session has no file in the landing folder."""


class CalendarError(SpineError):
    """A date is no session, or lies outside the calendar."""


class UpstreamBlocked(SpineError):
    """A blocking check of the partition above failed, so nothing may be built on it."""


class RawExpired(SpineError):
    """The reports of a day were dropped by retention, so it cannot be computed again."""


class NotComputed(SpineError):
    """A session has nothing in the table that was asked for yet."""


class FrameError(SpineError):
    """What was asked for as a DataFrame cannot be: a range, a day, a moment or a status that is none."""


class WarehouseError(SpineError):
    """The database, or the embedded server, cannot do what was asked."""


class PartitionLocked(WarehouseError):
    """Another run holds the same day."""


class LedgerError(SpineError):
    """Dagster's storage or webserver cannot do what was asked."""


class InvalidSubmission(LedgerError):
    """What was submitted names a pipeline, a lane or a session that does not exist."""


class NotFound(LedgerError):
    """There is no execution, dead letter or backfill of that id."""


class WrongState(LedgerError):
    """The execution or dead letter is in a state in which this cannot be done to it."""


class AlreadySubmitted(LedgerError):
    """Something was submitted under the same idempotency key before.

    Args:
        run_id: the execution that came of it.
        digest: what stands for everything that was asked then.
    """

    def __init__(self, run_id: str, digest: str) -> None:
        self.run_id = run_id
        self.digest = digest
        super().__init__(run_id, digest)

    def __str__(self) -> str:
        return f"submitted before, as execution {self.run_id}; use a new idempotency key for new work"


class LogicalKeyActive(LedgerError):
    """The same pipeline is under way for the same sessions.

    Args:
        key: the logical key.
        run_id: the execution that holds it.
    """

    def __init__(self, key: str, run_id: str) -> None:
        self.key = key
        self.run_id = run_id
        super().__init__(key, run_id)

    def __str__(self) -> str:
        return f"{self.key} is under way as execution {self.run_id}; wait for it, or cancel it first"


class QueueFull(LedgerError):
    """The queue accepts nothing more.

    Args:
        what: the limit that was reached, "the queue" or a lane.
        queued: runs that wait there now.
        limit: as many may wait.
        retry_after: seconds after which it is worth to try again.
    """

    def __init__(self, what: str, queued: int, limit: int, retry_after: int) -> None:
        self.what = what
        self.queued = queued
        self.limit = limit
        self.retry_after = retry_after
        super().__init__(what, queued, limit, retry_after)

    def __str__(self) -> str:
        return f"{self.what} holds {self.queued} of at most {self.limit} runs; try again in {self.retry_after} s"
