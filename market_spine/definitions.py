"""Everything Dagster loads, assembled; ``workspace.yaml`` names this module.

Belongs here: putting together what other modules build. Does not belong here: assets, jobs, sensors, settings.
"""

from collections.abc import Mapping

from dagster import Definitions, in_process_executor

from market_spine.automation.jobs import otc_jobs
from market_spine.automation.sensors import otc_sensors
from market_spine.otc.assets import otc_assets
from market_spine.otc.resources import resources
from market_spine.settings import Settings


def build_defs(
    settings: Settings | None = None, *, resource_overrides: Mapping[str, object] | None = None
) -> Definitions:
    """Fresh definitions.

    Args:
        settings: where not from the environment.
        resource_overrides: resources that take the place of those of the same key.
    """
    chosen = settings or Settings.from_env()
    return Definitions(
        assets=[otc_assets(chosen)],
        jobs=otc_jobs(),
        sensors=otc_sensors(),
        resources={**resources(chosen), **(resource_overrides or {})},
        # A step of its own process would pay two seconds of imports for a day that takes a fifth of one.
        executor=in_process_executor,
    )


defs = build_defs()
