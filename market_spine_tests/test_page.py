"""What the page shows, in a real browser: the chart, the calendar, a session, and that all of it is what the API says.

Belongs here: the content. Does not belong here: keys, narrow screens, tokens, outages (``test_page_use``).
"""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from market_spine.warehouse.embedded import EmbeddedServer
from market_spine_tests.browsing import Served, Visit, served, visiting
from market_spine_tests.conftest import DatabaseFactory
from market_spine_tests.page_world import (
    CORRECTED,
    CORRECTION,
    FAILED,
    LAST,
    MISSING,
    PLAIN,
    QUARANTINED,
    RANGE,
    RESTATED,
    TRADES_ONLY_PLAIN,
    UI,
    Site,
    page_site,
)

pytestmark = pytest.mark.slow
LINES = {"Close": "close_price", "VWAP": "vwap", "VWAP of all trades": "vwap_all", "Volume": "total_volume"}
DAGSTER = "DAGSTER_DATABASE_URL"


@pytest.fixture(scope="module")
def site(
    server: EmbeddedServer, new_database: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    with page_site(server, new_database, tmp_path_factory.mktemp("page")) as made:
        yield made


@pytest.fixture
def api(site: Site) -> Served:
    return site.api


@pytest.fixture
def visit(site: Site) -> Iterator[Visit]:
    with visiting(site.browser, site.api.origin) as made:
        yield made


def metrics(api: Served, symbol: str, *, text: bool = False) -> list[dict[str, Any]]:
    """Rows of every session of the range; as text: with every digit as it was sent."""
    path = f"otc/metrics/daily?symbol={symbol}&{RANGE}&fill=calendar&fields=all"
    rows: list[dict[str, Any]] = api.data(path)["data"]
    return (
        [{name: None if value is None else str(value) for name, value in row.items()} for row in rows] if text else rows
    )


def session(page: Page, day: date) -> Any:
    """The cell of a session."""
    return page.locator(f"[data-day='{day}']")


# --- the chart


@pytest.mark.parametrize("symbol", ["ACME", "BRVX", TRADES_ONLY_PLAIN])
def test_the_chart_draws_what_the_api_says(visit: Visit, api: Served, symbol: str) -> None:
    visit.open(f"?symbol={symbol}&{RANGE}")
    rows = metrics(api, symbol)
    for name, field in LINES.items():
        drawn = visit.trace(name)
        assert drawn["x"] == [row["trade_date"] for row in rows]
        assert drawn["y"] == [None if row[field] is None else float(row[field]) for row in rows]
        assert drawn["customdata"] == [row[field] for row in metrics(api, symbol, text=True)]
    band = visit.trace("Low to high")
    for row, low, height in zip(rows, band["base"], band["y"], strict=True):
        assert (low, height) == (
            (None, None)
            if row["low_price"] is None
            else (float(row["low_price"]), pytest.approx(float(row["high_price"] - row["low_price"])))
        )
    assert any(value is not None for value in visit.trace("Close")["y"])


def test_a_day_that_was_restated_is_marked_with_what_changed(visit: Visit) -> None:
    visit.open(f"?symbol=ACME&{RANGE}")
    marks = visit.trace("Restated")
    assert marks["x"] == [str(RESTATED)]
    assert marks["y"] == [float(CORRECTION)]
    assert f"close price {CORRECTED:.10f} → {CORRECTION}" in marks["customdata"][0]


def test_a_revision_of_what_follows_other_days_marks_nothing(visit: Visit, api: Served) -> None:
    path = f"otc/metrics/revisions?symbol=ACME&start={QUARANTINED}&end={QUARANTINED}&fields=all"
    first, second = api.data(path)["data"]
    assert first["prev_close"] != second["prev_close"]
    assert first["close_price"] == second["close_price"]
    page = visit.open(f"?symbol=ACME&{RANGE}&session={QUARANTINED}")
    assert str(QUARANTINED) not in visit.trace("Restated")["x"]
    expect(session(page, QUARANTINED)).to_have_class("session state-complete")
    page.get_by_text("1 revision of averages or the previous close alone").click()
    expect(page.locator("#session")).to_contain_text("prev close")


def test_the_figures_have_every_digit_that_was_delivered(visit: Visit, api: Served) -> None:
    page = visit.open(f"?symbol={TRADES_ONLY_PLAIN}&{RANGE}")
    page.get_by_text("Figures of 1 session").click()
    (row,) = [row for row in metrics(api, TRADES_ONLY_PLAIN, text=True) if row["revision"] is not None]
    names = ("close_price", "vwap", "vwap_all", "low_price", "high_price", "total_volume", "trade_count", "revision")
    shown = page.locator(".figures tbody td").all_text_contents()
    assert shown == ["–" if row[name] is None else row[name] for name in names]
    assert row["vwap_all"] == "0.0001234567"


def test_numbers_keep_their_text_on_the_way(visit: Visit) -> None:
    page = visit.open(f"?symbol=ACME&{RANGE}")
    text = '{"a":13.6480456789,"b":-0.10,"c":1e-7,"d":123456789012345678,"e":"1.50, \\"2\\" \\\\","f":[0,null,true]}'
    found = page.evaluate("async (text) => (await import('/page/api.js')).exact(text)", text)
    assert list(found.values()) == [
        "13.6480456789", "-0.10", "1e-7", "123456789012345678", '1.50, "2" \\', ["0", None, True],
    ]  # fmt: skip
    texts = ["253250000.000000", "-0.0001000", "7", "1e-7", "OTCX", "0.0000000000"]
    script = (
        "async (all) => { const {exactly} = await import('/page/dom.js'); return all.map((t) => exactly(t).innerText) }"
    )
    assert page.evaluate(script, texts) == texts


# --- the calendar


def test_the_calendar_tells_every_state_by_colour_glyph_and_words(visit: Visit) -> None:
    page = visit.open(f"?symbol=ACME&{RANGE}")
    for day, state, glyph, words in (
        (PLAIN, "complete", "✓", "Tuesday 3 March 2026: complete"),
        (RESTATED, "restated", "◆", "Wednesday 4 March 2026: restated for ACME"),
        (QUARANTINED, "complete", "✓", "Thursday 5 March 2026: complete"),
        (FAILED, "failed", "✕", "Friday 6 March 2026: failed"),
        (MISSING, "missing", "–", "Monday 9 March 2026: missing"),
        (LAST, "complete", "✓", "Tuesday 10 March 2026: complete"),
    ):
        expect(session(page, day)).to_have_class(f"session state-{state}")
        expect(session(page, day).locator(".glyph")).to_have_text(glyph)
        expect(session(page, day)).to_have_attribute("aria-label", words)
    assert page.locator("[data-day]").count() == 6
    backs = page.eval_on_selector_all("[data-day]", "all => all.map((one) => getComputedStyle(one).backgroundColor)")
    assert len(set(backs)) == 4
    legend = [" ".join(text.split()) for text in page.locator(".states li").all_text_contents()]
    assert legend == ["✓Complete 3", "◆Restated 1", "–Missing 1", "✕Failed 1"]


def test_another_symbol_was_not_restated(visit: Visit) -> None:
    page = visit.open(f"?symbol=BRVX&{RANGE}")
    expect(session(page, RESTATED)).to_have_class("session state-complete")
    assert visit.trace("Restated")["x"] == []


def test_a_session_that_is_not_over_is_not_missing(visit: Visit) -> None:
    page = visit.open(f"?symbol=ACME&start={LAST}&end=2026-12-31")
    later = page.locator("[data-day]").last
    expect(later).to_have_class("session state-waiting")
    expect(later).to_have_attribute("aria-label", "Thursday 31 December 2026: not there yet")


# --- a session


def test_a_session_shows_its_quality_file_by_file(visit: Visit, api: Served) -> None:
    page = visit.open(f"?symbol=ACME&{RANGE}&session={QUARANTINED}")
    (day,) = api.data(f"otc/quality?start={QUARANTINED}&end={QUARANTINED}")["data"]
    (file,) = day["files"]
    shown = page.locator("#session .file")
    expect(shown.locator("h4")).to_contain_text(file["path"])
    counts = dict(zip(shown.locator("dt").all_text_contents(), shown.locator("dd").all_text_contents(), strict=True))
    assert counts == {"Rows": "14", "Accepted": "10", "Quarantined": "3", "carried": "1"}
    assert int(counts["Rows"]) == file["rows"]
    assert int(counts["Accepted"]) == day["counts"]["trades"]["live"]
    reasons = [" ".join(text.split()) for text in shown.locator(".reasons li").all_text_contents()]
    assert sorted(reasons) == ["bad size 1", "non positive price 2"]
    page.get_by_text("Show these reports").click()
    expect(shown.locator(".lines li")).to_have_count(3)
    expect(shown.locator(".lines li").first).to_contain_text("price=-1")
    expect(page.locator("#session")).to_contain_text("few quarantined")


def test_a_restated_session_shows_what_each_revision_changed(visit: Visit, api: Served) -> None:
    page = visit.open(f"?symbol=ACME&{RANGE}&session={RESTATED}")
    path = f"otc/metrics/revisions?symbol=ACME&start={RESTATED}&end={RESTATED}&fields=all"
    before, after = ({name: str(value) for name, value in row.items()} for row in api.data(path)["data"])
    rows = [row.locator("th, td").all_text_contents() for row in page.locator("#session .step tbody tr").all()]
    assert ["close price", before["close_price"], after["close_price"]] in rows
    assert ["vwap", before["vwap"], after["vwap"]] in rows
    assert after["close_price"] == str(CORRECTION)
    expect(page.locator("#session")).to_contain_text("Revision 2, published ")


def test_links_lead_to_the_partition_and_to_the_failed_run_in_dagster(visit: Visit, site: Site) -> None:
    page = visit.open(f"?symbol=ACME&{RANGE}&session={FAILED}")
    links = page.eval_on_selector_all("#session a", "all => all.map((one) => [one.textContent, one.href])")
    assert links == [
        [f"Failed run {site.world.failed_run[:8]} in Dagster", f"{UI}/runs/{site.world.failed_run}"],
        *(
            [asset, f"{UI}/assets/{asset}?view=partitions&partition={FAILED}"]
            for asset in ("otc_trades_raw", "otc_trades", "otc_metrics_daily")
        ),
    ]
    expect(page.locator("#dagster")).to_have_attribute("href", UI)
    expect(page.locator("#session .why")).to_contain_text(f"otc_{FAILED}.csv line 11")
    expect(page.locator("#session .mend code")).to_have_text(f"spine dispatch otc_full_refresh {FAILED}")


def test_without_a_known_ui_there_are_no_links_and_without_dagster_the_numbers_stay(
    site: Site,
) -> None:
    world = site.world
    environment = world.without("MARKET_SPINE_UI_URL") | {DAGSTER: world.environment[DAGSTER] + "_that_is_away"}
    with served(environment) as alone, visiting(site.browser, alone.origin) as visit:
        page = visit.open(f"?symbol=ACME&{RANGE}&session={FAILED}")
        visit.expect_complaint("503")
        assert page.locator("#session a").count() == 0
        expect(page.locator("#dagster")).to_be_hidden()
        expect(page.locator(".notice")).to_contain_text("what failed, is not known now")
        expect(session(page, PLAIN)).to_have_class("session state-complete")
        expect(session(page, FAILED)).to_have_class("session state-missing")
        assert Decimal(visit.trace("Close")["customdata"][1]) == CORRECTION


# --- where it begins


def test_it_begins_with_a_symbol_and_the_sessions_there_are_and_a_week_that_is_missing(visit: Visit) -> None:
    page = visit.open()
    assert page.url.endswith(f"/?symbol=ACME&start={PLAIN}&end=2026-03-17&session={LAST}")
    expect(page).to_have_title("ACME · Market Spine")
    expect(page.locator(".notice")).to_contain_text("are missing or failed")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator(".notice")).to_have_count(0)
    visit.settled()
    assert page.locator("[data-day]").count() > 20


def test_an_address_can_be_shared_and_the_way_back_leads_back(visit: Visit) -> None:
    page = visit.open(f"?symbol=BRVX&{RANGE}&session={RESTATED}")
    expect(page.locator("#chart-title")).to_have_text("BRVX")
    expect(page.locator("#session-title")).to_have_text("Wednesday 4 March 2026")
    session(page, PLAIN).click()
    expect(page.locator("#session-title")).to_have_text("Tuesday 3 March 2026")
    assert page.url.endswith(f"session={PLAIN}")
    page.go_back()
    expect(page.locator("#session-title")).to_have_text("Wednesday 4 March 2026")


def test_a_symbol_that_nobody_knows_and_a_range_without_metrics_say_so(visit: Visit) -> None:
    page = visit.open(f"?symbol=NOPE&{RANGE}", drawn=False)
    expect(page.locator("#chart .empty")).to_have_text("There are no metrics of NOPE. Choose another symbol.")
    page = visit.open("?symbol=ACME&start=2026-02-02&end=2026-02-06", drawn=False)
    page.get_by_role("button", name="Show up to 10 Mar 2026").click()
    visit.settled()
    assert visit.trace("Close")["x"][-1] == str(LAST)
