"""A run's log lines say which run they are of, and its spans are below the request that asked for it.

Belongs here: taking both from the run's tags. Does not belong here: lines (``logs_format``), spans (``traces``).
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from market_spine.observability import logs, traces
from market_spine.settings import Settings

REQUEST_TAG = "market_spine/request_id"
"""The request of the API that asked for the run; it stands on the lines of both."""


@contextmanager
def observed(run_id: str, job: str, tags: Mapping[str, str], assets: Iterable[str]) -> Iterator[None]:
    """For what is done for a run: all of it in the executor, and once more a step that Celery runs elsewhere.

    Args:
        run_id: the run.
        job: its job.
        tags: its tags.
        assets: what it makes; none for a job that makes no asset.
    """
    about = {
        "request_id": tags.get(REQUEST_TAG, ""),
        "run_id": run_id,
        "job": job,
        "asset": ",".join(sorted(assets)),
        "partition": logs.partition_of(tags),
    }
    with logs.bound(**about), traces.continued(tags, traces.RUN, Settings.from_env()):
        yield
