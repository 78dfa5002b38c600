"""``make chaos``: kill -9 of the run and of the server at random moments, and what the tables look like afterwards.

What it is: a day's file is delivered in a new version, a process sets out to compute it, and at a random moment either
that process or the whole server is killed. Then every table must be the old day or the new one, and the next run must
end in exactly the tables of a run nobody disturbed.
Belongs here: killing, looking, running again. Does not belong here: what a state is (``digests``), the days
(``chaos_days``), the page (``chaos_report``).
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import cycle, product
from pathlib import Path
from typing import IO

import psutil

from benchmarks import chaos_report, dagster_runs, digests, machine, processes
from benchmarks.arena import TEMPLATE, Arena
from benchmarks.chaos_days import Scenario
from benchmarks.chaos_report import RUN, SERVER, Kill
from benchmarks.dagster_runs import DagsterHome
from benchmarks.telling import Teller
from market_spine.cli.services import PROJECT

STEPS, DAGSTER = "steps", "Dagster run"
BEGIN_SECONDS, END_SECONDS, RUN_SECONDS = 90.0, 90.0, 300.0
# A little past the end: the moment between the last commit and the end of the process is a moment too.
PAST_THE_END = 1.05


@dataclass
class Runner:
    """A way of running the day of a scenario in a process; ``seconds`` is what it takes from its mark to its end."""

    name: str
    scenario: Scenario
    dagster: DagsterHome | None
    seconds: float = 0.0

    def start(self, output: IO[str]) -> subprocess.Popen[bytes]:
        """Start it, both streams into ``output``."""
        day = self.scenario.day
        if self.dagster is None:
            command = processes.python("-u", "-m", "benchmarks.steps_child", str(day))
            environment = {**os.environ, **self.scenario.settings.to_env()}
        else:
            # The day after changes nothing, and is begun while the metrics of a small day are computed.
            command = self.dagster.command(day, self.scenario.after)
            environment = dict(self.dagster.environment)
        return subprocess.Popen(
            command,
            env=environment,
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def mark(self) -> str:
        """What the process says when it is about to begin the first step."""
        return "begins " if self.dagster is None else '"event": "run started"'

    @property
    def end_mark(self) -> str:
        """What it says when the last step is done; leaving takes a while longer, in which nothing can happen."""
        return '{"seconds"' if self.dagster is None else '"event": "run succeeded"'


@dataclass
class Killer:
    """Does one kill after the other."""

    arena: Arena
    dice: random.Random

    def calibrate(self, runner: Runner) -> None:
        """One undisturbed run, for the time within which the moments lie."""
        goal = 1 - runner.scenario.current
        runner.scenario.deliver(goal)
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
            process = runner.start(output)
            self._wait_for(process, output, runner.mark)
            begun = time.monotonic()
            self._wait_for(process, output, runner.end_mark)
            runner.seconds = time.monotonic() - begun
            code = process.wait(RUN_SECONDS)
            output.seek(0)
            assert code == 0, f"{runner.name}, undisturbed: {output.read()[-800:]}"
        found = digests.judge(digests.read(runner.scenario.url).digests, *runner.scenario.states)
        assert not found.mixed, f"{runner.name}, undisturbed: {found.mixed}"
        runner.scenario.current = goal

    def kill(self, number: int, runner: Runner, victim: str) -> Kill:
        """Deliver the other version, disturb the run, look, run again, look again."""
        scenario = runner.scenario
        goal = 1 - scenario.current
        scenario.deliver(goal)
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
            process = runner.start(output)
            self._wait_for(process, output, runner.mark)
            begun = time.monotonic()
            moment = self.dice.uniform(0, runner.seconds * PAST_THE_END)
            time.sleep(moment)
            ended = process.poll() is not None
            if victim == RUN:
                _kill_tree(process.pid)
            else:
                self._kill_server()
            at = time.monotonic() - begun
            problems = _wait_for_end(process)
            output.seek(0)
            step = _last_step(output.read()) if not ended else "after the end"
        before = self.arena.server.pid
        restarted = time.monotonic()
        self.arena.server.start()
        recovery = time.monotonic() - restarted if victim == SERVER else 0.0
        if victim == SERVER and before is not None:
            problems.append("the server was not killed")
        found = digests.read(scenario.url)
        old, new = scenario.states[scenario.current], scenario.states[goal]
        verdict = digests.judge(found.digests, old, new)
        problems += [*found.broken, *verdict.mixed]
        again, trouble = self._run_again(runner)
        problems += trouble
        after = digests.read(scenario.url)
        final = digests.judge(after.digests, old, new)
        problems += [*after.broken, *(f"after the next run {text}" for text in final.mixed)]
        if not final.all_new and not final.mixed:
            problems.append("the next run did not bring the new day")
        if after.leftovers:
            problems.append(f"{after.leftovers} tables under construction outlived the next run")
        if not trouble:
            scenario.current = goal
        return Kill(
            number, runner.name, scenario.name, victim, at, step, verdict.groups, found.leftovers, recovery, again,
            tuple(problems),
        )  # fmt: skip

    def _run_again(self, runner: Runner) -> tuple[float, list[str]]:
        start = time.monotonic()
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
            process = runner.start(output)
            try:
                code = process.wait(RUN_SECONDS)
            except subprocess.TimeoutExpired:
                _kill_tree(process.pid)
                process.wait()
                return time.monotonic() - start, [f"the next run was not done after {RUN_SECONDS:.0f} s"]
            output.seek(0)
            lines = output.read().strip().splitlines()
        why = [line for line in lines if "Error" in line][-1:] or lines[-1:]
        return time.monotonic() - start, [f"the next run failed: {' '.join(why)}"] if code else []

    def _kill_server(self) -> None:
        """Postmaster and backends at once, so that none of them can do anything about it."""
        pid = self.arena.server.pid
        assert pid is not None, "the server was not running"
        _kill_tree(pid)

    @staticmethod
    def _wait_for(process: subprocess.Popen[bytes], output: IO[str], mark: str) -> None:
        deadline = time.monotonic() + BEGIN_SECONDS
        while time.monotonic() < deadline:
            text = _text(output)
            if mark in text:
                return
            if process.poll() is not None and mark not in _text(output):
                raise RuntimeError(f"the run ended without saying {mark!r}: {text[-800:]}")
            time.sleep(0.005)
        raise RuntimeError(f"the run did not say {mark!r} in {BEGIN_SECONDS:.0f} s")


def main(arguments: Sequence[str]) -> int:
    """The command line; 1 when anything was found that must not be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, help="of the moments; the moments of a run can only be repeated roughly")
    parser.add_argument("--rows", type=int, nargs=2, default=(3_000, 60_000), help="of the small and the sliced day")
    parser.add_argument("--page", type=Path, help="page to write; docs/chaos.md after 50 kills and more")
    parser.add_argument("--without-dagster", action="store_true", help="only the steps themselves")
    chosen = parser.parse_args(arguments)
    teller = Teller()
    console, say = teller.console, teller.say
    seed = chosen.seed if chosen.seed is not None else random.SystemRandom().randrange(1_000_000)
    say(f"an embedded server of our own, seed {seed}")
    with Arena(say) as arena:
        found = machine.describe(arena.server.url(TEMPLATE))
        kills = run(arena, chosen.kills, seed, chosen.rows, with_dagster=not chosen.without_dagster)
    chaos_report.show(console, kills)
    page = chosen.page or (chaos_report.PAGE if chosen.kills >= chaos_report.ENOUGH else None)
    if page is not None:
        chaos_report.write(page, found, kills, seed=seed, seconds=teller.seconds())
        console.print(f"written: {page}")
    return 1 if any(kill.problems for kill in kills) else 0


def run(arena: Arena, count: int, seed: int, rows: Sequence[int], *, with_dagster: bool = True) -> list[Kill]:
    """Kill ``count`` times, every combination of day, runner and victim in turn."""
    with ExitStack() as stack:
        runners: list[Runner] = []
        for name, size in zip(("small, one connection", "sliced, two connections"), rows, strict=True):
            # Half of the day a slice: the small day never reaches it, the other one is cut in two.
            limit = 250_000 if size == min(rows) else size // 2
            scenario = Scenario(arena, name, size, limit, stack.enter_context(arena.database()))
            arena.say(f"{name}: {size:,} reports, both versions undisturbed")
            scenario.prepare()
            runners.append(Runner(STEPS, scenario, None))
            if with_dagster and dagster_runs.available():
                dagster = stack.enter_context(dagster_runs.home(arena, scenario.settings))
                runners.append(Runner(DAGSTER, scenario, dagster))
        killer = Killer(arena, random.Random(seed))
        for runner in runners:
            killer.calibrate(runner)
            arena.say(f"undisturbed, {runner.name} of the day {runner.scenario.name}: {runner.seconds:.2f} s")
        kills: list[Kill] = []
        for number, (victim, runner) in zip(range(1, count + 1), cycle(product((RUN, SERVER), runners)), strict=False):
            kills.append(killer.kill(number, runner, victim))
            arena.say(f"{number} of {count}: {chaos_report.sentence(kills[-1])}")
            if any("the next run" in problem for problem in kills[-1].problems):
                break  # what follows would only repeat it
        return kills


def _kill_tree(pid: int) -> None:
    with suppress(psutil.NoSuchProcess):
        leader = psutil.Process(pid)
        for process in [leader, *leader.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.kill()


def _wait_for_end(process: subprocess.Popen[bytes]) -> list[str]:
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        _kill_tree(process.pid)
        process.wait()
        return [f"the run still waited for the dead server after {END_SECONDS:.0f} s"]
    return []


def _text(output: IO[str]) -> str:
    """What a process has said so far; read without moving the position that the process writes at."""
    return os.pread(output.fileno(), 1 << 20, 0).decode("utf-8", "replace")


def _last_step(text: str) -> str:
    """The step the process was in, as far as it said."""
    begun = [line.removeprefix("begins ") for line in text.splitlines() if line.startswith("begins ")]
    return begun[-1] if begun else "the run"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
