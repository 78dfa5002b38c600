"""The ordinary part of the bundled samples: symbols, a small market that moves, and the reports about it.

What belongs here: the shape of a report, the made-up symbols, the trades nothing is wrong with.
What does not: the odd reports (`sample_story.py`), files and formats (`samples.py`).

Only `Random.random` is used, whose sequence Python guarantees for a seed; the other methods may change.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
SESSIONS = tuple(date(2026, 3, day) for day in (4, 5, 6, 9, 10, 11, 12))

# symbol: (price in USD, how often it trades against the others). All are invented.
SYMBOLS: dict[str, tuple[str, int]] = {
    "ACME": ("24.10", 26),
    "HUMPX": ("0.0004", 14),
    "OTTRQ": ("0.0009", 12),
    "BRVOY": ("61.30", 11),
    "ECHOQ": ("0.0125", 9),
    "CNTLF": ("8.75", 8),
    "GLDRF": ("0.185", 7),
    "FIZZB": ("3.41", 6),
    "DRGNY": ("112.40", 6),
    "INKWF": ("0.92", 5),
    "JOLTY": ("19.80", 5),
    "NIMBF": ("0.031", 4),
    "LMNQY": ("5.60", 3),
    "KRTNF": ("245.10", 3),
    "MOTHP": ("14.20", 2),
    "PLNKF": ("1.27", 2),
    "RVR.A": ("1002.50", 1),
}
VENUES = ("OTCN", "OTCX", "OTCN", "ARCA", "XOTC", "ORFN")
_RARE_CONDITIONS = ("W", "Z", "4", "P", "C", "N", "R", "U")
_OPEN, _CLOSE = 9.5 * 3600, 16 * 3600


@dataclass
class Report:
    """One row of a file before a format is chosen. `note` says what is odd about it and what becomes of it."""

    values: dict[str, str]
    note: str = ""
    tags: set[str] = field(default_factory=set)

    def __getitem__(self, name: str) -> str:
        return self.values.get(name, "")


def report_id(report_date: date, number: int) -> str:
    """19 digits, neighbours one apart: through a float they would all be the same."""
    return f"71000{report_date:%Y%m%d}{number:06d}"


def instant(day: date, clock: str) -> str:
    """A New York wall time of a day as text in UTC, microseconds and Z."""
    local = datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=NEW_YORK)
    return utc_text(local)


def utc_text(at: datetime) -> str:
    """An aware moment as the canonical feed writes it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def ordinary_trades(
    session: date, count: int, seed: int, symbols: dict[str, tuple[str, int]] = SYMBOLS
) -> list[Report]:
    """`count` new trades of a session, in the order in which they were executed. Every symbol trades on every day."""
    rng = Random(seed)
    firsts = list(symbols)
    names = [name for name, (_, weight) in symbols.items() for _ in range(weight)]
    prices = {name: float(price) * (1 + 0.06 * (rng.random() - 0.5)) for name, (price, _) in symbols.items()}
    midnight = datetime.fromisoformat(f"{session}T00:00").replace(tzinfo=NEW_YORK)
    moments = sorted(_clock(rng) for _ in range(count))
    reports = []
    for number, seconds in enumerate(moments, start=1):
        symbol = firsts[number - 1] if number <= len(firsts) else names[int(rng.random() * len(names))]
        prices[symbol] *= math.exp(0.004 * (rng.random() + rng.random() + rng.random() - 1.5))
        executed = midnight + timedelta(microseconds=int(seconds * 1_000_000))
        reported = executed + timedelta(microseconds=int(8_000_000 * rng.random() ** 3) + 1500)
        size = _size(rng, prices[symbol])
        values = {
            "facility": "ORF",
            "report_id": report_id(session, number),
            "report_date": session.isoformat(),
            "reported_at": utc_text(reported),
            "action": "new",
            "symbol": symbol,
            "venue": VENUES[int(rng.random() * len(VENUES))],
            "side": "BSBSX"[int(rng.random() * 5)],
            "capacity": "PAPM"[int(rng.random() * 4)],
            "executed_at": utc_text(executed),
            "price": _price(rng, prices[symbol]),
            "size": size,
            "conditions": _conditions(rng, seconds, size),
        }
        reports.append(Report(values))
    return reports


def in_order(reports: Sequence[Report]) -> list[Report]:
    """By the moment of the report, as a facility writes them."""
    return sorted(reports, key=lambda report: (report["reported_at"], report["report_id"]))


def _clock(rng: Random) -> float:
    part = rng.random()
    if part < 0.04:
        return 8 * 3600 + rng.random() * (_OPEN - 8 * 3600)
    if part < 0.92:
        # Busy at both ends of the session.
        return _OPEN + (0.5 - 0.5 * math.cos(math.pi * rng.random())) * (_CLOSE - _OPEN)
    return _CLOSE + rng.random() ** 3 * 3.9 * 3600


def _price(rng: Random, value: float) -> str:
    if value < 0.01:
        places = 10 if rng.random() < 0.2 else 6
    elif value < 1:
        places = 4
    else:
        places = 6 if rng.random() < 0.05 else 2
    return f"{Decimal(value).quantize(Decimal(1).scaleb(-places))}"


def _size(rng: Random, price: float) -> str:
    part = rng.random()
    if price < 0.05:
        return str(5_000 * (1 + int(80 * rng.random() ** 3)))
    if part < 0.03:
        places = 1 + int(rng.random() * 6)
        unit = Decimal(1).scaleb(-places)
        return f"{max(unit, Decimal(rng.random() * 30).quantize(unit))}"
    if part < 0.25:
        return str(1 + int(rng.random() * 99))
    return str(100 * (1 + int(30 * rng.random() ** 4)))


def _conditions(rng: Random, seconds: float, size: str) -> str:
    codes = "" if _OPEN <= seconds < _CLOSE else "T"
    if Decimal(size) < 100 and rng.random() < 0.8:
        codes += "I"
    if rng.random() < 0.05:
        codes += _RARE_CONDITIONS[int(rng.random() * len(_RARE_CONDITIONS))]
    return codes
