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

from market_spine.cli import backfill, database, dead_letters, executions, files, query
from market_spine.cli.api import api
from market_spine.cli.cleanup import cleanup
from market_spine.cli.doctor import doctor
from market_spine.cli.health import health
from market_spine.cli.inventory import inventory
from market_spine.cli.observing import observe, shown
from market_spine.cli.output import EXIT_FAILED, EXIT_NOT_FOUND, EXIT_REFUSED, EXIT_USAGE
from market_spine.errors import InvalidSubmission, LogicalKeyActive, NotFound, QueueFull, SettingsError, SpineError


class SpineGroup(TyperGroup):
    """Turns an error raised on purpose, or by the database, into one line and an exit code.

    Any other error keeps its traceback: it is a mistake in the code.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except SpineError as error:
            typer.echo(f"spine: {shown(str(error))}", err=True)
            raise typer.Exit(_exit_code(error)) from error
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            from market_spine.cli.complaints import complaint_about

            line = complaint_about(error)
            if line is None:
                raise
            typer.echo(f"spine: {shown(line)}", err=True)
            raise typer.Exit(EXIT_FAILED) from error


def _exit_code(error: SpineError) -> int:
    if isinstance(error, SettingsError | InvalidSubmission):
        return EXIT_USAGE
    if isinstance(error, QueueFull | LogicalKeyActive):
        return EXIT_REFUSED
    return EXIT_NOT_FOUND if isinstance(error, NotFound) else EXIT_FAILED


app = typer.Typer(cls=SpineGroup, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(database.app, name="db")
app.add_typer(backfill.app, name="backfill")
app.add_typer(query.app, name="query")
app.add_typer(files.app, name="file")
app.command()(executions.run)
app.command()(executions.dispatch)
app.add_typer(executions.app, name="execution")
app.add_typer(dead_letters.app, name="dead-letter")
app.command()(inventory)
app.command()(cleanup)
app.command()(doctor)
app.command()(health)
app.command()(api)


@app.callback()
def spine(context: typer.Context) -> None:
    """Market Spine: OTC trade reports become daily metrics. Settings are environment variables, see .env.example."""
    observe(context)


@app.command()
def up(
    port: Annotated[int, typer.Option(help="Port of the UI; the next free one when it is taken.")] = 3000,
    workspace: Annotated[Path | None, typer.Option("-w", help="Another workspace than the project's own.")] = None,
) -> None:
    """Run database, UI, daemon and API until Ctrl-C."""
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


if __name__ == "__main__":
    app()
