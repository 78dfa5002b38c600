"""From a POST to the metrics: the API, a real webserver, a real daemon, both databases."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from market_spine.settings import Tokens
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine_tests.conftest import DatabaseFactory
from market_spine_tests.deployed import Deployed, deployed
from market_spine_tests.orchestrated import DAYS, deliver
from market_spine_tests.serving import METRICS, exact, serving

TOKEN = "operate-0123456789abcdef"


@pytest.fixture(scope="module")
def site(
    server: EmbeddedServer, new_database: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    tokens = {"api_operate_tokens": Tokens(TOKEN)}
    with deployed(server, new_database, tmp_path_factory.mktemp("e2e"), automation=False, settings=tokens) as made:
        yield made


@pytest.mark.slow
def test_a_session_is_submitted_polled_and_read(site: Deployed) -> None:
    day = DAYS[0]
    deliver(site.settings, day)
    with serving(site.settings) as api:
        answer = api.ask(
            "POST",
            "/api/v1/executions",
            {"Authorization": f"Bearer {TOKEN}", "Idempotency-Key": "end-to-end"},
            json={"pipeline": "otc_full_refresh", "session": str(day)},
        )
        assert answer.status_code == 202, answer.text
        place = answer.headers["location"]

        def ended() -> dict[str, Any] | None:
            seen: dict[str, Any] = api.get(place).json()
            return seen if seen["status"] in ("SUCCESS", "FAILURE", "CANCELED") else None

        seen = site.wait_for(ended, 120)
        assert (seen["status"], seen["failure"]) == ("SUCCESS", None)
        assert seen["materialized_partitions"] == 3
        assert any(row["kind"] == "PIPELINE_SUCCESS" for row in api.data(f"{place}/events"))
        found = exact(api.get(f"{METRICS}?symbol=ACME&start={day}&end={day}"))["data"]
        assert [row["symbol"] for row in found] == ["ACME"]
        assert found[0]["vwap"] > Decimal(0)
        inventory = api.get(f"/api/v1/inventory?since={day}&asset=otc_metrics_daily").json()
        assert inventory["counts"][0]["present"] == 1
