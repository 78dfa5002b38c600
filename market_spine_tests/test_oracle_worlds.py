"""The oracle on whole worlds and on the real file, and the proof that it shares nothing with what it judges.

Belongs here: condition flags against the published table, random worlds, the facts of the TAQ sample.
Does not belong here: single rules (test_oracle.py) and formulas (test_oracle_metrics.py).
"""

from __future__ import annotations

import ast
import csv
import gzip
import random
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from market_spine_tests.oracle import Delivery, evaluate
from market_spine_tests.oracle.eligibility import REGULAR, TABLE, Flags, flags_of
from market_spine_tests.oracle.world import OTC, PIPE, PIPE_TRAILER, TAQ, Knobs, make_world

HERE = Path(__file__).parent
SHARED = HERE.parent.parent / "shared"


# --- conditions and independence


def test_the_flags_of_packed_letters_are_anded_and_an_unknown_one_is_regular() -> None:
    assert flags_of("", None, "cta") == flags_of("@", None, "utp") == REGULAR
    assert flags_of("F I", None, "cta") == Flags(high_low=False, last=False, volume=True)
    assert flags_of("?F", None, "cta") == Flags(high_low=True, last=True, volume=True, unknown=1)
    assert flags_of("FI", ";", "cta").unknown == 1
    assert flags_of("F; Z", ";", "cta").last_if_only
    assert not flags_of("ZG", None, "utp").last_if_only
    assert flags_of("B", None, "utp") == REGULAR != flags_of("B", None, "cta")


@pytest.mark.skipif(not (SHARED / "reference").exists(), reason="the reference table is not beside the repository")
def test_the_constants_agree_with_the_published_table() -> None:
    published: dict[tuple[str, str], tuple[bool, bool, bool]] = {}
    with (SHARED / "reference" / "sale_conditions.csv").open(newline="") as table:
        for row in sorted(csv.DictReader(table), key=lambda one: "legacy" not in one["name"]):
            for tape in TABLE:
                if row[tape]:
                    high_low, last, volume = (
                        row[name] == "1" for name in ("upd_high_low", "upd_open_close", "upd_volume")
                    )
                    published[tape, row[tape]] = (high_low, last, volume)
    ours = {
        (tape, code): (flags.high_low, flags.last, flags.volume)
        for tape, codes in TABLE.items()
        for code, flags in codes.items()
        if code != "@"
    }
    assert ours == published


def test_the_oracle_imports_nothing_of_what_it_judges() -> None:
    for path in (HERE / "oracle").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.split(".")[0] == "market_spine"], path


# --- worlds and the real file


@pytest.mark.parametrize("seed", range(6))
def test_a_world_ends_the_same_in_any_order_of_arrival_and_loses_no_report(seed: int) -> None:
    knobs = Knobs(feeds=(OTC, TAQ, PIPE), reports=80, broken=True, trailers={PIPE.name: PIPE_TRAILER})
    world = make_world(random.Random(seed), knobs)
    assert world == make_world(random.Random(seed), knobs)
    moved = world.rearranged(random.Random(seed + 1))
    one, other = (
        evaluate(each.deliveries, each.rules, first_session=world.first_session, last_session=world.last_session)
        for each in (world, moved)
    )
    assert (one.metrics, one.dispositions) == (other.metrics, other.dispositions)
    lines = sum(len(delivery.content.splitlines()) - 1 for delivery in one.live_files)
    assert lines == len(one.dispositions) + one.blank_lines + one.trailer_lines


def test_the_worlds_hold_every_fate_and_every_reason() -> None:
    seen: set[str] = set()
    for seed in range(12):
        world = make_world(
            random.Random(seed), Knobs(feeds=(OTC, TAQ, PIPE), reports=200, trailers={PIPE.name: PIPE_TRAILER})
        )
        outcome = evaluate(
            world.deliveries, world.rules, first_session=world.first_session, last_session=world.last_session
        )
        seen |= {why or disposition for disposition, why, _ in outcome.dispositions.values()}
    assert seen == {
        "live", "cancelled", "superseded", "applied", "duplicate", "held", "not_a_trade", "bad_action",
        "bad_correction", "bad_symbol", "bad_time", "nonexistent_time", "ambiguous_time", "bad_trade_date",
        "not_a_session", "bad_price", "non_positive_price", "bad_size", "non_positive_size", "bad_original_date",
        "conflicting_identity", "correct_after_cancel", "missing_link", "unmatched_reversal",
    }  # fmt: skip


@pytest.mark.skipif(not (SHARED / "data" / "taq").exists(), reason="../shared/data with the TAQ sample is absent")
def test_the_oracle_reproduces_the_published_facts_of_the_taq_sample() -> None:
    (path,) = (SHARED / "data" / "taq").glob("*.csv.gz")
    first, second = date(2018, 1, 2), date(2018, 1, 3)
    delivery = Delivery("taq", second, "", None, gzip.decompress(path.read_bytes()), 0)
    outcome = evaluate([delivery], {"taq": TAQ}, first_session=first, last_session=second)
    raw = {day: sum(trade.size for trade in outcome.trades if trade.trade_date == day) for day in (first, second)}
    pair = 254_600 // 2  # of the cancelled pair, the cancel record is no trade
    assert (raw[first], raw[second] + pair) == (5_553_205, 4_701_346)
    assert outcome.metrics["XXX", first]["total_volume"] == 5_108_362
    assert outcome.metrics["XXX", second]["total_volume"] == 4_146_054
    assert outcome.metrics["XXX", second]["high_price"] == Decimal("157.49")
    assert len(outcome.dispositions) == 77_263
    assert "duplicate" not in {fate for fate, _, _ in outcome.dispositions.values()}
