"""The day's pass on real PostgreSQL: who a report is, and how a trade lives and dies, a sentence a rule.

Does not belong here: as-of reports, codes, versions and reruns (test_normalize_days.py), files (test_intake.py), values
(test_odd_values.py), whole generated worlds against the oracle.
The driver checks the conservation law after every pass.
"""

from datetime import date
from decimal import Decimal

import pytest

from market_spine_tests.driving import Platform
from market_spine_tests.small_reports import MON, THU, TUE, WED, deliver, event, fates, report, row_of, volume

# --- identity


def test_equal_reports_without_ids_are_different_trades(platform: Platform) -> None:
    deliver(platform, MON, report(), report())
    platform.settle()
    assert fates(platform, MON) == ["live", "live"]
    assert volume(platform) == 200


def test_a_replayed_report_does_not_double_within_a_file_or_across_parts(platform: Platform) -> None:
    deliver(platform, MON, report(1), report(1), name="_a")
    deliver(platform, MON, report(1), report(2), name="_b")
    platform.settle()
    assert fates(platform, MON, "a") == ["live", "replayed"]
    assert fates(platform, MON, "b") == ["replayed", "live"]
    assert volume(platform) == 200
    assert {one["disposition"] for one in platform.exceptions(MON)} == {"duplicate"}


def test_the_first_by_part_and_line_is_kept_whatever_arrived_first(platform: Platform) -> None:
    deliver(platform, MON, report(1, price=11), name="_b")
    platform.settle()
    deliver(platform, MON, report(1, price=12), name="_a")
    platform.settle()
    assert (fates(platform, MON, "a"), fates(platform, MON, "b")) == (["live"], ["conflicting_identity"])
    assert row_of(platform)["close_price"] == 12


def test_one_id_with_two_contents_is_a_conflict_that_can_be_looked_up(platform: Platform) -> None:
    deliver(platform, MON, report(1), report(1, price="10.5"))
    platform.settle()
    assert fates(platform, MON) == ["live", "conflicting_identity"]
    (found,) = platform.exceptions(MON, "quarantined")
    assert (found["path"], found["line_no"], found["report"]["price"]) == ("otc/otc_2026-02-02.csv", 3, "10.5")
    assert (volume(platform), row_of(platform)["rejected_count"]) == (100, 1)


def test_an_id_is_unique_only_within_its_facility_and_report_date(platform: Platform) -> None:
    deliver(platform, MON, report(1), report(1, facility="TRF"))
    deliver(platform, TUE, report(1, action="as-of"))
    platform.settle()
    assert fates(platform, MON) == ["live", "live"]
    assert fates(platform, TUE) == ["live"]
    assert volume(platform) == 300


def test_nineteen_digit_ids_that_a_float_cannot_tell_apart_are_two_reports(platform: Platform) -> None:
    ids = (9007199254740993001, 9007199254740993002)
    deliver(platform, MON, *map(report, ids), event("cancel", 3, ids[1]))
    platform.settle()
    assert [(one["report_id"], one["status"]) for one in platform.trades(MON)] == [
        (str(ids[0]), "live"),
        (str(ids[1]), "cancelled"),
    ]


def test_a_trade_id_identifies_where_there_is_no_report_id(platform: Platform) -> None:
    deliver(platform, MON, report(trade_id="T1"), report(trade_id="T1"), report(trade_id="T2"), report(trade_id=""))
    platform.settle()
    assert fates(platform, MON) == ["live", "replayed", "live", "live"]


def test_a_trade_id_is_known_again_when_it_comes_on_another_report_date(platform: Platform) -> None:
    deliver(platform, MON, report(trade_id="T1"))
    deliver(platform, TUE, report(trade_id="T1"), report(trade_id="T1", price=11))
    platform.settle()
    assert fates(platform, MON) == ["live"]
    assert fates(platform, TUE) == ["replayed", "conflicting_identity"]
    assert volume(platform) == 100


def test_without_ids_the_nth_equal_row_of_one_part_is_the_nth_of_another(platform: Platform) -> None:
    deliver(platform, MON, report(), report(), name="_a")
    deliver(platform, MON, report(), report(), report(), name="_b")
    platform.settle()
    assert fates(platform, MON, "a") == ["live", "live"]
    assert fates(platform, MON, "b") == ["replayed", "replayed", "live"]


# --- cancel, break, reversal


@pytest.mark.parametrize("action", ["cancel", "break", "reversal"])
def test_a_dead_trade_leaves_the_day_and_stays_in_the_table(platform: Platform, action: str) -> None:
    deliver(platform, MON, report(1), report(2), event(action, 3, 1))
    platform.settle()
    assert fates(platform, MON) == ["cancelled", "live", "cancel"]
    assert (volume(platform), row_of(platform)["cancelled_count"]) == (100, 1)


def test_a_cancel_of_a_later_day_changes_the_day_of_execution(platform: Platform) -> None:
    deliver(platform, MON, report(1), report(2))
    platform.settle(MON)
    before = row_of(platform)
    deliver(platform, TUE, event("cancel", 1, 1, MON), report(2, executed_at="2026-02-03T15:00:00Z"))
    platform.load(TUE)
    assert platform.normalize(TUE).marked == (MON,)
    platform.settle(TUE)
    assert fates(platform, MON) == ["cancelled", "live"]
    assert fates(platform, TUE) == ["cancel", "live"]
    after = row_of(platform)
    assert (before["total_volume"], after["total_volume"], after["revision"]) == (200, 100, 2)
    assert row_of(platform, day=TUE)["cancelled_count"] == 0


def test_a_second_cancel_is_the_same_as_one(platform: Platform) -> None:
    deliver(platform, MON, report(1), event("cancel", 2, 1), event("break", 3, 1))
    deliver(platform, TUE, event("cancel", 1, 1, MON))
    platform.settle()
    assert fates(platform, MON) == ["cancelled", "cancel", "cancelled_already"]
    assert fates(platform, TUE) == ["cancelled_already"]
    assert row_of(platform)["cancelled_count"] == 1


def test_a_cancel_before_its_trade_in_the_file_is_a_cancel(platform: Platform) -> None:
    deliver(platform, MON, event("cancel", 2, 1), report(1))
    platform.settle()
    assert fates(platform, MON) == ["cancel", "cancelled"]


@pytest.mark.parametrize("named_date", [MON, ""])
def test_a_cancel_whose_trade_is_not_there_waits_for_it(platform: Platform, named_date: date | str) -> None:
    deliver(platform, TUE, event("cancel", 9, 1, named_date), report(10, executed_at="2026-02-03T15:00:00Z"))
    platform.settle()
    assert fates(platform, TUE) == ["target_unknown", "live"]
    deliver(platform, MON, report(1), report(2))
    platform.settle(MON)
    assert fates(platform, MON) == ["cancelled", "live"]
    assert fates(platform, TUE) == ["cancel", "live"]
    assert not platform.query("SELECT FROM otc_exceptions WHERE disposition = 'held'")


def test_a_cancel_of_another_facility_or_source_finds_nothing(platform: Platform) -> None:
    deliver(platform, MON, report(1), event("cancel", 2, 1, facility="TRF"))
    platform.settle()
    assert fates(platform, MON) == ["live", "target_unknown"]


def test_a_link_without_a_date_means_the_nearest_report_at_or_before_the_event(platform: Platform) -> None:
    deliver(platform, MON, report(1))
    deliver(platform, TUE, report(1, executed_at="2026-02-03T15:00:00Z"))
    deliver(platform, THU, report(1, executed_at="2026-02-05T15:00:00Z"))
    deliver(platform, WED, event("cancel", 7, 1))
    platform.settle()
    assert [fates(platform, day) for day in (MON, TUE, THU)] == [["live"], ["cancelled"], ["live"]]


# --- corrections


def test_a_correction_replaces_what_the_trade_says(platform: Platform) -> None:
    deliver(platform, MON, report(1), event("correct", 2, 1, price="10.25", size=300))
    platform.settle()
    assert fates(platform, MON) == ["superseded", "live"]
    row = row_of(platform)
    assert (row["total_volume"], row["close_price"], row["trade_count"]) == (300, Decimal("10.25"), 1)
    assert (row["corrected_count"], row["cancelled_count"]) == (1, 0)


def test_of_a_chain_of_corrections_the_last_one_counts_whichever_report_each_names(platform: Platform) -> None:
    chain = [
        event("correct", 2, 1, price=11, reported_at="2026-02-02T17:00:00Z"),
        event("correct", 3, 2, price=12, reported_at="2026-02-02T18:00:00Z"),
        event("correct", 4, 1, price=13, reported_at="2026-02-02T19:00:00Z"),
    ]
    deliver(platform, MON, *reversed(chain), report(1))
    platform.settle()
    assert fates(platform, MON) == ["live", "superseded", "superseded", "superseded"]
    assert row_of(platform)["close_price"] == 13


def test_a_cancel_of_a_correction_ends_the_trade(platform: Platform) -> None:
    deliver(platform, MON, report(1), event("correct", 2, 1, price=11, reported_at="2026-02-02T17:00:00Z"))
    deliver(platform, TUE, event("cancel", 1, 2, MON))
    platform.settle()
    assert fates(platform, MON) == ["superseded", "cancelled"]
    assert (row_of(platform)["trade_count"], row_of(platform)["cancelled_count"]) == (0, 1)


def test_a_correction_after_the_cancel_is_quarantined(platform: Platform) -> None:
    deliver(platform, MON, report(1), event("cancel", 2, 1, reported_at="2026-02-02T17:00:00Z"))
    deliver(platform, TUE, event("correct", 1, 1, MON, price=11))
    platform.settle()
    assert fates(platform, MON) == ["cancelled", "cancel"]
    assert fates(platform, TUE) == ["correct_after_cancel"]
    assert row_of(platform)["trade_count"] == 0


def test_a_correction_may_move_a_trade_to_another_day(platform: Platform) -> None:
    deliver(platform, MON, report(1), report(2))
    deliver(platform, TUE, report(1, executed_at="2026-02-03T15:00:00Z"))
    platform.settle()
    deliver(platform, WED, event("correct", 1, 1, MON, executed_at="2026-02-03T16:00:00Z", size=50))
    platform.run(WED)
    assert platform.dirty() == [MON]
    platform.run(MON)
    assert platform.dirty() == [TUE]
    platform.settle(TUE)
    assert (volume(platform), volume(platform, day=TUE)) == (100, 150)
    assert [one["status"] for one in platform.trades(MON)] == ["superseded", "live"]
    assert row_of(platform, day=TUE)["corrected_count"] == 1


def test_a_cancel_of_a_trade_that_was_moved_ends_it_on_its_new_day(platform: Platform) -> None:
    deliver(platform, MON, report(1))
    deliver(platform, TUE, event("correct", 5, 1, MON, executed_at="2026-02-03T16:00:00Z"))
    platform.settle()
    assert volume(platform, day=TUE) == 100
    deliver(platform, WED, event("cancel", 1, 5, TUE, reported_at="2026-02-04T13:00:00Z"))
    platform.settle(WED)
    assert row_of(platform, day=TUE)["total_volume"] == 0
    assert [one["status"] for one in platform.trades(TUE)] == ["cancelled"]


def test_a_correction_may_move_a_trade_to_another_symbol(platform: Platform) -> None:
    deliver(platform, MON, report(1), event("correct", 2, 1, symbol="BETA"))
    platform.settle()
    assert (volume(platform), volume(platform, "BETA")) == (0, 100)
    assert row_of(platform, "BETA")["corrected_count"] == 1


def test_a_correction_that_is_no_valid_trade_does_not_apply(platform: Platform) -> None:
    deliver(platform, MON, report(1), event("correct", 2, 1, price=0), event("correct", 3, ""))
    platform.settle()
    assert fates(platform, MON) == ["live", "non_positive_price", "missing_link"]
    assert row_of(platform)["rejected_count"] == 2


def test_a_correction_makes_a_trade_of_an_invalid_report(platform: Platform) -> None:
    deliver(platform, MON, report(1, price=-10), event("correct", 2, 1, price=10))
    platform.settle()
    (first,) = [one for one in platform.exceptions(MON) if one["line_no"] == 2]
    assert first["disposition"] == "superseded"
    assert (volume(platform), row_of(platform)["rejected_count"]) == (100, 0)


def test_two_corrections_that_name_each_other_are_held(platform: Platform) -> None:
    deliver(platform, MON, event("correct", 1, 2), event("correct", 2, 1), report(3))
    platform.settle()
    assert [one["disposition"] for one in platform.exceptions(MON)] == ["held", "held"]
    assert volume(platform) == 100
