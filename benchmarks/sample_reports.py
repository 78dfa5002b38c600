"""How an odd report is written: a trade, a late trade, a report about another report.

What belongs here: the few makers and bad values that `sample_story.py` tells its story with.
What does not: the story, ordinary trades (`sample_market.py`).
"""

from datetime import date

from benchmarks.sample_market import SESSIONS, Report, instant, report_id

D1, D2, D3, D4, D5, D6, D7 = SESSIONS

NO_LINK = {"original_report_id": "", "original_report_date": ""}
BAD_VALUES = [
    ("price", "-1.25", "non_positive_price", "a negative price"),
    ("price", "0.0000", "non_positive_price", "a zero price"),
    ("price", "-49903.25", "non_positive_price", "an absurd print"),
    ("price", "NaN", "bad_price", "not a number"),
    ("price", "inf", "bad_price", "infinite"),
    ("price", "1e400", "bad_price", "over any limit"),
    ("price", "", "bad_price", "blank"),
    ("price", "3.41000000001", "bad_price", "eleven decimals"),
    ("size", "0", "non_positive_size", "no shares"),
    ("size", "-100", "non_positive_size", "negative shares"),
    ("size", "12.3456789", "bad_size", "seven decimals"),
    ("size", "lots", "bad_size", "a word for a size"),
    ("symbol", "", "bad_symbol", "no symbol"),
    ("symbol", "AC ME!", "bad_symbol", "a symbol with a blank and a bang"),
    ("executed_at", "yesterday", "bad_time", "a word for a time"),
]
"""Column, text no report may have there, the reason it is quarantined for, the same in words."""
# Apart from the ordinary reports' numbers, so that a report can refer to one of another day by name.
_FIRST = 900_000


def story_id(day: date, number: int) -> str:
    """The report id of the story's n-th report of a day."""
    return report_id(day, _FIRST + number)


def new(day: date, number: int, clock: str, symbol: str, price: str, size: str, note: str = "", **other: str) -> Report:
    """A report of a trade: executed at `clock` New York, reported half a second later."""
    values = {
        "facility": "ORF",
        "report_id": story_id(day, number),
        "report_date": day.isoformat(),
        "reported_at": instant(day, f"{clock}.750000"),
        "action": "new",
        "symbol": symbol,
        "venue": "OTCN",
        "side": "B",
        "capacity": "P",
        "executed_at": instant(day, f"{clock}.250000"),
        "price": price,
        "size": size,
    }
    return Report(values | other, note)


def late(day: date, number: int, executed: date, symbol: str, price: str, size: str, note: str, **other: str) -> Report:
    """An as-of report: arrives on `day` at 08:01 New York, was executed at 11:00 of an earlier session."""
    moved = {"action": "as-of", "executed_at": instant(executed, "11:00:00.500000")} | other
    return new(day, number, "08:01:00", symbol, price, size, note, **moved)


def about(action: str, day: date, number: int, clock: str, target: Report, note: str, **changed: str) -> Report:
    """A report about another one: repeats its economics and refers to it."""
    values = dict(target.values) | {
        "report_id": story_id(day, number),
        "report_date": day.isoformat(),
        "reported_at": instant(day, f"{clock}.750000"),
        "action": action,
        "original_report_id": target["report_id"],
        "original_report_date": target["report_date"],
    }
    return Report(values | changed, note)
