"""Whoever uses the page can: by keys alone, on a small screen, in the dark, with a token, while the API is away.

Belongs here: ways of using it. Does not belong here: what it shows (``test_page``).
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from market_spine.warehouse.embedded import EmbeddedServer
from market_spine_tests.browsing import Visit, served, visiting
from market_spine_tests.conftest import DatabaseFactory
from market_spine_tests.page_world import (
    FAILED,
    LAST,
    MISSING,
    PLAIN,
    QUARANTINED,
    RANGE,
    RESTATED,
    UI,
    Site,
    page_site,
)

pytestmark = pytest.mark.slow
NARROW = {"width": 360, "height": 740}
SECRET = "read-0123456789abcdef"
WIDER_THAN_THE_SCREEN = """() => [...document.querySelectorAll("body *")].filter((one) => {
    const {right, left, width} = one.getBoundingClientRect();
    const isMeant = one.closest(".scroll, .unseen, .skip, #js-plotly-tester");
    return width && !isMeant && (right > innerWidth + 0.5 || left < -0.5);
}).map((one) => one.outerHTML.slice(0, 100))"""
CONTRASTS = """() => {
    const channels = (text) => {
        const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
        return {r, g, b, a};
    };
    const light = ({r, g, b}) => [r, g, b].map((one) => one / 255)
        .map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4))
        .reduce((sum, one, at) => sum + one * [0.2126, 0.7152, 0.0722][at], 0);
    const behind = (one) => {
        for (let at = one; at; at = at.parentElement) {
            const back = channels(getComputedStyle(at).backgroundColor);
            if (back.a === 1) return back;
        }
        return {r: 255, g: 255, b: 255};
    };
    const found = [];
    for (const one of document.querySelectorAll("body *")) {
        const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
        if (!(own || one.matches("input")) || !one.checkVisibility() || one.closest("svg, .unseen")) continue;
        const pair = [light(channels(getComputedStyle(one).color)), light(behind(one))].sort((a, b) => b - a);
        found.push([(pair[0] + 0.05) / (pair[1] + 0.05), one.outerHTML.slice(0, 90)]);
    }
    return found;
}"""
NAMELESS = """() => {
    const named = (one) => one.getAttribute("aria-label") || one.getAttribute("aria-labelledby")
        || one.textContent.trim() || [...(one.labels ?? [])].some((label) => label.textContent.trim());
    const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
    const kinds = "button, a, input, summary, [role=grid], [role=img], [role=region], section";
    return {
        nameless: [...document.querySelectorAll(kinds)].filter((one) => !named(one)).map((one) => one.outerHTML),
        twice: ids.filter((id, at) => ids.indexOf(id) !== at),
        dangling: [...document.querySelectorAll("[aria-labelledby], [aria-controls], label[for]")]
            .flatMap((one) => [one.getAttribute("aria-labelledby"), one.getAttribute("aria-controls"), one.htmlFor])
            .filter((id) => id && !document.getElementById(id)),
        headings: [...document.querySelectorAll("h1, h2, h3, h4, h5")].filter((one) => one.checkVisibility())
            .map((one) => Number(one.tagName[1])),
    };
}"""


@pytest.fixture(scope="module")
def site(
    server: EmbeddedServer, new_database: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    with page_site(server, new_database, tmp_path_factory.mktemp("page")) as made:
        yield made


@pytest.fixture
def visit(site: Site) -> Iterator[Visit]:
    with visiting(site.browser, site.api.origin) as made:
        yield made


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def tab_to(visit: Visit, wanted: str, *, most: int = 30) -> None:
    """Press Tab until something has the focus."""
    seen = []
    for _ in range(most):
        visit.page.keyboard.press("Tab")
        seen.append(visit.focused())
        if seen[-1] == wanted:
            return
    raise AssertionError(f"Tab never came to {wanted}: {seen}")


# --- keys


def test_keys_alone_lead_to_another_symbol_a_session_and_its_link(visit: Visit) -> None:
    page = visit.open(f"?symbol=ACME&{RANGE}&session={LAST}")
    press(page, "Tab")
    assert visit.focused() == "Skip to the chart"
    tab_to(visit, "symbol")
    page.keyboard.type("br")
    expect(page.get_by_role("option")).to_have_count(1)
    press(page, "ArrowDown")
    expect(page.locator("#symbol")).to_have_attribute("aria-activedescendant", "symbol-0")
    press(page, "Enter")
    expect(page.locator("#chart-title")).to_have_text("BRVX")
    visit.settled()
    tab_to(visit, str(LAST))
    for key, day in (
        *(("ArrowLeft", MISSING), ("ArrowLeft", FAILED), ("ArrowUp", PLAIN), ("ArrowLeft", PLAIN)),
        *(("ArrowRight", RESTATED), ("End", LAST), ("Home", PLAIN), ("ArrowDown", LAST), ("PageUp", PLAIN)),
        *(("PageDown", LAST), ("ArrowLeft", MISSING), ("ArrowLeft", FAILED)),
    ):
        press(page, key)
        assert visit.focused() == str(day), (key, day)
    press(page, "Enter")
    expect(page.locator("#session-title")).to_have_text("Friday 6 March 2026")
    assert visit.focused() == "session-title"
    visit.settled()
    tab_to(visit, "otc_metrics_daily", most=5)
    address = page.evaluate("document.activeElement.href")
    assert address == f"{UI}/assets/otc_metrics_daily?view=partitions&partition={FAILED}"


def test_the_skip_link_leads_past_the_form(visit: Visit) -> None:
    page = visit.open(f"?symbol=ACME&{RANGE}")
    press(page, "Tab", "Enter")
    assert visit.focused() == "chart-title"
    press(page, "Tab")
    assert visit.focused().startswith("Figures of")


def test_the_picker_closes_on_escape_and_takes_what_was_typed_however_it_was_written(visit: Visit) -> None:
    page = visit.open(f"?symbol=ACME&{RANGE}")
    field, choices = page.locator("#symbol"), page.locator("#symbols")
    field.click()
    expect(choices.get_by_role("option")).to_have_count(4)
    press(page, "Escape")
    expect(choices).to_be_hidden()
    expect(field).to_have_value("ACME")
    page.keyboard.type("echoq")
    press(page, "Enter")
    expect(page.locator("#chart-title")).to_have_text("ECHOQ")
    expect(field).to_have_value("ECHOQ")
    field.fill("zz")
    expect(choices).to_contain_text("No such symbol")


def test_what_changes_is_announced(visit: Visit) -> None:
    page = visit.open(f"?symbol=ACME&{RANGE}&session={PLAIN}")
    live = page.get_by_role("status")
    expect(live).to_have_text("Tuesday 3 March 2026: complete.")
    page.locator(f"[data-day='{RESTATED}']").click()
    expect(live).to_have_text("Wednesday 4 March 2026: restated.")


def test_everything_has_a_name_and_headings_descend_one_by_one(visit: Visit) -> None:
    page = visit.open(f"?symbol=ACME&{RANGE}&session={QUARANTINED}")
    page.get_by_text("Figures of").click()
    found: dict[str, Any] = page.evaluate(NAMELESS)
    assert (found["nameless"], found["twice"], found["dangling"]) == ([], [], [])
    levels = found["headings"]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels)), levels


# --- ranges


def test_a_range_that_cannot_be_is_said_and_nothing_is_asked(visit: Visit) -> None:
    page = visit.open(f"?symbol=ACME&{RANGE}")
    asked = len(visit.requests)
    page.locator("#end").fill("2026-03-01")
    expect(page.get_by_role("alert")).to_have_text("The range ends before it begins.")
    page.locator("#end").fill("0002-03-01")
    expect(page.get_by_role("alert")).to_have_text("A range needs two days from 1990 on.")
    assert len(visit.requests) == asked
    page.locator("#end").fill(str(QUARANTINED))
    expect(page.locator("[data-day]")).to_have_count(3)
    visit.settled()
    expect(page.get_by_role("alert")).to_have_count(0)
    page.get_by_role("button", name="1 month").click()
    expect(page.locator("[data-day]")).to_have_count(19)
    visit.settled()
    assert f"start=2026-02-06&end={QUARANTINED}" in page.url
    expect(page.get_by_role("button", name="1 month")).to_have_attribute("aria-pressed", "true")


# --- screens


@pytest.mark.parametrize("session", [PLAIN, RESTATED, QUARANTINED, FAILED, MISSING])
def test_nothing_is_wider_than_a_small_screen(site: Site, session: object) -> None:
    with visiting(site.browser, site.api.origin, viewport=NARROW, has_touch=True) as visit:
        page = visit.open(f"?symbol=ACME&{RANGE}&session={session}")
        for summary in page.locator("summary").all():
            summary.click()
        visit.settled()
        assert page.evaluate("document.documentElement.scrollWidth") == NARROW["width"]
        assert page.evaluate(WIDER_THAN_THE_SCREEN) == []
        page.locator("#symbol").click()
        expect(page.get_by_role("option")).to_have_count(4)
        assert page.evaluate(WIDER_THAN_THE_SCREEN) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(site: Site, scheme: Any) -> None:
    with visiting(site.browser, site.api.origin, color_scheme=scheme, reduced_motion="reduce") as visit:
        for session in (RESTATED, QUARANTINED, FAILED):
            page = visit.open(f"?symbol=ACME&{RANGE}&session={session}")
            page.get_by_text("Figures of").click()
            found = page.evaluate(CONTRASTS)
            assert len(found) > 100
            assert [one for one in found if one[0] < 4.5] == []


def test_the_chart_goes_dark_and_light_with_the_system(visit: Visit) -> None:
    page = visit.open(f"?symbol=ACME&{RANGE}")
    line = "document.querySelector('.plot').data.find((one) => one.name === 'Close').line.color"
    assert page.evaluate(line) == "#182230"
    page.emulate_media(color_scheme="dark")
    visit.until(line, "#e8edf3")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 20, 27)"


def test_nothing_moves_for_those_who_do_not_want_it(site: Site) -> None:
    moving = """[...document.querySelectorAll("*")].filter((one) => getComputedStyle(one).transitionDuration !== "0s"
                || getComputedStyle(one).animationName !== "none").filter((one) => !one.closest(".plot")).length"""
    for motion, moves in (("reduce", False), ("no-preference", True)):
        with visiting(site.browser, site.api.origin, reduced_motion=motion) as visit:
            assert bool(visit.open(f"?symbol=ACME&{RANGE}").evaluate(moving)) is moves


# --- tokens, outages, other origins


def test_a_token_is_asked_for_and_stays_in_the_tab(site: Site) -> None:
    environment = {**site.world.environment, "MARKET_SPINE_API_READ_TOKENS": SECRET}
    with served(environment) as closed, visiting(site.browser, closed.origin) as visit:
        page = visit.open(f"?symbol=ACME&{RANGE}", drawn=False)
        expect(page.get_by_role("heading", name="A token is needed")).to_be_visible()
        expect(page.locator("#chart")).to_be_hidden()
        page.get_by_role("textbox", name="Token").fill("not-the-one-0123456789")
        page.get_by_role("button", name="Open").click()
        expect(page.locator("#access-why")).to_contain_text("Authorization names no token that is known here")
        page.get_by_role("textbox", name="Token").fill(SECRET)
        press(page, "Enter")
        visit.settled()
        visit.expect_complaint("401")
        expect(page.locator("#access")).to_be_hidden()
        kept = page.evaluate("[Object.values(sessionStorage), Object.values(localStorage), document.cookie]")
        assert kept == [[SECRET], [], ""]
        assert all(SECRET not in url for url in [*visit.requests, page.url])
        page.reload()
        visit.settled()
        page.get_by_role("button", name="Forget the token").click()
        expect(page.get_by_role("heading", name="A token is needed")).to_be_visible()
        visit.expect_complaint("401")


def test_while_the_api_is_away_the_page_says_so_and_comes_back(site: Site) -> None:
    with served(site.world.environment) as api, visiting(site.browser, api.origin) as visit:
        page = visit.open(f"?symbol=ACME&{RANGE}")
        api.stop()
        page.get_by_role("button", name="1 month").click()
        expect(page.locator("#chart .trouble")).to_contain_text("The API does not answer.")
        expect(page.get_by_role("status")).to_contain_text("The API does not answer.")
        api.start()
        page.get_by_role("button", name="Try again").click()
        visit.settled()
        assert str(RESTATED) in visit.trace("Restated")["x"]
        visit.expect_complaint("ERR_CONNECTION_REFUSED")


def test_a_database_that_is_away_is_said_in_the_api_s_own_words(site: Site) -> None:
    away = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing"}
    with served(site.world.environment | away) as alone, visiting(site.browser, alone.origin) as visit:
        page = visit.open(f"?symbol=ACME&{RANGE}", drawn=False)
        expect(page.locator("#chart .trouble")).to_contain_text("The database does not answer")
        expect(page.locator("#chart .trouble")).to_contain_text("Request ")
        expect(page.get_by_role("button", name="Try again")).to_be_visible()
        visit.expect_complaint("503")


def test_the_browser_refuses_whatever_is_not_from_here(visit: Visit) -> None:
    page = visit.open(f"?symbol=ACME&{RANGE}")
    refused = page.evaluate(
        """async () => {
            const said = [];
            addEventListener("securitypolicyviolation", (event) => said.push(event.effectiveDirective));
            await fetch("https://elsewhere.example/").catch(() => {});
            for (const [tag, name] of [["script", "src"], ["img", "src"]]) {
                const one = document.createElement(tag);
                one.setAttribute(name, "https://elsewhere.example/");
                document.head.append(one);
            }
            const script = document.createElement("script");
            script.textContent = "window.ran = true";
            document.head.append(script);
            await new Promise((done) => setTimeout(done, 200));
            return [said.sort(), window.ran === undefined];
        }"""
    )
    assert refused == [["connect-src", "img-src", "script-src-elem", "script-src-elem"], True]
    visit.expect_complaint("Content Security Policy")
    visit.requests = [url for url in visit.requests if "elsewhere" not in url]
