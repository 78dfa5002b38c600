"""How a benchmark's command begins, and what it tells while it works.

Belongs here: the console, lines with their second, the machine. Does not belong here: figures and their tables
(``report``).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console

from benchmarks import processes


@dataclass
class Teller:
    """Writes lines to the terminal; hears Ctrl-C from here on."""

    console: Console = field(default_factory=lambda: Console(highlight=False, soft_wrap=True))
    _started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        processes.usual_signals()

    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._started

    def say(self, text: str) -> None:
        """A line with the second it was said in."""
        self.console.print(f"[dim]{self.seconds():6.0f} s[/dim]  {text}")

    def show(self, facts: Sequence[tuple[str, str]]) -> None:
        """Names and values, as ``machine.describe`` finds them."""
        for name, value in facts:
            self.console.print(f"{name:<11}{value}")
