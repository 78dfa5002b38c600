"""Dead letters: how they come and go by themselves, and what people do with them.

Belongs here: letters over Dagster's own event log, first with runs in this process, then on a deployed instance.
Does not belong here: the tries within a run (``test_retries``).
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from itertools import islice
from types import MappingProxyType
from typing import Any

import pytest
from dagster import DagsterRunStatus, SensorResult, SkipReason, build_sensor_context
from typer.testing import CliRunner, Result

from market_spine.automation.dead_letter_sensor import dead_letters
from market_spine.calendar import TradingCalendar
from market_spine.cli.main import app
from market_spine.errors import LedgerError, NotFound
from market_spine.ledger import dead_letter_watch
from market_spine.ledger.dead_letter_watch import DeadLetterWatch, Look, reason_of_run
from market_spine.ledger.dead_letters import DeadLetters, Letter
from market_spine.ledger.storage import LedgerStorage
from market_spine.ledger.submission import Submission
from market_spine.otc import earlier_tries
from market_spine.otc.steps import STEPS, Steps
from market_spine.settings import Settings
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine.warehouse.engine import Warehouse
from market_spine_tests.conftest import DatabaseFactory
from market_spine_tests.orchestrated import TABLES, Orchestra, break_file, deliver, shared_orchestra

RAW, TRADES, METRICS = TABLES
FULL = "otc_full_refresh"


@pytest.fixture(scope="module")
def shared(
    server: EmbeddedServer, new_database: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Orchestra]:
    with shared_orchestra(server, new_database, tmp_path_factory.mktemp("letters")) as made:
        yield made


@pytest.fixture(scope="module")
def unused() -> Iterator[date]:
    return iter(TradingCalendar(date(2026, 1, 2)).sessions())


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
        return LedgerStorage(str(self.world.instance.run_storage.postgres_url))  # type: ignore[attr-defined]

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


@pytest.fixture
def post(shared: Orchestra, unused: Iterator[date]) -> Post:
    """Three sessions that no other test has touched."""
    return Post(replace(shared, days=tuple(islice(unused, 3))), [0])


# --- where letters come from


def test_each_failed_session_gets_one_letter_for_its_first_failed_asset_with_its_own_reason(post: Post) -> None:
    first, second, third = post.days
    break_file(deliver(post.world.settings, first))
    deliver(post.world.settings, second)
    result = post.world.run(FULL, first, third)
    assert post.look() == Look(post.cursor[0], opened=2, repeated=0, resolved=0, waiting=0)
    one, other = post.found()
    assert (one.asset, one.partition, one.run_id, one.tries, one.state) == (RAW, first, result.run_id, 1, "open")
    assert one.reason.startswith(f"otc/otc_{first}.csv line 11: ")
    assert (other.asset, other.partition) == (RAW, third)
    assert other.reason.startswith(f"no file for {third} under ")
    assert one.mend == f"spine dead-letter retry {one.id}"


def test_the_asset_of_a_letter_is_the_one_that_could_not_be_built(post: Post) -> None:
    first, *_ = post.days
    deliver(post.world.settings, first)
    assert post.world.run("otc_ingest", first).success
    post.world.tamper("DELETE FROM otc_trades_raw WHERE report_date = %s AND line_no = 5", first)
    assert not post.world.run(FULL, first).success
    post.look()
    letter = post.the_letter()
    assert letter.asset == TRADES
    assert letter.reason.startswith(f"otc_trades_raw {first}: blocking check file_rows_conserved failed")


def test_a_last_table_whose_own_check_fails_has_a_letter_although_it_was_built(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *_ = post.days
    deliver(post.world.settings, first)
    assert post.world.run(FULL, first).success
    with monkeypatch.context() as patch:
        patch.setattr(Steps, "_compute", lambda self, day, run_id: (0, {}, ()))
        post.world.tamper("UPDATE otc_metrics_daily SET total_volume = 1 WHERE trade_date = %s", first)
        assert not post.world.run("otc_compute_daily_metrics", first).success
    post.look()
    assert (post.the_letter().asset, post.the_letter().state) == (METRICS, "open")
    post.look()
    assert post.the_letter().state == "open"


def test_a_run_that_was_killed_leaves_a_letter_for_each_session_it_did_not_reach(post: Post) -> None:
    first, second, third = post.days
    run_id = post.launched()
    deliver(post.world.settings, first)
    post.end(run_id, "This run was ended:\nits process is gone")
    post.look()
    assert [(one.asset, one.partition) for one in post.found()] == [(RAW, day) for day in (first, second, third)]
    assert {one.reason for one in post.found()} == {"This run was ended: its process is gone"}


def test_a_session_that_another_run_built_meanwhile_has_no_letter_of_the_killed_run(post: Post) -> None:
    first, second, third = post.days
    run_id = post.launched()
    deliver(post.world.settings, second)
    assert post.world.run(FULL, second).success
    post.end(run_id)
    post.look()
    assert [one.partition for one in post.found()] == [first, third]


def test_a_cancelled_run_leaves_none(post: Post) -> None:
    run = post.world.instance.get_run_by_id(post.launched())
    assert run is not None
    post.world.instance.report_run_canceled(run)
    assert post.look().opened == 0
    assert post.found() == []


def test_a_run_that_dagster_starts_again_leaves_none_until_its_last_try(post: Post) -> None:
    run_id = post.launched()
    post.end(run_id)
    others = post.look(run_retries=True).waiting - 1
    post.world.instance.add_run_tags(run_id, {"dagster/will_retry": "true"})
    assert post.look(run_retries=True).waiting == others + 1
    assert post.found() == []
    again = post.launched()
    post.world.instance.add_run_tags(run_id, {"dagster/auto_retry_run_id": again})
    assert post.look(run_retries=True).waiting == others
    post.end(again)
    post.world.instance.add_run_tags(again, {"dagster/will_retry": "false"})
    assert post.look(run_retries=True).opened == 3
    assert {one.run_id for one in post.found()} == {again}


def test_a_run_that_was_to_be_started_again_and_never_was_ends_as_letters(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = post.launched()
    post.end(run_id)
    post.world.instance.add_run_tags(run_id, {"dagster/will_retry": "true"})
    assert post.look(run_retries=True).opened == 0
    with monkeypatch.context() as patch:
        patch.setattr(dead_letter_watch, "RETRY_SECONDS", 0)
        assert post.look(run_retries=True).opened == 3
    post.world.instance.add_run_tags(run_id, {"dagster/will_retry": "false"})


def test_a_run_that_waits_holds_back_nothing_but_the_cursor(post: Post) -> None:
    first, *_ = post.days
    post.look()
    run_id = post.launched(tags={"dagster/will_retry": "true"})
    post.end(run_id)
    before = post.cursor[0]
    assert not post.world.run(FULL, first).success
    look = post.look()
    assert (look.opened, look.cursor) == (1, before)
    post.world.instance.add_run_tags(run_id, {"dagster/will_retry": "false"})
    assert post.look().cursor > before
    assert [one.tries for one in post.found()] == [1, 1, 1]


# --- once and only once


def test_a_repeated_failure_counts_on_the_same_letter(post: Post) -> None:
    first, *_ = post.days
    break_file(deliver(post.world.settings, first))
    post.world.run(FULL, first)
    post.look()
    opened = post.the_letter()
    again = post.world.run(FULL, first)
    assert post.look().repeated == 1
    letter = post.the_letter()
    assert (letter.id, letter.tries, letter.run_id) == (opened.id, 2, again.run_id)
    assert letter.first_failed_at == opened.first_failed_at < letter.last_failed_at


def test_two_failures_between_two_looks_are_two_tries_of_one_letter(post: Post) -> None:
    first, *_ = post.days
    runs = [post.world.run(FULL, first).run_id for _ in range(2)]
    look = post.look()
    assert (look.opened, look.repeated) == (1, 1)
    assert (post.the_letter().tries, post.the_letter().run_id) == (2, runs[1])


def test_a_lost_cursor_doubles_nothing_and_opens_nothing_again(post: Post) -> None:
    first, second, third = post.days
    for day in (first, second):
        post.world.run(FULL, day)
    post.world.run(FULL, second)
    break_file(deliver(post.world.settings, third))
    post.world.run(FULL, third)
    post.look()
    discarded, *_ = post.found()
    post.letters.discard(discarded.id, by="ops", why="no file will come")
    deliver(post.world.settings, third)
    assert post.world.run(FULL, third).success
    post.look()
    before = post.found()
    assert [one.state for one in before] == ["discarded", "open", "materialized"]
    for _ in range(2):
        look = post.look(lost=True)
        assert (look.opened, look.repeated, look.resolved) == (0, 0, 0)
    assert post.found() == before


def test_a_tick_that_died_before_its_cursor_was_kept_changes_nothing_when_it_comes_again(post: Post) -> None:
    first, *_ = post.days
    post.world.run(FULL, first)
    at = post.cursor[0]
    assert post.look().opened == 1
    post.cursor[0] = at
    assert post.look().opened == 0
    assert post.the_letter().tries == 1


def test_the_database_itself_allows_one_open_letter_of_a_partition(post: Post) -> None:
    first, *_ = post.days
    post.world.run(FULL, first)
    post.look()
    copy = (
        "INSERT INTO otc_dead_letters (asset, partition, run_id, reason, tries, retries, first_failed_at, "
        "last_failed_at) SELECT asset, partition, run_id, reason, 1, 0, first_failed_at, last_failed_at "
        "FROM otc_dead_letters WHERE partition = %s"
    )
    with pytest.raises(Exception, match="otc_dead_letters_open"):
        post.world.tamper(copy, first)


# --- how they go


def test_a_letter_is_resolved_by_itself_when_its_session_is_materialized(post: Post) -> None:
    first, *_ = post.days
    break_file(deliver(post.world.settings, first))
    post.world.run(FULL, first)
    post.look()
    deliver(post.world.settings, first)
    mended = post.world.run(FULL, first)
    assert mended.success
    assert post.look().resolved == 1
    letter = post.the_letter()
    assert (letter.state, letter.resolved_by, letter.mend) == ("materialized", mended.run_id, "")
    assert letter.resolved_at is not None


def test_a_discarded_letter_says_who_and_why_and_a_later_failure_opens_a_new_one(post: Post) -> None:
    first, *_ = post.days
    post.world.run(FULL, first)
    post.look()
    number = post.the_letter().id
    letter = post.letters.discard(number, by="night desk", why="exchange closed\nearly")
    assert (letter.state, letter.resolved_by, letter.note) == ("discarded", "night desk", "exchange closed early")
    assert post.look(lost=True).opened == 0
    with pytest.raises(LedgerError, match=rf"dead letter {number} was discarded on .* by night desk$"):
        post.letters.discard(number, by="somebody", why="again")
    post.world.run(FULL, first)
    assert post.look().opened == 1
    assert [one.state for one in post.found()] == ["discarded", "open"]


@pytest.mark.parametrize(("by", "why"), [("", "a reason"), ("ops", "  ")])
def test_nobody_discards_for_nothing(post: Post, by: str, why: str) -> None:
    post.world.run(FULL, post.days[0])
    post.look()
    with pytest.raises(LedgerError, match="say who discards it and why"):
        post.letters.discard(post.the_letter().id, by=by, why=why)
    assert post.the_letter().state == "open"


def test_a_letter_that_is_not_there_is_not_found(post: Post) -> None:
    with pytest.raises(NotFound, match="there is no dead letter 999999"):
        post.letters.letter(999_999)


# --- retries, without a daemon


class Counter:
    """A desk that takes everything and launches nothing."""

    def __init__(self, post: Post) -> None:
        self.post = post
        self.taken: list[Submission] = []

    def submit(self, submission: Submission) -> str:
        self.taken.append(submission)
        return self.post.launched(DagsterRunStatus.NOT_STARTED, tags=submission.tags)


def test_a_retry_is_a_new_execution_from_the_failed_asset_down_linked_to_the_old_one(post: Post) -> None:
    first, *_ = post.days
    deliver(post.world.settings, first)
    assert post.world.run("otc_ingest", first).success
    post.world.tamper("UPDATE otc_quality SET passed = false WHERE day = %s AND blocking", first)
    failed = post.world.run("otc_redo_dirty_days", first)
    assert not failed.success
    post.look()
    desk = Counter(post)
    run_id = post.letters.retry(post.the_letter().id, desk, limit=3)  # type: ignore[arg-type]
    (asked,) = desk.taken
    assert (asked.pipeline, asked.first, asked.trigger) == ("otc_redo_dirty_days", first, "retry")
    tags = asked.run_tags()
    assert tags["market_spine/retry_of"] == tags["dagster/parent_run_id"] == failed.run_id
    assert tags["market_spine/dead_letter"] == str(post.the_letter().id)
    assert (post.the_letter().retry_run_id, post.the_letter().retries, post.the_letter().state) == (run_id, 1, "open")


def test_a_retry_begins_where_the_failed_run_had_begun(post: Post) -> None:
    first, *_ = post.days
    deliver(post.world.settings, first)
    assert post.world.run("otc_ingest", first).success
    post.world.tamper("DELETE FROM otc_trades_raw WHERE report_date = %s AND line_no = 5", first)
    post.world.run(FULL, first)
    post.look()
    assert post.the_letter().asset == TRADES
    desk = Counter(post)
    post.letters.retry(post.the_letter().id, desk, limit=3)  # type: ignore[arg-type]
    assert [one.pipeline for one in desk.taken] == [FULL]


def test_a_letter_is_not_retried_while_its_last_retry_is_under_way_nor_more_often_than_the_setting(post: Post) -> None:
    post.world.run(FULL, post.days[0])
    post.look()
    number = post.the_letter().id
    desk = Counter(post)
    run_id = post.letters.retry(number, desk, limit=1)  # type: ignore[arg-type]
    with pytest.raises(LedgerError, match=f"its retry {run_id} is NOT_STARTED; wait for it"):
        post.letters.retry(number, desk, limit=1)  # type: ignore[arg-type]
    post.end(run_id)
    with pytest.raises(LedgerError, match="was retried 1 times, as often as MARKET_SPINE_DEAD_LETTER_RETRIES allows"):
        post.letters.retry(number, desk, limit=1)  # type: ignore[arg-type]
    post.letters.retry(number, desk, limit=1, force=True)  # type: ignore[arg-type]
    assert (len(desk.taken), post.letters.letter(number).retries) == (2, 2)


# --- the commands


@pytest.fixture
def spine(post: Post, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The ``spine`` command in this process, with the addresses of this test."""
    monkeypatch.setenv("DATABASE_URL", post.world.settings.database_url)
    monkeypatch.setenv("DAGSTER_DATABASE_URL", post.ledger.url)
    return lambda *words: CliRunner().invoke(app, ["dead-letter", *map(str, words)])


def test_the_commands_print_for_people_and_for_programs(post: Post, spine: Callable[..., Result]) -> None:
    first, *_ = post.days
    run_id = post.world.run(FULL, first).run_id
    post.look()
    number = post.the_letter().id
    assert str(first) in spine("list").stdout
    (listed,) = [one for one in json.loads(spine("list", "--json").stdout) if one["id"] == number]
    assert (listed["state"], listed["partition"]) == ("open", str(first))
    assert listed["mend"] == f"spine dead-letter retry {number}"
    shown = json.loads(spine("show", number, "--json").stdout)
    assert [one["execution"] for one in shown["runs"]] == [run_id]
    assert shown["files"] == []
    done = spine("discard", number, "--by", "ops", "--why", "holiday", "--json")
    assert json.loads(done.stdout)["state"] == "discarded"
    assert number not in [one["id"] for one in json.loads(spine("list", "--json").stdout)]
    assert "discarded" in spine("list", "--all").stdout


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (("retry",), 2, "give the numbers of dead letters, or --all"),
        (("retry", 1, "--all"), 2, "give the numbers of dead letters, or --all"),
        (("show", 999_999), 4, "there is no dead letter 999999"),
        (("discard", 999_999, "--by", "ops", "--why", "x"), 4, "there is no dead letter 999999"),
        (("discard", 1, "--by", "ops"), 2, "--why"),
    ],
)
def test_a_command_that_cannot_be_done_says_so(
    spine: Callable[..., Result], words: tuple[object, ...], code: int, line: str
) -> None:
    done = spine(*words)
    assert done.exit_code == code
    assert line in done.stderr


# --- the sensor, and what it has in common with the assets


def test_the_sensor_keeps_its_cursor_and_tells_what_it_did(post: Post) -> None:
    post.look()
    post.world.run(FULL, post.days[0])
    with build_sensor_context(instance=post.world.instance, definitions=post.world.defs, cursor="nonsense") as context:
        answer = dead_letters(context, steps=Steps(post.world.settings))
    assert isinstance(answer, SensorResult)
    assert answer.skip_reason is not None
    assert "1 opened, 0 failed again" in str(answer.skip_reason.skip_message)
    assert int(str(answer.cursor)) > 0


def test_a_database_that_does_not_answer_is_the_reason_to_skip(post: Post, tmp_path: Any) -> None:
    gone = Settings(database_url=f"postgresql://postgres@/gone?host={tmp_path}")
    with build_sensor_context(instance=post.world.instance, definitions=post.world.defs, cursor="7") as context:
        answer = dead_letters(context, steps=Steps(gone))
    assert isinstance(answer, SkipReason)
    assert "the market database does not answer" in str(answer.skip_message)


def test_the_assets_write_what_the_watch_reads() -> None:
    assert earlier_tries.REASON == dead_letter_watch.FAILED_BECAUSE


@pytest.mark.parametrize(
    ("event", "line"),
    [
        ({"message": "gone"}, "gone"),
        (
            {"message": "m", "event_specific_data": {"error": {"message": "A: a\n", "cause": {"message": "B:\n b"}}}},
            "B: b",
        ),
        ({}, "the run failed without a word"),
    ],
)
def test_the_reason_of_a_run_is_its_innermost_line(event: dict[str, Any], line: str) -> None:
    assert reason_of_run({"dagster_event": json.loads(json.dumps(event))}) == line
