"""The odd part of the bundled samples: every trait of `DOMAIN.md` 1, as reports of the canonical feed.

What belongs here: which odd report arrives on which day, and one sentence on what must become of it.
What does not: ordinary trades (`sample_market.py`), file formats and the other two feeds (`samples.py`).
"""

from collections.abc import Callable
from datetime import date

from benchmarks.sample_market import Report, instant
from benchmarks.sample_reports import BAD_VALUES, D1, D2, D3, D4, D5, D6, D7, NO_LINK, about, late, new, story_id
from benchmarks.sample_targets import (
    BAD_UNTIL_CORRECTED,
    BROKEN,
    CANCELLED_A_WEEK_LATER,
    CANCELLED_LATE,
    CANCELLED_TWICE,
    CORRECTED_TWICE,
    CORRECTION,
    DEAD_THEN_CORRECTED,
    IN_BOTH_PARTS,
    LATE_TARGET,
    MOVED,
    OUTLIER,
    RENAMED,
    REPLAYED,
    REVERSED_LINKED,
    REVERSED_UNLINKED,
    SIZE_FIXED,
    TWIN,
)

SATURDAY = date(2026, 3, 7)


def _first_day() -> list[Report]:
    quarantined = [
        Report(
            new(D1, 40 + n, f"11:{n:02}:00", "FIZZB", "3.41", "100").values | {column: text},
            f"{what}: quarantined, {reason}",
        )
        for n, (column, text, reason, what) in enumerate(BAD_VALUES)
    ]
    early = about(
        "cancel",
        D1,
        10,
        "16:30:00",
        LATE_TARGET,
        "a cancel before its trade: held until 03-05",
        original_report_date="",
    )
    return [
        CANCELLED_LATE,
        CANCELLED_TWICE,
        CORRECTED_TWICE,
        DEAD_THEN_CORRECTED,
        REVERSED_UNLINKED,
        BROKEN,
        REVERSED_LINKED,
        BAD_UNTIL_CORRECTED,
        CANCELLED_A_WEEK_LATER,
        early,
        about("break", D1, 11, "10:45:00", BROKEN, "a break of a trade of the same day"),
        REPLAYED,
        Report(dict(REPLAYED.values), "the same report twice, id and all: duplicate"),
        new(D1, 21, "10:21:00", "ACME", "24.18", "100", "the first of two reports with one id: live"),
        new(
            D1, 21, "10:21:00", "ACME", "24.99", "100", "the same id, other content: quarantined, conflicting_identity"
        ),
        TWIN,
        Report(TWIN.values | {"report_id": story_id(D1, 23)}, "the twin of the line before but for the id: both live"),
        new(D1, 30, "12:00:00", "RVR.A", "1,002.5000", "1,250", "thousands separators in a quoted field: live"),
        new(D1, 31, "12:01:00", "HUMPX", "0.0004", "1,176,262,090+", "a capped size: a lower bound, flagged: live"),
        new(D1, 32, "12:02:00", "OTTRQ", "0.0009", "250MM+", "a capped size in millions: 250,000,000, flagged: live"),
        new(D1, 33, "12:03:00", "NIMBF", "0.0313333333", "750K+", "ten decimals and a capped size in thousands: live"),
        new(
            D1,
            34,
            "12:04:00",
            "ACME",
            "24.1033333333",
            "0.000001",
            "a sub-penny price, the smallest fraction of a share: live",
        ),
        new(D1, 35, "12:05:00", "  ACME ", " 24.11 ", " 100 ", "blanks around the values: live", side="", capacity=""),
        new(
            D1,
            36,
            "20:10:00",
            "ACME",
            "24.30",
            "100",
            "the next day in UTC, this one in New York: live",
            conditions="T",
        ),
        *quarantined,
    ]


def _second_day() -> list[Report]:
    return [
        MOVED,
        RENAMED,
        LATE_TARGET,
        CORRECTION,
        about("cancel", D2, 5, "09:00:01", CANCELLED_LATE, "cancels a trade of 03-04"),
        about("cancel", D2, 6, "09:00:02", CANCELLED_TWICE, "cancels a trade of 03-04, for the first time"),
        about("cancel", D2, 7, "09:00:04", DEAD_THEN_CORRECTED, "cancels a trade of 03-04"),
        about(
            "reversal",
            D2,
            8,
            "09:00:05",
            REVERSED_UNLINKED,
            "no link, matches a trade of 03-04 on its values",
            **NO_LINK,
        ),
        about("reversal", D2, 9, "09:00:07", REVERSED_LINKED, "reverses a trade of 03-04 by its id"),
        about(
            "correct",
            D2,
            10,
            "09:00:08",
            BAD_UNTIL_CORRECTED,
            "gives a quarantined trade of 03-04 its price",
            price="19.95",
        ),
        about(
            "reversal",
            D2,
            11,
            "09:00:09",
            REVERSED_UNLINKED,
            "no link, nothing like it: quarantined, unmatched_reversal",
            **NO_LINK,
            price="3.99",
        ),
        about(
            "correct",
            D2,
            12,
            "09:00:10",
            CANCELLED_LATE,
            "a correction without a link: quarantined, missing_link",
            **NO_LINK,
        ),
        late(D2, 13, D1, "ACME", "24.12", "600", "a late report of 03-04: adds to that day"),
        new(
            D2,
            14,
            "12:00:00",
            "ACME",
            "24.19",
            "100",
            "action code nobody knows: quarantined, bad_action",
            action="amend",
        ),
        new(D2, 15, "12:01:00", "ACME", "24.19", "200", "condition code nobody knows: live, counted", conditions="J"),
        new(
            D2,
            16,
            "12:02:00",
            "ACME",
            "24.60",
            "50",
            "two conditions in one field, average price and odd lot: volume only",
            conditions="WI",
        ),
    ]


def _third_day() -> list[Report]:
    lost = new(D2, 999, "10:00:00", "ACME", "24.00", "100")
    return [
        about("cancel", D3, 1, "09:00:02", CANCELLED_TWICE, "cancels a trade of 03-04 once more: duplicate"),
        about(
            "correct",
            D3,
            2,
            "09:00:03",
            DEAD_THEN_CORRECTED,
            "a correction of a dead trade: quarantined, correct_after_cancel",
            price="112.70",
        ),
        about(
            "correct",
            D3,
            3,
            "09:00:04",
            CORRECTION,
            "corrects a correction by its id: size of a trade of 03-04",
            size="1100",
        ),
        about(
            "correct",
            D3,
            4,
            "09:00:05",
            MOVED,
            "moves a trade from 03-05 to 03-06: both days change",
            executed_at=instant(D3, "09:31:00.250000"),
        ),
        about(
            "correct",
            D3,
            5,
            "09:00:06",
            RENAMED,
            "changes the symbol of a trade of 03-05: both symbols change",
            symbol="LMNQY",
        ),
        about(
            "correct",
            D3,
            6,
            "09:00:07",
            REVERSED_LINKED,
            "a correction of a reversed trade: quarantined, correct_after_cancel",
        ),
        about("cancel", D3, 7, "09:00:08", lost, "refers to a report that never comes: held"),
        late(D3, 8, D2, "DRGNY", "112.10", "40", "a late report of 03-05: adds to that day"),
        new(D3, 9, "13:00:00", "ACME", "24.05", "12000", "a block"),
        about(
            "correct",
            D3,
            10,
            "09:00:09",
            new(D2, 15, "12:01:00", "ACME", "24.19", "200", conditions="J"),
            "a correction with a negative price: quarantined, does not apply",
            price="-24.19",
        ),
    ]


def _fourth_day() -> list[Report]:
    saturday = {"executed_at": instant(SATURDAY, "11:00:00.000000")}
    return [
        SIZE_FIXED,
        new(D4, 2, "09:30:00", "ACME", "23.90", "500", "half past nine is 13:30 UTC from today on: a regular print"),
        new(D4, 3, "09:29:59", "ACME", "23.80", "100", "a second before the open: pre-market", conditions="T"),
        new(
            D4,
            4,
            "10:00:00",
            "ACME",
            "23.91",
            "100",
            "a time with an offset",
            executed_at="2026-03-09T10:00:00.250-04:00",
        ),
        new(
            D4, 5, "10:01:00", "ACME", "24.00", "100", "executed on a Saturday: quarantined, not_a_session", **saturday
        ),
        new(
            D4,
            6,
            "10:02:00",
            "ACME",
            "24.00",
            "100",
            "executed after its report date: quarantined, not_a_session",
            executed_at=instant(D5, "10:02:00.000000"),
        ),
        new(
            D4,
            7,
            "10:03:00",
            "ACME",
            "24.00",
            "100",
            "executed years before the first session: quarantined, not_a_session",
            executed_at="2009-03-09T14:00:00Z",
        ),
        late(D4, 8, D3, "ACME", "24.02", "300", "a late report of the Friday before the clocks changed"),
        late(D4, 9, D1, "KRTNF", "244.90", "10", "a late report of 03-04"),
        about(
            "cancel", D4, 10, "09:00:00", late(D3, 8, D2, "DRGNY", "112.10", "40", ""), "cancels a late report of 03-05"
        ),
    ]


def _fifth_day() -> list[Report]:
    return [
        OUTLIER,
        IN_BOTH_PARTS,
        new(D5, 3, "14:00:00", "ACME", "24.00", "700", "cancelled in the other part of the day"),
        new(D5, 4, "14:01:00", "CNTLF", "0.10", "100", "an eightieth of the median: an outlier below"),
    ]


def _fifth_day_second_part() -> list[Report]:
    return [
        Report(dict(IN_BOTH_PARTS.values), "in both parts of the day: duplicate"),
        about(
            "cancel",
            D5,
            5,
            "15:00:00",
            new(D5, 3, "14:00:00", "ACME", "24.00", "700"),
            "cancels a trade of the other part",
        ),
        late(D5, 6, D4, "NIMBF", "0.0305", "20000", "a late report of 03-09"),
    ]


def _sixth_day() -> list[Report]:
    only_sold = [
        new(D6, 10 + n, f"1{n}:30:00", "ZEBRF", f"2.{n}0", "300", note, conditions="Z")
        for n, note in enumerate(
            ["the only prints of ZEBRF are out of sequence: this one opens and closes", "not last"]
        )
    ]
    return [
        about("correct", D6, 1, "09:00:00", SIZE_FIXED, "the size of a trade of 03-09", size="1000"),
        about("correct", D6, 2, "09:00:01", OUTLIER, "the price of yesterday's outlier", price="19.80"),
        *only_sold,
        new(
            D6,
            20,
            "12:00:00",
            "YAKKF",
            "7.00",
            "1000",
            "the only print of YAKKF is an average price: volume, no prices",
            conditions="W",
        ),
        new(
            D6,
            23,
            "12:03:00",
            "ACME",
            "24.42",
            "100",
            "executed on 03-11, declared for 03-10: counts there",
            trade_date=D5.isoformat(),
        ),
        new(
            D6,
            24,
            "12:04:00",
            "ACME",
            "24.42",
            "100",
            "a declared date that is none: quarantined, bad_trade_date",
            trade_date="soon",
        ),
        new(
            D6,
            21,
            "12:01:00",
            "ACME",
            "24.40",
            "100",
            "a comma and quotes in a column the feed does not know",
            memo='said "done", twice',
        ),
        new(D6, 22, "12:02:00", "ACME", "24.41", "100", "a column the feed does not know", memo="plain"),
    ]


def _seventh_day() -> list[Report]:
    return [
        about("cancel", D7, 1, "09:00:00", CANCELLED_A_WEEK_LATER, "cancels a trade of 03-04, six sessions later"),
        late(D7, 2, D5, "ACME", "24.03", "150", "a late report of 03-10"),
        about("cancel", D7, 3, "09:00:01", CORRECTION, "cancels through a correction's id: a trade of 03-04"),
        new(
            D7, 7, "13:00:00", "ACME", "241.00", "100", "ten times the median: kept, flagged, out of the price columns"
        ),
        new(D7, 4, "16:00:00", "ACME", "24.50", "100", "four o'clock sharp: after the close", conditions="T"),
        new(D7, 5, "15:59:59", "ACME", "24.49", "100", "a second before the close: regular"),
        new(
            D7,
            6,
            "10:00:00",
            "ACME",
            "24.20",
            "100",
            "the same id as yesterday's, of another report date: live",
            report_id=story_id(D6, 22),
        ),
    ]


STORY: dict[tuple[date, str], Callable[[], list[Report]]] = {
    (D1, ""): _first_day,
    (D2, ""): _second_day,
    (D3, ""): _third_day,
    (D4, ""): _fourth_day,
    (D5, "a"): _fifth_day,
    (D5, "b"): _fifth_day_second_part,
    (D6, ""): _sixth_day,
    (D7, ""): _seventh_day,
}
