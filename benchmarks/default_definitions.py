"""The three assets as Dagster would run them if nobody chose: a process for each step.

Belongs here: the one difference that ``figure_queue`` measures against. Does not belong here: anything else.
"""

from dagster import Definitions, multiprocess_executor

from market_spine.automation.jobs import otc_jobs
from market_spine.otc.assets import otc_assets
from market_spine.otc.resources import resources
from market_spine.settings import Settings


def build_defs() -> Definitions:
    """Assets and jobs of the settings in the environment, on the default executor."""
    settings = Settings.from_env()
    return Definitions(
        assets=[otc_assets(settings)], jobs=otc_jobs(), resources=resources(settings), executor=multiprocess_executor
    )


defs = build_defs()
