"""What is seen of a command from outside: its log lines, its trace, and no secret in what it complains about.

Belongs here: setting that up for commands. Does not belong here: what commands print (``output``).
"""

import typer

from market_spine.errors import SettingsError
from market_spine.observability import traces
from market_spine.observability.logs_redaction import Redactor
from market_spine.observability.logs_setup import configure, log_unexpected
from market_spine.settings import Settings

LASTING = ("api", "up")
"""Commands that stay: their work is traced by what does it."""


def observe(context: typer.Context) -> None:
    """Log lines go to stderr, and where a collector is named the command is a span, above what it starts.

    Raises:
        SettingsError: a setting cannot be used.
    """
    settings = Settings.from_env()
    configure(settings, command=True)
    log_unexpected()
    if context.invoked_subcommand in LASTING:
        return
    traces.start(traces.COMMAND, settings)
    context.call_on_close(traces.flush)
    context.with_resource(traces.span(f"spine {context.invoked_subcommand}"))


def shown(complaint: str) -> str:
    """The line as it may be printed: libpq quotes a connection string it cannot read, password and all."""
    try:
        return Redactor.of(Settings.from_env()).text(complaint)
    except SettingsError:
        return Redactor().text(complaint)
