"""What the page is made of: how its files are sent, kept and asked for again, and who is told where Dagster is.

Belongs here: the routes of ``page``. Does not belong here: a browser (``test_page``).
"""

import gzip
import re
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.metadata import distribution
from pathlib import Path

import pytest

from market_spine.api.app import PREFIX
from market_spine.settings import Tokens, WebAddress
from market_spine_tests.serving import Api, assert_problem, serving, settings_for

ROOT = Path(__file__).resolve().parents[1]
FILES = ROOT / "market_spine" / "api" / "page"
LIBRARY = "/page/plotly.min.js"
UI = "http://dagster.example:3000"
READ = "read-0123456789abcdef"


@pytest.fixture(scope="module")
def api(shared_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(settings_for(shared_database, tmp_path_factory.mktemp("api"))) as running:
        yield running


def test_the_page_is_sent_with_a_policy_that_lets_nothing_in_from_elsewhere(api: Api) -> None:
    answer = api.get("/?symbol=ACME")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert {source for sources in policy.values() for source in sources.split()} == {"'none'", "'self'", "data:"}
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_files_name_nothing_elsewhere_but_the_namespace_of_svg() -> None:
    for path in FILES.iterdir():
        found = set(re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]+[^\s\"')]*", path.read_text(encoding="utf-8")))
        assert found <= {"http://www.w3.org/2000/svg"}, path.name


def test_every_file_that_the_page_names_is_there(api: Api) -> None:
    named = set(re.findall(r'(?:src|href)="(page/[^"]+)"', api.get("/").text))
    for path in FILES.glob("*.js"):
        named |= {f"page/{name}" for name in re.findall(r'from "\./([^"]+)"', path.read_text(encoding="utf-8"))}
    assert len(named) >= 12
    for path in named:
        assert api.get(f"/{path}").status_code == 200, path


def test_every_file_of_the_page_is_part_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["market_spine.api"]
    for path in FILES.iterdir():
        assert any(fnmatch(f"page/{path.name}", pattern) for pattern in patterns), path.name


@pytest.mark.parametrize("path", ["/", "/page/main.js", "/page/page.css", LIBRARY])
@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_what_did_not_change_is_not_sent_again(api: Api, path: str, encoding: str) -> None:
    first = api.get(path, accept_encoding=encoding)
    assert first.headers.get("content-encoding", "identity") == encoding
    assert first.headers["cache-control"] == "no-cache"
    assert first.headers["vary"] == "Accept-Encoding"
    tag = first.headers["etag"]
    again = api.get(path, accept_encoding=encoding, if_none_match=tag)
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    other = "identity" if encoding == "gzip" else "gzip"
    assert api.get(path, accept_encoding=other, if_none_match=tag).status_code == 200
    assert api.get(path, accept_encoding=other).content == first.content


def test_the_chart_library_is_the_installed_one_and_is_kept_for_good_under_its_version(api: Api) -> None:
    package = distribution("plotly")
    (address,) = re.findall(r'src="(page/plotly[^"]+)"', api.get("/").text)
    assert address == f"page/plotly.min.js?v={package.version}"
    answer = api.get(f"/{address}", accept_encoding="gzip")
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    there = Path(str(package.locate_file("plotly/package_data/plotly.min.js"))).read_bytes()
    assert answer.content == there
    assert len(gzip.compress(there, 6)) < 1_600_000
    assert api.get(f"{LIBRARY}?v=0.0.1").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", ["/page/", "/page/nope.js", "/page/index.html", "/page/..%2Fpage.py", "/page/a/b"])
def test_no_other_file_is_there(api: Api, path: str) -> None:
    assert_problem(api.get(path), "not_found")


def test_the_page_is_no_part_of_the_openapi(api: Api) -> None:
    assert all(path.startswith((PREFIX, "/health", "/metrics")) for path in api.app.openapi()["paths"])


# --- where the Dagster UI is


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({}, None),
        ({"webserver_url": WebAddress("http://inside:3000")}, "http://inside:3000"),
        ({"webserver_url": WebAddress("http://inside:3000"), "ui_url": WebAddress(UI)}, UI),
    ],
)
def test_the_ui_is_where_the_settings_say(
    shared_database: str, tmp_path: Path, more: dict[str, WebAddress], told: str | None
) -> None:
    with serving(settings_for(shared_database, tmp_path, **more)) as api:
        answer = api.get("/page/links.json")
        assert answer.json() == {"dagster": told}
        assert answer.headers["cache-control"] == "no-store"


def test_who_may_not_read_is_shown_the_page_and_not_told_where_the_ui_is(shared_database: str, tmp_path: Path) -> None:
    closed = settings_for(shared_database, tmp_path, api_read_tokens=Tokens(READ), ui_url=WebAddress(UI))
    with serving(closed) as api:
        assert api.get("/").status_code == api.get("/page/main.js").status_code == 200
        assert_problem(api.get("/page/links.json"), "unauthenticated")
        assert api.get("/page/links.json", authorization=f"Bearer {READ}").json() == {"dagster": UI}
