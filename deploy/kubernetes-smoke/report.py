"""What was proven, how long it took, what was left out and why.

Belongs here: saying it as it happens and as a table in the end. Does not belong here: the proofs.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import psycopg
from kube import Refused


class NotProven(Exception):
    """What was to be proven is not so; the text says what was seen instead."""


FAILURES = (NotProven, Refused, httpx.TransportError, psycopg.Error)
"""How a proof fails: by what it sees, or by no answer where one is due."""


@dataclass
class Report:
    """The proofs of one run, in order."""

    lines: list[tuple[str, str, str]] = field(default_factory=list)
    failed: bool = False
    began: float = field(default_factory=time.monotonic)

    @contextmanager
    def proof(self, what: str) -> Iterator[list[str]]:
        """A proof; what the block adds to the list is told beside it.

        Raises:
            Exception: one of FAILURES, as the block did, after it was told.
        """
        started = time.monotonic()
        details: list[str] = []
        try:
            yield details
        except FAILURES as error:
            self.failed = True
            self._tell("FAILED", what, started, str(error).strip())
            raise
        self._tell("proven", what, started, "; ".join(details))

    def left_out(self, what: str, reason: str) -> None:
        """Something that cannot be proven here."""
        self._tell("left out", what, time.monotonic(), reason)

    def close(self) -> None:
        """Print the table."""
        count = sum(kind == "proven" for kind, _, _ in self.lines)
        print(f"\nk8s-smoke: {count} proven in {time.monotonic() - self.began:.0f} s")
        for kind, time_taken, what in self.lines:
            print(f"  {kind:<8} {time_taken:>8}  {what}")

    def _tell(self, kind: str, what: str, started: float, detail: str) -> None:
        taken = f"{time.monotonic() - started:.1f} s" if kind != "left out" else ""
        self.lines.append((kind, taken, what))
        print(f"{kind:<8} {taken:>8}  {what}{': ' if detail else ''}{detail}", flush=True)
