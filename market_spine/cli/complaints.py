"""What an error of PostgreSQL is to the person at the terminal: one line with what is wrong and what to do.

Belongs here: those words. Does not belong here: errors that the package raises itself (they carry their line), printing
and exit codes (``main``).
"""

import psycopg
from psycopg import errors

from market_spine.warehouse.version import MIGRATE


def complaint_about(error: Exception) -> str | None:
    """The line for an error of the database; None for any other error.

    Args:
        error: whatever ended the command.
    """
    if not isinstance(error, psycopg.Error):
        return None
    line = (str(error).strip().splitlines() or ["no message"])[0]
    match error:
        case errors.UndefinedTable() | errors.UndefinedColumn() | errors.UndefinedFunction():
            return f"the database's schema is not the one this code reads: {line}; {MIGRATE}"
        case errors.InsufficientPrivilege():
            return f"the database login may not do this: {line}; grant it, or name another login in DATABASE_URL"
        case errors.QueryCanceled():
            return f"the database gave it up: {line}; ask for less, or allow more (statement_timeout of the login)"
        case errors.LockNotAvailable() | errors.DeadlockDetected():
            return f"others hold what this needs: {line}; try again"
        case errors.ReadOnlySqlTransaction():
            return f"the database takes no changes: {line}; is DATABASE_URL a replica?"
        case psycopg.DataError():
            return f"the database cannot take a value: {line}"
        case psycopg.OperationalError():
            return f"the database does not answer: {line}; spine doctor looks at every part"
        case _:
            return f"the database refused: {line} ({type(error).__name__})"
