"""What Prometheus sees of an API of the tests.

Belongs here: asking and parsing. Does not belong here: expectations.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from dagster import DagsterRunStatus
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from market_spine.ledger import tally
from market_spine.settings import Settings
from market_spine_tests.old_runs import storage_of
from market_spine_tests.orchestrated import Orchestra
from market_spine_tests.serving import Api, serving

FULL = "otc_full_refresh"
SUBMITTED, COMPLETED, BY_JOB = (
    "spine_executions_submitted_total",
    "spine_executions_completed_total",
    "spine_pipeline_runs_total",
)
DURATION = "spine_execution_duration_seconds"
COUNTERS = (
    SUBMITTED,
    COMPLETED,
    BY_JOB,
    f"{DURATION}_bucket",
    f"{DURATION}_count",
    f"{DURATION}_sum",
    "spine_dead_letters_total",
)
Numbers = dict[str, dict[tuple[str, ...], float]]


def families(api: Api, **headers: str) -> list[Metric]:
    """Everything ``GET /metrics`` answers."""
    answer = api.get("/metrics", **headers)
    assert answer.status_code == 200, answer.text
    return list(text_string_to_metric_families(answer.text))


def scraped(api: Api) -> Numbers:
    """Samples by their name, then by the values of their labels in the order of the labels' names."""
    found: Numbers = {}
    for family in families(api):
        for sample in family.samples:
            key = tuple(sample.labels[name] for name in sorted(sample.labels))
            found.setdefault(sample.name, {})[key] = sample.value
    return found


def counters(api: Api) -> Numbers:
    """What must never fall."""
    found = scraped(api)
    assert found["spine_ledger_up"] == {(): 1.0}
    return {name: found.get(name, {}) for name in COUNTERS}


def risen(before: Numbers, after: Numbers) -> dict[tuple[str, ...], float]:
    """Counters that differ, without the histogram's: (name, labels ...) and by how much."""
    return {
        (name, *key): value - before[name].get(key, 0.0)
        for name, values in after.items()
        for key, value in values.items()
        if value != before[name].get(key, 0.0) and "duration" not in name
    }


def settings_of(world: Orchestra, **more: Any) -> Settings:
    """Settings of an API on both databases of an instance."""
    return replace(world.settings, dagster_database_url=storage_of(world).url, **more)


@contextmanager
def watched(world: Orchestra, **more: Any) -> Iterator[Api]:
    """An API on them."""
    with serving(settings_of(world, **more)) as api:
        yield api


def count_everything(world: Orchestra) -> int:
    """Add every run there is to the totals, as a scrape does with runs of more than a minute ago."""
    with storage_of(world).hold() as connection:
        tally.ensure(connection)
        return tally.add(connection, settled_seconds=-1)


def a_run(world: Orchestra, status: DagsterRunStatus = DagsterRunStatus.QUEUED, **tags: str) -> str:
    """A run that nobody executes; the tag ``a__b`` is ``a/b``."""
    run = world.instance.create_run_for_job(
        world.defs.resolve_job_def(FULL),
        tags={name.replace("__", "/"): value for name, value in tags.items()},
        status=status,
        asset_selection=None,
        remote_job_origin=RemoteJobOrigin(
            RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("market_spine"), "__repository__"), FULL
        ),
    )
    return run.run_id


def end(world: Orchestra, run_id: str, *, failed: bool = False) -> None:
    """Have Dagster note that a run was canceled, or that it failed."""
    run = world.instance.get_run_by_id(run_id)
    assert run is not None
    if failed:
        world.instance.report_run_failed(run, "broken")
    else:
        world.instance.report_run_canceled(run, "stopped")
