"""Values no trade can have: they load as they came, and the day's pass sorts them out with a reason, file and line.

Belongs here: text that becomes no price, size, time or symbol, and text that looks so and does.
Does not belong here: files that cannot be read (test_intake.py), what becomes of good reports (test_normalize.py).
"""

from datetime import date, timedelta
from decimal import Decimal

import pytest

from market_spine_tests.driving import Platform
from market_spine_tests.small_reports import HEADER, row

MON = date(2026, 2, 2)
PIPE_HEADER = "RecordId|Action|TradeTime|Symbol|Price|Quantity"


def deliver(platform: Platform, content: str) -> None:
    platform.deliver("otc", f"otc_{MON}.csv", content)


def test_ids_of_19_digits_are_kept_to_the_last_one(platform: Platform) -> None:
    ids = [str(9223372036854775800 + n) for n in range(8)]
    deliver(platform, HEADER + "".join(map(row, ids)))
    platform.settle()
    assert [one["report_id"] for one in platform.raw(MON)] == ids
    assert sorted(one["report_id"] for one in platform.trades(MON)) == ids


ODD_VALUES: tuple[tuple[dict[str, object], str], ...] = (
    ({"action": "hello"}, "bad_action"),
    ({"symbol": ""}, "bad_symbol"),
    ({"symbol": "A B"}, "bad_symbol"),
    ({"symbol": "ABCDEFGHIJKLMNOP"}, "bad_symbol"),
    ({"at": ""}, "bad_time"),
    ({"at": "infinity"}, "bad_time"),
    ({"at": "now"}, "bad_time"),
    ({"at": "2026-02-02"}, "bad_time"),
    ({"at": "2026-02-02T25:00:00Z"}, "bad_time"),
    ({"at": "2026-02-30T15:00:00Z"}, "bad_time"),
    ({"at": "2026-01-31T15:00:00Z"}, "not_a_session"),
    ({"at": "2026-02-04T15:00:00Z"}, "not_a_session"),
    ({"price": "NaN"}, "bad_price"),
    ({"price": "inf"}, "bad_price"),
    ({"price": "-Infinity"}, "bad_price"),
    ({"price": "1e400"}, "bad_price"),
    ({"price": "1e10"}, "bad_price"),
    ({"price": "0.12345678901"}, "bad_price"),
    ({"price": ""}, "bad_price"),
    ({"price": "0x1F"}, "bad_price"),
    ({"price": "1_000"}, "bad_price"),
    ({"price": "10+"}, "bad_price"),
    ({"price": "1,0"}, "bad_price"),
    ({"price": "0"}, "non_positive_price"),
    ({"price": "-49,903.25"}, "non_positive_price"),
    ({"size": "NaN"}, "bad_size"),
    ({"size": "inf"}, "bad_size"),
    ({"size": "1e400"}, "bad_size"),
    ({"size": "1e14"}, "bad_size"),
    ({"size": "0.0000001"}, "bad_size"),
    ({"size": "many"}, "bad_size"),
    ({"size": "-100"}, "non_positive_size"),
    ({"size": "0"}, "non_positive_size"),
)  # fmt: skip


def test_an_impossible_value_loads_as_it_came_and_is_quarantined_with_its_line_and_text(platform: Platform) -> None:
    deliver(platform, HEADER + row("good") + "".join(row(n, **fields) for n, (fields, _) in enumerate(ODD_VALUES)))
    platform.settle()
    assert len(platform.raw(MON)) == len(ODD_VALUES) + 1
    found = {one["line_no"]: one for one in platform.exceptions(MON, "quarantined")}
    reasons = [
        (fields, found[line]["reason"] if line in found else None) for line, (fields, _) in enumerate(ODD_VALUES, 3)
    ]
    assert reasons == list(ODD_VALUES)
    for line, (fields, _) in enumerate(ODD_VALUES, 3):
        assert found[line]["path"] == f"otc/otc_{MON}.csv"
        kept = found[line]["report"]
        assert {name: kept.get({"at": "executed_at"}.get(name, name)) for name in fields} == fields
    assert [one["report_id"] for one in platform.trades(MON)] == ["good"]
    metrics = platform.metrics("ACME", MON)
    assert metrics is not None
    assert (metrics["trade_count"], metrics["high_price"]) == (1, 10)


@pytest.mark.parametrize(
    ("text", "size", "capped"),
    [
        ("1,176,262,090+", "1176262090", True),
        ("250MM+", "250000000", True),
        ("250MM", "250000000", False),
        ("5K", "5000", False),
        ("1,500.25", "1500.25", False),
        ("0.000001", "0.000001", False),
        ("1e3", "1000", False),
        (" 100 ", "100", False),
    ],
)
def test_sizes_may_have_separators_and_caps(platform: Platform, text: str, size: str, *, capped: bool) -> None:
    deliver(platform, HEADER + row(1, size=text))
    platform.settle()
    (trade,) = platform.trades(MON)
    assert (trade["size"], trade["is_capped"]) == (Decimal(size), capped)
    metrics = platform.metrics("ACME", MON)
    assert metrics is not None
    assert (metrics["total_volume"], metrics["capped_count"]) == (Decimal(size), int(capped))


@pytest.mark.parametrize(
    ("day", "skipped_or_repeated", "reason", "plain"),
    [
        (date(2026, 3, 9), "2026-03-08 02:30:00", "nonexistent_time", "2026-03-09 09:45:00"),
        (date(2025, 11, 3), "2025-11-02 01:30:00", "ambiguous_time", "2025-11-03 09:45:00"),
    ],
)
def test_a_time_the_clock_skipped_or_had_twice_is_quarantined_unless_it_has_an_offset(
    platform: Platform, day: date, skipped_or_repeated: str, reason: str, plain: str
) -> None:
    times = [skipped_or_repeated, f"{skipped_or_repeated}-04:00", plain]
    rows = [f"{n}|N|{time}|ACME|10|100" for n, time in enumerate(times)]
    platform.deliver("vendor_pipe", f"trades_{day:%Y%m%d}.v1.txt", "\n".join([PIPE_HEADER, *rows, "Trailer|3\n"]))
    vendor = Platform(platform.database_url, platform.landing, date(2025, 10, 1))
    vendor.settle()
    # both changes fall on a Sunday: with an offset the moment is clear, and lies on no session
    assert [one["reason"] for one in vendor.exceptions(day)] == [reason, "not_a_session"]
    (trade,) = vendor.trades(day)
    assert trade["executed_at"] - vendor.calendar.session_open(day) == timedelta(minutes=15)
