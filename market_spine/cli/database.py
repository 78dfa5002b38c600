"""``spine db``: the schema of the market tables, and the embedded server.

Belongs here: the commands and what they ask before they delete. Does not belong here: migrations, the server itself
(``market_spine.warehouse``).
"""

from typing import Annotated

import typer

from market_spine.cli.output import EXIT_FAILED, Json, print_json

app = typer.Typer(no_args_is_help=True, help="The market database: its schema, and the embedded server.")


@app.command()
def migrate() -> None:
    """Bring the market tables and Dagster's own up to date; both databases have to be there."""
    from market_spine.cli.services import dagster_environment, databases, make_dagster_schema
    from market_spine.settings import Settings
    from market_spine.warehouse import migrate as migrations

    settings = Settings.from_env()
    with databases(settings) as found:
        pending = migrations.status(found.market)
        migrations.upgrade(found.market)
        make_dagster_schema(dagster_environment(settings, found))
    typer.echo(f"ran {', '.join(pending)}" if pending else "nothing to do: the schema is up to date")


@app.command()
def status(as_json: Json = False) -> None:
    """Say where the database is and which migrations are missing; exit code 1 when some are."""
    from market_spine.cli.services import databases
    from market_spine.settings import Settings
    from market_spine.warehouse import migrate as migrations

    with databases(Settings.from_env()) as found:
        pending = migrations.status(found.market)
    if as_json:
        print_json({"database": found.shown, "pending_migrations": pending})
    else:
        typer.echo(f"market tables: {found.shown}")
        typer.echo(f"to be run: {', '.join(pending)}" if pending else "schema: up to date")
    raise typer.Exit(EXIT_FAILED if pending else 0)


@app.command()
def stop() -> None:
    """Stop the embedded server, also one whose owner was killed."""
    from market_spine.settings import Settings
    from market_spine.warehouse.embedded import EmbeddedServer

    was_running = EmbeddedServer(Settings.from_env().state_dir / "server").halt()
    typer.echo("stopped" if was_running else "it was not running")


@app.command()
def reset(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dagster: Annotated[
        bool, typer.Option("--dagster", help="Dagster's tables too: every run, event and cursor is forgotten.")
    ] = False,
) -> None:
    """Drop the market tables with all their data and make them anew; refused while runs are under way.

    Without --dagster the UI goes on showing sessions as materialized that are empty now, and the landing sensor does
    not offer files again that it has seen: use spine dispatch or a backfill.
    """
    from market_spine.cli.services import dagster_environment, databases, make_dagster_schema
    from market_spine.errors import LedgerError
    from market_spine.ledger.health import runs_under_way
    from market_spine.ledger.storage import LedgerStorage
    from market_spine.settings import Settings
    from market_spine.warehouse.reset import drop_tables
    from market_spine.warehouse.reset import reset as reset_market

    settings = Settings.from_env()
    with databases(settings) as found:
        ledger = LedgerStorage(found.dagster)
        busy = runs_under_way(ledger)
        if busy:
            raise LedgerError(
                f"{busy} runs are under way or queued; wait for them, or cancel them with spine execution cancel"
            )
        if not yes:
            what = "the market tables and Dagster's" if dagster else "the market tables"
            typer.confirm(f"Delete {what} with all data in {found.shown}?", abort=True)
        reset_market(found.market)
        if dagster:
            from market_spine.automation.instance import dagster_tables

            drop_tables(found.dagster, dagster_tables())
            make_dagster_schema(dagster_environment(settings, found))
    typer.echo("reset: the tables are new and empty" + (", Dagster's too" if dagster else ""))


@app.command()
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
