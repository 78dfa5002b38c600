"""Sessions one after the other, the trades of the next under way while the metrics of this one are computed.

What it is: ``Sessions`` hands out the sessions of a run in their order, each with its steps as they are committed. A
day of few reports is built on one connection, which is one core: 60 sessions of 5,000 reports take 112 ms each in this
way and 170 one after the other (two cores). Only the file and the trades of the next session are begun, and only after
those of this one; metrics keep their order, for each day's depend on those before it.
Belongs here: the order, the thread, a session's log fields and span. Does not belong here: the steps (``steps``), what
is told of them (``session_run``).
"""

import threading
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import date
from types import TracebackType
from typing import Self

import psycopg

from market_spine.errors import SpineError
from market_spine.observability import logs, traces
from market_spine.otc.quality import METRICS, TRADES
from market_spine.otc.steps import StepDone, Steps
from market_spine.warehouse import work

FAILURES = (SpineError, psycopg.Error, OSError)
"""What ends a session and no other; any other error is a mistake of the program and ends the run."""

AGAIN_SECONDS = 0.2


class Session:
    """A session of a run: iterate over it once for its steps, then look whether ``error`` ended it.

    The steps run under the log fields and the span of the session, whichever thread takes them.

    Args:
        day: the session.
        steps: does the next step each time it is asked.
        after_trades: called in the caller's thread once the trades are built.
    """

    def __init__(self, day: date, steps: Iterator[StepDone], after_trades: Callable[[StepDone], None]) -> None:
        self.day = day
        self.error: SpineError | psycopg.Error | OSError | None = None
        self._after_trades = after_trades
        self._context = copy_context()
        self._work = self._context.run(work.begin)
        self._told = self._run(steps)
        self._early: deque[StepDone] = deque()
        self._mistake: BaseException | None = None
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Build what comes before the metrics in a thread of its own."""
        self._thread = threading.Thread(target=self._front, name=f"session {self.day}", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[StepDone]:
        if self._thread:
            self._thread.join()
        early = list(self._early)
        for done in early:  # before any of them is told: the next session need not wait for that
            self._look(done)
        yield from early
        if self._mistake:
            raise self._mistake
        while step := self._next():
            self._look(step)
            yield step

    def close(self) -> None:
        """End it where it stands: what its thread is about is canceled and rolled back."""
        while self._thread and self._thread.is_alive():
            self._work.stop()
            self._thread.join(AGAIN_SECONDS)
        self._context.run(self._told.close)

    def _run(self, steps: Iterator[StepDone]) -> Generator[StepDone]:
        with logs.bound(partition=str(self.day)), traces.span(f"session {self.day}", partition=str(self.day)):
            try:
                yield from steps
            except FAILURES as error:
                traces.failed(type(error).__name__)
                self.error = error

    def _next(self) -> StepDone | None:
        return self._context.run(next, self._told, None)

    def _look(self, step: StepDone) -> None:
        if step.asset == TRADES:
            self._after_trades(step)

    def _front(self) -> None:
        try:
            while step := self._next():
                self._early.append(step)
                if step.asset == TRADES:
                    return
        except BaseException as error:  # noqa: BLE001 - raised where the session is iterated over
            self._mistake = error


@dataclass
class Sessions:
    """The sessions of a run; iterate within ``with``, which ends what was begun and never taken.

    Args:
        steps: does the work.
        days: the sessions, in their order.
        assets: tables to build.
        run_id: the run, for what it leaves on record.
        previews: those whose first rows are shown.
    """

    steps: Steps
    days: Sequence[date]
    assets: Collection[str]
    run_id: str | None = None
    previews: Collection[date] = ()
    _open: list[Session] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for session in self._open:
            session.close()

    def __iter__(self) -> Iterator[Session]:
        for place in range(len(self.days)):
            if not self._open:
                self._open.append(self._session(place))
            yield self._open[0]
            self._open.pop(0)

    def _session(self, place: int) -> Session:
        day = self.days[place]
        steps = self.steps.run_session(day, self.assets, run_id=self.run_id, preview=day in self.previews)

        def look_ahead(trades: StepDone) -> None:
            # The metrics of a day that was built in slices take all connections a run may use at once.
            settings = self.steps.settings
            small = trades.rows <= settings.slice_rows and settings.build_connections > 1
            if small and METRICS in self.assets and place + 1 < len(self.days):
                following = self._session(place + 1)
                self._open.append(following)
                following.begin()

        return Session(day, steps, look_ahead)
