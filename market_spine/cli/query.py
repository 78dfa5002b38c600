"""``spine query``: metrics and trades, as tables, JSON or CSV.

Belongs here: options and printing. Does not belong here: the reads (``market_spine.otc.reading``).
"""

import csv
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated

import typer

from market_spine.cli.output import Json, notes, print_rows
from market_spine.errors import SpineError

app = typer.Typer(no_args_is_help=True, help="Read daily metrics and trades.")
IN_A_TABLE = (
    "executed_at",
    "price",
    "size",
    "status",
    "venue",
    "side",
    "conditions",
    "report_id",
    "file_id",
    "line_no",
)
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")]


@app.command()
def metrics(
    symbol: Annotated[str, typer.Option(help="One symbol, or several with commas between them.")],
    start: Annotated[str, typer.Option(help="First trade date.")],
    end: Annotated[str, typer.Option(help="Last trade date; the first one by default.")] = "",
    as_of: Annotated[
        str, typer.Option(help="What was published at this moment: 2026-03-10T12:00Z; UTC without a zone.")
    ] = "",
    fields: Annotated[str, typer.Option(help="Columns with commas between them, or all.")] = "",
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Daily metrics, as published now or at any earlier moment."""
    from market_spine.cli.services import deployment
    from market_spine.otc import reading
    from market_spine.settings import Settings

    symbols = _words(symbol)
    if not symbols:
        raise typer.BadParameter("no symbol is named", param_hint="--symbol")
    first = _day(start, "--start")
    last = _day(end, "--end") if end else first
    if last < first:
        raise typer.BadParameter(f"{last} is before {first}", param_hint="--end")
    chosen = _fields(fields)
    moment = _moment(as_of) if as_of else None
    with deployment(Settings.from_env()) as deployed, deployed.warehouse.connect() as connection:
        rows = reading.metrics(connection, symbols, first, last, fields=chosen, as_of=moment)
    missing = sorted(set(symbols) - {str(row["symbol"]) for row in rows})
    if missing:
        then = f" as of {moment.isoformat()}" if moment else ""
        notes.print(f"no metrics of {', '.join(missing)} from {first} to {last}{then}", markup=False)
    _print(rows, as_json=as_json, as_csv=as_csv)


@app.command()
def trades(
    symbol: Annotated[str, typer.Option(help="Symbol.")],
    day: Annotated[str, typer.Option("--date", help="Trade date.")],
    status: Annotated[str, typer.Option(help="Only live, cancelled or superseded ones.")] = "",
    eligible: Annotated[bool, typer.Option("--eligible", help="Only what high, low and vwap are made of.")] = False,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1)] = 1000,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Trades of a symbol's day, in the order in which the metrics take them."""
    from market_spine.cli.services import deployment
    from market_spine.otc import reading
    from market_spine.otc.normalize import STATUSES
    from market_spine.settings import Settings

    on = _day(day, "--date")
    if status and status not in STATUSES:
        raise typer.BadParameter(f"no status is named {status}; there are {', '.join(STATUSES)}", param_hint="--status")
    with deployment(Settings.from_env()) as deployed, deployed.warehouse.connect() as connection:
        found = reading.trades(connection, symbol, on, status=status or None, eligible=eligible, limit=limit)
    if found.is_cut:
        notes.print(f"only the first {limit:,}; see --limit")
    # A table of all 24 columns fits no terminal; --json and --csv have them.
    shown = found.rows if as_json or as_csv else [{name: row[name] for name in IN_A_TABLE} for row in found.rows]
    _print(shown, as_json=as_json, as_csv=as_csv)


def _print(rows: Sequence[Mapping[str, object]], *, as_json: bool, as_csv: bool) -> None:
    if as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        if rows:
            writer.writerow(rows[0])
        writer.writerows([_exact(value) for value in row.values()] for row in rows)
    else:
        shown = rows if as_json else [{name: _short(value) for name, value in row.items()} for row in rows]
        print_rows(shown, as_json=as_json)


def _exact(value: object) -> object:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if isinstance(value, date) else value


def _short(value: object) -> object:
    """For a table: without the zeros at the end, times to the microsecond."""
    if isinstance(value, Decimal):
        whole, _, fraction = f"{value:,f}".partition(".")
        return f"{whole}.{fraction.rstrip('0')}".rstrip(".")
    return value.isoformat(sep=" ") if isinstance(value, datetime) else value


def _words(text: str) -> list[str]:
    return list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def _fields(text: str) -> tuple[str, ...]:
    from market_spine.otc.reading import fields_of

    try:
        return fields_of(_words(text))
    except SpineError as error:
        raise typer.BadParameter(str(error), param_hint="--fields") from error


def _day(text: str, option: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no day; write 2026-03-04", param_hint=option) from error


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no moment; write 2026-03-10T12:00Z", param_hint="--as-of") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
