"""The oracle on examples small enough to work out by hand, so that it can be trusted to judge the SQL.

Belongs here: one sentence per rule on identity, life cycle, validity and files.
Does not belong here: the formulas (test_oracle_metrics.py), whole worlds (test_oracle_worlds.py).
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from market_spine_tests.oracle import CANONICAL, Delivery, Outcome, SourceRules, evaluate
from market_spine_tests.oracle.world import OTC, PIPE, TAQ

MON, TUE, WED, THU, FRI = (date(2026, 2, day) for day in range(2, 7))
SEEN: dict[str, object] = {"report_id": "1", "price": "10", "size": "100"}


def report(**fields: object) -> dict[str, str]:
    """A report of 100 ACME at 10 on Monday 10:00 New York, unless told otherwise."""
    text = dict.fromkeys(CANONICAL, "")
    text |= {"facility": "ORF", "action": "new", "symbol": "ACME", "price": "10", "size": "100"}
    text |= {"executed_at": "2026-02-02T15:00:00Z", "reported_at": "2026-02-02T16:00:00Z"}
    return text | {name: str(value) for name, value in fields.items()}


def file(
    day: date,
    *reports: dict[str, str],
    part: str = "a",
    version: int | None = None,
    order: int = 0,
    rules: SourceRules = OTC,
) -> Delivery:
    names = list(rules.columns)
    lines = [rules.delimiter.join(rules.columns[name] for name in names)]
    lines += [rules.delimiter.join(f'"{one[name]}"' if rules.quote else one[name] for name in names) for one in reports]
    return Delivery(rules.name, day, part, version, ("\n".join(lines) + "\n").encode(), order)


def judge(*deliveries: Delivery, rules: SourceRules = OTC, computed: set[date] | None = None) -> Outcome:
    return evaluate(deliveries, {rules.name: rules}, first_session=MON, last_session=FRI, computed=computed)


def fates(outcome: Outcome, day: date = MON, part: str = "a") -> list[str]:
    """What became of the reports of one file, in the order of its lines."""
    found = sorted((place[3], fate) for place, fate in outcome.dispositions.items() if place[1:3] == (day, part))
    return [disposition if why is None else why for _, (disposition, why, _) in found]


# --- identity


def test_the_same_report_twice_counts_once_in_one_file_and_across_parts() -> None:
    outcome = judge(file(MON, report(**SEEN), report(**SEEN)), file(MON, report(**SEEN), part="b"))
    assert fates(outcome) == ["live", "duplicate"]
    assert fates(outcome, part="b") == ["duplicate"]


def test_the_first_report_is_first_by_part_and_line_and_not_by_arrival() -> None:
    late = file(MON, report(report_id=1, price=11), part="a", order=1)
    early = file(MON, report(report_id=1, price=12), part="b", order=0)
    assert fates(judge(early, late), part="b") == ["conflicting_identity"]


def test_the_same_id_on_another_date_or_from_another_facility_is_another_report() -> None:
    monday = file(MON, report(report_id=1), report(report_id=1, facility="TRF"))
    tuesday = file(TUE, report(report_id=1, executed_at="2026-02-03T15:00:00Z"))
    outcome = judge(monday, tuesday)
    assert fates(outcome) == ["live", "live"]
    assert fates(outcome, TUE) == ["live"]


def test_a_trade_id_identifies_where_there_is_no_report_id_even_on_another_report_date() -> None:
    again = report(trade_id="T1")
    outcome = judge(file(MON, again, report(trade_id="T1", price=11)), file(TUE, again))
    assert fates(outcome) == ["live", "conflicting_identity"]
    assert fates(outcome, TUE) == ["duplicate"]


def test_without_any_id_true_repeats_live_and_a_replay_of_the_file_does_not_double_them() -> None:
    outcome = judge(file(MON, report(), report()), file(MON, report(), report(), report(), part="b"))
    assert fates(outcome) == ["live", "live"]
    assert fates(outcome, part="b") == ["duplicate", "duplicate", "live"]


# --- life cycle


@pytest.mark.parametrize("action", ["cancel", "break", "reversal"])
def test_a_linked_cancel_needs_only_its_link_and_kills_on_the_day_of_execution(action: str) -> None:
    kill = report(report_id=2, action=action, original_report_id=1, symbol="", executed_at="", price="", size="")
    outcome = judge(file(MON, report(report_id=1)), file(TUE, kill))
    assert fates(outcome) == ["cancelled"]
    assert outcome.dispositions["otc", TUE, "a", 2] == ("applied", None, MON)
    assert outcome.metrics["ACME", MON]["cancelled_count"] == 1
    assert outcome.metrics["ACME", MON]["trade_count"] == 0


def test_a_second_cancel_is_a_duplicate_and_a_cancel_without_a_target_is_held() -> None:
    kills = [report(report_id=number, action="cancel", original_report_id=1) for number in (2, 3)]
    lost = report(report_id=4, action="cancel", original_report_id=99)
    other = report(report_id=5, action="cancel", original_report_id=1, facility="TRF")
    dated = report(report_id=6, action="cancel", original_report_id=1, original_report_date=TUE)
    assert fates(judge(file(MON, *kills, lost, other, dated, report(report_id=1)))) == [
        "applied", "duplicate", "held", "held", "held", "cancelled",
    ]  # fmt: skip


def test_a_correction_replaces_symbol_price_and_day() -> None:
    change = report(
        report_id=2, action="correct", original_report_id=1, symbol="ZED", price=11, executed_at="2026-02-03T15:00:00Z"
    )
    outcome = judge(file(MON, report(report_id=1)), file(TUE, change))
    assert (fates(outcome), fates(outcome, TUE)) == (["superseded"], ["live"])
    assert outcome.metrics["ACME", MON]["trade_count"] == 0
    moved = outcome.metrics["ZED", TUE]
    assert (moved["close_price"], moved["corrected_count"], moved["late_count"]) == (Decimal(11), 1, 0)


def test_a_chain_may_point_at_the_root_or_at_the_correction_before() -> None:
    chain = [
        report(report_id=1),
        report(report_id=2, action="correct", original_report_id=1, price=11),
        report(report_id=3, action="correct", original_report_id=2, price=12),
        report(report_id=4, action="correct", original_report_id=1, price=13),
    ]
    assert fates(judge(file(MON, *chain))) == ["superseded", "superseded", "superseded", "live"]
    kill = report(report_id=5, action="cancel", original_report_id=3)
    assert fates(judge(file(MON, *chain, kill)))[2:] == ["superseded", "cancelled", "applied"]


def test_events_happen_in_the_order_of_their_clock_then_by_length_and_text_of_the_id() -> None:
    def change(number: int, clock: str) -> dict[str, str]:
        return report(report_id=number, action="correct", original_report_id=1, reported_at=f"2026-02-02T{clock}Z")

    rows = [report(report_id=1), change(10, "17:00:00"), change(9, "17:00:00"), change(2, "18:00:00")]
    assert fates(judge(file(MON, *rows))) == ["superseded", "superseded", "superseded", "live"]
    assert fates(judge(file(MON, *rows[:3]))) == ["superseded", "live", "superseded"]
    unknown_clock = report(report_id=3, action="cancel", original_report_id=1, reported_at="")
    assert fates(judge(file(MON, *rows[:2], unknown_clock))) == ["cancelled", "correct_after_cancel", "applied"]


def test_a_correction_after_the_cancel_is_quarantined_and_one_without_link_too() -> None:
    kill = report(report_id=2, action="cancel", original_report_id=1)
    late = report(report_id=3, action="correct", original_report_id=1)
    unlinked = report(report_id=4, action="correct")
    outcome = judge(file(MON, report(report_id=1), kill, late, unlinked))
    assert fates(outcome) == ["cancelled", "applied", "correct_after_cancel", "missing_link"]
    assert outcome.metrics["ACME", MON]["rejected_count"] == 2


def test_an_invalid_correction_does_not_apply_but_can_be_pointed_at() -> None:
    bad = report(report_id=2, action="correct", original_report_id=1, price="abc")
    repair = report(report_id=3, action="correct", original_report_id=2, price="12")
    outcome = judge(file(MON, report(report_id=1), bad, repair))
    assert fates(outcome) == ["superseded", "bad_price", "live"]


def test_an_invalid_trade_that_is_corrected_or_cancelled_is_in_quarantine_no_more() -> None:
    rows = [
        report(report_id=1, price="-5"),
        report(report_id=2, action="correct", original_report_id=1, price="5"),
        report(report_id=3, size=""),
        report(report_id=4, action="cancel", original_report_id=3),
    ]
    outcome = judge(file(MON, *rows))
    assert fates(outcome) == ["superseded", "live", "cancelled", "applied"]
    day = outcome.metrics["ACME", MON]
    assert (day["rejected_count"], day["cancelled_count"], day["input_rows"]) == (0, 0, 1)


def test_two_corrections_that_point_at_each_other_are_held() -> None:
    rows = [report(report_id=a, action="correct", original_report_id=b) for a, b in ((1, 2), (2, 1), (3, 3))]
    assert fates(judge(file(MON, *rows))) == ["held", "held", "held"]


def test_a_link_without_date_means_the_nearest_report_at_or_before_the_event() -> None:
    days = [file(day, report(report_id=1, executed_at=f"{day}T15:00:00Z")) for day in (MON, TUE, THU)]
    kill = file(WED, report(report_id=2, action="cancel", original_report_id=1))
    outcome = judge(*days, kill)
    assert [fates(outcome, day) for day in (MON, TUE, THU)] == [["live"], ["cancelled"], ["live"]]


def test_the_nth_reversal_without_a_link_takes_the_nth_trade_that_looks_the_same() -> None:
    later = report(report_id=1, executed_at="2026-02-02T15:30:00Z", price="10.00")
    rows = [
        later,
        report(report_id=2),
        report(report_id=3, venue="D"),
        report(report_id=4, executed_at="2026-02-02T16:00:00Z"),
    ]
    reversal = report(report_id=5, action="reversal", executed_at="2026-02-02T20:00:00Z")
    assert fates(judge(file(MON, *rows, reversal))) == ["live", "cancelled", "live", "live", "applied"]
    both = [reversal, reversal | {"report_id": "6"}]
    assert fates(judge(file(MON, *rows, *both)))[:4] == ["cancelled", "cancelled", "live", "live"]
    four = [reversal | {"report_id": str(number)} for number in (5, 6, 7, 8)]
    assert fates(judge(file(MON, *rows, *four)))[4:] == ["applied", "applied", "applied", "unmatched_reversal"]


def test_an_as_of_report_adds_to_its_own_past_day_and_is_late() -> None:
    outcome = judge(file(WED, report(report_id=1, action="as-of"), report(report_id=2)))
    assert outcome.metrics["ACME", MON]["late_count"] == 2
    assert ("ACME", WED) not in outcome.metrics


def test_correction_codes_say_live_cancelled_or_not_a_trade() -> None:
    rows = [report(correction=code) for code in ("0", "8", "10", "99")]
    outcome = judge(file(MON, *rows, rules=TAQ), rules=TAQ)
    assert fates(outcome) == ["live", "cancelled", "not_a_trade", "bad_correction"]


# --- validity


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"action": "erase", "price": "x"}, "bad_action"),
        ({"action": ""}, "bad_action"),
        ({"symbol": "", "executed_at": ""}, "bad_symbol"),
        ({"symbol": "A" * 16}, "bad_symbol"),
        ({"executed_at": "soon", "trade_date": "2026-02-02"}, "bad_time"),
        ({"executed_at": "2026-02-02T15:00:61Z"}, "bad_time"),
        ({"trade_date": "2026-02-31"}, "bad_trade_date"),
        ({"executed_at": "2026-02-01T15:00:00Z"}, "not_a_session"),
        ({"executed_at": "2026-01-30T15:00:00Z"}, "not_a_session"),
        ({"executed_at": "2026-02-03T15:00:00Z", "price": "NaN"}, "not_a_session"),
        ({"price": "NaN"}, "bad_price"),
        ({"price": "inf"}, "bad_price"),
        ({"price": "1e400"}, "bad_price"),
        ({"price": "1.12345678901"}, "bad_price"),
        ({"price": "1,23"}, "bad_price"),
        ({"price": "0x1F"}, "bad_price"),
        ({"price": "-49,903.25"}, "non_positive_price"),
        ({"price": "0", "size": ""}, "non_positive_price"),
        ({"size": "1e14"}, "bad_size"),
        ({"size": "0.0000001"}, "bad_size"),
        ({"size": "-1"}, "non_positive_size"),
        ({"original_report_date": "x"}, "bad_original_date"),
        ({"action": "cancel", "original_report_id": "9", "original_report_date": "2026-02-01"}, "bad_original_date"),
        ({"action": "cancel", "original_report_id": "9", "original_report_date": "2026-02-03"}, "held"),
        ({"price": "1,234.50000000000", "size": "1,000"}, "live"),
        ({"price": " 12 ", "symbol": " brk.B "}, "live"),
    ],
)
def test_the_first_reason_that_applies_is_the_reason(fields: dict[str, str], reason: str) -> None:
    assert fates(judge(file(MON, report(report_id=1, **fields)))) == [reason]


@pytest.mark.parametrize(
    ("text", "size", "capped"),
    [("1,176,262,090+", 1176262090, True), ("250MM+", 250_000_000, True), ("5K", 5000, False), ("0.5", "0.5", False)],
)
def test_a_capped_size_counts_with_its_lower_bound(text: str, size: str, *, capped: bool) -> None:
    day = judge(file(MON, report(report_id=1, size=text))).metrics["ACME", MON]
    assert (day["total_volume"], day["capped_count"]) == (Decimal(size), int(capped))


def test_a_skipped_and_a_repeated_hour_are_told_apart_and_an_offset_settles_both() -> None:
    rows = [
        report(report_id=1, executed_at="2026-03-08 02:30:00"),
        report(report_id=2, executed_at="2025-11-02 01:30:00"),
        report(report_id=3, executed_at="2025-11-02 01:30:00-04:00"),
        report(report_id=4, executed_at="2026-02-02 10:00:00"),
    ]
    content = file(MON, *rows, rules=PIPE).content + b"Trailer|4\n"
    delivery = Delivery(PIPE.name, MON, "a", None, content.replace(b"|new|", b"|N|"), 0)
    outcome = judge(delivery, rules=PIPE)
    assert fates(outcome) == ["nonexistent_time", "ambiguous_time", "not_a_session", "live"]


def test_a_trade_of_the_evening_belongs_to_its_new_york_date_unless_one_is_declared() -> None:
    evening = report(report_id=1, executed_at="2026-02-03T00:30:00Z")
    declared = report(report_id=2, executed_at="2026-02-03T00:30:00Z", trade_date="2026-02-03")
    outcome = judge(file(TUE, evening, declared))
    assert [trade.trade_date for trade in outcome.trades] == [MON, TUE]


# --- files


def test_the_highest_version_counts_whatever_the_order_of_arrival() -> None:
    files = [file(MON, report(report_id=1, size=size), version=size, order=20 - size) for size in (9, 10, 2)]
    assert judge(*files).metrics["ACME", MON]["total_volume"] == 10


def test_without_versions_the_last_new_content_counts_and_a_known_one_is_no_news() -> None:
    first, second = (file(MON, report(report_id=1, size=size), order=size) for size in (1, 2))
    again = Delivery("otc", MON, "a", None, first.content, 3)
    assert judge(first, second, again).metrics["ACME", MON]["total_volume"] == 2


def test_two_files_that_claim_one_version_with_other_content_cost_the_second_one() -> None:
    files = [file(MON, report(report_id=1, size=size), version=1, order=size) for size in (1, 2)]
    outcome = judge(*files)
    assert [delivery.order for delivery, _ in outcome.refused] == [2]


GOOD = b"action,symbol,executed_at,price,size\nnew,ACME,2026-02-02T15:00:00Z,10,100\n"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", 1),
        (b"\xef\xbb\xbf", 1),
        (b"action,symbol,executed_at,price,size\n", 1),
        (GOOD.replace(b",", b";"), 1),
        (GOOD.replace(b"price", b"prize"), 1),
        (GOOD + b"new,ACME", 3),
        (GOOD + b"new,ACME,2026-02-02T15:00:00Z,10,100,7\n", 3),
        (GOOD + b'new,"ACME,2026-02-02T15:00:00Z,10,100\n', 3),
        (GOOD + b"new,AC\0ME,2026-02-02T15:00:00Z,10,100\n", 3),
        (GOOD + b"new,AC\xffME,2026-02-02T15:00:00Z,10,100\n", 3),
        (GOOD + b"new,ACME,2026-02-02T15:00:00Z,10," + b"9" * 10_000_000, 3),
    ],
)
def test_a_file_with_a_broken_structure_loads_nothing_and_names_the_line(content: bytes, line: int) -> None:
    outcome = judge(Delivery("otc", MON, "a", None, content, 0))
    assert [problem.line for _, problem in outcome.refused] == [line]
    assert not outcome.dispositions


def test_marks_carriage_returns_blank_lines_and_an_empty_last_column_do_no_harm() -> None:
    odd = b"\xef\xbb\xbf" + GOOD.replace(b"\n", b",\r\n").replace(b",\r\nnew", b",\r\n\r\nnew")
    outcome = judge(Delivery("otc", MON, "a", None, odd, 0))
    assert outcome.dispositions == {("otc", MON, "a", 3): ("live", None, MON)}
    assert outcome.blank_lines == 1


def test_a_trailer_must_be_there_and_count_right() -> None:
    body = file(MON, report(report_id=1, action="N", executed_at="2026-02-02 10:00:00"), rules=PIPE).content
    endings = [b"Trailer|000001\n", b"Trailer|2\n", b""]
    outcomes = [judge(Delivery(PIPE.name, MON, "a", None, body + end, 0), rules=PIPE) for end in endings]
    assert [len(outcome.refused) for outcome in outcomes] == [0, 1, 1]
    assert outcomes[0].trailer_lines == 1


def test_a_file_for_a_day_that_is_no_session_is_refused() -> None:
    assert len(judge(file(date(2026, 2, 1), report(report_id=1))).refused) == 1
