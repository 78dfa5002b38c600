"""Jobs: named selections of the assets, each partitioned by session.

Belongs here: which assets a job does and how it ranks against others. Does not belong here: when it runs (``sensors``).
A range of sessions is one run of any of them: tag it ``dagster/asset_partition_range_start`` and ``..._end``.
"""

from collections.abc import Sequence

from dagster import AssetSelection, define_asset_job
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from market_spine.otc.quality import METRICS, RAW, TRADES
from market_spine.otc.steps import STEPS

FULL_REFRESH = "otc_full_refresh"
INGEST = "otc_ingest"
NORMALIZE = "otc_normalize"
COMPUTE = "otc_compute_daily_metrics"
REDO = "otc_redo_dirty_days"
REDO_PRIORITY = -1
"""Under the 0 of runs that people and schedules start: today's session goes before a correction of an old one."""


def otc_jobs() -> list[UnresolvedAssetJobDefinition]:
    """All jobs."""
    return [
        _job(FULL_REFRESH, STEPS, "Files, trades and metrics of a session or a range of sessions."),
        _job(INGEST, (RAW,), "Load the files of a session that are not known yet."),
        _job(NORMALIZE, (TRADES,), "Build the trades of a session from the reports that are loaded."),
        _job(COMPUTE, (METRICS,), "Compute the metrics of a session from its trades."),
        _job(
            REDO,
            (TRADES, METRICS),
            "Trades and metrics of a session whose inputs changed; the sensor dirty_days starts it.",
            priority=REDO_PRIORITY,
        ),
    ]


def _job(name: str, assets: Sequence[str], description: str, *, priority: int = 0) -> UnresolvedAssetJobDefinition:
    return define_asset_job(
        name,
        selection=AssetSelection.assets(*assets),
        description=description,
        tags={"dagster/priority": str(priority)} if priority else None,
    )
