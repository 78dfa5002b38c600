"""The executor of every job: Dagster's own in-process one, with a sign of life held for the whole run.

What it is: the steps run in the run's process, as with ``dagster.in_process_executor``; around them the run holds its
advisory lock (``market_spine.ledger.sign_of_life``) and carries a tag that says so.
Belongs here: tying the two together. Does not belong here: the lock, ending runs that lost it (``reconcile_sensor``).

A process for each step would pay two seconds of imports for a day that takes a fifth of one.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import cast

from dagster import DagsterEvent, DagsterInstance, ExecutorDefinition, InitExecutorContext, in_process_executor
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.execution.step_dependency_config import StepDependencyConfig
from dagster._core.executor.base import Executor

from market_spine.ledger.sign_of_life import SignOfLife
from market_spine.ledger.storage import LedgerStorage
from market_spine.ledger.tags import SIGN_OF_LIFE


class LivingExecutor(Executor):
    """Another executor, with the run's lock held while it works."""

    def __init__(self, inner: Executor) -> None:
        self._inner = inner

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
        run_id = plan_context.run_id
        storage = ledger_of(plan_context.instance)
        with SignOfLife(storage, run_id) if storage else nullcontext():
            if storage:
                # A re-execution takes over its parent's tags; with the id as the value it is seen to be the parent's.
                plan_context.instance.add_run_tags(run_id, {SIGN_OF_LIFE: run_id})
            yield from self._inner.execute(plan_context, execution_plan)


def ledger_of(instance: DagsterInstance) -> LedgerStorage | None:
    """Dagster's database; None where the instance keeps its runs elsewhere (SQLite, in memory)."""
    url = getattr(instance.run_storage, "postgres_url", None)
    return LedgerStorage(str(url)) if url else None


def living_executor() -> ExecutorDefinition:
    """The executor; runs configure it under the name ``in_process``, as Dagster's own."""

    # None only for executors that Dagster+ stands in for.
    create = cast("Callable[[InitExecutorContext], Executor]", in_process_executor.executor_creation_fn)
    return ExecutorDefinition(
        "in_process",
        in_process_executor.config_schema,  # type: ignore[arg-type]
        executor_creation_fn=lambda context: LivingExecutor(create(context)),
    )
