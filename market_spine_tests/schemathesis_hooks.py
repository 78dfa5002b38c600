"""What schemathesis has to know that no schema can say: how parameters of one request hang together.

Belongs here: hooks for ``schemathesis run``. Does not belong here: anything that hides an answer from a check.
"""

from datetime import date
from typing import Any

import schemathesis
from hypothesis import strategies

from market_spine.api import cursors

KEYS: dict[str, list[Any]] = {
    "metrics": ["ACME", "2026-02-03"],
    "trades": ["ACME", "2026-02-03T15:00:00+00:00", 1],
    "quality": ["2026-02-03"],
    "quarantine": ["2026-02-03", 1, 2, 1],
    "symbols": ["ACME"],
    "executions": [4711],
    "events": [4711],
    "dead-letters": ["2026-02-03", "otc_trades_raw", 1],
}
LAST_KNOWN = "2026-12-31"
"""Sessions are filled up to here; after the end of the frozen calendar nobody knows the holidays, so it is refused."""

for name, key in KEYS.items():
    # A cursor is a word somebody was given: an arbitrary one is rightly refused.
    schemathesis.openapi.format(f"{name}-cursor", strategies.just(cursors.write(name, key)))


@schemathesis.hook
def map_query(_context: Any, query: dict[str, Any] | None) -> dict[str, Any] | None:
    """Put start before end, and ask for a filled calendar only with symbols and both ends."""
    if not query:
        return query
    start, end = (query.get(name) for name in ("start", "end"))
    if _is_day(start) and _is_day(end) and str(end) < str(start):
        query["start"], query["end"] = end, start
    complete = query.get("symbol") and _is_day(query.get("start")) and _is_day(query.get("end"))
    if query.get("fill") == "calendar" and not (complete and str(query["end"]) <= LAST_KNOWN):
        query["fill"] = "none"
    return query


def _is_day(value: object) -> bool:
    try:
        return bool(date.fromisoformat(str(value))) and len(str(value)) == len("2026-02-03")
    except ValueError:
        return False
