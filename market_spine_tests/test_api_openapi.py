"""The OpenAPI says what the API does: schemathesis tries to prove the opposite.

Belongs here: generated requests, the documentation of routes and codes. Does not belong here: requests chosen by hand.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema_rs import validator_for

from market_spine.api.problems import KINDS
from market_spine_tests.conftest import DatabaseFactory
from market_spine_tests.driving import Platform
from market_spine_tests.serving import (
    FIRST,
    METRICS,
    QUALITY,
    QUARANTINE,
    SYMBOLS,
    TRADES,
    Api,
    serving,
    settings_for,
    week,
)

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTATION = ROOT / "docs" / "api.md"
EXAMPLES = 100


@pytest.fixture(scope="module")
def api(new_database: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("api")
    with new_database() as url:
        week(Platform(url, folder / "landing", FIRST))
        with serving(settings_for(url, folder)) as running:
            yield running


def operations(api: Api) -> dict[tuple[str, str], dict[str, Any]]:
    """What the OpenAPI says of each method of each path."""
    found = api.app.openapi()["paths"]
    return {(method.upper(), path): one for path, methods in found.items() for method, one in methods.items()}


def test_every_answer_in_the_documentation_is_one_by_its_own_schema(api: Api) -> None:
    components = api.app.openapi()["components"]
    for (_, path), operation in operations(api).items():
        for status, answer in operation["responses"].items():
            for media, content in answer.get("content", {}).items():
                if not media.endswith("json"):
                    continue
                validator = validator_for({**content["schema"], "components": components})
                examples = [one["value"] for one in content.get("examples", {}).values()] or [content["example"]]
                for example in examples:
                    validator.validate(example)
                    assert example, (path, status)


@pytest.mark.parametrize("path", [METRICS + "?fields=all", f"{TRADES}?date=2026-02-02", QUALITY, QUARANTINE, SYMBOLS])
def test_real_answers_hold_their_schema(api: Api, path: str) -> None:
    components = api.app.openapi()["components"]
    content = operations(api)["GET", path.partition("?")[0]]["responses"]["200"]["content"]["application/json"]
    body = api.get(f"{path}{'&' if '?' in path else '?'}count=true").json()
    assert body["data"]
    validator_for({**content["schema"], "components": components}).validate(body)


# --- docs/api.md


def headings() -> list[str]:
    return re.findall(r"^#+ (.*)$", DOCUMENTATION.read_text(encoding="utf-8"), re.MULTILINE)


def test_every_route_has_its_heading_and_its_parameters(api: Api) -> None:
    text = DOCUMENTATION.read_text(encoding="utf-8")
    routes = {f"{method} {path}" for method, path in operations(api)}
    assert {heading for heading in headings() if heading.startswith(("GET ", "POST "))} == routes
    for (method, path), operation in operations(api).items():
        section = text.partition(f" {method} {path}\n")[2].partition("\n## ")[0]
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
        parameters = [one["name"] for one in operation.get("parameters", []) if one["in"] != "path"]
        for name in (*parameters, *body.get("properties", ())):
            assert f"| `{name}` |" in section, (method, path, name)


def test_every_code_has_its_line() -> None:
    lines = re.findall(r"^\| (\d{3}) \| `([a-z_]+)` \|", DOCUMENTATION.read_text(encoding="utf-8"), re.MULTILINE)
    assert {(int(status), code) for status, code in lines} == {(kind.status, code) for code, kind in KINDS.items()}
