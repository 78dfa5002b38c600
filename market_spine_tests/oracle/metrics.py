"""The daily metrics, formula by formula, in exact decimals; floats only where a column is a double.

Belongs here: the trade rows of a day to the value columns, and the columns that look back over sessions.
Does not belong here: which reports are trades (lifecycle.py), what a condition means (eligibility.py).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise

from market_spine_tests.oracle.calendar import Sessions
from market_spine_tests.oracle.eligibility import Flags

Value = Decimal | int | float | str | datetime | None

VALUE_COLUMNS = (
    "trade_count", "total_volume", "total_notional", "vwap_all", "vwap",
    "open_price", "high_price", "low_price", "close_price", "open_at", "high_at", "low_at", "close_at",
    "median_price", "stddev_price", "avg_trade_size", "max_trade_size", "block_count", "block_volume",
    "odd_lot_count", "fractional_count", "pre_volume", "regular_volume", "post_volume",
    "buy_volume", "sell_volume", "cross_volume",
    "venue_count", "top_venue", "top_venue_share", "venue_hhi",
    "realized_vol", "parkinson_vol", "garman_klass_vol", "roll_spread", "amihud",
    "adv5", "adv20", "adv60", "rel_volume", "prev_close", "return_cc",
    "cancelled_count", "corrected_count", "late_count", "rejected_count", "outlier_count", "capped_count",
)  # fmt: skip

OUTLIER_FACTOR = 5
OUTLIER_MIN_PRINTS = 5
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIVE_MINUTES = timedelta(minutes=5)


@dataclass(slots=True, eq=False)
class Trade:
    """A row of the trade table: one version of one trade."""

    trade_date: date
    symbol: str
    executed_at: datetime
    price: Decimal
    size: Decimal
    venue: str
    side: str
    status: str
    corrected: bool
    late: bool
    capped: bool
    outlier: bool
    flags: Flags
    source: str
    report_date: date
    part: str
    line_no: int


def rounded(value: Decimal | None, places: int) -> Decimal | None:
    """As PostgreSQL rounds numeric: half away from zero, once."""
    return None if value is None else value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)


def exact(value: Value) -> Decimal:
    """A value that must be an exact number."""
    assert isinstance(value, Decimal), value
    return value


def total(values: Sequence[Decimal]) -> Decimal:
    return sum(values, Decimal(0))


def median(values: Sequence[Decimal]) -> Decimal | None:
    if not values:
        return None
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def log_ratio(above: Decimal, below: Decimal) -> float:
    """The logarithm of a ratio; in decimals, because two close prices leave a double few digits."""
    return float((above / below).ln())


def mark_outliers(live: Sequence[Trade]) -> None:
    """Flag the live trades of one symbol and day that are far from the median of its eligible prints."""
    eligible = [trade.price for trade in live if trade.flags.volume and trade.flags.high_low]
    middle = median(eligible)
    if middle is None or len(eligible) < OUTLIER_MIN_PRINTS:
        return
    for trade in live:
        trade.outlier = trade.price > OUTLIER_FACTOR * middle or trade.price * OUTLIER_FACTOR < middle


def _weighted_mean(trades: Sequence[Trade]) -> Decimal | None:
    if not trades:
        return None
    return total([trade.price * trade.size for trade in trades]) / total([trade.size for trade in trades])


def _deviation(prices: Sequence[Decimal]) -> float | None:
    count = len(prices)
    if count < 2:
        return None
    spread = count * total([price * price for price in prices]) - total(prices) ** 2
    return float((spread / (count * (count - 1))).sqrt())


def _realized_vol(last: Sequence[Trade]) -> float | None:
    # Every New York offset of the sessions is a whole number of hours, so UTC buckets are its clock buckets.
    buckets: dict[int, Decimal] = {}
    for trade in last:
        buckets[(trade.executed_at - _EPOCH) // _FIVE_MINUTES] = trade.price
    prices = [buckets[bucket] for bucket in sorted(buckets)]
    if len(prices) < 2:
        return None
    return math.sqrt(math.fsum(log_ratio(b, a) ** 2 for a, b in pairwise(prices)))


def _roll_spread(last: Sequence[Trade]) -> float | None:
    changes = [b.price - a.price for a, b in pairwise(last)]
    pairs = list(pairwise(changes))
    count = len(pairs)
    if count < 2:
        return None
    products = total([now * before for before, now in pairs])
    sums = total([now for _, now in pairs]) * total([before for before, _ in pairs])
    covariance = (count * products - sums) / (count * (count - 1))
    return None if covariance >= 0 else 2 * float((-covariance).sqrt())


def _last_eligible(priced: Sequence[Trade]) -> list[Trade]:
    """The prints that may open and close: when none may, the first of those that may be the only one."""
    last = [trade for trade in priced if trade.flags.last]
    return last or [trade for trade in priced if trade.flags.last_if_only][:1]


def _prices(live: Sequence[Trade], volume: Sequence[Trade]) -> dict[str, Value]:
    priced = [trade for trade in volume if trade.flags.high_low and not trade.outlier]
    last = _last_eligible(priced)
    prices = [trade.price for trade in priced]
    high, low = (max(prices), min(prices)) if prices else (None, None)
    opening, closing = (last[0], last[-1]) if last else (None, None)
    notional = total([trade.price * trade.size for trade in volume])
    parkinson = garman_klass = amihud = None
    if high is not None and low is not None:
        width = log_ratio(high, low) ** 2
        parkinson = math.sqrt(width / (4 * math.log(2)))
        if opening is not None and closing is not None:
            move = log_ratio(closing.price, opening.price)
            garman_klass = math.sqrt(max(0.0, 0.5 * width - (2 * math.log(2) - 1) * move**2))
            amihud = 1e6 * abs(move) / float(notional)
    return {
        "vwap": rounded(_weighted_mean(priced), 10),
        "open_price": None if opening is None else opening.price,
        "open_at": None if opening is None else opening.executed_at,
        "high_price": high,
        "high_at": next((trade.executed_at for trade in priced if trade.price == high), None),
        "low_price": low,
        "low_at": next((trade.executed_at for trade in priced if trade.price == low), None),
        "close_price": None if closing is None else closing.price,
        "close_at": None if closing is None else closing.executed_at,
        "median_price": rounded(median(prices), 10),
        "stddev_price": _deviation(prices),
        "realized_vol": _realized_vol(last),
        "parkinson_vol": parkinson,
        "garman_klass_vol": garman_klass,
        "roll_spread": _roll_spread(last),
        "amihud": amihud,
    }


def _volumes(volume: Sequence[Trade], opens: datetime, closes: datetime) -> dict[str, Value]:
    sizes = [trade.size for trade in volume]
    shares = total(sizes)
    notional = total([trade.price * trade.size for trade in volume])
    blocks = [t.size for t in volume if t.size >= 10_000 or t.price * t.size >= 200_000]
    has_sides = any(trade.side != "" for trade in volume)

    def of_side(side: str) -> Decimal | None:
        return total([trade.size for trade in volume if trade.side == side]) if has_sides else None

    return {
        "trade_count": len(volume),
        "total_volume": shares,
        "total_notional": rounded(notional, 10),
        "vwap_all": rounded(_weighted_mean(volume), 10),
        "avg_trade_size": rounded(shares / len(sizes), 6) if sizes else None,
        "max_trade_size": max(sizes, default=None),
        "block_count": len(blocks),
        "block_volume": total(blocks),
        "odd_lot_count": sum(1 for size in sizes if size < 100),
        "fractional_count": sum(1 for size in sizes if size % 1 != 0),
        "pre_volume": total([trade.size for trade in volume if trade.executed_at < opens]),
        "regular_volume": total([trade.size for trade in volume if opens <= trade.executed_at < closes]),
        "post_volume": total([trade.size for trade in volume if trade.executed_at >= closes]),
        "buy_volume": of_side("B"),
        "sell_volume": of_side("S"),
        "cross_volume": of_side("X"),
        **_venues(volume, shares),
    }


def _venues(volume: Sequence[Trade], shares: Decimal) -> dict[str, Value]:
    venues: dict[str, Decimal] = defaultdict(Decimal)
    for trade in volume:
        venues[trade.venue] += trade.size
    if not venues:
        return {"venue_count": 0, "top_venue": None, "top_venue_share": None, "venue_hhi": None}
    top = min(venues, key=lambda name: (-venues[name], name))
    return {
        "venue_count": len(venues),
        "top_venue": top,
        "top_venue_share": rounded(venues[top] / shares, 10),
        "venue_hhi": rounded(total([size * size for size in venues.values()]) / shares**2, 10),
    }


def day_of_symbol(trades: Sequence[Trade], rejected: int, opens: datetime, closes: datetime) -> dict[str, Value]:
    """The columns of one symbol and day that need nothing but the day. Trades stand in their order."""
    live = [trade for trade in trades if trade.status == "live"]
    volume = [trade for trade in live if trade.flags.volume]
    return {
        **_volumes(volume, opens, closes),
        **_prices(live, volume),
        "cancelled_count": sum(1 for trade in trades if trade.status == "cancelled"),
        "corrected_count": sum(1 for trade in live if trade.corrected),
        "late_count": sum(1 for trade in live if trade.late),
        "rejected_count": rejected,
        "outlier_count": sum(1 for trade in live if trade.outlier),
        "capped_count": sum(1 for trade in live if trade.capped),
        "input_rows": len(trades) + rejected,
    }


def look_back(rows: Mapping[tuple[str, date], dict[str, Value]], computed: set[date], sessions: Sessions) -> None:
    """Add the columns that need earlier sessions, in place."""
    closes: dict[str, Decimal] = {}
    for symbol, day in sorted(rows):
        row = rows[symbol, day]
        for length in (5, 20, 60):
            days = sessions.before(day, length)
            if days is None or not computed.issuperset(days):
                row[f"adv{length}"] = None
                continue
            volumes = [rows[symbol, one]["total_volume"] for one in days if (symbol, one) in rows]
            row[f"adv{length}"] = rounded(total([exact(one) for one in volumes]) / length, 6)
        typical = row["adv20"]
        row["rel_volume"] = float(exact(row["total_volume"]) / exact(typical)) if typical else None
        previous, close = closes.get(symbol), row["close_price"]
        row["prev_close"] = previous
        row["return_cc"] = float(exact(close) / previous - 1) if close and previous else None
        if isinstance(close, Decimal):
            closes[symbol] = close
