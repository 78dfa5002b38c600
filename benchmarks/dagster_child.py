"""``python -m benchmarks.dagster_child``: what the harness asks of Dagster, in a process of its own.

What it is: ``execute`` runs the full-refresh job in this process; ``backfill`` and ``singles`` hand work to a daemon
that somebody else runs, wait for it, and read the run records. The answer is JSON on the last line.
Belongs here: calls of Dagster. Does not belong here: judging what they took.
"""

import argparse
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import date

from dagster import DagsterInstance, DagsterRunStatus, JobDefinition
from dagster._core.definitions.reconstruct import repository_def_from_target_def
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.workspace.autodiscovery import loadable_targets_from_loaded_module

from benchmarks.processes import own_peak, python
from market_spine.calendar import TradingCalendar

ASSETS = ("otc_trades_raw", "otc_trades", "otc_metrics_daily")
LOCATION = "market_spine"
REPOSITORY = "__repository__"
ENDED = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
POLL_SECONDS = 0.5
# The package cannot be run with -m, and its script need not be on the PATH.
CLI = "from dagster_graphql.cli import main; main()"
BACKFILL = """
mutation ($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
LAUNCHES = """
mutation ($params: [ExecutionParams!]!) {
  launchMultipleRuns(executionParamsList: $params) {
    __typename
    ... on LaunchMultipleRunsResult { launchMultipleRunsResult { __typename ... on PythonError { message } } }
    ... on PythonError { message }
  }
}
"""


def main(arguments: Sequence[str]) -> int:
    """The command line; 0 when every run ended well."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dagster_child")
    parser.add_argument("command", choices=("execute", "backfill", "singles"))
    parser.add_argument("first", type=date.fromisoformat)
    parser.add_argument("last", type=date.fromisoformat)
    parser.add_argument("--module", required=True)
    parser.add_argument("--job", required=True)
    parser.add_argument("--workspace", required=True)
    parser.add_argument("--timeout", type=float, default=3600)
    chosen = parser.parse_args(arguments)
    days = [str(day) for day in TradingCalendar(chosen.first).sessions(chosen.first, chosen.last)]
    with DagsterInstance.get() as instance:
        if chosen.command == "execute":
            answer = _execute(instance, job_of(chosen.module, chosen.job), chosen.first, chosen.last)
        else:
            start = time.time()
            if chosen.command == "backfill":
                _ask(chosen.workspace, BACKFILL, _backfill_params(days))
                _wait_for_backfill(instance, len(days), chosen.timeout)
            else:
                _ask(chosen.workspace, LAUNCHES, [_launch_params(chosen.job, day) for day in days])
                _wait_for_runs(instance, len(days), chosen.timeout)
            answer = {"wall": time.time() - start}
        answer["runs"] = _records(instance)
    print(json.dumps({**answer, "peak_bytes": own_peak()}), flush=True)
    return 0 if all(run["status"] == "SUCCESS" for run in answer["runs"]) else 1


def job_of(module: str, job: str) -> JobDefinition:
    """A job of the module's definitions, in whichever form the module offers them (as Dagster's own commands look)."""
    (target, *_) = loadable_targets_from_loaded_module(importlib.import_module(module))
    repository = repository_def_from_target_def(target.target_definition)
    if repository is None:
        raise RuntimeError(f"{module} offers no definitions")
    return repository.get_job(job)


def _execute(instance: DagsterInstance, job: JobDefinition, first: date, last: date) -> dict[str, object]:
    tags = {"dagster/asset_partition_range_start": str(first), "dagster/asset_partition_range_end": str(last)}
    start = time.perf_counter()
    result = job.execute_in_process(instance=instance, tags=tags, raise_on_error=True)
    taken = time.perf_counter() - start
    steps = {
        event.step_key: event.step_success_data.duration_ms / 1000
        for event in result.all_events
        if event.event_type_value == "STEP_SUCCESS"
    }
    return {"seconds": taken, "steps": steps}


def _ask(workspace: str, query: str, params: object) -> None:
    """Run a mutation in a process of its own; it exits with 0 whatever happened, so the answer is read."""
    command = python("-c", CLI, "-w", workspace, "-t", query, "-v", json.dumps({"params": params}))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    answer = json.loads(lines[-1]) if lines else {"errors": done.stderr[-500:]}
    if "errors" in answer or "Error" in json.dumps(answer) or "Invalid" in json.dumps(answer):
        raise RuntimeError(f"Dagster refused: {json.dumps(answer)[:800]}")


def _backfill_params(days: Sequence[str]) -> Mapping[str, object]:
    return {"assetSelection": [{"path": [name]} for name in ASSETS], "partitionNames": list(days)}


def _launch_params(job: str, day: str) -> Mapping[str, object]:
    return {
        "selector": {"repositoryLocationName": LOCATION, "repositoryName": REPOSITORY, "pipelineName": job},
        "executionMetadata": {"tags": [{"key": "dagster/partition", "value": day}]},
    }


def _wait_for_backfill(instance: DagsterInstance, partitions: int, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        failed = next((one for one in instance.get_backfills() if one.status == BulkActionStatus.FAILED), None)
        if failed is not None:
            raise RuntimeError(f"the backfill failed: {failed.error.message if failed.error else 'no message'}")
        records = instance.get_run_records()
        planned = sum(_partitions_of(record.dagster_run.tags) for record in records)
        # The daemon closes a backfill on its next tick of 30 s; the runs are done before.
        if planned >= partitions and all(record.dagster_run.status in ENDED for record in records):
            return
        time.sleep(POLL_SECONDS)
    raise RuntimeError(f"the backfill was not done after {timeout:.0f} s")


def _partitions_of(tags: Mapping[str, str]) -> int:
    if "dagster/partition" in tags:
        return 1
    first, last = (date.fromisoformat(tags[f"dagster/asset_partition_range_{end}"]) for end in ("start", "end"))
    return len(TradingCalendar(first).sessions(first, last))


def _wait_for_runs(instance: DagsterInstance, count: int, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        records = instance.get_run_records()
        if len(records) >= count and all(record.dagster_run.status in ENDED for record in records):
            return
        time.sleep(POLL_SECONDS)
    raise RuntimeError(f"{count} runs were not done after {timeout:.0f} s")


def _records(instance: DagsterInstance) -> list[dict[str, object]]:
    return [
        {
            "status": record.dagster_run.status.value,
            "created": record.create_timestamp.timestamp(),
            "start": record.start_time,
            "end": record.end_time,
        }
        for record in instance.get_run_records(ascending=True)
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
