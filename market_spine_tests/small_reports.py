"""Reports small enough to work out by hand, and what became of each.

Belongs here: what the tests of the day's pass write and ask. Does not belong here: what they expect.
"""

from datetime import date
from decimal import Decimal

from market_spine_tests.driving import Platform, Row

MON, TUE, WED, THU, FRI = (date(2026, 2, day) for day in range(2, 7))
COLUMNS = (
    "facility", "report_id", "reported_at", "action", "original_report_id", "original_report_date", "trade_id",
    "symbol", "venue", "side", "executed_at", "trade_date", "price", "size", "conditions",
)  # fmt: skip
HEADER = "report_id,action,executed_at,symbol,price,size\n"
"""Of a canonical file of the fewest columns, whose rows ``row`` writes."""


def report(report_id: object = "", **fields: object) -> dict[str, str]:
    """A report of 100 ACME at 10 on Monday 10:00 New York, unless told otherwise."""
    text = dict.fromkeys(COLUMNS, "")
    text |= {"facility": "ORF", "report_id": str(report_id), "action": "new", "symbol": "ACME", "price": "10"}
    text |= {"size": "100", "executed_at": "2026-02-02T15:00:00Z", "reported_at": "2026-02-02T16:00:00Z"}
    return text | {name: str(value) for name, value in fields.items()}


def row(report_id: object = 1, **fields: object) -> str:
    """A row of the short canonical file; 100 ACME at 10 on Monday 10:00 New York unless told otherwise."""
    values = {"action": "new", "at": "2026-02-02T15:00:00Z", "symbol": "ACME", "price": "10", "size": "100"} | fields
    return ",".join(f'"{value}"' for value in (report_id, *values.values())) + "\n"


def event(action: str, report_id: object, of: object, day: date | str = "", **fields: object) -> dict[str, str]:
    """A report about another one, by its id and, where it is known, its report date."""
    link = {"original_report_id": of, "original_report_date": day, "reported_at": "2026-02-03T13:00:00Z"}
    return report(report_id, **{"action": action, **link, **fields})


def deliver(platform: Platform, day: date, *reports: dict[str, str], name: str = "") -> None:
    """A canonical file of a report date; ``name`` is what follows the date: ``_b``, ``.v2``."""
    lines = [",".join(COLUMNS), *(",".join(one[column] for column in COLUMNS) for one in reports)]
    platform.deliver("otc", f"otc_{day}{name}.csv", "\n".join(lines) + "\n")


def fates(platform: Platform, day: date, part: str = "") -> list[str]:
    """What became of each line of the live file of a report date: a status of otc_trades, or a reason."""
    text = """
        SELECT string_agg(fate, '+' ORDER BY fate) AS fates
        FROM otc_files AS f
        JOIN (SELECT file_id, line_no, status AS fate FROM otc_trades
              UNION ALL
              SELECT file_id, line_no, reason FROM otc_exceptions WHERE disposition <> 'carried') AS x USING (file_id)
        WHERE f.report_date = %s AND f.part = %s AND f.status = 'live'
        GROUP BY line_no ORDER BY line_no"""
    return [row["fates"] for row in platform.query(text, (day, part))]


def row_of(platform: Platform, symbol: str = "ACME", day: date = MON) -> Row:
    found = platform.metrics(symbol, day)
    assert found is not None, f"{symbol} has no row on {day}"
    return found


def volume(platform: Platform, symbol: str = "ACME", day: date = MON) -> Decimal:
    return row_of(platform, symbol, day)["total_volume"]
