"""What goes wrong with reports in a random world: one small function for each habit of a real feed.

Belongs here: cancels, corrections, reversals, repeats, contradictions and bad values.
Does not belong here: the plain trades (world.py) and the files (files.py).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import TYPE_CHECKING

from market_spine_tests.oracle.reports import SourceRules

if TYPE_CHECKING:
    from market_spine_tests.oracle.world import Builder, Line

BAD_VALUES: dict[str, tuple[str, ...]] = {
    "action": ("", "delete", "NEW!"),
    "correction": ("99", "x", ""),
    "symbol": ("", ".A", "A B", "A" * 16, "A_B", "ÄCME", "-"),
    "executed_at": ("", "soon", "2026-13-05T10:00:00Z", "2026-02-30 10:00:00Z", "25:61:00", "now", "infinity"),
    "trade_date": ("2026-02-31", "someday", "0", "today"),
    "price": (
        "", "NaN", "inf", "-Infinity", "1e400", "20000000000", "1.12345678901", "12.3.4", "abc", "-1", "0", "0.00",
        "-49,903.25", "1,23", "0x1F", "1_000", "$5", "12,",
    ),
    "size": (
        "", "NaN", "Infinity", "1e400", "100000000000000", "0.0000001", "ten", "-100", "0", "0.000000", "1_0", "0b11",
        "++", "MM+", "1,00+",
    ),
    "original_report_date": ("2026-02-31", "yesterday", "x"),
}  # fmt: skip


def _later(world: Builder, day: date) -> date:
    """A report date for an event: mostly the same or a later session, now and then one before its target."""
    after = [one for one in world.days if one >= day]
    return world.rng.choice(after if world.rng.random() < 0.9 else world.days)


def _event(world: Builder, rules: SourceRules, target: Line, action: str) -> Line:
    """An event that refers to the target, with the target's economics unless changed afterwards."""
    report_date = _later(world, target.report_date)
    line = world.report(rules, action, report_date, report_date)
    for name in ("symbol", "venue", "side", "capacity", "executed_at", "trade_date", "price", "size", "conditions"):
        line.text[name] = target.text[name]
    line.text["facility"] = target.text["facility"]
    line.text["original_report_id"] = target.text["report_id"]
    if world.rng.random() < 0.5:
        line.text["original_report_date"] = target.report_date.isoformat()
    return line


def _kill(world: Builder, rules: SourceRules, target: Line) -> Line:
    line = _event(world, rules, target, world.rng.choice(["cancel", "break", "reversal"]))
    if world.rng.random() < 0.2:  # a cancel may come with nothing but its link
        for name in ("symbol", "executed_at", "trade_date", "price", "size"):
            line.text[name] = ""
    return line


def _correct(world: Builder, rules: SourceRules, target: Line) -> Line:
    line = _event(world, rules, target, "correct")
    kind = world.rng.choice(["price", "size", "symbol", "day", "all", "conditions"])
    fresh = world.economics(rules, line.report_date)
    if kind == "price":
        line.text["price"] = world.price(target.text["symbol"]) if target.text["symbol"] in world.bases else "9.5"
    elif kind == "day":
        earlier = [day for day in world.days if day <= line.report_date]
        line.text["executed_at"] = world.moment(world.rng.choice(earlier), world.rng.choice(world.clocks), rules)
        line.text["trade_date"] = ""
    elif kind == "all":
        line.text.update(fresh)
    else:
        line.text[kind] = fresh[kind]
    return line


def _chain(world: Builder, rules: SourceRules, target: Line) -> None:
    """Corrections of corrections, pointing at the root or at each other, and perhaps a cancel in the middle."""
    for _ in range(world.rng.randrange(2, 5)):
        event = _kill if world.rng.random() < 0.25 else _correct
        line = event(world, rules, target)
        if event is _correct and world.rng.random() < 0.6:
            target = line


def _double_cancel(world: Builder, rules: SourceRules, target: Line) -> None:
    _kill(world, rules, target)
    _kill(world, rules, target)


def _correct_after_cancel(world: Builder, rules: SourceRules, target: Line) -> None:
    last = _kill(world, rules, target)
    line = _correct(world, rules, target)
    line.report_date = max(last.report_date, line.report_date)
    line.text["report_date"] = line.report_date.isoformat()
    line.text["reported_at"] = f"{line.report_date}T23:59:00Z"


def _held(world: Builder, rules: SourceRules, target: Line) -> None:
    line = world.rng.choice([_kill, _correct])(world, rules, target)
    wrong = world.rng.choice(["id", "facility", "date"])
    if wrong == "id":
        line.text["original_report_id"] = "404" + world.number()
    elif wrong == "facility":
        line.text["facility"] = "ADF"
    else:
        others = [day for day in world.days if day != target.report_date] or world.days
        sunday = target.report_date - timedelta(days=target.report_date.weekday() + 1)
        line.text["original_report_date"] = world.rng.choice([*others, sunday]).isoformat()


def _unlinked(world: Builder, rules: SourceRules, target: Line) -> None:
    """Reversals without a link, against one of several trades that look the same, or against none."""
    for _ in range(world.rng.randrange(0, 3)):
        twin = world.report(rules, "new", target.report_date, target.report_date)
        for name in ("symbol", "venue", "side", "executed_at", "trade_date", "price", "size"):
            twin.text[name] = target.text[name]
    for _ in range(world.rng.randrange(1, 4)):
        line = _event(world, rules, target, world.rng.choice(["reversal", "cancel"]))
        line.text["original_report_id"] = ""
        line.text["original_report_date"] = ""
        if world.rng.random() < 0.2:
            line.text["price"] = "77.7777"


def _missing_link(world: Builder, rules: SourceRules, target: Line) -> None:
    _correct(world, rules, target).text["original_report_id"] = ""


def _repeat(world: Builder, rules: SourceRules, target: Line) -> None:
    """The same report again, in the same part or in another one, now and then on another date."""
    report_date = target.report_date if world.rng.random() < 0.8 else _later(world, target.report_date)
    copy = world.put(rules, report_date, target.text)
    copy.text["report_date"] = target.text["report_date"]


def _contradict(world: Builder, rules: SourceRules, target: Line) -> None:
    copy = world.put(rules, target.report_date, target.text)
    copy.text[world.rng.choice(["price", "size", "venue", "symbol"])] = world.rng.choice(["1", "12.75", "OTCQ"])


def _bad_value(world: Builder, rules: SourceRules, target: Line) -> None:
    """A bad value in a trade or in a correction, and perhaps a repair of it."""
    line = world.trade(rules) if world.rng.random() < 0.7 else _correct(world, rules, target)
    name = world.rng.choice([name for name in BAD_VALUES if name in rules.columns])
    line.text[name] = world.rng.choice(BAD_VALUES[name])
    if world.rng.random() < 0.3 and line.text["report_id"]:
        world.rng.choice([_kill, _correct])(world, rules, line)


def _bad_day(world: Builder, rules: SourceRules, _target: Line) -> None:
    """A trade date that is no session, lies before the first one or after the report."""
    line = world.trade(rules)
    # Some feeds repeat or skip an hour on these Sundays; on other clocks they are plain days without a session.
    clocks = ["2026-03-08 02:30:00", "2026-11-01 01:30:00", "2026-07-04 12:00:00", "1999-12-31 15:00:00"]
    line.text["executed_at"] = world.rng.choice(clocks)
    line.text["trade_date"] = ""
    if "trade_date" in rules.columns and world.rng.random() < 0.5:
        line.text["executed_at"] = world.moment(line.report_date, world.rng.choice(world.clocks), rules)
        shift = world.rng.choice([1, 7, -400])
        line.text["trade_date"] = (line.report_date + timedelta(days=shift)).isoformat()


_WITH_IDS: tuple[Callable[[Builder, SourceRules, Line], object], ...] = (
    _kill, _kill, _correct, _correct, _chain, _double_cancel, _correct_after_cancel, _held, _unlinked, _missing_link,
)  # fmt: skip
_ALWAYS: tuple[Callable[[Builder, SourceRules, Line], object], ...] = (_repeat, _repeat, _bad_value, _bad_day)


def spoil(world: Builder, rules: SourceRules, trades: list[Line]) -> None:
    """One piece of trouble with one of the trades."""
    has_ids = "original_report_id" in rules.columns
    habits = _WITH_IDS + _ALWAYS + (_contradict,) if has_ids else _ALWAYS
    world.rng.choice(habits)(world, rules, world.rng.choice(trades))
