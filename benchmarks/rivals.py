"""What the product is measured against: a bare COPY, an INSERT a row, and a pandas script.

Belongs here: the rivals, written the way a competent person would write them in an afternoon, with nothing slowed
down. Does not belong here: the clock.

The pandas script does much less than the product: no identity, no life cycle, no quarantine, no rolling columns, a
dozen of the metrics. It is meant as the cost of the usual way, not as an equal.
"""

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pandas as pd
import psycopg
from psycopg import sql
from sqlalchemy import create_engine

from market_spine.warehouse.migrate import sqlalchemy_url
from market_spine.warehouse.sql import statements

SQL = statements("benchmarks", "bench.sql")
BLOCK = 256 * 1024
PANDAS_BATCH = 10_000


def copy_bare(url: str, path: Path) -> None:
    """COPY the file, byte for byte, into a table of text columns made in the same transaction."""
    with psycopg.connect(url) as connection, path.open("rb") as stream:
        connection.execute(SQL("copy_table", columns=_text_columns(path)))
        with connection.cursor().copy(SQL("copy_bare")) as copy:
            while block := stream.read(BLOCK):
                copy.write(block)


def insert_rows(url: str, path: Path, rows: int) -> int:
    """INSERT the first rows one by one, in one transaction, prepared by psycopg; answers how many there were."""
    with psycopg.connect(url) as connection, path.open(encoding="utf-8", newline="") as stream:
        connection.execute(SQL("copy_table", columns=_text_columns(path)))
        reader = csv.reader(stream)
        width = len(next(reader))
        # Composed once: building the statement for every row would be our slowness, not the rival's.
        statement = SQL("insert_row", values=sql.SQL(", ").join([sql.Placeholder()] * width)).as_string(connection)
        done = 0
        with connection.cursor() as cursor:
            for row in islice(reader, rows):
                cursor.execute(statement.encode(), row)
                done += 1
    return done


def drop_bare(url: str) -> None:
    """Remove what the two above made."""
    with psycopg.connect(url) as connection:
        connection.execute(SQL("drop_bare"))


def pandas_script(url: str, path: Path, rows: int | None) -> int:
    """read_csv, to_sql, groupby, to_sql; answers the rows it read."""
    engine = create_engine(sqlalchemy_url(url))
    frame = pd.read_csv(path, nrows=rows, dtype={"report_id": "string", "original_report_id": "string"})
    for column in ("executed_at", "reported_at"):
        frame[column] = pd.to_datetime(frame[column], utc=True)
    with engine.begin() as connection:
        frame.to_sql("pandas_trades", connection, index=False, if_exists="replace", chunksize=PANDAS_BATCH)
    live = frame[frame["action"] == "new"].sort_values(["symbol", "executed_at", "report_id"])
    live = live.assign(notional=live["price"] * live["size"])
    groups = live.groupby("symbol")
    metrics = groups.agg(
        trade_count=("price", "size"),
        total_volume=("size", "sum"),
        total_notional=("notional", "sum"),
        open_price=("price", "first"),
        high_price=("price", "max"),
        low_price=("price", "min"),
        close_price=("price", "last"),
        median_price=("price", "median"),
        stddev_price=("price", "std"),
        max_trade_size=("size", "max"),
        venue_count=("venue", "nunique"),
    )
    metrics["vwap"] = metrics["total_notional"] / metrics["total_volume"]
    with engine.begin() as connection:
        metrics.reset_index().to_sql(
            "pandas_metrics", connection, index=False, if_exists="replace", chunksize=PANDAS_BATCH
        )
    engine.dispose()
    return len(frame)


def header_of(path: Path) -> list[str]:
    """Column names of a CSV file."""
    with path.open(encoding="utf-8", newline="") as stream:
        return next(csv.reader(stream))


def rows_of(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a CSV file by column."""
    with path.open(encoding="utf-8", newline="") as stream:
        yield from csv.DictReader(stream)


def _text_columns(path: Path) -> sql.Composable:
    return sql.SQL(", ").join(sql.SQL("{} text").format(sql.Identifier(name)) for name in header_of(path))
