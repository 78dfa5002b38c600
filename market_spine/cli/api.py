"""``spine api``: the REST API on the databases of the settings.

Belongs here: options, the server's limits. Does not belong here: the application (``market_spine.api``).
"""

import logging
from dataclasses import replace
from typing import Annotated

import typer

KEEP_ALIVE_SECONDS = 30
STOP_SECONDS = 10
log = logging.getLogger(__name__)


def api(
    host: Annotated[str, typer.Option(help="Address it listens on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port it listens on.", min=1, max=65535)] = 8000,
) -> None:
    """Serve the REST API until Ctrl-C."""
    import uvicorn

    from market_spine.api.app import build_app
    from market_spine.api.protocol import Protocol
    from market_spine.cli.services import deployment
    from market_spine.observability import traces
    from market_spine.observability.logs_setup import configure
    from market_spine.settings import Settings

    settings = Settings.from_env()
    # Without the tables it starts all the same, and says so at /health/ready.
    with deployment(settings, market=False) as deployed:
        found = deployed.databases
        known = replace(settings, database_url=found.market, dagster_database_url=found.dagster)
        configure(known)
        traces.start(traces.API, known)
        app = build_app(settings, found.market, dagster_url=found.dagster, find_webserver=lambda: deployed.webserver)
        log.info("serving http://%s:%s/api/v1", host, port)
        uvicorn.run(
            app,
            host=host,
            port=port,
            http=Protocol,
            log_level="warning",
            # its lines go the way of ours, and of each request ours says more
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
