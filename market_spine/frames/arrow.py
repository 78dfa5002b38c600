"""What PostgreSQL's COPY writes as an Arrow table of exact types.

What it is: the Arrow type of each declared column, and a reader that turns the stream into record batches as it comes,
so that the text of no more than one block is held at a time.
Belongs here: types and parsing. Does not belong here: statements, pandas.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import pyarrow as pa
from pyarrow import csv
from sqlalchemy import BigInteger, Boolean, Column, Date, Double, Integer, Numeric

Decimals = Literal["exact", "float"]
Chunk = bytes | bytearray | memoryview
BLOCK_BYTES = 2 * 1024 * 1024
"""Text that becomes one record batch: enough for Arrow to be quick, and little to hold."""


def arrow_type(column: "Column[object]", decimals: Decimals) -> pa.DataType:
    """The type a column has in a frame.

    Args:
        column: as declared.
        decimals: ``exact``: decimal128 of the column's precision and scale; ``float``: the nearest float64.
    """
    kind = column.type
    if isinstance(kind, Double):
        return pa.float64()
    if isinstance(kind, Numeric):
        return pa.decimal128(kind.precision, kind.scale) if decimals == "exact" else pa.float64()
    if isinstance(kind, BigInteger):
        return pa.int64()
    if isinstance(kind, Integer):
        return pa.int32()
    if isinstance(kind, Boolean):
        return pa.bool_()
    if isinstance(kind, Date):
        return pa.timestamp("us")
    if getattr(kind, "timezone", False):
        return pa.timestamp("us", tz="UTC")
    return pa.string()


def table_of(chunks: Iterable[Chunk], types: Mapping[str, pa.DataType]) -> pa.Table:
    """The rows of a COPY in CSV, without a header.

    Args:
        chunks: the stream, cut between rows.
        types: columns in order.
    """
    schema = pa.schema(list(types.items()))
    return pa.concat_tables([schema.empty_table(), *(_read(text, schema) for text in _blocks(chunks))])


def _blocks(chunks: Iterable[Chunk]) -> Iterator[bytes]:
    parts: list[Chunk] = []
    size = 0
    for chunk in chunks:
        parts.append(chunk)
        size += len(chunk)
        if size >= BLOCK_BYTES:
            yield b"".join(parts)
            parts, size = [], 0
    if parts:
        yield b"".join(parts)


def _read(text: bytes, schema: pa.Schema) -> pa.Table:
    return csv.read_csv(
        pa.BufferReader(text),
        # one block: a row may hold line ends in quotes
        read_options=csv.ReadOptions(column_names=schema.names, use_threads=False, block_size=len(text) + 1),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types=schema,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["t"],
            false_values=["f"],
        ),
    )
