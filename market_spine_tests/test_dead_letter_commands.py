"""What people do with dead letters, and the sensor that keeps them.

Belongs here: retries without a daemon, the commands, the sensor. Does not belong here: where letters come from
(``test_dead_letters``).
"""

import json
from collections.abc import Callable
from typing import Any

import pytest
from dagster import DagsterRunStatus, SensorResult, SkipReason, build_sensor_context
from typer.testing import CliRunner, Result

from market_spine.automation.dead_letter_sensor import dead_letters
from market_spine.cli.main import app
from market_spine.errors import LedgerError
from market_spine.ledger import dead_letter_watch
from market_spine.ledger.dead_letter_watch import reason_of_run
from market_spine.ledger.submission import Submission
from market_spine.otc import earlier_tries
from market_spine.otc.steps import Steps
from market_spine.settings import Settings
from market_spine_tests.letters import Post
from market_spine_tests.orchestrated import TABLES, deliver

RAW, TRADES, METRICS = TABLES
FULL = "otc_full_refresh"


# --- retries


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
    desk: Any = Counter(post)
    run_id = post.letters.retry(post.the_letter().id, desk, limit=3)
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
    desk: Any = Counter(post)
    post.letters.retry(post.the_letter().id, desk, limit=3)
    assert [one.pipeline for one in desk.taken] == [FULL]


def test_a_letter_is_not_retried_while_its_last_retry_is_under_way_nor_more_often_than_the_setting(post: Post) -> None:
    post.world.run(FULL, post.days[0])
    post.look()
    number = post.the_letter().id
    desk: Any = Counter(post)
    run_id = post.letters.retry(number, desk, limit=1)
    with pytest.raises(LedgerError, match=f"its retry {run_id} is NOT_STARTED; wait for it"):
        post.letters.retry(number, desk, limit=1)
    post.end(run_id)
    with pytest.raises(LedgerError, match="was retried 1 times, as often as MARKET_SPINE_DEAD_LETTER_RETRIES allows"):
        post.letters.retry(number, desk, limit=1)
    post.letters.retry(number, desk, limit=1, force=True)
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
