"""The day's pass on real PostgreSQL, on examples small enough to work out by hand.

Belongs here: one sentence per rule of identity, life cycle and eligibility, each with its few reports.
Does not belong here: structure and values of files (test_intake.py), whole generated worlds against the oracle.

The driver checks the conservation law after every pass of every test.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from market_spine_tests.driving import Platform, Row

DatabaseFactory = Callable[[], AbstractContextManager[str]]
MON, TUE, WED, THU, FRI = (date(2026, 2, day) for day in range(2, 7))
COLUMNS = (
    "facility", "report_id", "reported_at", "action", "original_report_id", "original_report_date", "trade_id",
    "symbol", "venue", "side", "executed_at", "trade_date", "price", "size", "conditions",
)  # fmt: skip
TAQ_HEADER = "ts_utc,EX,SYMBOL,COND,SIZE,PRICE,CORR"


@pytest.fixture(scope="module")
def shared_database(new_database: DatabaseFactory) -> Iterator[str]:
    with new_database() as url:
        yield url


@pytest.fixture
def platform(shared_database: str, tmp_path: Path) -> Platform:
    empty = Platform(shared_database, tmp_path / "landing", MON)
    empty.forget()
    return empty


def report(report_id: object = "", **fields: object) -> dict[str, str]:
    """A report of 100 ACME at 10 on Monday 10:00 New York, unless told otherwise."""
    text = dict.fromkeys(COLUMNS, "")
    text |= {"facility": "ORF", "report_id": str(report_id), "action": "new", "symbol": "ACME", "price": "10"}
    text |= {"size": "100", "executed_at": "2026-02-02T15:00:00Z", "reported_at": "2026-02-02T16:00:00Z"}
    return text | {name: str(value) for name, value in fields.items()}


def event(action: str, report_id: object, of: object, day: date | str = "", **fields: object) -> dict[str, str]:
    """A report about another one, by its id and, where it is known, its report date."""
    link = {"original_report_id": of, "original_report_date": day, "reported_at": "2026-02-03T13:00:00Z"}
    return report(report_id, **{"action": action, **link, **fields})


def deliver(platform: Platform, day: date, *reports: dict[str, str], name: str = "") -> None:
    """A canonical file of a report date; ``name`` is what follows the date: ``_b``, ``.v2``."""
    lines = [",".join(COLUMNS), *(",".join(one[column] for column in COLUMNS) for one in reports)]
    platform.deliver("otc", f"otc_{day}{name}.csv", "\n".join(lines) + "\n")


def fates(platform: Platform, day: date, part: str = "") -> list[str]:
    """What became of each line of the live file of a report date: a status of otc_trades, or a reason."""
    text = """
        SELECT string_agg(fate, '+' ORDER BY fate) AS fates
        FROM otc_files AS f
        JOIN (SELECT file_id, line_no, status AS fate FROM otc_trades
              UNION ALL
              SELECT file_id, line_no, reason FROM otc_exceptions WHERE disposition <> 'carried') AS x USING (file_id)
        WHERE f.report_date = %s AND f.part = %s AND f.status = 'live'
        GROUP BY line_no ORDER BY line_no"""
    return [row["fates"] for row in platform.query(text, (day, part))]


def row_of(platform: Platform, symbol: str = "ACME", day: date = MON) -> Row:
    found = platform.metrics(symbol, day)
    assert found is not None, f"{symbol} has no row on {day}"
    return found


def volume(platform: Platform, symbol: str = "ACME", day: date = MON) -> Decimal:
    return row_of(platform, symbol, day)["total_volume"]


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


# --- as-of reports and reversals without a link


def test_an_as_of_report_adds_to_its_own_past_day(platform: Platform) -> None:
    deliver(platform, MON, report(1))
    platform.settle(MON)
    deliver(platform, TUE, report(1, action="as-of", size=7), report(2, executed_at="2026-02-03T15:00:00Z"))
    platform.load(TUE)
    platform.normalize(TUE)
    assert platform.dirty() == [MON]
    platform.settle(TUE)
    assert (volume(platform), row_of(platform)["late_count"]) == (107, 1)
    assert (volume(platform, day=TUE), row_of(platform, day=TUE)["late_count"]) == (100, 0)


def test_a_trade_of_the_evening_belongs_to_its_new_york_date_unless_one_is_declared(platform: Platform) -> None:
    evening = {"executed_at": "2026-02-03T00:30:00Z"}
    deliver(platform, MON, report(1, **evening))
    deliver(platform, TUE, report(2, **evening, trade_date="2026-02-03"))
    platform.settle()
    assert (volume(platform), volume(platform, day=TUE)) == (100, 100)


def test_the_nth_reversal_without_a_link_ends_the_nth_trade_that_looks_the_same(platform: Platform) -> None:
    same = [report(n, side="B", venue="X") for n in (1, 2, 3)]
    deliver(platform, MON, *same, report(4, side="S", venue="X"))
    wanted = {"side": "B", "venue": "X"}
    deliver(platform, TUE, event("reversal", 1, "", **wanted), event("reversal", 2, "", **wanted))
    platform.settle()
    assert fates(platform, MON) == ["cancelled", "cancelled", "live", "live"]
    assert fates(platform, TUE) == ["cancel", "cancel"]


def test_a_reversal_without_a_link_that_fits_no_trade_is_quarantined(platform: Platform) -> None:
    reversals = [event("reversal", n, "", **fields) for n, fields in enumerate([{"price": "10.01"}, {"side": "S"}], 2)]
    deliver(platform, MON, report(1, side="B"), *reversals)
    platform.settle()
    assert fates(platform, MON) == ["live", "unmatched_reversal", "unmatched_reversal"]


# --- correction codes


def test_correction_codes_say_live_cancelled_or_not_a_trade(platform: Platform) -> None:
    codes = ("0", "1", "7", "8", "10", "11", "12", "99")
    rows = "".join(f"2026-02-02 15:00:0{place},D,ACME,,100,10,{code}\n" for place, code in enumerate(codes))
    platform.deliver("taq", f"taq_{MON}.csv", f"{TAQ_HEADER}\n{rows}")
    platform.settle()
    assert fates(platform, MON) == [
        *("live", "live", "cancelled", "cancelled"), *["not_a_trade"] * 3, "bad_correction",
    ]  # fmt: skip
    assert (volume(platform), row_of(platform)["cancelled_count"]) == (200, 2)


# --- files that give way to others


def test_a_new_version_withdraws_what_the_old_one_carried_to_other_days(platform: Platform) -> None:
    own = report(9, executed_at="2026-02-03T15:00:00Z")
    deliver(platform, MON, report(1), report(2))
    deliver(platform, TUE, report(1, action="as-of", size=7), event("cancel", 2, 2, MON), own, name=".v1")
    platform.settle()
    assert volume(platform) == 107
    deliver(platform, TUE, own, name=".v2")
    platform.settle(TUE)
    assert volume(platform) == 200
    assert fates(platform, MON) == ["live", "live"]
    assert [one["total_volume"] for one in platform.revisions("ACME", MON)] == [200, 107, 200]
    assert not platform.query("SELECT FROM otc_carried")


def test_a_late_part_of_an_earlier_day_brings_the_trade_that_a_correction_waits_for(platform: Platform) -> None:
    deliver(platform, MON, report(1), name="_a")
    deliver(platform, TUE, event("correct", 1, 2, MON, price=11))
    platform.settle()
    assert fates(platform, TUE) == ["target_unknown"]
    deliver(platform, MON, report(2), name="_b")
    platform.settle(MON)
    assert (fates(platform, MON, "a"), fates(platform, MON, "b")) == (["live"], ["superseded"])
    assert row_of(platform)["high_price"] == 11


# --- eligibility


def test_an_unknown_condition_code_is_regular_and_marked(platform: Platform) -> None:
    deliver(platform, MON, report(1), report(2, price=12, conditions="@~", executed_at="2026-02-02T15:01:00Z"))
    platform.settle()
    assert [one["unknown_condition"] for one in platform.trades(MON)] == [False, True]
    assert (row_of(platform)["close_price"], row_of(platform)["high_price"]) == (12, 12)


def test_flags_of_several_codes_are_anded(platform: Platform) -> None:
    times = [f"2026-02-02T15:0{n}:00Z" for n in range(4)]
    codes = (
        "",
        "W",
        "P",
        "PW",
    )  # finra_tdds: average price counts for volume only, prior reference price not for the last
    prints = zip(times, codes, (10, 11, 12, 13), strict=True)
    deliver(platform, MON, *(report(code, executed_at=at, conditions=code, price=price) for at, code, price in prints))
    platform.settle()
    flags = [(one["upd_volume"], one["upd_high_low"], one["upd_last"]) for one in platform.trades(MON)]
    assert flags == [(True, True, True), (True, False, False), (True, True, False), (True, False, False)]
    assert (row_of(platform)["high_price"], row_of(platform)["close_price"], volume(platform)) == (12, 10, 400)


@pytest.mark.parametrize("code", ["4", "P", "Z"])
def test_an_out_of_sequence_print_opens_and_closes_only_where_nothing_else_can(platform: Platform, code: str) -> None:
    rows = [
        f"2026-02-02 15:00:00,D,ONLY,{code},100,11,0",
        f"2026-02-02 15:01:00,D,ONLY,{code},100,12,0",
        "2026-02-02 15:01:00,D,BOTH,,100,10,0",
        f"2026-02-02 15:02:00,D,BOTH,{code},100,11,0",
    ]
    platform.deliver("taq", f"taq_{MON}.csv", "\n".join([TAQ_HEADER, *rows, ""]))
    platform.settle()
    only, both = row_of(platform, "ONLY"), row_of(platform, "BOTH")
    assert (only["open_price"], only["close_price"], only["high_price"]) == (11, 11, 12)
    assert (both["open_price"], both["close_price"], both["high_price"]) == (10, 10, 11)


def test_an_outlier_is_flagged_leaves_the_prices_and_stays_in_the_volume(platform: Platform) -> None:
    prices = (10, "10.5", 11, "9.5", 60)
    for day, some in ((MON, prices), (TUE, prices[1:])):
        deliver(
            platform, day, *(report(n, price=price, executed_at=f"{day}T15:0{n}:00Z") for n, price in enumerate(some))
        )
    platform.settle()
    row = row_of(platform)
    assert [one["is_outlier"] for one in platform.trades(MON)] == [False] * 4 + [True]
    assert (row["high_price"], row["close_price"]) == (11, Decimal("9.5"))
    assert (row["total_volume"], row["outlier_count"]) == (500, 1)
    # four prints have no median worth the name
    assert (row_of(platform, day=TUE)["high_price"], row_of(platform, day=TUE)["outlier_count"]) == (60, 0)


# --- again


def test_running_a_day_again_changes_nothing(platform: Platform) -> None:
    deliver(platform, MON, report(1), report(2), event("cancel", 3, 1), report(5, price="NaN"), report(5, price="NaN"))
    deliver(platform, TUE, report(1, action="as-of"), event("correct", 2, 2, MON, symbol="BETA"))
    platform.settle()
    before = [platform.trades(MON), platform.exceptions(MON), platform.revisions("ACME", MON)]
    platform.settle(MON, TUE, MON)
    assert [platform.trades(MON), platform.exceptions(MON), platform.revisions("ACME", MON)] == before


def test_a_day_cut_into_slices_is_the_same_day(platform: Platform) -> None:
    names = ("AAA", "ACME", "BETA", "ZED", " ZED ", "", "bad symbol")
    reports = [report(f"{n}{name.strip()}", symbol=name, price=10 + n) for n in range(6) for name in names]
    deliver(platform, MON, *reports, event("cancel", "c", "2ZED"), event("correct", "d", "1AAA", symbol="ZED"))
    deliver(platform, TUE, event("cancel", "e", "3ACME", MON), report("f", action="as-of", symbol="BETA"))
    platform.settle()
    # trades() orders by trade_seq: its order is part of the result, its numbers run through a slice and are not
    keys = ("symbol", "price", "status", "line_no", "is_outlier", "is_late", "is_correction")
    known = ("disposition", "reason", "line_no", "report")

    def look() -> list[object]:
        rows = [[tuple(one[key] for key in keys) for one in platform.trades(MON)]]
        return [*rows, [tuple(one[key] for key in known) for one in platform.exceptions(MON)]]

    whole = look()
    sliced = Platform(platform.database_url, platform.landing, MON, connections=3, slice_rows=10)
    sliced.normalize(MON)
    assert look() == whole
    assert len(platform.query("SELECT FROM pg_inherits WHERE inhparent = 'otc_trades'::regclass")) > 2
    revised = sliced.compute(MON)
    assert (revised.revised, revised.rippled) == (0, 0)
