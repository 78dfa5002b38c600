"""The executor of every job: Dagster's own in-process one, with a sign of life held for the whole run.

What it is: the steps run in the run's process, as with ``dagster.in_process_executor``; around them the run holds its
advisory lock (``market_spine.ledger.sign_of_life``) and carries a tag that says so. Where the instance launches runs
for Celery, the steps go through its queue instead: the launcher alone says where runs execute.
Belongs here: tying them together. Does not belong here: the lock, ending runs that lost it (``reconcile_sensor``).

A process for each step would pay two seconds of imports for a day that takes a fifth of one.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, cast

from dagster import DagsterEvent, DagsterInstance, ExecutorDefinition, InitExecutorContext, in_process_executor
from dagster._config.config_schema import UserConfigSchema
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.execution.step_dependency_config import StepDependencyConfig
from dagster._core.executor.base import Executor

from market_spine.ledger.sign_of_life import SignOfLife
from market_spine.ledger.storage import LedgerStorage
from market_spine.ledger.tags import SIGN_OF_LIFE
from market_spine.observability import traces
from market_spine.observability.traces_run import observed

CELERY_LAUNCHER = "CeleryK8sRunLauncher"
log = logging.getLogger(__name__)


class LivingExecutor(Executor):
    """Another executor, with the run's lock held while it works."""

    def __init__(self, inner: Executor) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        """What the other executor asks of itself by way of the run's context (Celery's app, the pods of its steps)."""
        return getattr(self._inner, name)

    @property
    def retries(self) -> RetryMode:
        """As the other executor's."""
        return self._inner.retries

    @property
    def step_dependency_config(self) -> StepDependencyConfig:
        """As the other executor's."""
        return self._inner.step_dependency_config

    def execute(self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan) -> Iterator[DagsterEvent]:
        """The events of the run."""
        run = plan_context.dagster_run
        assets = plan_context.job.get_definition().asset_layer.selected_asset_keys
        names = [asset.to_user_string() for asset in assets]
        with observed(run.run_id, run.job_name, run.tags, names), traces.span(f"run {run.job_name}", run_id=run.run_id):
            yield from _told(self._alive(plan_context, execution_plan))

    def _alive(self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan) -> Iterator[DagsterEvent]:
        run_id = plan_context.run_id
        storage = ledger_of(plan_context.instance)
        with SignOfLife(storage, run_id) if storage else nullcontext():
            if storage:
                # A re-execution takes over its parent's tags; with the id as the value it is seen to be the parent's.
                plan_context.instance.add_run_tags(run_id, {SIGN_OF_LIFE: run_id})
            yield from self._inner.execute(plan_context, execution_plan)


def _told(events: Iterator[DagsterEvent]) -> Iterator[DagsterEvent]:
    """The same events, with a line in the log when they begin and when they are over."""
    begun = time.monotonic()
    failed: list[str] = []
    log.info("run started")
    for event in events:
        if event.is_step_failure:
            failed.append(str(event.step_key))
        yield event
    spent = {"seconds": round(time.monotonic() - begun, 2)}
    if failed:
        traces.failed("step failed")
        log.error("run failed", extra={**spent, "failed_steps": failed})
    else:
        log.info("run succeeded", extra=spent)


def ledger_of(instance: DagsterInstance) -> LedgerStorage | None:
    """Dagster's database; None where the instance keeps its runs elsewhere (SQLite, in memory)."""
    url = getattr(instance.run_storage, "postgres_url", None)
    return LedgerStorage(str(url)) if url else None


def living_executor() -> ExecutorDefinition:
    """The executor; runs configure it under the name ``in_process``, as Dagster's own."""

    # None only for executors that Dagster+ stands in for.
    create = cast("Callable[[InitExecutorContext], Executor]", in_process_executor.executor_creation_fn)

    def living(context: InitExecutorContext) -> LivingExecutor:
        if launches_for_celery(context.instance):
            # an extra, and more than a second of imports
            from market_spine.automation.celery_steps import celery_steps

            return LivingExecutor(celery_steps(context))
        return LivingExecutor(create(context))

    return ExecutorDefinition(
        "in_process",
        cast("UserConfigSchema", in_process_executor.config_schema),
        executor_creation_fn=living,
    )


def launches_for_celery(instance: DagsterInstance) -> bool:
    """Whether runs of this instance are meant to hand their steps to Celery.

    Asked of the configuration: making the launcher itself would need Kubernetes' credentials, which a run has not.
    """
    launcher = instance.get_ref().run_launcher_data if instance.is_persistent else None
    return launcher is not None and launcher.class_name == CELERY_LAUNCHER
