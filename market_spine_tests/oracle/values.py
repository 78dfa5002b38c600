"""From text to typed values, and the first reason why a report cannot be believed.

Belongs here: instants, dates, prices, sizes, the order of the quarantine reasons.
Does not belong here: identity, links between reports, what is computed from them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from zoneinfo import ZoneInfo

from market_spine_tests.oracle.calendar import Sessions, new_york_date
from market_spine_tests.oracle.reports import BLANKS, CANONICAL, Delivery, Row, SourceRules

KILLS = frozenset({"cancel", "break", "reversal"})
SYMBOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9.\-/]{0,14}")
_INSTANT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[ T]([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.([0-9]{1,9}))?)?)"
    r" ?(?:(Z)|([+-][0-9]{2})(?::?([0-9]{2}))?)?"
)
_DATE = re.compile(r"([0-9]{4})-?([0-9]{2})-?([0-9]{2})")
_PLAIN = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,6})?")
_GROUPED = re.compile(r"[+-]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?")
_BOUND = re.compile(r"([0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(\.[0-9]+)?(MM|K)?(\+)?")
_UNITS = {None: 1, "K": 1_000, "MM": 1_000_000}


@dataclass(slots=True, eq=False)
class Report:
    """A row with its typed values. `reason` is the validity reason; the fate is filled in by lifecycle.py."""

    source: str
    report_date: date
    part: str
    line_no: int
    content: tuple[object, ...]
    text: dict[str, str]
    action: str | None
    standing: str | None
    reported_at: datetime | None
    executed_at: datetime | None
    trade_date: date | None
    trade_date_valid: bool
    price: Decimal | None
    size: Decimal | None
    capped: bool
    original_date: date | None
    reason: str | None
    disposition: str | None = None
    why: str | None = None
    home: date = field(default=date.min)

    @property
    def linked(self) -> bool:
        return self.text["original_report_id"] != ""

    @property
    def place(self) -> tuple[str, date, str, int]:
        return (self.source, self.report_date, self.part, self.line_no)

    def ends_as(self, disposition: str, why: str | None = None, home: date | None = None) -> None:
        self.disposition = disposition
        self.why = why
        if home is not None:
            self.home = home


def parse_instant(text: str, zone: ZoneInfo) -> datetime | str:
    """The instant in UTC, or the reason why there is none."""
    found = _INSTANT.fullmatch(text)
    if found is None:
        return "bad_time"
    day, clock, fraction, zulu, hours, minutes = found.groups()
    try:
        local = datetime.fromisoformat(f"{day} {clock.partition('.')[0]}")
        if fraction:
            micros = (Decimal(f"0.{fraction}") * 1_000_000).quantize(Decimal(1), ROUND_HALF_EVEN)
            local += timedelta(microseconds=int(micros))
        if zulu:
            return local.replace(tzinfo=UTC)
        if hours:
            ahead = timedelta(hours=int(hours[1:]), minutes=int(minutes or 0))
            return (local + ahead if hours[0] == "-" else local - ahead).replace(tzinfo=UTC)
        earlier, later = local.replace(tzinfo=zone, fold=0), local.replace(tzinfo=zone, fold=1)
        instant = earlier.astimezone(UTC)
        if earlier.utcoffset() != later.utcoffset():
            there_and_back = instant.astimezone(zone).replace(tzinfo=None)
            return "ambiguous_time" if there_and_back == local else "nonexistent_time"
        return instant
    except (ValueError, OverflowError):
        return "bad_time"


def parse_date(text: str) -> date | None:
    found = _DATE.fullmatch(text)
    try:
        return date(*(int(part) for part in found.groups())) if found else None
    except ValueError:
        return None


def _number(text: str) -> Decimal | None:
    """A plain number, or one with thousands separators in their places. No hexadecimal, no underscores, no NaN."""
    if _PLAIN.fullmatch(text):
        return Decimal(text)
    return Decimal(text.replace(",", "")) if _GROUPED.fullmatch(text) else None


def decimals(value: Decimal) -> int:
    """Digits after the point that mean something; trailing zeros do not."""
    _, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int), value
    zeros = len(digits) - len("".join(map(str, digits)).rstrip("0"))
    return 0 if value == 0 else max(0, -exponent - zeros)


def parse_price(text: str) -> tuple[Decimal | None, str | None]:
    """The price, or None and the reason. NUMERIC(20,10) holds nothing from 1e10 up."""
    value = _number(text)
    if value is None or abs(value) >= Decimal(10) ** 10 or decimals(value) > 10:
        return None, "bad_price"
    return (value, None) if value > 0 else (None, "non_positive_price")


def parse_size(text: str) -> tuple[Decimal | None, bool, str | None]:
    """The size and whether it is a lower bound, or None and the reason."""
    value, capped = _number(text), False
    bound = _BOUND.fullmatch(text)
    if value is None and bound is not None:
        value = Decimal(bound[1].replace(",", "") + (bound[2] or "")) * _UNITS[bound[3]]
        capped = bound[4] is not None
    if value is None or abs(value) >= Decimal(10) ** 14 or decimals(value) > 6:
        return None, False, "bad_size"
    return (value, capped, None) if value > 0 else (None, False, "non_positive_size")


def _action_of(code: str, rules: SourceRules) -> str | None:
    if "action" not in rules.columns and "action" not in rules.defaults:
        return "new"
    return rules.actions.get(code)


def _standing_of(code: str, rules: SourceRules) -> str | None:
    if "correction" not in rules.columns and "correction" not in rules.defaults:
        return "live"
    return rules.corrections.get(code)


def type_row(delivery: Delivery, row: Row, rules: SourceRules, sessions: Sessions) -> Report:
    """Everything the row says, typed, with the first reason that applies."""
    text = {name: row.text[name].strip(BLANKS) for name in CANONICAL}
    zone = ZoneInfo(rules.time_zone)
    action = _action_of(text["action"], rules)
    standing = _standing_of(text["correction"], rules)
    executed = parse_instant(text["executed_at"], zone)
    reported = parse_instant(text["reported_at"], zone)
    time_reason = executed if isinstance(executed, str) else None
    declared = text["trade_date"]
    by_clock = None if isinstance(executed, str) else new_york_date(executed)
    trade_date = parse_date(declared) if declared else by_clock
    trade_date_valid = trade_date is not None and trade_date in sessions and trade_date <= delivery.report_date
    price, price_reason = parse_price(text["price"])
    size, capped, size_reason = parse_size(text["size"])
    original_date = parse_date(text["original_report_date"])
    linked = text["original_report_id"] != "" and (action in KILLS or action == "correct")
    unreadable = text["original_report_date"] != "" and original_date is None
    # An event that points at a date without a session can never find its trade: holding it would be for ever.
    dead_end = linked and original_date is not None and sessions.dead(original_date)
    bad_link = "bad_original_date" if unreadable or dead_end else None
    # A linked cancel needs its link and nothing else: its price may be blank and the trade is dead all the same.
    if linked and action in KILLS:
        reasons = ["bad_correction" if standing is None else None, bad_link]
    else:
        reasons = [
            "bad_action" if action is None else None,
            "bad_correction" if standing is None else None,
            "bad_symbol" if SYMBOL.fullmatch(text["symbol"]) is None else None,
            time_reason,
            "bad_trade_date" if declared and trade_date is None else None,
            "not_a_session" if trade_date is not None and not trade_date_valid else None,
            price_reason,
            size_reason,
            bad_link,
        ]
    return Report(
        source=delivery.source,
        report_date=delivery.report_date,
        part=delivery.part,
        line_no=row.line_no,
        content=row.content,
        text=text,
        action=action,
        standing=standing,
        reported_at=None if isinstance(reported, str) else reported,
        executed_at=None if isinstance(executed, str) else executed,
        trade_date=trade_date,
        trade_date_valid=trade_date_valid,
        price=price,
        size=size,
        capped=capped,
        original_date=original_date,
        reason=next((reason for reason in reasons if reason is not None), None),
        home=trade_date if trade_date is not None and trade_date_valid else delivery.report_date,
    )
