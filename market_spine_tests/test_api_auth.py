"""Who may ask the API: tokens of both scopes, and that nothing is open by accident.

Belongs here: what is answered without and with tokens. Does not belong here: what a write does.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from market_spine.api import auth
from market_spine.errors import SettingsError
from market_spine.settings import Settings, Tokens
from market_spine_tests.serving import METRICS, ROUTES, Api, assert_problem, serving, settings_for

READ, OPERATE, OTHER = "read-0123456789abcdef", "operate-0123456789abcdef", "second-0123456789abcdef"
RUN = "8f14e45f-ceea-4e67-9a1b-0d2c3b4a5f60"
WRITES = (
    "/api/v1/executions",
    f"/api/v1/executions/{RUN}/cancel",
    "/api/v1/dead-letters/1/retry",
    "/api/v1/dead-letters/1/discard",
)
READS = tuple(route for route in ROUTES if route.startswith("/api"))


@pytest.fixture(scope="module")
def opened(shared_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """No token is set."""
    with serving(settings_for(shared_database, tmp_path_factory.mktemp("open"))) as running:
        yield running


@pytest.fixture(scope="module")
def closed(shared_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Reads need a token, writes one that may operate."""
    tokens = {"api_read_tokens": Tokens(f"{READ},{OTHER}"), "api_operate_tokens": Tokens(f" {OPERATE} ")}
    with serving(settings_for(shared_database, tmp_path_factory.mktemp("closed"), **tokens)) as running:
        yield running


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("path", WRITES)
@pytest.mark.parametrize("headers", [{}, bearer(OPERATE), bearer("")])
def test_without_a_token_that_may_operate_every_write_is_refused(
    opened: Api, path: str, headers: dict[str, str]
) -> None:
    answer = opened.ask("POST", path, headers, json={})
    assert_problem(answer, "writes_disabled", says="MARKET_SPINE_API_OPERATE_TOKENS")


def test_without_a_token_to_read_reads_are_open(opened: Api) -> None:
    assert opened.get(METRICS).status_code == 200


@pytest.mark.parametrize("path", WRITES)
@pytest.mark.parametrize("given", ["", "Basic YTpi", "Bearer", f"Bearer {OPERATE}x", f"Bearer {OPERATE[:-1]}", OPERATE])
def test_a_write_needs_a_token_that_is_known(closed: Api, path: str, given: str) -> None:
    answer = closed.ask("POST", path, {"Authorization": given} if given else {}, json={})
    assert_problem(answer, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith('Bearer realm="market-spine"')


@pytest.mark.parametrize("path", WRITES)
def test_a_token_that_may_read_may_not_write(closed: Api, path: str) -> None:
    answer = closed.ask("POST", path, bearer(READ), json={})
    assert_problem(answer, "insufficient_scope")
    assert 'scope="operate"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("path", WRITES)
def test_a_token_that_may_operate_comes_past_the_door(closed: Api, path: str) -> None:
    assert closed.ask("POST", path, bearer(OPERATE), json={}).status_code not in (401, 403)


@pytest.mark.parametrize("path", [*READS, "/api/v1/openapi.json", "/api/v1/nope"])
def test_with_a_token_to_read_set_nothing_below_the_prefix_is_read_without(closed: Api, path: str) -> None:
    for headers in ({}, bearer("wrong-0123456789abcdef"), bearer("")):
        assert_problem(closed.ask("GET", path, headers), "unauthenticated")
    for token in (READ, OTHER, OPERATE):
        assert closed.ask("GET", path, bearer(token)).status_code in (200, 404)


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_probes_need_no_token(closed: Api, path: str) -> None:
    assert closed.get(path).status_code == 200


def test_every_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    real = auth.hmac.compare_digest

    def counting(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return real(one, other)

    monkeypatch.setattr(auth.hmac, "compare_digest", counting)
    keys = auth.Keys.of(Settings(api_read_tokens=Tokens(f"{READ},{OTHER}"), api_operate_tokens=Tokens(OPERATE)))
    keys.check_read(f"Bearer {READ}".encode())
    assert compared == [(32, 32)] * 3


def test_secrets_are_shown_nowhere() -> None:
    settings = Settings.from_env({"MARKET_SPINE_API_OPERATE_TOKENS": f"{OPERATE}, {OTHER}"})
    assert settings.api_operate_tokens.each == (OPERATE, OTHER)
    assert "0123456789abcdef" not in repr(settings)
    assert "<2 tokens>" in repr(settings)
    assert "0123456789abcdef" not in repr(auth.Keys.of(settings))


@pytest.mark.parametrize("given", ["short-secret", f"{OPERATE} {OTHER}", f"{OPERATE},tiny-secret", ",", "sécret" * 5])
def test_a_token_that_cannot_be_one_is_refused_without_being_shown(given: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"MARKET_SPINE_API_READ_TOKENS": given})
    assert "16 or more" in str(caught.value)
    assert "MARKET_SPINE_API_READ_TOKENS" in str(caught.value)
    for secret in ("secret", "0123456789abcdef", "sécret"):
        assert secret not in str(caught.value).partition("expected")[0]


def test_a_child_process_reads_the_same_tokens(tmp_path: Path) -> None:
    settings = Settings(api_operate_tokens=Tokens(OPERATE), state_dir=tmp_path)
    assert Settings.from_env(settings.to_env()) == settings
