"""``spine run``: a pipeline in a process of its own, past queue and daemon.

What it is: Dagster's own ``dagster job execute`` with the tags of a submission, and its progress on stderr.
Belongs here: the life of that process. Does not belong here: the rules of submissions, printing of results.
The queue's limits do not hold here; the lock in the market database does.
"""

import json
import signal
import subprocess
import uuid
from collections import deque
from dataclasses import replace

from market_spine.cli.output import notes
from market_spine.cli.services import PROJECT, Deployment, dagster_command, dagster_environment, make_dagster_schema
from market_spine.cli.stopping import stoppable
from market_spine.errors import LedgerError
from market_spine.ledger.execution import Filters
from market_spine.ledger.executions import Executions
from market_spine.ledger.queue import Limits, Queue
from market_spine.ledger.submission import Submission, origin_tags
from market_spine.observability.logs_setup import read_line, telling_environment

COMMAND_TAG = "market_spine/command"
"""Tells the run of one command from all others: Dagster's command does not say which run it made."""
STOP_SECONDS = 60


def run_in_process(deployed: Deployment, submission: Submission) -> tuple[str, str]:
    """Run it to its end, whatever that is; answers with the tag by which its execution is found.

    Args:
        deployed: where; its market tables are there.
        submission: what; it was checked.

    Raises:
        LogicalKeyActive: the same work is under way.
        LedgerError: it ended before there was a run.
    """
    environment = telling_environment(dagster_environment(deployed.settings, deployed.databases))
    executions = Executions(deployed.ledger)
    if not executions.has_tables():
        make_dagster_schema(environment)
    Queue(deployed.ledger, Limits.of(deployed.settings)).refuse_double(submission.claim)
    tag = (COMMAND_TAG, uuid.uuid4().hex)
    marked = replace(submission, tags={**submission.tags, COMMAND_TAG: tag[1]})
    said = _stream(
        dagster_command(
            "dagster",
            *("job", "execute", "-m", "market_spine.definitions", "-j", submission.job),
            *("--tags", json.dumps(marked.run_tags() | origin_tags())),
        ),
        environment,
    )
    if not executions.find(Filters(tag=tag), limit=1):
        raise LedgerError(f"{submission.key}: Dagster ended before there was a run: {said or 'it said nothing'}")
    return tag


def _stream(command: list[str], environment: dict[str, str]) -> str:
    """Run the command, its progress on stderr as it comes; answers with its last line."""
    last: deque[str] = deque(maxlen=1)
    with (
        stoppable(),
        subprocess.Popen(
            command,
            env=environment,
            cwd=PROJECT,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # The terminal's Ctrl-C reaches only us, and is handed on once: a second would cut Dagster's clean-up short.
            start_new_session=True,
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                told = read_line(line)
                if line.strip():
                    last.append(told.event if told else line.strip())
                if told and told.is_progress:
                    notes.print(told.event, markup=False)
        except KeyboardInterrupt:
            notes.print("stopping the run ...")
            process.send_signal(signal.SIGINT)
            _wait(process)
        finally:
            process.kill()  # without effect on one that has ended
    return "".join(last)


def _wait(process: "subprocess.Popen[str]") -> None:
    try:
        process.communicate(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        notes.print(f"it did not stop within {STOP_SECONDS} s and is killed")
