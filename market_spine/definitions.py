"""Everything Dagster loads, assembled; ``workspace.yaml`` names this module.

Belongs here: putting together what other modules build. Does not belong here: assets, jobs, sensors, settings.
"""

from collections.abc import Mapping

from dagster import Definitions

from market_spine.automation.cleanup import cleanup_job, cleanup_schedule
from market_spine.automation.dead_letter_sensor import dead_letter_sensors
from market_spine.automation.executor import living_executor
from market_spine.automation.inventory_check import inventory_assets, inventory_checks, inventory_sensors
from market_spine.automation.jobs import otc_jobs
from market_spine.automation.reconcile_sensor import reconcile_sensors
from market_spine.automation.schedules import otc_schedules
from market_spine.automation.sensors import otc_sensors
from market_spine.observability.logs_setup import configure_dagster
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
        assets=[otc_assets(chosen), *inventory_assets()],
        asset_checks=inventory_checks(),
        jobs=[*otc_jobs(), cleanup_job()],
        schedules=[*otc_schedules(), cleanup_schedule()],
        sensors=[*otc_sensors(chosen), *reconcile_sensors(), *inventory_sensors(), *dead_letter_sensors()],
        resources={**resources(chosen), **(resource_overrides or {})},
        executor=living_executor(),
    )


# Whoever imports this module is a process that Dagster started, and no other code of ours runs before its first line.
configure_dagster(Settings.from_env())
defs = build_defs()
