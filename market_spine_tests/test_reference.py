"""The packaged facts in the database: copied where it holds others, left alone where it does not.

Belongs here: the copying. Does not belong here: what the facts say (``test_oracle_worlds``, ``test_calendar``).
"""

import psycopg
import pytest

from market_spine.calendar import frozen_sessions
from market_spine.otc import reference
from market_spine.warehouse.engine import Warehouse

# Every row with the transaction that wrote it: a copy shows even where its content is the same.
SESSIONS = "SELECT day, ordinal, opens_at, closes_at, xmin::text FROM otc_sessions ORDER BY day"
CONDITIONS = (
    "SELECT tape, code, valid_from, upd_last, rules_version, xmin::text FROM otc_sale_conditions ORDER BY 1, 2, 3"
)
Rows = list[tuple[object, ...]]


@pytest.fixture
def warehouse(database_url: str) -> Warehouse:
    warehouse = Warehouse(database_url)
    reference.bring_up_to_date(warehouse)
    return warehouse


def rows(warehouse: Warehouse) -> tuple[Rows, Rows]:
    with psycopg.connect(warehouse.url) as connection:
        connection.execute("SET timezone = 'UTC'")
        return connection.execute(SESSIONS).fetchall(), connection.execute(CONDITIONS).fetchall()


def content(found: tuple[Rows, Rows]) -> tuple[Rows, Rows]:
    return [row[:-1] for row in found[0]], [row[:-1] for row in found[1]]


def test_a_new_database_gets_every_session_and_every_condition(warehouse: Warehouse) -> None:
    sessions, conditions = content(rows(warehouse))
    packaged = [(one.day, number, one.open, one.close) for number, one in enumerate(frozen_sessions())]
    assert sessions == packaged
    assert len(conditions) == len(reference.sale_conditions())


def test_what_is_as_packaged_is_left_alone(warehouse: Warehouse) -> None:
    before = rows(warehouse)
    reference.bring_up_to_date(warehouse)
    assert rows(warehouse) == before


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM otc_sessions WHERE ordinal = 7",
        "UPDATE otc_sessions SET opens_at = opens_at - interval '1 second' WHERE ordinal = 4000",
        "UPDATE otc_sessions SET closes_at = closes_at + interval '1 hour' WHERE ordinal = 0",
        "UPDATE otc_sessions SET day = day - 1 WHERE ordinal = 0",
        "INSERT INTO otc_sessions SELECT '2100-01-04', -1, max(opens_at), max(closes_at) FROM otc_sessions",
        "UPDATE otc_sale_conditions SET rules_version = 'zzz'",
        "DELETE FROM otc_sale_conditions",
    ],
)
def test_whatever_differs_is_replaced(warehouse: Warehouse, change: str) -> None:
    before = content(rows(warehouse))
    with psycopg.connect(warehouse.url) as connection:
        assert connection.execute(change).rowcount
    assert content(rows(warehouse)) != before
    reference.bring_up_to_date(warehouse)
    assert content(rows(warehouse)) == before
