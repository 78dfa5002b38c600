"""Steps through Celery's queue, each in a pod of its own: Dagster's executor, configured by the launcher alone.

What it is: ``celery_steps`` makes ``celery_k8s_job_executor`` for a run that ``CeleryK8sRunLauncher`` has launched; the
pods of its steps get what the run's own pod got (the tag ``dagster-k8s/config``, see ``run_pods``), which Dagster would
look for on the steps.
Belongs here: that. Does not belong here: the run's sign of life (``executor``), Celery's settings (helm-values).

Needs the extra ``celery``; imported only where that launcher is configured.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any, cast

from dagster import DagsterEvent, InitExecutorContext
from dagster._config import process_config
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.base import Executor
from dagster_celery_k8s import celery_k8s_job_executor
from dagster_k8s.job import USER_DEFINED_K8S_CONFIG_KEY


class CelerySteps(Executor):
    """Dagster's executor for Celery on Kubernetes, with the run's own pod as the pattern of its steps' pods."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        """What the other executor asks of itself by way of the run's context."""
        return getattr(self._inner, name)

    @property
    def retries(self) -> RetryMode:
        """As the other executor's."""
        return cast("RetryMode", self._inner.retries)

    def execute(self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan) -> Iterator[DagsterEvent]:
        """The events of the run."""
        pod = json.loads(plan_context.dagster_run.tags.get(USER_DEFINED_K8S_CONFIG_KEY, "{}"))
        self._inner.per_step_k8s_config = dict.fromkeys(execution_plan.step_keys_to_execute, pod)
        yield from self._inner.execute(plan_context, execution_plan)


def celery_steps(context: InitExecutorContext) -> CelerySteps:
    """The executor of a run whose instance launches for Celery."""
    defaults = process_config(celery_k8s_job_executor.config_schema.config_type, {}).value or {}
    # None only for executors that Dagster+ stands in for.
    create = cast("Callable[[InitExecutorContext], Executor]", celery_k8s_job_executor.executor_creation_fn)
    return CelerySteps(create(context._replace(executor_def=celery_k8s_job_executor, executor_config=defaults)))
