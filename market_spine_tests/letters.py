"""An instance with its dead letters and the watch over them, as the tests of dead letters drive it.

Belongs here: what they do. Does not belong here: what they expect.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType

from dagster import DagsterRunStatus

from market_spine.automation.executor import ledger_of
from market_spine.ledger.dead_letter_watch import DeadLetterWatch, Look
from market_spine.ledger.dead_letters import DeadLetters, Letter
from market_spine.ledger.storage import LedgerStorage
from market_spine.otc.steps import STEPS
from market_spine.warehouse.engine import Warehouse
from market_spine_tests.orchestrated import Orchestra

FULL = "otc_full_refresh"


@dataclass(frozen=True)
class Post:
    """An instance, its letters, and the watch over them."""

    world: Orchestra
    cursor: list[int]

    @property
    def days(self) -> tuple[date, ...]:
        return self.world.days

    @property
    def ledger(self) -> LedgerStorage:
        found = ledger_of(self.world.instance)
        assert found is not None
        return found

    @property
    def letters(self) -> DeadLetters:
        return DeadLetters(Warehouse(self.world.settings.database_url), self.ledger)

    def look(self, *, lost: bool = False, run_retries: bool = False) -> Look:
        """A tick of the sensor; ``lost``: its cursor is gone."""
        watch = DeadLetterWatch(self.letters.warehouse, self.ledger, STEPS, run_retries)
        found = watch.look(0 if lost else self.cursor[0])
        self.cursor[0] = found.cursor
        return found

    def found(self) -> list[Letter]:
        """The letters of this test's sessions, resolved ones included."""
        return [one for one in self.letters.letters(every=True) if one.partition in self.days]

    def the_letter(self) -> Letter:
        (one,) = self.found()
        return one

    def launched(
        self,
        status: DagsterRunStatus = DagsterRunStatus.STARTED,
        *,
        tags: Mapping[str, str] = MappingProxyType({}),
    ) -> str:
        """A run of all three sessions that this process does not execute."""
        ends = {"dagster/asset_partition_range_start": self.days[0], "dagster/asset_partition_range_end": self.days[-1]}
        run = self.world.instance.create_run_for_job(
            self.world.defs.resolve_job_def(FULL),
            tags={**{name: str(day) for name, day in ends.items()}, **tags},
            status=status,
            asset_selection=None,
        )
        return run.run_id

    def end(self, run_id: str, message: str = "the process is gone") -> None:
        """What Dagster's monitoring does with a run whose process died."""
        run = self.world.instance.get_run_by_id(run_id)
        assert run is not None
        self.world.instance.report_run_failed(run, message)
