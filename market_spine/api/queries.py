"""Statements of the routes, composed once for each shape of a request.

What it is: a shape says which columns, which view, which conditions; its statement is cached as bytes, so that the same
shape again is a prepared statement on the server and costs nothing here.
Belongs here: putting fragments together. Does not belong here: SQL (``sql/reading.sql``), values.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from psycopg import sql

from market_spine.api.columns import METRIC_KEY, QUOTED, TRADE_KEY, Known, metric_columns, trade_columns
from market_spine.warehouse.sql import qualified, statements

SQL = statements("market_spine.api", "reading.sql")
SHAPES = 512
"""Shapes that are kept; a client that asks for fields in ever new orders must not fill the memory."""
JSON, TEXT = "json", "text"
METRICS, REVISIONS, TRADES = "metrics_daily", "metrics_revisions", "trades"

Names = tuple[str, ...]


@lru_cache(SHAPES)
def metrics(fields: Names, view: str, conditions: Names, *, filled: bool, form: str, page: bool = True) -> bytes:
    """Metrics of some fields.

    Args:
        fields: columns in their order.
        view: ``METRICS``, or ``REVISIONS`` for what was published at a moment.
        conditions: names of fragments; of a filled answer they are in the joined part.
        filled: with a row for each session.
        form: ``JSON``: every value as JSON text, but ``QUOTED`` without their quotes; ``TEXT``: as COPY writes them.
        page: with a limit; otherwise everything.
    """
    source: sql.Composable = qualified("api", view)
    where = _all_of(conditions)
    if filled:
        joined = sql.SQL(", ").join(
            sql.SQL("f.{}").format(sql.Identifier(name)) for name in metric_columns() if name not in METRIC_KEY[:2]
        )
        source = SQL("filled", columns=joined, source=source, conditions=where)
        where = _all_of(tuple(name for name in conditions if name == "after_metric"))
    columns = _columns(fields, metric_columns(), form)
    # A stream of everything goes day by day, as the rows lie on disk: by symbol it would read a page for every row.
    order = METRIC_KEY[:2] if page or any(name.startswith("of_symbol") for name in conditions) else METRIC_KEY[1::-1]
    text = SQL("rows" if page else "all_rows", columns=columns, source=source, conditions=where, order=_order(order))
    return text.as_bytes()


@lru_cache(SHAPES)
def metrics_state(view: str, conditions: Names) -> bytes:
    """What the ETag of a stream is made of."""
    return SQL("metrics_state", source=qualified("api", view), conditions=_all_of(conditions)).as_bytes()


@lru_cache(SHAPES)
def counted(view: str, conditions: Names) -> bytes:
    """How many rows there are on all pages together."""
    return SQL("count_rows", source=qualified("api", view), conditions=_all_of(conditions)).as_bytes()


@lru_cache(SHAPES)
def trades(conditions: Names, *, form: str, page: bool = True) -> bytes:
    """Trades with all their columns."""
    columns = _columns(tuple(trade_columns()), trade_columns(), form)
    source = qualified("api", TRADES)
    return SQL(
        "rows" if page else "all_rows",
        columns=columns,
        source=source,
        conditions=_all_of(conditions),
        order=_order(TRADE_KEY),
    ).as_bytes()


@lru_cache(SHAPES)
def listing(view: str, columns: tuple[tuple[str, bool], ...], conditions: Names, order: Names) -> bytes:
    """Rows of a small view.

    Args:
        view: which.
        columns: name, and whether its text is JSON already.
        conditions: names of fragments.
        order: its key.
    """
    composed = sql.SQL(", ").join(
        sql.SQL("m.{}").format(sql.Identifier(name)) if plain else _as_json(name) for name, plain in columns
    )
    source = qualified("api", view)
    return SQL("rows", columns=composed, source=source, conditions=_all_of(conditions), order=_order(order)).as_bytes()


@lru_cache(SHAPES)
def quality(conditions: Names, *, count: bool = False) -> bytes:
    """Days with files, quarantine and checks; or how many."""
    return SQL("count_days" if count else "quality", conditions=_all_of(conditions)).as_bytes()


TRADES_STATE = SQL("trades_state").as_bytes()


def copy(query: bytes, *, header: bool) -> bytes:
    """The statement that streams a query."""
    return SQL("copy_csv" if header else "copy_values", query=sql.SQL(query.decode())).as_bytes()


def _columns(fields: Sequence[str], known: Mapping[str, Known], form: str) -> sql.Composed:
    return sql.SQL(", ").join(_column(name, known[name], form) for name in fields)


def _column(name: str, known: Known, form: str) -> sql.Composable:
    if form == TEXT:
        return SQL("as_text", column=qualified("m", name), name=name) if known.is_boolean else qualified("m", name)
    return qualified("m", name) if known.is_number or name in QUOTED else _as_json(name)


def _as_json(name: str) -> sql.Composed:
    return SQL("as_json", column=qualified("m", name), name=name)


def _order(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(qualified("m", name) for name in names)


def _all_of(conditions: Names) -> sql.Composed:
    return sql.SQL(" AND ").join(SQL(name) for name in conditions or ("every_row",))
