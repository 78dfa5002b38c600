"""Which errors of a session can pass by themselves, and how long to wait before it is tried again.

Belongs here: the one answer to "is it worth another try?". Does not belong here: trying (``session_run``), the errors
themselves (``market_spine.errors``).
"""

import random

import psycopg

from market_spine.errors import LandingError, PartitionLocked, SpineError, WarehouseError

SPREAD = 0.25
"""A wait is up to this much longer or shorter, so that runs that lost the same server do not come back in step."""
LONGEST_LINE = 500

# Remote storage raises OSErrors of many kinds when it is away; of these four the next try says the same.
_LASTING = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
_LIMIT_EXCEEDED = "54"
"""Class of SQLSTATE: a statement that is too much for the server, which psycopg counts as operational."""


def may_pass(error: Exception) -> bool:
    """Whether the same try may go well later: a lost connection, a server that restarts, a locked day, remote storage.

    A refused file, a failed check, a wrong setting or a statement the server cannot take stay as they are.
    """
    if isinstance(error, LandingError):
        # Filesystems have errors of their own for a store that is away; a missing package or a refusal shows by type.
        return not isinstance(error.__cause__, (*_LASTING, ImportError, ValueError))
    if isinstance(error, SpineError):
        return isinstance(error, WarehouseError | PartitionLocked)
    if isinstance(error, psycopg.OperationalError):
        return not (error.sqlstate or "").startswith(_LIMIT_EXCEEDED)
    return isinstance(error, OSError) and not isinstance(error, _LASTING)


def one_line(error: Exception) -> str:
    """The error as one line of bounded length; of an error that is not ours with its type."""
    text = " ".join(str(error).split())
    if not isinstance(error, SpineError):
        text = f"{type(error).__name__}: {text}"
    return text if len(text) <= LONGEST_LINE else f"{text[: LONGEST_LINE - 3]}..."


def wait_before_retry(retry: int, first_wait: float) -> float:
    """Seconds before a retry: doubles with each one, up to ``SPREAD`` more or less.

    Args:
        retry: 1 for the second try.
        first_wait: seconds before that one.
    """
    return first_wait * 2.0 ** (retry - 1) * random.SystemRandom().uniform(1 - SPREAD, 1 + SPREAD)
