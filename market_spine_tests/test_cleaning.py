"""What starts a clean-up: the nightly job and the command, whole and with a part that fails.

Belongs here: how they are asked, what they answer. Does not belong here: what goes and what stays (``test_retention``).
"""

import json
import os
import subprocess
import sys

from dagster import DagsterRunStatus, DefaultScheduleStatus

from market_spine.automation.cleanup import CLEANUP, EVERY_NIGHT
from market_spine.calendar import ZONE_NAME
from market_spine.ledger import retention
from market_spine_tests.old_runs import storage_of
from market_spine_tests.orchestrated import PROJECT, Orchestra


def runs(orchestra: Orchestra) -> int:
    with storage_of(orchestra).connect() as connection:
        row = connection.execute("SELECT count(*) FROM runs").fetchone()
    assert row is not None
    return int(row[0])


def test_the_nightly_job_cleans_up_and_says_so(old: Orchestra) -> None:
    schedule = old.defs.get_repository_def().get_schedule_def("nightly_cleanup")
    assert (schedule.cron_schedule, schedule.execution_timezone) == (EVERY_NIGHT, ZONE_NAME)
    assert schedule.default_status is DefaultScheduleStatus.RUNNING
    job = old.defs.resolve_job_def(CLEANUP)
    assert (job.tags["market_spine/lane"], job.tags["dagster/priority"]) == ("normal", "-5")
    before = runs(old)
    done = job.execute_in_process(instance=old.instance)
    assert done.success
    assert runs(old) < before
    (output,) = [event.step_output_data for event in done.all_events if event.event_type_value == "STEP_OUTPUT"]
    assert output.metadata["runs removed"].value == before - runs(old) + 1
    assert not list(old.home.rglob("delete_what_is_past_its_time*/result"))
    run = old.instance.get_run_by_id(done.run_id)
    assert run is not None
    assert run.status is DagsterRunStatus.SUCCESS


def spine(orchestra: Orchestra, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "market_spine.cli.main", *arguments],
        env={**os.environ, **orchestra.environment},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_command_counts_first_and_then_removes_as_many(old: Orchestra) -> None:
    dry = spine(old, "cleanup", "--dry-run", "--json")
    assert dry.returncode == 0, dry.stderr
    answer = json.loads(dry.stdout)
    assert answer["dry_run"]
    assert [part["part"] for part in answer["parts"]] == ["runs", "ticks", "dead-letters", "raw"]
    done = spine(old, "cleanup", "--only", "runs", "--json")
    assert json.loads(done.stdout)["parts"] == answer["parts"][:1]
    table = spine(old, "cleanup")
    assert "bytes" in table.stdout
    assert "kept: " in table.stdout


def test_a_part_that_fails_holds_up_no_other_and_is_named_at_the_end(old: Orchestra) -> None:
    with storage_of(old).connect() as other:
        other.execute(retention.SQL("lock_cleanup"))
        done = spine(old, "cleanup", "--json")
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert [part["part"] for part in answer["parts"]] == ["dead-letters", "raw"]
    assert set(answer["failed"]) == {"runs", "ticks"}
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("spine: runs failed: another clean-up is under way")
    assert "ticks failed: another clean-up is under way" in line
    assert line.endswith("(dead-letters, raw done)")


def test_a_night_in_which_a_part_fails_ends_as_failed_with_what_the_others_removed(old: Orchestra) -> None:
    with storage_of(old).connect() as other:
        other.execute(retention.SQL("lock_cleanup"))
        done = old.defs.resolve_job_def(CLEANUP).execute_in_process(instance=old.instance, raise_on_error=False)
    assert not done.success
    (event,) = [one for one in done.all_events if one.event_type_value == "STEP_FAILURE"]
    failure = event.step_failure_data.user_failure_data
    assert failure is not None
    assert "runs failed: another clean-up is under way" in (failure.description or "")
    assert "dead letters removed" in failure.metadata
    assert "runs removed" not in failure.metadata


def test_a_part_that_does_not_exist_is_refused(old: Orchestra) -> None:
    refused = spine(old, "cleanup", "--only", "runs,stars")
    assert (refused.returncode, "stars" in refused.stderr) == (2, True)
