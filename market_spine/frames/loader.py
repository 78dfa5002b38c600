"""``load_metrics``, ``load_trades`` and ``load_raw``: a partition, or a range of them, as a DataFrame.

What it is: each checks what it is asked for, streams one COPY and hands it to pandas.
Belongs here: the three functions and their checks. Does not belong here: SQL (``sql/frames.sql``), types (``arrow``).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import get_args

import pandas as pd
import psycopg
import pyarrow as pa
from psycopg import sql
from sqlalchemy import Table

from market_spine.calendar import TradingCalendar, frozen_sessions
from market_spine.errors import CalendarError, FrameError, NotComputed, RawExpired, SpineError, WarehouseError
from market_spine.frames.arrow import Decimals, frame_type, table_of
from market_spine.otc.normalize import STATUSES
from market_spine.otc.reading import KEY, fields_of
from market_spine.otc.steps import MARKET_DATABASE
from market_spine.settings import Settings
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine.warehouse.engine import Connection, Warehouse
from market_spine.warehouse.schema import otc_metrics_daily, otc_trades, otc_trades_raw
from market_spine.warehouse.sql import statements
from market_spine.warehouse.version import MIGRATE

SQL = statements("market_spine.frames", "frames.sql")
FILE_STATUSES = ("live", "superseded", "voided")
Day = date | str
Symbols = str | Sequence[str] | None
Database = str | Warehouse | None


def load_metrics(
    start: Day,
    end: Day | None = None,
    *,
    symbols: Symbols = None,
    fields: str | Sequence[str] = (),
    as_of: datetime | str | None = None,
    decimals: Decimals = "exact",
    database: Database = None,
) -> pd.DataFrame:
    """Daily metrics, a row per symbol and session, as published now or at an earlier moment.

    Args:
        start: the first trade date; the only one, and then a session, when there is no ``end``. ``date``,
            ``pandas.Timestamp`` or text like a partition key, ``2026-03-04``.
        end: the last trade date, included.
        symbols: one, or several; all when not given.
        fields: columns of ``otc_metrics_daily`` (docs/tables.md), in this order; the usual seven when not given,
            ``"all"`` for every one. Prices are USD a share, volumes shares.
        as_of: what was published at this moment; without a zone it is UTC.
        decimals: ``exact``: NUMERIC columns are ``decimal.Decimal`` objects with every digit; ``float``: the nearest
            float64, which is what arithmetic on whole columns and plotting are quick with.
        database: its address, or a Warehouse; otherwise that of ``DATABASE_URL``, otherwise the embedded server of the
            state folder, started for the call when it does not run.

    Returns:
        Index ``(symbol, trade_date)``, sorted; columns ``revision`` and the fields. ``trade_date`` is datetime64[us]
        without a zone (a New York day), moments are datetime64[us, UTC], counts int64, text str; a number that is not
        there is None where it is exact and NaN where it is a float. No row, and the same types, where nothing was
        published.

    Raises:
        CalendarError: the one day is no session, or there is none in the range.
        NotComputed: the one day has no metrics yet. In a range, and with ``as_of``, such days have no rows.
        FrameError: ``end`` is before ``start``, or a day, field, moment or way of decimals is none.
        WarehouseError: the database does not answer, has no tables or does not let the login read them.
    """
    first = _day(start)
    last = first if end is None else _day(end)
    moment = _moment(as_of)
    names = (*KEY, *_named(fields))
    types = _types(otc_metrics_daily, names, decimals)
    if last < first:
        raise FrameError(f"end {last} is before start {first}: swap them")
    if end is None:
        _check_session(first)
    elif not _calendar().sessions(first, last):
        raise CalendarError(f"there is no session from {first} to {last}")
    query = SQL(
        "metrics",
        columns=_columns(names),
        published=SQL("published_now" if moment is None else "published_then"),
        symbols=_chosen(symbols),
    )
    values = {"start": first, "end": last, "as_of": moment, "symbols": _listed(symbols)}
    with _reading(database) as connection:
        if end is None and moment is None:
            _check_computed(connection, first, "metrics")
        return _frame(connection, query, values, types).set_index(["symbol", "trade_date"])


def load_trades(
    day: Day,
    *,
    symbols: Symbols = None,
    status: str | None = "live",
    decimals: Decimals = "exact",
    database: Database = None,
) -> pd.DataFrame:
    """Trades of a session, in the order in which the metrics take them: symbol, moment, ``trade_seq``.

    Args:
        day: a session, as ``start`` of ``load_metrics``.
        symbols: one, or several; all when not given.
        status: ``live``, ``cancelled`` or ``superseded``; None for all.
        decimals: as in ``load_metrics``; of a whole day's trades ``float`` takes a fraction of time and memory.
        database: as in ``load_metrics``.

    Returns:
        Index 0, 1, ...; the 24 columns of ``otc_trades`` (docs/tables.md): ``executed_at`` datetime64[us, UTC],
        ``price`` in USD a share and ``size`` in shares as ``decimals`` says, flags bool, text str.

    Raises:
        CalendarError: the day is no session.
        NotComputed: it has no trades yet.
        FrameError: the day or the way of decimals is none, or there is no such status.
        WarehouseError: as in ``load_metrics``.
    """
    on = _day(day)
    _check_one_of("status", status, STATUSES)
    names = tuple(str(column.name) for column in otc_trades.columns)
    types = _types(otc_trades, names, decimals)
    _check_session(on)
    query = SQL("trades", columns=_columns(names), symbols=_chosen(symbols))
    values = {"day": on, "status": status, "symbols": _listed(symbols)}
    with _reading(database) as connection:
        _check_computed(connection, on, "trades")
        return _frame(connection, query, values, types)


def load_raw(day: Day, *, status: str | None = "live", database: Database = None) -> pd.DataFrame:
    """Reports of a report date exactly as they came, by file and line; every field is text.

    Needs a login that may read the tables: role ``market_spine_reader`` does not see raw reports.

    Args:
        day: a session, as ``start`` of ``load_metrics``.
        status: reports of ``live``, ``superseded`` or ``voided`` files; None for all.
        database: as in ``load_metrics``.

    Returns:
        Index 0, 1, ...; ``source``, ``file_status``, then the columns of ``otc_trades_raw`` (docs/tables.md): text as
        str, ``extra`` as JSON text, ``report_date`` as datetime64[us], ``file_id`` and ``line_no`` as int32.

    Raises:
        CalendarError: the day is no session.
        NotComputed: no such file of it was loaded.
        RawExpired: retention has dropped its reports.
        FrameError: the day is none, or there is no such status.
        WarehouseError: as in ``load_metrics``.
    """
    on = _day(day)
    _check_one_of("status", status, FILE_STATUSES)
    _check_session(on)
    names = tuple(str(column.name) for column in otc_trades_raw.columns)
    columns = sql.SQL(", ").join(sql.Identifier("r", name) for name in names)
    types = {"source": pa.string(), "file_status": pa.string(), **_types(otc_trades_raw, names, "exact")}
    values = {"day": on, "status": status}
    with _reading(database) as connection:
        loaded, kept = connection.execute(SQL("raw_state"), values).fetchone() or (0, 0)
        which = f"{status} file" if status else "file"
        if not loaded:
            raise NotComputed(f"{on}: no {which} of it was loaded; see spine file list --session {on}")
        if not kept:
            raise RawExpired(f"{on}: retention dropped its reports; MARKET_SPINE_KEEP_RAW_DAYS says when")
        return _frame(connection, SQL("raw", columns=columns), values, types)


def _frame(
    connection: Connection, query: sql.Composed, values: Mapping[str, object], types: Mapping[str, pa.DataType]
) -> pd.DataFrame:
    with connection.cursor() as cursor, cursor.copy(SQL("copy", query=query), values) as copied:
        table = table_of(copied, types)
    # Column after column is handed over and given up, so that the rows are never held twice as a whole.
    frame: pd.DataFrame = table.to_pandas(split_blocks=True, self_destruct=True)
    return frame


@contextmanager
def _reading(database: Database) -> Iterator[Connection]:
    """A connection; what the server says becomes one line."""
    with _warehouse(database) as warehouse:
        try:
            with warehouse.connect() as connection:
                yield connection
        except (
            psycopg.errors.UndefinedTable,
            psycopg.errors.UndefinedColumn,
            psycopg.errors.InvalidSchemaName,
        ) as error:
            raise WarehouseError(f"the market tables are not those of this version: {MIGRATE}") from error
        except psycopg.errors.InsufficientPrivilege as error:
            said = error.diag.message_primary or str(error)
            raise WarehouseError(f"the login may not read this: {said}; use another one") from error
        except psycopg.Error as error:
            line = str(error).strip().partition("\n")[0]
            raise WarehouseError(f"the market database broke the reading off: {line}") from error


@contextmanager
def _warehouse(database: Database) -> Iterator[Warehouse]:
    if database:
        yield database if isinstance(database, Warehouse) else Warehouse(database)
        return
    settings = Settings.from_env()
    if settings.database_url:
        yield Warehouse(settings.database_url)
        return
    folder = settings.state_dir / "server"
    if not folder.is_dir():
        raise WarehouseError(
            f"no database is known: {folder} holds no embedded server; set DATABASE_URL, or MARKET_SPINE_STATE to the "
            "folder .spine of the clone that make demo or make up ran in"
        )
    with EmbeddedServer(folder) as server:
        yield Warehouse(server.url(MARKET_DATABASE))


def _check_computed(connection: Connection, day: date, what: str) -> None:
    has_trades, has_metrics = connection.execute(SQL("day_state"), {"day": day}).fetchone() or (False, False)
    if not (has_trades if what == "trades" else has_metrics):
        raise NotComputed(f"{day} has no {what} yet: run spine run otc_full_refresh {day}")


def _check_session(day: date) -> None:
    calendar = _calendar()
    if day < calendar.first_session:
        raise CalendarError(f"{day} is before {calendar.first_session}, the first session that is known")
    if not calendar.is_session(day):
        before, after = calendar.previous_session(day), calendar.next_session(day)
        raise CalendarError(f"{day} is no session; the ones beside it are {before} and {after}")


def _check_one_of(what: str, value: str | None, known: Sequence[str]) -> None:
    if value is not None and value not in known:
        raise FrameError(f"no {what} is named {value}; there are {', '.join(known)}, and None for all")


def _calendar() -> TradingCalendar:
    """Every session that is known, whatever this machine has partitions for: the database may be another's."""
    return TradingCalendar(frozen_sessions()[0].day)


def _types(table: Table, names: Sequence[str], decimals: Decimals) -> dict[str, pa.DataType]:
    if decimals not in get_args(Decimals):
        raise FrameError(f"decimals is {decimals!r}; there are {' and '.join(get_args(Decimals))}")
    return {name: frame_type(table.columns[name], decimals) for name in names}


def _named(fields: str | Sequence[str]) -> tuple[str, ...]:
    given = [name.strip() for name in (fields.split(",") if isinstance(fields, str) else fields)]
    wanted = [name for name in given if name and name not in KEY]
    if any(given) and not wanted:
        return ()  # nothing but the key, which is there anyway
    try:
        return fields_of(wanted)
    except SpineError as error:
        raise FrameError(str(error)) from error


def _columns(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(name) for name in names)


def _chosen(symbols: Symbols) -> sql.Composed:
    return SQL("every_symbol" if symbols is None else "of_symbols")


def _listed(symbols: Symbols) -> list[str] | None:
    return [symbols] if isinstance(symbols, str) else None if symbols is None else list(symbols)


def _day(value: Day) -> date:
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise FrameError(f"{value!r} is no day; write 2026-03-04") from error


def _moment(value: datetime | str | None) -> datetime | None:
    if value is None:
        return None
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise FrameError(f"as_of is {value!r}; write a moment like 2026-03-10T12:00Z") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
