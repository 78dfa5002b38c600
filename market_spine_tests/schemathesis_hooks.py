"""What schemathesis has to know that no schema can say: how parameters of one request hang together.

Belongs here: hooks for ``schemathesis run``. Does not belong here: anything that hides an answer from a check.
"""

import os
import re
from datetime import date
from itertools import count
from typing import Any
from zlib import crc32

import schemathesis
from hypothesis import strategies

from market_spine.api import cursors
from market_spine.api.executions import LOGICAL_KEY
from market_spine.calendar import TradingCalendar

KEYS: dict[str, list[Any]] = {
    "metrics": ["ACME", "2026-02-03"],
    "revisions": ["2026-02-03", 1],
    "trades": ["ACME", "2026-02-03T15:00:00+00:00", 1],
    "quality": ["2026-02-03"],
    "quarantine": ["2026-02-03", 1, 2, 1],
    "symbols": ["ACME"],
    "executions": [4711],
    "events": [4711],
    "dead-letters": ["2026-02-03", "otc_trades_raw", 1],
}
KEY = re.compile(r"[!-~]{1,240}")
_number = count()
NUMBERS = 40
"""Dead letters of the tests have numbers below; 0 is nobody's, and so are the last."""
SESSIONS = [str(day) for day in TradingCalendar(date(2026, 1, 2)).sessions(end=date(2026, 3, 31))]
LAST_KNOWN = "2026-12-31"
"""Sessions are filled up to here; after the end of the frozen calendar nobody knows the holidays, so it is refused."""

for name, key in KEYS.items():
    # A cursor is a word somebody was given: an arbitrary one is rightly refused.
    schemathesis.openapi.format(f"{name}-cursor", strategies.just(cursors.write(name, key)))


@schemathesis.auth()
class _Token:
    """The token of the environment, where there is one."""

    def get(self, _case: Any, _context: Any) -> str:
        return os.environ.get("SCHEMATHESIS_TOKEN", "")

    def set(self, case: Any, token: str, _context: Any) -> None:
        if token:
            case.headers = {**(case.headers or {}), "Authorization": f"Bearer {token}"}


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


@schemathesis.hook
def map_path_parameters(_context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Ask mostly for dead letters that there are: any whole number would do for the schema."""
    number = (path_parameters or {}).get("id")
    if isinstance(number, int) and number > 0:
        return {**(path_parameters or {}), "id": number % NUMBERS}
    return path_parameters


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """The same for what cannot stand in the schema of a body, in every phase.

    Only where a value is one already: what breaks its schema goes out as it is.
    """
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and KEY.fullmatch(key):
        # Sent every time once, that of the example too: with another body it is rightly refused.
        case.headers["Idempotency-Key"] = f"{key}{next(_number)}"
    if isinstance(case.body, dict):
        case.body = case.body | _possible(case.body)


def _possible(body: dict[str, Any]) -> dict[str, str]:
    """Sessions that exist, in their order, and a key that begins with its pipeline."""
    changed = {name: _session(body[name]) for name in ("session", "first", "last") if _is_day(body.get(name))}
    if "first" in changed and "last" in changed:
        changed["first"], changed["last"] = sorted((changed["first"], changed["last"]))
    key, pipeline = body.get("logical_key"), body.get("pipeline")
    if isinstance(pipeline, str) and isinstance(key, str) and re.search(LOGICAL_KEY, key):
        changed["logical_key"] = f"{pipeline}:{key.partition(':')[2]}"
    return changed


def _session(word: str) -> str:
    return SESSIONS[crc32(word.encode()) % len(SESSIONS)]


def _is_day(value: object) -> bool:
    try:
        return bool(date.fromisoformat(str(value))) and len(str(value)) == len("2026-02-03")
    except ValueError:
        return False
