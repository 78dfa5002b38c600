"""``spine api``: the REST API on the databases of the settings.

Belongs here: options, the server's limits. Does not belong here: the application (``market_spine.api``).
"""

from typing import Annotated

import typer

KEEP_ALIVE_SECONDS = 30
STOP_SECONDS = 10


def api(
    host: Annotated[str, typer.Option(help="Address it listens on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port it listens on.", min=1, max=65535)] = 8000,
) -> None:
    """Serve the REST API until Ctrl-C."""
    import uvicorn

    from market_spine.api.app import build_app
    from market_spine.cli.output import notes
    from market_spine.cli.services import Deployment, databases
    from market_spine.settings import Settings

    settings = Settings.from_env()
    with databases(settings) as found:
        deployed = Deployment(settings, found)
        app = build_app(settings, found.market, dagster_url=found.dagster, find_webserver=lambda: deployed.webserver)
        notes.print(f"API        http://{host}:{port}/api/v1", markup=False)
        uvicorn.run(
            app,
            host=host,
            port=port,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
