"""The three tables as Dagster assets: one op that works session by session.

What it is: ``otc_assets`` builds the subsettable multi-asset. Every table of a session is reported as materialized the
moment it is committed, so that a killed run loses nothing that was done.
Belongs here: how the assets are declared. Does not belong here: a run of them (``session_run``), the work (``steps``),
the checks (``quality``).

Why it is made this way, each point tried against Dagster 1.13.27 (``test_assets.py``):

- One op, not three: a chunk of sessions done asset by asset would leave all of them without metrics when the chunk is
  killed, and would carry a failed session's damage to the next asset as a whole.
- ``skippable`` outputs and materializations reported by hand: an output that Dagster records covers every partition of
  the run, also those that failed. With these, the partitions that were planned and not reported count as failed.
- Checks are not partitioned: such results are a preview in Dagster and have no partition in a run over a range. The
  result of each session stands in ``otc_quality``; Dagster gets one result a check and run, which names the sessions.
- No ``RetryPolicy`` on the op: Dagster would also try again what raises by mistake. The run asks for the next try
  itself, and only for what can pass.
"""

from collections.abc import Iterator

from dagster import (
    AssetCheckSpec,
    AssetExecutionContext,
    AssetsDefinition,
    AssetSpec,
    BackfillPolicy,
    ResourceParam,
    multi_asset,
)

from market_spine.calendar import TradingCalendar
from market_spine.otc.metadata import definition_metadata, description
from market_spine.otc.partitions import trading_day_partitions
from market_spine.otc.quality import CHECKS, METRICS, RAW, TRADES
from market_spine.otc.session_run import Event, SessionRun
from market_spine.otc.steps import STEPS, UPSTREAM, Steps
from market_spine.settings import Settings

GROUP = "otc"
OWNERS = ("team:market-data",)
KINDS = frozenset({"postgres", "python"})

_DETAILS = {
    RAW: "Partition: report date. A new version of a file takes the place of the old one whole.",
    TRADES: "Partition: New York trade date. Reports that arrive on another day change the day of execution.",
    METRICS: "Partition: New York trade date. A value that changes makes a new revision and closes the old one.",
}


def otc_assets(settings: Settings) -> AssetsDefinition:
    """The assets ``otc_trades_raw``, ``otc_trades`` and ``otc_metrics_daily`` with their checks."""
    partitions = trading_day_partitions(TradingCalendar(settings.first_session))
    specs = [
        AssetSpec(
            asset,
            deps=[UPSTREAM[asset]] if asset in UPSTREAM else [],
            description=f"{description(asset)} {_DETAILS[asset]}",
            group_name=GROUP,
            owners=OWNERS,
            kinds=set(KINDS),
            metadata=definition_metadata(asset),
            skippable=True,
            partitions_def=partitions,
        )
        for asset in STEPS
    ]

    @multi_asset(
        name="otc_sessions",
        specs=specs,
        check_specs=[
            AssetCheckSpec(check.name, asset=check.asset, description=check.description, blocking=check.blocking)
            for check in CHECKS
        ],
        can_subset=True,
        backfill_policy=BackfillPolicy.multi_run(max_partitions_per_run=settings.backfill_chunk),
    )
    def otc_sessions(context: AssetExecutionContext, steps: ResourceParam[Steps]) -> Iterator[Event]:
        """Sessions one after the other: files, trades, metrics."""
        yield from SessionRun(context, steps).events()

    return otc_sessions
