"""The page's links into the Dagster UI mean something to the Dagster that is installed.

Belongs here: the two kinds of link, opened in its real UI. Does not belong here: the page itself (``test_page``).
"""

import pytest
from playwright.sync_api import expect

from market_spine.warehouse.embedded import EmbeddedServer
from market_spine_tests.browsing import browser, program, served
from market_spine_tests.conftest import DatabaseFactory
from market_spine_tests.deployed import deployed
from market_spine_tests.orchestrated import DAYS, deliver


@pytest.mark.slow
def test_links_open_the_session_of_the_table_and_the_run_that_failed(
    server: EmbeddedServer, new_database: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> None:
    program()
    good, failed = DAYS[:2]
    with deployed(server, new_database, tmp_path_factory.mktemp("links"), automation=False) as site:
        deliver(site.settings, good)
        deliver(site.settings, failed).write_text("no header that anybody knows\n1\n")
        runs = [site.launch("otc_full_refresh", day) for day in (good, failed)]
        assert site.wait_until_finished(*runs) == ["SUCCESS", "FAILURE"]
        with served(site.environment) as api, browser() as running:
            page = running.new_page()
            # Its first visit asks everybody for an e-mail address.
            page.goto(site.webserver_url)
            page.get_by_role("button", name="Skip").click()
            address = f"{api.origin}/?symbol=ACME&start={good}&end={failed}&session="
            for link, shown in (
                (f"{address}{good}", "otc_metrics_daily of 4 Mar 2026 in Dagster"),
                (f"{address}{failed}", f"Failed run {runs[1][:8]} in Dagster"),
            ):
                page.goto(link)
                page.get_by_role("link", name=shown).click()
                if "Failed" in shown:
                    expect(page).to_have_url(f"{site.webserver_url}/runs/{runs[1]}")
                    expect(page.get_by_text("Failure").first).to_be_visible(timeout=30_000)
                else:
                    expect(page.get_by_text("View all historical events").first).to_be_visible(timeout=30_000)
                    expect(page.get_by_text(str(good)).first).to_be_visible()
