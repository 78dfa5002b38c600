"""Small random worlds: files of a few sessions that hold everything a real feed does to us.

Belongs here: deterministic generation of deliveries from a random.Random and knobs.
Does not belong here: any opinion about what the files mean; evaluate() has that.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from market_spine_tests.oracle.calendar import NEW_YORK, sessions_between
from market_spine_tests.oracle.files import Paper, write_files
from market_spine_tests.oracle.mischief import BAD_VALUES, spoil
from market_spine_tests.oracle.reports import CANONICAL, Delivery, SourceRules

# The three feeds of the project, told a second time: nothing is read from its declarations.
OTC = SourceRules(
    name="otc",
    columns={name: name for name in CANONICAL if name != "correction"},
    tape="finra_tdds",
    actions={
        "new": "new", "cancel": "cancel", "break": "break", "correct": "correct", "reversal": "reversal",
        "as-of": "as_of",
    },
    required=frozenset({"action", "executed_at", "symbol", "price", "size"}),
)  # fmt: skip
TAQ = SourceRules(
    name="taq",
    columns={
        "executed_at": "ts_utc", "venue": "EX", "symbol": "SYMBOL", "conditions": "COND", "size": "SIZE",
        "price": "PRICE", "correction": "CORR",
    },
    tape="cta",
    corrections={
        "0": "live", "1": "live", "7": "cancelled", "8": "cancelled",
        "10": "not_a_trade", "11": "not_a_trade", "12": "not_a_trade",
    },
    defaults={"facility": "TAQ"},
    required=frozenset({"executed_at", "symbol", "price", "size", "correction"}),
)  # fmt: skip
PIPE = SourceRules(
    name="vendor_pipe",
    columns={
        "report_id": "RecordId", "report_date": "ReportDate", "reported_at": "ReportTime", "action": "Action",
        "original_report_id": "OriginalRecordId", "original_report_date": "OriginalReportDate", "trade_id": "TradeId",
        "sequence": "SeqNo", "symbol": "Symbol", "venue": "MarketCenter", "side": "Side", "capacity": "Capacity",
        "executed_at": "TradeTime", "trade_date": "TradeDate", "price": "Price", "size": "Quantity",
        "conditions": "SaleConditions",
    },
    delimiter="|",
    quote=None,
    time_zone="America/New_York",
    tape="finra_tdds",
    actions={"N": "new", "A": "as_of", "X": "cancel", "B": "break", "C": "correct", "R": "reversal"},
    separator=" ",
    trailer=r"Trailer\|(?P<count>[0-9]+)",
    defaults={"facility": "VENDOR"},
    required=frozenset({"action", "executed_at", "symbol", "price", "size"}),
)  # fmt: skip
PIPE_TRAILER = "Trailer|{count:06d}"

# Windows with something to trip over: ordinary days, both clock changes, half days after and before a holiday.
STARTS = (date(2026, 2, 2), date(2026, 3, 5), date(2026, 10, 29), date(2025, 11, 24), date(2025, 12, 22))


@dataclass(frozen=True)
class Knobs:
    """What the world shall hold. Feeds are written with their own columns, codes and clocks."""

    feeds: tuple[SourceRules, ...] = (OTC,)
    reports: int = 150
    sessions: int = 5
    symbols: int = 4
    parts: tuple[str, ...] = ("a", "b")
    start: date | None = None
    trouble: float = 0.45
    versions: bool = True
    delivered_twice: bool = True
    broken: bool = False
    """Newer versions that are cut off in mid-row: refused, the whole one before them stays."""
    odd_paper: bool = True
    trailers: Mapping[str, str] = field(default_factory=dict)
    """Source -> its trailer line with {count} in it; the feed's rules hold the matching pattern."""


@dataclass(frozen=True)
class World:
    """Deliveries in one order of arrival, and what evaluate() needs to judge them."""

    deliveries: tuple[Delivery, ...]
    rules: Mapping[str, SourceRules]
    first_session: date
    last_session: date

    def rearranged(self, rng: random.Random) -> World:
        """The same deliveries in another order of arrival."""
        order = list(range(len(self.deliveries)))
        rng.shuffle(order)
        moved = [replace(one, order=place) for one, place in zip(self.deliveries, order, strict=True)]
        return replace(self, deliveries=tuple(sorted(moved, key=lambda one: one.order)))


@dataclass
class Line:
    """A report on its way into a file: canonical text."""

    source: str
    report_date: date
    part: str
    text: dict[str, str]


class Builder:
    """Writes the reports of one world, feed by feed."""

    def __init__(self, rng: random.Random, knobs: Knobs, days: list[date]) -> None:
        self.rng = rng
        self.knobs = knobs
        self.days = days
        self.lines: list[Line] = []
        self.next_id = 0
        names = ["ACME", "BRK.B", "x-9", "ZED", "QQ/W", "M1", "LONGNAME1234567", "Foo"]
        self.symbols = names[: knobs.symbols]
        self.bases = {name: rng.choice([0.0123, 0.97, 12.5, 49.99, 157.3, 4321.0]) for name in self.symbols}
        # Few clocks, so that trades share their instant; two lie at the very open and close.
        self.clocks = [time(4, 0, 1), time(9, 29, 59, 999999), time(9, 30), time(12, 59, 59), time(13, 0), time(16, 0)]
        self.clocks += [time(rng.randrange(8, 20), rng.randrange(60), rng.randrange(60), 250000) for _ in range(6)]

    def number(self) -> str:
        """Ids of 1 to 19 digits: as text '9' sorts after '10', and 19 digits do not fit a double."""
        self.next_id += 1
        return str(self.next_id) if self.rng.random() < 0.6 else str(9_007_199_254_740_993_000 + self.next_id)

    def moment(self, day: date, clock: time, rules: SourceRules) -> str:
        """A New York clock time, written as UTC, with an offset, or on the feed's own clock."""
        local = datetime.combine(day, clock, NEW_YORK)
        style = self.rng.choice(["zulu", "offset", "feed"])
        if style == "zulu":
            return local.astimezone(UTC).replace(tzinfo=None).isoformat(self.rng.choice("T ")) + "Z"
        if style == "offset":
            return local.isoformat(self.rng.choice("T "))
        return local.astimezone(ZoneInfo(rules.time_zone)).replace(tzinfo=None).isoformat(" ")

    def price(self, symbol: str) -> str:
        places = self.rng.choice([2, 2, 4, 6, 10])
        value = Decimal(self.bases[symbol] * self.rng.uniform(0.97, 1.03))
        if self.rng.random() < 0.04:
            value *= self.rng.choice([Decimal(100), Decimal("0.01")])
        text = f"{max(value, Decimal('0.0001')):.{places}f}"
        return text if Decimal(text) > 0 else "0.0001"

    def size(self) -> str:
        draw = self.rng.random()
        if draw < 0.05:
            return self.rng.choice(["250MM+", "1,176,262,090+", "5K+", "1.5MM+", "12,500", "10,000"])
        if draw < 0.25:
            return f"{self.rng.uniform(0.000001, 300):.{self.rng.choice([1, 3, 6])}f}".replace("0.000000", "0.5")
        return str(self.rng.choice([1, 10, 99, 100, 100, 200, 500, 9_999, 25_000]))

    def conditions(self, rules: SourceRules) -> str:
        # Weighted towards none; note-1 codes often enough that they are a symbol's only eligible print.
        codes = self.rng.choice(
            [
                "",
                "",
                "",
                "",
                "@",
                "T",
                "I",
                "U",
                "W",
                "Z",
                "P",
                "4",
                "F",
                "FI",
                "ZT",
                "ZP",
                "M",
                "Q",
                "9",
                "?",
                "&I",
                "G",
            ]
        )
        if rules.separator is not None:
            return rules.separator.join(codes)
        return self.rng.choice(["", " "]).join(codes)

    def economics(self, rules: SourceRules, day: date) -> dict[str, str]:
        symbol = self.rng.choice(self.symbols)
        declared = day.isoformat() if self.rng.random() < 0.3 else ""
        return {
            "symbol": symbol,
            "venue": self.rng.choice(["D", "OTCN", "OTCX", "b", ""]),
            "side": self.rng.choice(["B", "S", "X", ""]) if symbol != self.symbols[-1] else "",
            "capacity": self.rng.choice(["A", "P", ""]),
            "executed_at": self.moment(day, self.rng.choice(self.clocks), rules),
            "trade_date": declared,
            "price": self.price(symbol),
            "size": self.size(),
            "conditions": self.conditions(rules),
            "sequence": self.rng.choice(["", "", "7", "10", str(self.rng.randrange(200))]),
        }

    def put(self, rules: SourceRules, report_date: date, text: dict[str, str]) -> Line:
        full = dict.fromkeys(CANONICAL, "")
        full.update(text)
        full["report_date"] = report_date.isoformat()
        line = Line(rules.name, report_date, self.rng.choice(self.knobs.parts), full)
        self.lines.append(line)
        return line

    def report(self, rules: SourceRules, action: str, report_date: date, trade_date: date) -> Line:
        text = self.economics(rules, trade_date)
        text["action"] = next((code for code, meaning in rules.actions.items() if meaning == action), "")
        text["facility"] = self.rng.choice(["ORF", "ORF", "TRF"])
        seconds = self.rng.randrange(4)
        text["reported_at"] = "" if self.rng.random() < 0.03 else f"{report_date}T23:00:0{seconds}Z"
        if "report_id" in rules.columns and self.rng.random() < 0.93:
            text["report_id"] = self.number()
        elif "trade_id" in rules.columns and self.rng.random() < 0.5:
            text["trade_id"] = self.number()
        if "correction" in rules.columns:
            text["correction"] = self.rng.choice(["0"] * 12 + ["1", "7", "8", "10", "11", "12"])
        return self.put(rules, report_date, text)

    def trade(self, rules: SourceRules) -> Line:
        report_date = self.rng.choice(self.days)
        if self.rng.random() < 0.1:
            earlier = self.rng.choice([day for day in self.days if day <= report_date])
            return self.report(rules, "as_of", report_date, earlier)
        return self.report(rules, "new", report_date, report_date)

    def feed(self, rules: SourceRules) -> None:
        """Plain trades first, then trouble with them until the wanted number of reports is there."""
        wanted = len(self.lines) + self.knobs.reports
        trades = [self.trade(rules) for _ in range(max(1, round(self.knobs.reports * (1 - self.knobs.trouble))))]
        while len(self.lines) < wanted:
            spoil(self, rules, trades)


def make_world(rng: random.Random, knobs: Knobs | None = None) -> World:
    """A world drawn from the generator: the same seed and knobs give the same bytes."""
    knobs = knobs or Knobs()
    start = knobs.start or rng.choice(STARTS)
    window = sessions_between(start, start + timedelta(days=14 + 2 * knobs.sessions))
    days = window.days[: knobs.sessions]
    builder = Builder(rng, knobs, days)
    for rules in knobs.feeds:
        builder.feed(rules)
    deliveries: list[Delivery] = []
    for rules in knobs.feeds:
        paper = Paper(rules, knobs.trailers.get(rules.name), knobs.odd_paper, knobs.odd_paper and rng.random() < 0.5)
        places: dict[tuple[date, str], list[dict[str, str]]] = {}
        for line in builder.lines:
            if line.source == rules.name:
                places.setdefault((line.report_date, line.part), []).append(line.text)
        for (day, part), texts in sorted(places.items()):
            rng.shuffle(texts)
            deliveries += write_files(
                rng, paper, place=(day, part), texts=texts, versions=knobs.versions, broken=knobs.broken
            )
    if knobs.delivered_twice:
        deliveries += rng.sample(deliveries, k=len(deliveries) // 4)
    rng.shuffle(deliveries)
    numbered = tuple(replace(one, order=place) for place, one in enumerate(deliveries))
    return World(numbered, {rules.name: rules for rules in knobs.feeds}, days[0], days[-1])


__all__ = ["BAD_VALUES", "OTC", "PIPE", "PIPE_TRAILER", "STARTS", "TAQ", "Knobs", "World", "make_world"]
