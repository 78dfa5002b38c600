"""The day's pass on real PostgreSQL: what reaches other days, what codes say, and running a day again.

Does not belong here: identity and life cycle (test_normalize.py).
The driver checks the conservation law after every pass.
"""

from dataclasses import replace
from decimal import Decimal

import pytest

from market_spine_tests.driving import Platform
from market_spine_tests.small_reports import MON, TUE, deliver, event, fates, report, row_of, volume

TAQ_HEADER = "ts_utc,EX,SYMBOL,COND,SIZE,PRICE,CORR"


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


# --- symbols, and the order of a day


@pytest.mark.parametrize("slice_rows", [250_000, 2], ids=["whole", "sliced"])
def test_blanks_around_a_symbol_are_no_part_of_it(platform: Platform, slice_rows: int) -> None:
    # The last one is read by the careful path, for its trade date has blanks too, and nobody else writes ONLY so.
    written = ["ACME", " ACME", "ACME  ", "A CME", " ", "ZETA", " BETA"]
    rows = [report(number, symbol=symbol) for number, symbol in enumerate(written)]
    rows.append(report(99, symbol=" ONLY ", trade_date=f" {MON} "))
    deliver(platform, MON, *rows)
    replace(platform, slice_rows=slice_rows).settle()
    fates_of = dict(zip((*written, " ONLY "), fates(platform, MON), strict=True))
    assert {text: fate for text, fate in fates_of.items() if fate != "live"} == {
        "A CME": "bad_symbol",
        " ": "bad_symbol",
    }
    found = [(one["symbol"], one["report_id"]) for one in platform.trades(MON)]
    assert found == [("ACME", "0"), ("ACME", "1"), ("ACME", "2"), ("BETA", "6"), ("ONLY", "99"), ("ZETA", "5")]
    assert volume(platform, "ACME") == 300


@pytest.mark.parametrize("slice_rows", [250_000, 2], ids=["whole", "sliced"])
def test_a_day_is_in_order_of_time_also_where_a_declared_trade_date_is_far_from_the_clock(
    platform: Platform, slice_rows: int
) -> None:
    moments = [
        "2026-02-11T15:00:00Z",
        "2026-02-10T15:00:00Z",
        "2026-02-02T15:00:00.000002Z",
        "2026-02-02T15:00:00.000001Z",
    ]
    moments += ["2026-01-25T15:00:00Z", "2026-01-20T15:00:00Z", "0100-01-01T00:00:00Z", "9999-01-01T00:00:00Z"]
    rows = [
        report(f"{symbol}{number}", symbol=symbol, executed_at=moment, trade_date=MON)
        for number, moment in enumerate(moments)
        for symbol in ("ACME", "ACMF")
    ]
    deliver(platform, MON, *rows)
    replace(platform, slice_rows=slice_rows).settle()
    for symbol in ("ACME", "ACMF"):
        trades = [one["executed_at"] for one in platform.trades(MON) if one["symbol"] == symbol]
        assert len(trades) == len(moments)
        assert trades == sorted(trades)
