"""``spine health``: does the service of this container work? For a container's health check.

What it is: one question to one process, with an exit code and a line that says why.
Belongs here: the roles, and how each is asked. Does not belong here: the whole deployment (``doctor``), the probes that
the API answers (``market_spine.api.health``).

Dagster's own checks of code server and daemon import Dagster: 1.0 s of a processor every time, where this takes 0.2 to
0.3 s.
"""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer

from market_spine.errors import SpineError

PATIENCE_SECONDS = 5.0
FIRST_PROCESS = Path("/proc/1/cmdline")
PORTS: Mapping[str, int] = {"webserver": 3000, "code-server": 3030, "api": 8000, "daemon": 0}
"""Where each service of the image listens; the daemon does not."""


def health(
    role: Annotated[
        str, typer.Argument(help=f"{', '.join(PORTS)}; without it, what process 1 of the container is.")
    ] = "",
    port: Annotated[int, typer.Option(help="Port of the service, when it is not the image's.", min=0)] = 0,
) -> None:
    """Say whether the service of this container works; exit code 1 when it does not."""
    chosen = role or role_of(FIRST_PROCESS.read_bytes().decode(errors="replace").split("\0"))
    if role and role not in PORTS:
        raise typer.BadParameter(f"unknown: {role}; choose from {', '.join(PORTS)}", param_hint="ROLE")
    if not chosen:
        typer.echo("no service runs here: nothing to look at")
        return
    typer.echo(f"{chosen}: {_QUESTIONS[chosen](port or PORTS[chosen])}")


def role_of(words: Sequence[str]) -> str:
    """The role of a process by its command line; empty when it is none of ours (a run, a migration, a shell)."""
    names = [Path(word).name for word in words]
    if "dagster-webserver" in names:
        return "webserver"
    if "dagster-daemon" in names:
        return "daemon"
    pairs = list(pairwise(names))
    if ("api", "grpc") in pairs:
        return "code-server"
    return "api" if ("spine", "api") in pairs else ""


def _answers(path: str) -> Callable[[int], str]:
    """A question over HTTP: a good status is enough."""

    def ask(port: int) -> str:
        address = f"127.0.0.1:{port}{path}"
        connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
        try:
            connection.request("GET", path)
            status = connection.getresponse().status
        except (OSError, HTTPException) as error:
            raise SpineError(f"{address} does not answer: {error}") from error
        finally:
            connection.close()
        if status != HTTPStatus.OK:
            raise SpineError(f"{address} answers {status}")
        return f"{address} answers"

    return ask


def _code_server(port: int) -> str:
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    address = f"127.0.0.1:{port}"
    try:
        with grpc.insecure_channel(address) as channel:
            asked = health_pb2.HealthCheckRequest(service="DagsterApi")
            answer = health_pb2_grpc.HealthStub(channel).Check(asked, timeout=PATIENCE_SECONDS)
    except grpc.RpcError as error:
        raise SpineError(f"{address} does not answer: {error.code().name}") from error
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise SpineError(f"{address} does not serve")
    return f"{address} serves"


def _daemon(_port: int) -> str:
    from market_spine.cli.services import Deployment, known_databases
    from market_spine.ledger import health as parts
    from market_spine.settings import Settings

    settings = Settings.from_env()
    found = parts.daemons(Deployment(settings, known_databases(settings)).ledger)
    if found.state == parts.FAIL:
        raise SpineError(found.says)
    return found.says


_QUESTIONS: Mapping[str, Callable[[int], str]] = {
    "webserver": _answers("/server_info"),
    "code-server": _code_server,
    "api": _answers("/health/live"),
    "daemon": _daemon,
}
