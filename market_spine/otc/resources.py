"""What Dagster hands to the assets and sensors: one resource, ``steps``.

Belongs here: the resource's key and how it is made from the settings. Does not belong here: what is in it
(``market_spine.otc.steps``), reading the settings. Making it opens nothing; the first use does.
"""

from market_spine.otc.steps import Steps
from market_spine.settings import Settings


def resources(settings: Settings) -> dict[str, Steps]:
    """The resources by key; a test replaces ``steps`` by one with settings of its own."""
    return {"steps": Steps(settings)}
