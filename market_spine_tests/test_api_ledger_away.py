"""The API without the ledger's database: what is refused, what goes on.

Belongs here: errors that need no deployment to be seen. Does not belong here: a webserver that is away, a full queue
(``test_api_ledger``).
"""

from pathlib import Path

import pytest

from market_spine.api.app import build_app
from market_spine.api.ledger_access import problem_of
from market_spine.errors import CalendarError, LedgerError, WarehouseError
from market_spine.settings import Tokens
from market_spine_tests.ledger_api import EXECUTIONS, INVENTORY, NOBODY, TOKEN, post
from market_spine_tests.serving import FIRST, METRICS, assert_problem, serving, settings_for


@pytest.mark.parametrize("url", ["postgresql://nobody@127.0.0.1:1/none", ""])
def test_without_dagsters_database_metrics_go_on(database_url: str, tmp_path: Path, url: str) -> None:
    tokens = Tokens(TOKEN)
    with serving(settings_for(database_url, tmp_path, dagster_database_url=url, api_operate_tokens=tokens)) as api:
        for path in (EXECUTIONS, f"{EXECUTIONS}/{NOBODY}", f"{EXECUTIONS}/{NOBODY}/events", INVENTORY):
            assert_problem(api.get(path), "dagster_unavailable", says="DAGSTER_DATABASE_URL")
        answer = post(api, EXECUTIONS, {"pipeline": "otc_ingest", "session": str(FIRST)})
        assert_problem(answer, "dagster_unavailable")
        assert api.get(METRICS).status_code == 200


def test_a_database_without_dagsters_tables_is_not_ready(database_url: str, tmp_path: Path) -> None:
    with serving(settings_for(database_url, tmp_path, dagster_database_url=database_url)) as api:
        assert_problem(api.get(EXECUTIONS), "not_ready", says="runs")


def test_every_error_of_the_ledger_is_a_problem() -> None:
    for error, code in (
        (LedgerError("x"), "dagster_unavailable"),
        (WarehouseError("x"), "database_unavailable"),
        (CalendarError("x"), "invalid_parameter"),
    ):
        assert problem_of(error).code == code


def test_an_api_that_knows_no_webserver_says_so(database_url: str, tmp_path: Path) -> None:
    settings = settings_for(
        database_url, tmp_path, dagster_database_url=database_url, api_operate_tokens=Tokens(TOKEN), webserver_url=""
    )
    with pytest.raises(LedgerError, match="MARKET_SPINE_WEBSERVER"):
        _ = build_app(settings).state.context.ledger.desk
