"""Being stopped: every stop signal as KeyboardInterrupt.

Belongs here: signals. Does not belong here: what is stopped then.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stoppable() -> Iterator[None]:
    """Let every stop signal raise KeyboardInterrupt, for as long as the block.

    Also right when a script started us with ``&`` and SIGINT came ignored: a handled signal is reset to its default in
    a child, an ignored one is not, and Dagster copies an ignored SIGINT onto SIGTERM.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
