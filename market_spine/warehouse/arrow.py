"""What PostgreSQL's COPY writes as CSV, as Arrow tables of the declared columns' exact types.

Belongs here: types and parsing. Does not belong here: statements, what becomes of a table.
"""

import pyarrow as pa
from pyarrow import csv
from sqlalchemy import BigInteger, Boolean, Column, Date, Double, Integer, Numeric


def arrow_type(column: "Column[object]") -> pa.DataType:
    """The type of a declared column: decimals of its precision and scale, days as date32, moments in UTC."""
    kind = column.type
    if isinstance(kind, Double):
        return pa.float64()
    if isinstance(kind, Numeric):
        return pa.decimal128(kind.precision, kind.scale)
    if isinstance(kind, BigInteger):
        return pa.int64()
    if isinstance(kind, Integer):
        return pa.int32()
    if isinstance(kind, Boolean):
        return pa.bool_()
    if isinstance(kind, Date):
        return pa.date32()
    if getattr(kind, "timezone", False):
        return pa.timestamp("us", tz="UTC")
    return pa.string()


def read_rows(text: bytes, schema: pa.Schema) -> pa.Table:
    """Whole rows of a COPY in CSV without a header; NULL is nothing at all, an empty text is quoted."""
    return csv.read_csv(
        pa.BufferReader(text),
        # one block: a row may hold line ends in quotes, and a second thread would only wait for the first
        read_options=csv.ReadOptions(column_names=schema.names, use_threads=False, block_size=len(text) + 1),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types=schema,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            # a boolean as COPY writes it, and as a text
            true_values=["t", "true"],
            false_values=["f", "false"],
        ),
    )
