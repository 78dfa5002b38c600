"""``spine health`` asks the service it is about, and says no when it does not answer.

Belongs here: the command on real services, one that is away and one that is somebody else's. Does not belong here: the
services in containers (``test_image_built``).
"""

import http.server
import threading
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner, Result

from market_spine.cli.health import role_of
from market_spine.cli.main import app
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine_tests.conftest import DatabaseFactory
from market_spine_tests.deployed import Deployed, deployed
from market_spine_tests.processes import free_port


def health(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(app, ["health", *arguments], env=env)


def complaint(done: Result) -> str:
    assert done.exit_code == 1, done.output
    return done.stderr


@pytest.fixture(scope="module")
def site(
    server: EmbeddedServer, new_database: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    with deployed(server, new_database, tmp_path_factory.mktemp("health"), daemon=False) as made:
        yield made


@pytest.fixture
def port() -> int:
    """A port that nobody listens on."""
    return free_port()


@pytest.fixture
def refusing() -> Iterator[int]:
    """Somebody who answers every question with 404."""
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield int(found.server_port)
        found.shutdown()
        thread.join()


# --- which role


@pytest.mark.parametrize(
    ("command", "role"),
    [
        ("/opt/venv/bin/python /opt/venv/bin/dagster-webserver --port 3000", "webserver"),
        ("/sbin/docker-init -- dagster-daemon run --workspace x", "daemon"),
        ("/opt/venv/bin/python /opt/venv/bin/dagster api grpc --port 3030", "code-server"),
        ("/opt/venv/bin/python /opt/market-spine/bin/spine api --host 0.0.0.0", "api"),
        ("/opt/venv/bin/python /opt/venv/bin/dagster api execute_run {}", ""),
        ("spine db migrate", ""),
        ("sh -c sleep", ""),
        ("", ""),
    ],
)
def test_the_role_follows_from_what_process_1_was_started_as(command: str, role: str) -> None:
    assert role_of(command.split()) == role


def test_a_role_that_does_not_exist_is_refused_with_those_that_do() -> None:
    done = health("web")
    assert done.exit_code == 2
    assert all(role in done.stderr for role in ("unknown: web", "webserver", "code-server", "api", "daemon"))


# --- nobody there


@pytest.mark.parametrize("role", ["webserver", "api", "code-server"])
def test_a_service_that_is_away_is_not_healthy(role: str, port: int) -> None:
    said = complaint(health(role, "--port", str(port)))
    assert said.startswith(f"spine: 127.0.0.1:{port}")
    assert "does not answer" in said


@pytest.mark.parametrize("role", ["webserver", "api", "code-server"])
def test_somebody_else_on_its_port_is_not_healthy(role: str, refusing: int) -> None:
    complaint(health(role, "--port", str(refusing)))


def test_a_daemon_that_was_never_heard_of_is_not_healthy(site: Deployed) -> None:
    assert "never heard of" in complaint(health("daemon", env=site.environment))


# --- they work


def test_the_webserver_answers(site: Deployed) -> None:
    port = site.webserver_url.rpartition(":")[2]
    assert health("webserver", "--port", port).stdout == f"webserver: 127.0.0.1:{port}/server_info answers\n"


@pytest.mark.parametrize(
    ("role", "command", "says"),
    [
        ("api", ("market_spine.cli.main", "api", "--port"), "/health/live answers"),
        (
            "code-server",
            ("dagster", "api", "grpc", "-m", "market_spine.definitions", "-h", "127.0.0.1", "-p"),
            " serves",
        ),
    ],
)
def test_a_service_is_healthy_once_it_answers(
    site: Deployed, port: int, role: str, command: tuple[str, ...], says: str
) -> None:
    site._start(role, *command, str(port))
    try:
        done = site.wait_for(lambda: (found := health(role, "--port", str(port))).exit_code == 0 and found)
        assert done.stdout == f"{role}: 127.0.0.1:{port}{says}\n"
    finally:
        site.kill(role)


@pytest.mark.slow
def test_the_daemon_is_healthy_once_all_of_it_was_heard_of(site: Deployed) -> None:
    site.start_daemon()
    done = site.wait_for(lambda: (found := health("daemon", env=site.environment)).exit_code == 0 and found)
    assert done.stdout.startswith("daemon: all 6 heard of")
