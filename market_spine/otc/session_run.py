"""One run of the op: sessions one after the other, what came of each, and what is tried again.

What it is: ``SessionRun.events`` does the selected steps of each session, each in its own transaction; a step that
fails ends its session and no other. Sessions that failed for a reason that can pass are tried again after a while, by
Dagster's own step retry: the next try does those sessions and no others.
Belongs here: order, failures and tries of a run. Does not belong here: the declaration of the assets (``assets``), the
work (``steps``), which errors can pass (``failures``).
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import NoReturn

from dagster import (
    AssetCheckKey,
    AssetCheckResult,
    AssetCheckSeverity,
    AssetExecutionContext,
    AssetKey,
    AssetMaterialization,
    AssetObservation,
    Failure,
    MetadataValue,
    RetryRequested,
)

from market_spine.observability import logs
from market_spine.observability.traces_run import observed
from market_spine.otc.earlier_tries import CheckKey, Failed, earlier_tries, observation
from market_spine.otc.failures import may_pass, one_line, wait_before_retry
from market_spine.otc.metadata import materialization_metadata
from market_spine.otc.quality import CHECKS, METRICS, RAW, TRADES, Check, CheckResult
from market_spine.otc.session_order import FAILURES, Session, Sessions
from market_spine.otc.steps import STEPS, StepDone, Steps
from market_spine.otc.storage_care import forget_planned_checks, hold_connection

NAMED_SESSIONS = 50
"""At most so many sessions are named in metadata; each has an event of its own with its reason."""
PREVIEWED_SESSIONS = 10
"""A run of more sessions shows the first rows of its last one only: the event log keeps every preview for ever."""
REPEATS = 3
"""Rounds in which sessions of this run that a later one marked are done again; what is left then is the sensor's."""

Event = AssetMaterialization | AssetObservation | AssetCheckResult


@dataclass
class SessionRun:
    """One try of a run: what was asked for, and what has come of it so far."""

    context: AssetExecutionContext
    steps: Steps
    results: dict[CheckKey, CheckResult] = field(default_factory=dict)
    failed: dict[date, Failed] = field(default_factory=dict)
    marked: set[date] = field(default_factory=set)
    done: list[date] = field(default_factory=list)

    def events(self) -> Iterator[Event]:
        """Do everything, telling Dagster as it happens.

        Raises:
            RetryRequested: what failed can pass, and there is a try left.
            Failure: sessions failed; the others are done.
        """
        days = self._asked()
        run = self.context.run
        names = [key.to_user_string() for key in self.context.selected_asset_keys]
        try:
            with observed(run.run_id, run.job_name, run.tags, names), self.steps.warehouse.keeping():
                yield from self._all(days)
        except FAILURES as error:
            # Outside of any session: the landing folder could not be listed, or a check alone could not be run.
            self._end(Failure(one_line(error), allow_retries=False), may_pass=may_pass(error), cause=error)
        if self.failed:
            # The same file is refused again however often it is read: it alone would make no other try worth it.
            self._end(self._failure(len(days)), may_pass=any(one.may_pass for one in self.failed.values()))

    def _all(self, days: Sequence[date]) -> Iterator[Event]:
        assets = {key.to_user_string() for key in self.context.selected_asset_keys}
        hold_connection(self.context.instance)
        if self.context.retry_number:
            self._remember(assets)
        todo = [day for day in days if day not in self.done and (day not in self.failed or self.failed[day].may_pass)]
        if not assets:
            self._only_check(days)
        elif RAW in assets:
            for name in self.steps.unreadable_names():
                self.context.log.warning(name)
        if assets:
            every = len(todo) <= PREVIEWED_SESSIONS
            previews = frozenset(todo if every else todo[-1:])
            yield from self._sessions(todo, assets, f"of {len(todo)} sessions", previews)
        if TRADES in assets:
            yield from self._again(assets - {RAW})
        yield from self._check_results()
        forget_planned_checks(self.context.instance, self.context.run.run_id)

    def _asked(self) -> list[date]:
        if not self.context.has_partition_key and not self.context.has_partition_key_range:
            raise Failure(
                "no session was chosen: give the run a partition or a range of partitions, "
                "for example the tag dagster/partition=2026-03-04",
                allow_retries=False,
            )
        return [date.fromisoformat(key) for key in self.context.partition_keys]

    def _remember(self, assets: Collection[str]) -> None:
        earlier = earlier_tries(self.context.instance, self.context.run.run_id, assets, self.steps)
        self.done, self.failed, self.results = earlier.done, earlier.failed, earlier.results

    def _sessions(
        self, days: Sequence[date], assets: Collection[str], place: str, previews: Collection[date] = ()
    ) -> Iterator[Event]:
        with Sessions(self.steps, days, assets, self.context.run.run_id, previews) as sessions:
            for number, session in enumerate(sessions, start=1):
                with logs.bound(partition=str(session.day)):
                    yield from self._session(session, assets, f"{number} {place}")

    def _session(self, session: Session, assets: Collection[str], place: str) -> Iterator[Event]:
        day = session.day
        counts: list[str] = []
        seconds = 0.0
        left = [asset for asset in STEPS if asset in assets]
        failing = left[-1]
        self.marked.discard(day)
        for step in session:
            left.remove(step.asset)
            self._note(step)
            counts.append(_told(step))
            seconds += step.seconds
            yield AssetMaterialization(step.asset, partition=str(day), metadata=materialization_metadata(step))
        if error := session.error:
            failed = Failed(left[0] if left else failing, one_line(error), may_pass(error))
            self.failed[day] = failed
            if RAW in assets and (day, RAW, "session_has_file") not in self.results:
                self._keep(self.steps.file_checks(day, run_id=self.context.run.run_id))
            self._tell(failed, f"{place}, {day}")
            yield observation(day, failed, self.context.retry_number)
        else:
            self.failed.pop(day, None)
            self.done.append(day)
            self.context.log.info(f"{place}, {day}: {', '.join(counts)}, {seconds:.1f} s")

    def _tell(self, failed: Failed, where: str) -> None:
        """Its one line says all; the traceback of a refused file would only hide it."""
        with logs.bound(asset=failed.asset):
            self.context.log.error(f"{where}: {failed.line}")

    def _again(self, assets: Collection[str]) -> Iterator[Event]:
        """Sessions that were done before a later one of this run marked them."""
        for _ in range(REPEATS):
            days = sorted(self.marked.intersection(self.done))
            yield from self._sessions(days, assets, f"of {len(days)} again, marked by a later session")

    def _only_check(self, days: Sequence[date]) -> None:
        """A run that selects checks and no assets."""
        assets = {key.asset_key.to_user_string() for key in self.context.selected_asset_check_keys}
        with self.steps.warehouse.connect() as connection:
            for day in days:
                for asset in (one for one in STEPS if one in assets):
                    run_id = self.context.run.run_id
                    self._keep(self.steps.quality.check_day(asset, day, connection, run_id=run_id))

    def _note(self, step: StepDone) -> None:
        self._keep(step.checks)
        self.marked.update(step.marked)

    def _keep(self, results: Sequence[CheckResult]) -> None:
        for one in results:
            self.results[one.day, one.check.asset, one.check.name] = one

    def _check_results(self) -> Iterator[AssetCheckResult]:
        selected = self.context.selected_asset_check_keys
        for check in CHECKS:
            if AssetCheckKey(AssetKey(check.asset), check.name) in selected:
                found = [one for one in self.results.values() if one.check == check]
                if found:
                    yield _summary(check, found)

    def _failure(self, asked: int) -> Failure:
        first, cause = min(self.failed.items())
        line = cause.line
        if asked > 1:
            line = f"{len(self.failed)} of {asked} sessions failed; first: {line}"
        named = {str(day): one.line for day, one in sorted(self.failed.items())[:NAMED_SESSIONS]}
        return Failure(
            line,
            metadata={"failed_sessions": MetadataValue.json(named), "first_failed_session": str(first)},
            allow_retries=False,
        )

    def _end(self, failure: Failure, *, may_pass: bool, cause: Exception | None = None) -> NoReturn:
        """Ask for another try where it can help and one is left; else fail for good.

        Raises:
            RetryRequested, Failure: always one of them.
        """
        settings = self.steps.settings
        retry = self.context.retry_number + 1
        if not may_pass or retry >= settings.max_tries:
            raise failure from cause
        wait = wait_before_retry(retry, settings.retry_seconds)
        left = sum(one.may_pass for one in self.failed.values())
        what = f", of the {left} sessions that are left" if left else ""
        tries = f"try {retry + 1} of {settings.max_tries}{what} in {wait:.1f} s"
        self.context.log.warning(f"{failure.description}; {tries}")
        raise RetryRequested(max_retries=settings.max_tries - 1, seconds_to_wait=wait) from failure


def _summary(check: Check, found: Sequence[CheckResult]) -> AssetCheckResult:
    failed = sorted((one for one in found if not one.passed), key=lambda one: one.day)
    shown = failed[0] if failed else max(found, key=lambda one: one.day)
    metadata = {
        "sessions": MetadataValue.int(len(found)),
        "details_of": MetadataValue.text(str(shown.day)),
        "details": MetadataValue.json(dict(shown.details)),
        **(
            {"failed_sessions": MetadataValue.json([str(one.day) for one in failed[:NAMED_SESSIONS]])} if failed else {}
        ),
    }
    return AssetCheckResult(
        passed=not failed,
        asset_key=check.asset,
        check_name=check.name,
        severity=AssetCheckSeverity.ERROR if check.is_error else AssetCheckSeverity.WARN,
        description=f"failed on {len(failed)} of {len(found)} sessions, first {failed[0].day}" if failed else None,
        metadata=metadata,
    )


def _told(step: StepDone) -> str:
    what = {RAW: "reports", TRADES: "trades", METRICS: "symbols"}[step.asset]
    return f"{step.rows:,} {what}"
