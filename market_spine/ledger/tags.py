"""Names on which runs are found and limited: tags of Dagster's and our own, statuses, lanes.

Belongs here: names that stand in Dagster's storage. Does not belong here: what is done with them.
"""

from collections.abc import Mapping
from datetime import date

LANE = "market_spine/lane"
NORMAL = "normal"
BACKFILL = "backfill"
LANES = (NORMAL, BACKFILL)
LOGICAL_KEY = "market_spine/logical_key"
"""Pipeline and sessions of an execution; no two with the same key are under way."""
TRIGGER = "market_spine/trigger_source"
"""Who asked: cli, api, schedule, sensor, retry; absent: the UI or Dagster's own commands."""
RETRY_OF = "market_spine/retry_of"
"""The execution a new one stands in for, where it is no re-execution in Dagster's own sense."""
IDEMPOTENCY_KEY = "market_spine/idempotency_key"
"""The caller's own word for one submission: submitted again under it, the execution stays the same."""
IDEMPOTENCY_DIGEST = "market_spine/idempotency_digest"
"""Stands for everything that was asked under the idempotency key."""
SIGN_OF_LIFE = "market_spine/sign_of_life"
"""Its own id, on a run that holds an advisory lock for as long as its process lives."""

PARTITION = "dagster/partition"
RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"
BACKFILL_ID = "dagster/backfill"
PRIORITY = "dagster/priority"
PARENT = "dagster/parent_run_id"
WILL_RETRY = "dagster/will_retry"

LANE_PRIORITY = {NORMAL: 0, BACKFILL: -10}
"""A run of the backfill lane is taken from the queue only when none of the normal lane waits."""

QUEUED = ("QUEUED",)
UNDER_WAY = ("QUEUED", "NOT_STARTED", "MANAGED", "STARTING", "STARTED", "CANCELING")
FINISHED = ("SUCCESS", "FAILURE", "CANCELED")


def session_tags(first: date, last: date | None = None) -> dict[str, str]:
    """The tags that give a run one session, or all sessions from ``first`` to ``last``."""
    if last is None or last == first:
        return {PARTITION: str(first)}
    return {RANGE_START: str(first), RANGE_END: str(last)}


def lane_tags(lane: str) -> dict[str, str]:
    """The tags that put a run into a lane."""
    return {LANE: lane, PRIORITY: str(LANE_PRIORITY[lane])}


def lane_of(tags: Mapping[str, str]) -> str:
    """The lane of a run; one of a backfill that the UI launched is in lane backfill too."""
    return tags.get(LANE) or (BACKFILL if BACKFILL_ID in tags else NORMAL)
