"""Dagster's instance for commands: opened from a DAGSTER_HOME, and the names of its tables.

Belongs here: what commands need of Dagster in their own process. Does not belong here: the commands.
"""

import os
from collections.abc import Mapping

from dagster import DagsterInstance
from dagster._core.storage.event_log.schema import SqlEventLogStorageMetadata
from dagster._core.storage.runs.schema import RunStorageSqlMetadata
from dagster._core.storage.schedules.schema import ScheduleStorageSqlMetadata


def open_instance(environment: Mapping[str, str]) -> DagsterInstance:
    """The instance that an environment names by DAGSTER_HOME and DAGSTER_DATABASE_URL; a context manager."""
    os.environ.update({name: environment[name] for name in ("DAGSTER_HOME", "DAGSTER_DATABASE_URL")})
    return DagsterInstance.from_config(environment["DAGSTER_HOME"])


def dagster_tables() -> list[str]:
    """Names of all tables of Dagster's storage."""
    declared = (RunStorageSqlMetadata, SqlEventLogStorageMetadata, ScheduleStorageSqlMetadata)
    return [*(name for one in declared for name in one.tables), "alembic_version"]
