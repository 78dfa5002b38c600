"""The queue, for runs that are pods: Dagster's own, which also says of every run what its pod is to be.

What it is: ``PodRunCoordinator`` adds the tag ``dagster-k8s/config`` to each run on its way into the queue. The
deployment configures it (``run_pods`` in helm-values/dagster), so that resources are a matter of values, not of code.
Belongs here: the tag. Does not belong here: what it says, launching.

Why not tags on the jobs: runs of assets that no job selects, which the UI and backfills start, have none; and the
launcher for Celery looks at this tag alone, so that without it such a pod would have no resources and no restrictions.
"""

import json
from collections.abc import Mapping
from typing import Any, cast

from dagster import DagsterInstance, DagsterRun, Field
from dagster._config.config_schema import UserConfigSchema
from dagster._core.run_coordinator import QueuedRunCoordinator, SubmitRunContext
from dagster._serdes import ConfigurableClassData
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import (
    USER_DEFINED_K8S_CONFIG_KEY,
    DagsterK8sJobConfig,
    construct_dagster_k8s_job,
    get_user_defined_k8s_config,
)

PodConfig = Mapping[str, Any]
"""What Dagster takes under ``dagster-k8s/config``: container_config, pod_spec_config, job_spec_config, ..."""


class PodRunCoordinator(QueuedRunCoordinator[DagsterInstance]):
    """``QueuedRunCoordinator`` with one more field, ``run_pods``.

    Args:
        every_run: of every run.
        by_job: of the runs of a job, over ``every_run``; assets without a job are of the job ``__ASSET_JOB``.
        queue: as ``QueuedRunCoordinator``.

    Raises:
        Exception: Kubernetes has no such field; Dagster's own, which names the field and where it stands.
    """

    def __init__(self, every_run: PodConfig, by_job: Mapping[str, PodConfig], **queue: Any) -> None:
        super().__init__(**queue)
        self._every_run = every_run
        self._by_job = {job: overlaid(every_run, own) for job, own in by_job.items()}
        for config in (every_run, *self._by_job.values()):
            _check(config)

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """The fields of dagster.yaml."""
        run_pods = {
            "every_run": Field(dict, is_required=False, description="Of the pods of all runs."),
            "by_job": Field(dict, is_required=False, description="Of the pods of a job's runs, by the job's name."),
        }
        queue = cast("Mapping[str, Field]", super().config_type())
        return {**queue, "run_pods": Field(run_pods, is_required=False)}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]
    ) -> "PodRunCoordinator":
        """From what dagster.yaml says."""
        queue = dict(config_value)
        pods = queue.pop("run_pods", {})
        return cls(pods.get("every_run", {}), pods.get("by_job", {}), inst_data=inst_data, **queue)

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        """Tag the run, then queue it."""
        run = context.dagster_run
        ours = self._by_job.get(run.job_name, self._every_run)
        if ours:
            own = json.loads(run.tags.get(USER_DEFINED_K8S_CONFIG_KEY, "{}"))
            tag = {USER_DEFINED_K8S_CONFIG_KEY: json.dumps(overlaid(ours, own), sort_keys=True)}
            self._instance.add_run_tags(run.run_id, tag)
        return super().submit_run(context)


def overlaid(base: PodConfig, over: PodConfig) -> dict[str, Any]:
    """``over`` on top of ``base``: maps key by key, everything else replaced."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = overlaid(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _check(config: PodConfig) -> None:
    """Make a pod of it as Dagster would, so that a typo is an error when the queue starts and not of a run at night."""
    found = get_user_defined_k8s_config({USER_DEFINED_K8S_CONFIG_KEY: json.dumps(config)})
    context = K8sContainerContext(run_k8s_config=found)
    construct_dagster_k8s_job(DagsterK8sJobConfig(job_image="any"), [], "check", context.run_k8s_config)
