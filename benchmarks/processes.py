"""Work in a process of its own: started, watched for its peak of memory, and heard out.

Belongs here: subprocesses of the harness. Does not belong here: what they do (``steps_child``, ``dagster_child``).
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from market_spine.cli.services import PROJECT

LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Finished:
    """A process that has ended well.

    Args:
        seconds: from its start to its end, imports included.
        peak_bytes: the greatest VmHWM of it and of the processes it started.
        answer: the JSON object of its last line, empty when it printed none.
    """

    seconds: float
    peak_bytes: int
    answer: Mapping[str, object]


def usual_signals() -> None:
    """Let Ctrl-C reach us and our children also where a script started us with ``&``.

    SIGINT then comes ignored, which is inherited, and Dagster copies it onto SIGTERM; a handler is not inherited.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def python(*arguments: str) -> list[str]:
    """A command run by this very Python."""
    return [sys.executable, *arguments]


def run(command: Sequence[str], environment: Mapping[str, str] | None = None, *, timeout: float = 7200) -> Finished:
    """Run to the end.

    Raises:
        RuntimeError: it failed; carries its last words.
    """
    # To a file, not a pipe: a pipe that nobody reads fills up and stops the process.
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            list(command),
            env=dict(environment or os.environ),
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        watch = _Watch(process.pid)
        try:
            code = process.wait(timeout)
        finally:
            taken = time.perf_counter() - start
            watch.stop()
            if process.poll() is None:
                process.kill()
                process.wait()
        output.seek(0)
        lines = output.read().strip().splitlines()
    if code != 0:
        raise RuntimeError(f"{' '.join(command[:4])} ended with code {code}: " + " | ".join(lines[-12:]))
    answer = next((json.loads(line) for line in reversed(lines) if line.startswith("{")), {})
    return Finished(taken, max(watch.peak, int(answer.get("peak_bytes", 0))), answer)


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def own_peak() -> int:
    """The greatest resident size this process ever had, in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return psutil.Process().memory_info().rss


class _Watch:
    """Reads VmHWM of a process tree until stopped; the kernel keeps the mark, so little is lost between two looks."""

    def __init__(self, pid: int) -> None:
        self.peak = 0
        self._root = psutil.Process(pid)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            try:
                tree = [self._root, *self._root.children(recursive=True)]
            except psutil.Error:
                return
            for process in tree:
                try:
                    text = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii", errors="replace")
                except OSError:
                    continue
                mark = text.partition("VmHWM:")[2].split()
                self.peak = max(self.peak, int(mark[0]) * 1024 if mark else 0)
