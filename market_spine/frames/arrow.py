"""A stream of rows from PostgreSQL's COPY as one Arrow table.

What it is: the types of a frame, and a reader that turns the stream into record batches as it comes, so that the text
of no more than one block is held at a time.
Belongs here: what a frame needs of Arrow. Does not belong here: statements, pandas, parsing (``warehouse.arrow``).
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import pyarrow as pa
from sqlalchemy import Column

from market_spine.warehouse.arrow import arrow_type, read_rows

Decimals = Literal["exact", "float"]
Chunk = bytes | bytearray | memoryview
BLOCK_BYTES = 2 * 1024 * 1024
"""Text that becomes one record batch: enough for Arrow to be quick, and little to hold."""


def frame_type(column: "Column[object]", decimals: Decimals) -> pa.DataType:
    """The type a column has in a frame: as declared, but days as moments, which pandas has a type for.

    Args:
        column: as declared.
        decimals: ``exact``: decimal128 of the column's precision and scale; ``float``: the nearest float64.
    """
    declared = arrow_type(column)
    if pa.types.is_decimal(declared) and decimals == "float":
        return pa.float64()
    return pa.timestamp("us") if pa.types.is_date(declared) else declared


def table_of(chunks: Iterable[Chunk], types: Mapping[str, pa.DataType]) -> pa.Table:
    """The rows of a COPY in CSV, without a header.

    Args:
        chunks: the stream, cut between rows.
        types: columns in order.
    """
    schema = pa.schema(list(types.items()))
    return pa.concat_tables([schema.empty_table(), *(read_rows(text, schema) for text in _blocks(chunks))])


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
