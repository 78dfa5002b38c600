"""The oracle's formulas on days of a few trades, worked out by hand.

Belongs here: one sentence per metric column or group of columns.
Does not belong here: what makes a report a trade (test_oracle.py).
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from market_spine_tests.oracle import CANONICAL, VALUE_COLUMNS, Delivery, Outcome, evaluate
from market_spine_tests.oracle.calendar import sessions_between
from market_spine_tests.oracle.metrics import Value
from market_spine_tests.oracle.world import OTC

MON = date(2026, 2, 2)
OPEN = datetime(2026, 2, 2, 14, 30, tzinfo=UTC)


def trade(price: object, size: object = 100, minute: float = 30, **fields: object) -> dict[str, str]:
    """A trade so many minutes after Monday's open."""
    text = dict.fromkeys(CANONICAL, "") | {"facility": "ORF", "action": "new", "symbol": "ACME"}
    text |= {"price": str(price), "size": str(size), "executed_at": (OPEN + timedelta(minutes=minute)).isoformat()}
    return text | {name: str(value) for name, value in fields.items()}


def file(day: date, *reports: dict[str, str]) -> Delivery:
    names = [name for name in CANONICAL if name != "correction"]
    numbered = [{**one, "report_id": one["report_id"] or f"{place}"} for place, one in enumerate(reports)]
    lines = [",".join(names)] + [",".join(one[name] for name in names) for one in numbered]
    return Delivery("otc", day, "a", None, "\n".join(lines).encode(), 0)


def judge(*deliveries: Delivery, last: date = date(2026, 2, 6), computed: set[date] | None = None) -> Outcome:
    return evaluate(deliveries, {"otc": OTC}, first_session=MON, last_session=last, computed=computed)


def monday(*reports: dict[str, str]) -> dict[str, Value]:
    return judge(file(MON, *reports)).metrics["ACME", MON]


def test_every_column_of_the_table_is_there_and_nothing_else() -> None:
    assert set(monday(trade(10))) == {*VALUE_COLUMNS, "input_rows"}


def test_vwap_all_counts_every_volume_print_and_vwap_only_those_that_may_move_the_high_and_low() -> None:
    day = monday(trade(10, 100), trade("10.5", 200), trade(20, 50, conditions="T"), trade(99, 1000, conditions="M"))
    # M is unknown on the over-the-counter tape and so regular.
    assert day["trade_count"] == 4
    day = monday(trade(10, 100), trade("10.5", 200), trade(20, 50, conditions="T"))
    assert (day["total_volume"], day["total_notional"]) == (350, 4100)
    assert day["vwap_all"] == Decimal("11.7142857143")
    assert day["vwap"] == Decimal("10.3333333333")
    assert (day["high_price"], day["close_price"]) == (Decimal("10.5"), Decimal("10.5"))


def test_rounding_goes_half_away_from_zero_and_happens_once() -> None:
    assert monday(trade("0.0000000001", 1), trade("0.0000000002", 1))["vwap"] == Decimal("0.0000000002")
    assert monday(trade(1, "0.000001"), trade(1, "0.000002"))["avg_trade_size"] == Decimal("0.000002")
    tiny = monday(trade("0.0000000001", "0.5"))
    assert (tiny["total_notional"], tiny["vwap_all"]) == (Decimal("0.0000000001"), Decimal("0.0000000001"))


def test_open_and_close_are_decided_by_time_then_length_of_the_sequence_then_its_text() -> None:
    rows = [trade(price, sequence=number) for price, number in ((12, "10"), (11, "9"), (13, "11"))]
    day = monday(*rows)
    assert (day["open_price"], day["close_price"]) == (11, 13)
    by_id = [trade(price, report_id=number) for price, number in ((12, "10"), (11, "9"), (13, "11"))]
    assert (monday(*by_id)["open_price"], monday(*by_id)["close_price"]) == (11, 13)


def test_the_high_and_the_low_are_dated_by_their_first_print() -> None:
    day = monday(trade(11, minute=1), trade(10, minute=2), trade(11, minute=3), trade(10, minute=4))
    assert day["high_at"] == OPEN + timedelta(minutes=1)
    assert day["low_at"] == OPEN + timedelta(minutes=2)


def test_a_print_out_of_sequence_opens_and_closes_only_where_nothing_else_can() -> None:
    out = [trade(10, minute=1, conditions="Z"), trade(12, minute=2, conditions="P")]
    day = monday(*out)
    assert (day["open_price"], day["close_price"], day["high_price"]) == (10, 10, 12)
    day = monday(*out, trade(11, minute=3))
    assert (day["open_price"], day["close_price"], day["high_price"]) == (11, 11, 12)
    day = monday(trade(10, conditions="ZT"))
    assert (day["open_price"], day["high_price"], day["trade_count"]) == (None, None, 1)


def test_an_outlier_needs_five_eligible_prints_stays_in_the_volume_and_leaves_the_prices() -> None:
    four = [trade(10, minute=minute) for minute in range(4)]
    assert monday(*four[:3], trade("50.01"))["outlier_count"] == 0
    day = monday(*four, trade("50.01"), trade("1.99"))
    assert (day["outlier_count"], day["trade_count"], day["total_volume"]) == (2, 6, 600)
    assert (day["high_price"], day["low_price"]) == (10, 10)
    assert monday(*four, trade(50), trade(2))["outlier_count"] == 0
    assert monday(*four, trade(10), trade(99, conditions="T"))["outlier_count"] == 1


def test_median_and_deviation_are_over_the_priced_prints() -> None:
    day = monday(trade(10), trade(11), trade("11.0000000001"), trade(14))
    assert day["median_price"] == Decimal("11.0000000001")
    assert monday(trade(10), trade(14))["stddev_price"] == pytest.approx(math.sqrt(8))
    assert monday(trade(10))["stddev_price"] is None


def test_blocks_are_big_in_shares_or_in_money_and_odd_lots_are_under_a_hundred() -> None:
    sizes = [10_000, "9999.999999", "99.5", 100, "0.5"]
    day = monday(*(trade(1, size) for size in sizes), trade(2000, 100))
    assert (day["block_count"], day["block_volume"]) == (2, 10_100)
    assert (day["odd_lot_count"], day["fractional_count"]) == (2, 3)
    assert (day["max_trade_size"], day["avg_trade_size"]) == (10_000, Decimal("3383.333333"))


def test_the_day_is_split_at_the_open_and_at_the_real_close() -> None:
    day = monday(trade(1, 1, -0.001), trade(1, 2, 0), trade(1, 4, 389.999), trade(1, 8, 390))
    assert (day["pre_volume"], day["regular_volume"], day["post_volume"]) == (1, 6, 8)
    half = date(2026, 11, 27)
    rows = [trade(1, 1, executed_at="2026-11-27T17:59:59Z"), trade(1, 2, executed_at="2026-11-27T18:00:00Z")]
    short = judge(file(half, *rows), last=half).metrics["ACME", half]
    assert (short["regular_volume"], short["post_volume"]) == (1, 2)


def test_sides_are_null_where_no_report_of_the_symbol_has_one() -> None:
    day = monday(trade(1, 1, side="B"), trade(1, 2, side="S"), trade(1, 4, side="X"), trade(1, 8))
    assert (day["buy_volume"], day["sell_volume"], day["cross_volume"]) == (1, 2, 4)
    assert monday(trade(1, 1, side="B"))["sell_volume"] == 0
    assert monday(trade(1, 1))["buy_volume"] is None


def test_the_top_venue_of_a_tie_is_the_smallest_name_and_a_blank_venue_is_one() -> None:
    day = monday(trade(1, 1, venue="b"), trade(1, 1, venue="D"), trade(1, 1, venue=""))
    assert (day["venue_count"], day["top_venue"]) == (3, "")
    assert (day["top_venue_share"], day["venue_hhi"]) == (Decimal("0.3333333333"), Decimal("0.3333333333"))
    assert monday(trade(1, 1, venue="b"), trade(1, 1, venue="D"))["top_venue"] == "D"


def test_realized_volatility_takes_the_last_price_of_every_five_minutes_of_the_clock() -> None:
    rows = [trade(10, minute=0), trade(11, minute=4.9), trade(12, minute=5), trade(9, minute=60)]
    expected = math.sqrt(math.log(12 / 11) ** 2 + math.log(9 / 12) ** 2)
    assert monday(*rows)["realized_vol"] == pytest.approx(expected)
    assert monday(*rows[:2])["realized_vol"] is None


def test_range_volatilities_follow_their_formulas() -> None:
    day = monday(trade(10, minute=1), trade(12, minute=2), trade(9, minute=3), trade(11, minute=4))
    width, move = math.log(12 / 9) ** 2, math.log(11 / 10) ** 2
    assert day["parkinson_vol"] == pytest.approx(math.sqrt(width / (4 * math.log(2))))
    assert day["garman_klass_vol"] == pytest.approx(math.sqrt(width / 2 - (2 * math.log(2) - 1) * move))
    assert day["amihud"] == pytest.approx(1e6 * math.log(1.1) / 4200)
    flat = monday(trade(10))
    assert (flat["parkinson_vol"], flat["garman_klass_vol"], flat["amihud"]) == (0, 0, 0)


def test_the_roll_spread_comes_from_prices_that_bounce_and_is_null_where_they_do_not() -> None:
    bounce = [trade(price, minute=minute) for minute, price in enumerate((10, 11, 10, 11))]
    # Changes +1 -1 +1 give the pairs (-1, +1) and (+1, -1): the sample covariance is -2.
    assert monday(*bounce)["roll_spread"] == pytest.approx(2 * math.sqrt(2))
    assert monday(*bounce[:3])["roll_spread"] is None
    trend = [trade(price, minute=minute) for minute, price in enumerate((10, "10.1", "10.2", "10.3"))]
    assert monday(*trend)["roll_spread"] is None


def test_a_symbol_whose_trades_are_all_dead_has_a_row_of_zeros_and_nulls() -> None:
    kill = trade(10, report_id=2, action="cancel", original_report_id=1)
    day = monday(trade(10, report_id=1), kill)
    assert (day["trade_count"], day["total_volume"], day["total_notional"], day["venue_count"]) == (0, 0, 0, 0)
    assert day["vwap"] is day["vwap_all"] is day["open_price"] is day["max_trade_size"] is day["top_venue"] is None
    assert (day["pre_volume"], day["buy_volume"], day["cancelled_count"], day["input_rows"]) == (0, None, 1, 1)


def test_the_counters_count_rejected_reports_of_the_same_symbol_and_day() -> None:
    rows = [trade(10), trade("x"), trade("x", symbol="ZED"), trade(10, executed_at="soon")]
    day = monday(*rows)
    assert (day["rejected_count"], day["input_rows"]) == (2, 3)
    assert ("ZED", MON) not in judge(file(MON, *rows)).metrics


def test_average_volumes_count_days_without_trades_as_zero_and_leave_today_out() -> None:
    days = sessions_between(MON, date(2026, 5, 29)).days
    files = [
        file(day, trade(10 + place, 100, executed_at=f"{day}T15:00:00Z", symbol="ACME" if place % 2 == 0 else "ZED"))
        for place, day in enumerate(days[:63])
    ]
    outcome = judge(*files, last=days[-1])
    fourth, sixth, last = (outcome.metrics["ACME", days[place]] for place in (4, 6, 62))
    assert (fourth["adv5"], sixth["adv5"], sixth["adv20"]) == (None, 40, None)
    assert (last["adv5"], last["adv20"], last["adv60"]) == (40, 50, 50)
    assert last["rel_volume"] == 2
    hole = judge(*files, last=days[-1], computed={day for day in days[:63] if day != days[2]})
    assert hole.metrics["ACME", days[62]]["adv60"] is None
    assert hole.metrics["ACME", days[6]]["adv5"] is None
    assert hole.metrics["ACME", days[8]]["adv5"] == 40


def test_the_previous_close_is_of_the_last_session_that_has_one() -> None:
    days = sessions_between(MON, date(2026, 2, 6)).days
    first = file(days[0], trade(10))
    no_close = file(days[1], trade(50, executed_at=f"{days[1]}T15:00:00Z", conditions="T"))
    third = file(days[3], trade(11, executed_at=f"{days[3]}T15:00:00Z"))
    outcome = judge(first, no_close, third)
    assert outcome.metrics["ACME", days[0]]["prev_close"] is None
    assert outcome.metrics["ACME", days[1]]["prev_close"] == 10
    assert outcome.metrics["ACME", days[1]]["return_cc"] is None
    last = outcome.metrics["ACME", days[3]]
    assert last["prev_close"] == 10
    assert last["return_cc"] == pytest.approx(0.1)
