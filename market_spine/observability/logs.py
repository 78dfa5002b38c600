"""What a log line is about: the request, run, job, asset and partition of the work at hand.

What it is: fields that are bound once, where work begins, and stand on every line logged below, whoever logs it. They
live in a context variable: a thread has those of its starter only if it was started in a copy of its context.
Belongs here: that context. Does not belong here: what lines look like (``logs_format``), where they go
(``logs_setup``). Nothing is imported here that takes time, because everything that works imports this.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType

NOTHING: Mapping[str, str] = MappingProxyType({})
PARTITION = "dagster/partition"
RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
"""Tags of Dagster's that say which sessions a run works on."""
_fields: ContextVar[Mapping[str, str]] = ContextVar("market_spine_log_fields", default=NOTHING)


def fields() -> Mapping[str, str]:
    """What is bound here and now."""
    return _fields.get()


def bind(**more: str) -> None:
    """Add fields for the rest of this context: a thread of one's own, a task of one's own."""
    _fields.set({**_fields.get(), **more})


class Bound:
    """Adds fields for a block; one that is empty is left out.

    Afterwards the fields are those of before. They are put back by value: a generator of Dagster's may be closed in
    another context than the one it began in, where a token of the context variable would be refused.
    """

    __slots__ = ("_before", "_more")

    def __init__(self, more: Mapping[str, str]) -> None:
        self._more = more
        self._before = NOTHING

    def __enter__(self) -> None:
        self._before = _fields.get()
        _fields.set({**self._before, **{name: value for name, value in self._more.items() if value}})

    def __exit__(self, *_error: object) -> None:
        _fields.set(self._before)


def bound(**more: str) -> Bound:
    """Add fields for a block: ``with bound(run_id=...):``."""
    return Bound(more)


def partition_of(tags: Mapping[str, str]) -> str:
    """The session of a run's tags, ``first..last`` of a range, or nothing."""
    if PARTITION in tags:
        return tags[PARTITION]
    first, last = (tags.get(name, "") for name in RANGE)
    return f"{first}..{last}" if first and first != last else first
