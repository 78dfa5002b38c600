"""Dead letters: how they come and go by themselves.

Belongs here: letters over Dagster's own event log, with runs in this process. Does not belong here: what people do with
them (``test_dead_letter_commands``), the tries within a run (``test_retries``).
"""

import pytest

from market_spine.errors import LedgerError, NotFound
from market_spine.ledger import dead_letter_watch
from market_spine.ledger.dead_letter_watch import Look
from market_spine.otc.steps import Steps
from market_spine_tests.letters import Post
from market_spine_tests.orchestrated import TABLES, break_file, deliver

RAW, TRADES, METRICS = TABLES
FULL = "otc_full_refresh"


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
