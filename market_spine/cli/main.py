"""``spine``: the commands and their options.

What it is: one typer application; each command reads the settings and hands over to the module that does the work.
Belongs here: names, options, exit codes, and the one place where an error becomes a line on stderr.
Does not belong here: the work itself. Modules are imported inside the commands, so that ``spine --help`` does not pay
for what only one of them needs.
"""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from market_spine.errors import SettingsError, SpineError

EXIT_FAILED = 1
EXIT_USAGE = 2


class SpineGroup(TyperGroup):
    """Turns an error raised on purpose into its one line and an exit code; any other error keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except SpineError as error:
            typer.echo(f"spine: {error}", err=True)
            raise typer.Exit(EXIT_USAGE if isinstance(error, SettingsError) else EXIT_FAILED) from error


app = typer.Typer(cls=SpineGroup, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
db = typer.Typer(no_args_is_help=True, help="The market database: its schema, and the embedded server.")
app.add_typer(db, name="db")


@app.callback()
def spine() -> None:
    """Market Spine: OTC trade reports become daily metrics. Settings are environment variables, see .env.example."""


@app.command()
def up(
    port: Annotated[int, typer.Option(help="Port of the UI; the next free one when it is taken.")] = 3000,
    workspace: Annotated[Path | None, typer.Option("-w", help="Another workspace than the project's own.")] = None,
) -> None:
    """Run database, UI and daemon until Ctrl-C."""
    from market_spine.cli.services import PROJECT
    from market_spine.cli.up import run_up
    from market_spine.settings import Settings

    raise typer.Exit(run_up(Settings.from_env(), port, workspace or PROJECT / "workspace.yaml"))


@app.command()
def demo() -> None:
    """Materialize the bundled sessions with Dagster and print the resulting metrics."""
    from market_spine.cli.demo import run_demo
    from market_spine.settings import Settings

    raise typer.Exit(run_demo(Settings.from_env()))


@db.command()
def migrate() -> None:
    """Bring the schema of the market tables up to date."""
    from market_spine.cli.services import databases
    from market_spine.settings import Settings
    from market_spine.warehouse import migrate as migrations

    with databases(Settings.from_env()) as found:
        pending = migrations.status(found.market)
        migrations.upgrade(found.market)
    typer.echo(f"ran {', '.join(pending)}" if pending else "nothing to do: the schema is up to date")


@db.command()
def status() -> None:
    """Say where the database is and which migrations are missing; exit code 1 when some are."""
    from market_spine.cli.services import databases
    from market_spine.settings import Settings
    from market_spine.warehouse import migrate as migrations

    with databases(Settings.from_env()) as found:
        pending = migrations.status(found.market)
        typer.echo(f"market tables: {found.shown}")
    typer.echo(f"to be run: {', '.join(pending)}" if pending else "schema: up to date")
    raise typer.Exit(EXIT_FAILED if pending else 0)


@db.command()
def stop() -> None:
    """Stop the embedded server, also one whose owner was killed."""
    from market_spine.settings import Settings
    from market_spine.warehouse.embedded import EmbeddedServer

    was_running = EmbeddedServer(Settings.from_env().state_dir / "server").halt()
    typer.echo("stopped" if was_running else "it was not running")


@db.command()
def remove(yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Stop the embedded server and delete all its data."""
    from market_spine.settings import Settings
    from market_spine.warehouse.embedded import EmbeddedServer

    state_dir = Settings.from_env().state_dir / "server"
    if not state_dir.exists():
        typer.echo("there is no embedded server")
        return
    if not yes:
        typer.confirm(f"Delete all data in {state_dir}?", abort=True)
    EmbeddedServer(state_dir).remove()
    typer.echo("removed")


if __name__ == "__main__":
    app()
