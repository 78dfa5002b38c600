"""Writes over HTTP: the token that may, addresses, and how work is handed in.

Belongs here: what several test modules ask of the ledger's routes. Does not belong here: what they expect.
"""

from datetime import date
from typing import Any

import httpx

from market_spine.calendar import TradingCalendar
from market_spine_tests.deployed import Deployed
from market_spine_tests.serving import Api

DAYS = TradingCalendar(date(2026, 1, 2)).sessions(end=date(2026, 6, 30))
TOKEN = "operate-0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
EXECUTIONS, LETTERS, INVENTORY = "/api/v1/executions", "/api/v1/dead-letters", "/api/v1/inventory"
NOBODY = "00000000-0000-4000-8000-000000000000"
LETTER = """
INSERT INTO otc_dead_letters (asset, partition, reason, tries, retries, first_failed_at, last_failed_at, run_id)
VALUES (%s, %s, 'no file has landed', 1, 0, now(), now(), %s) RETURNING id
"""


def post(api: Api, path: str, body: object = None, **headers: str) -> httpx.Response:
    """A POST with that token; headers as keywords."""
    more = {name.replace("_", "-"): text for name, text in headers.items()}
    return api.ask("POST", path, {**BEARER, **more}, **({} if body is None else {"json": body}))


def submit(api: Api, day: date = DAYS[0], **more: Any) -> str:
    """Hand in a session; the id of its execution."""
    answer = post(api, EXECUTIONS, {"pipeline": "otc_ingest", "session": str(day), **more})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def a_letter(site: Deployed, day: date = DAYS[0], asset: str = "otc_trades_raw") -> int:
    """An open dead letter; its number."""
    with site.warehouse.connect() as connection:
        row = connection.execute(LETTER, (asset, day, NOBODY)).fetchone()
    assert row
    return int(str(row[0]))
