"""What Dagster shows about the tables and their partitions.

What it is: column schemas generated from the declared tables, column lineage, and the metadata of one materialization.
Belongs here: Dagster's words for it. Does not belong here: the tables (``warehouse.schema``), the figures (``steps``).
Schema and lineage stand on the asset, not on each materialization: they are the same for every partition, and an event
log keeps every event for ever.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dagster import (
    AssetKey,
    MetadataValue,
    TableColumn,
    TableColumnConstraints,
    TableColumnDep,
    TableColumnLineage,
    TableSchema,
)
from sqlalchemy import Column, Table, make_url

from market_spine.otc.quality import METRICS, RAW, TRADES
from market_spine.otc.steps import StepDone
from market_spine.warehouse import schema
from market_spine.warehouse.schema import RAW_TEXT_COLUMNS, VALUE_COLUMNS, metadata

Metadata = Mapping[str, "MetadataValue[Any]"]
RAW_COLUMNS = frozenset(name for name, _ in RAW_TEXT_COLUMNS)
EVENT = ("action", "original_report_id", "original_report_date", "correction")
"""Columns that decide what becomes of another report."""

_FROM_RAW: Mapping[str, Sequence[str]] = {
    "trade_date": ("executed_at", "trade_date"),
    "trade_seq": ("executed_at", "sequence", "report_id"),
    "is_correction": ("action",),
    "is_late": ("action", "report_date", "executed_at"),
    "is_capped": ("size",),
    "is_outlier": ("price",),
    "upd_volume": ("conditions",),
    "upd_high_low": ("conditions",),
    "upd_last": ("conditions",),
    "last_if_only": ("conditions",),
    "unknown_condition": ("conditions",),
    "status": EVENT,
    "file_id": ("file_id",),
    "line_no": ("line_no",),
}
_PRICES = ("price", "upd_volume", "upd_high_low", "is_outlier", "status")
_VOLUMES = ("size", "upd_volume", "status")
_LASTS = ("price", "executed_at", "trade_seq", "upd_last", "last_if_only", "upd_high_low", "is_outlier", "status")
_FROM_TRADES: Mapping[str, Sequence[str]] = {
    "symbol": ("symbol",),
    "trade_date": ("trade_date",),
    "trade_count": ("upd_volume", "status"),
    "total_notional": ("price", *_VOLUMES),
    "vwap_all": ("price", *_VOLUMES),
    "vwap": ("size", *_PRICES),
    "high_price": _PRICES,
    "high_at": ("executed_at", *_PRICES),
    "low_price": _PRICES,
    "low_at": ("executed_at", *_PRICES),
    "median_price": _PRICES,
    "stddev_price": _PRICES,
    "parkinson_vol": _PRICES,
    "garman_klass_vol": ("executed_at", "trade_seq", "upd_last", *_PRICES),
    **dict.fromkeys(
        ("open_price", "open_at", "close_price", "close_at", "realized_vol", "roll_spread", "prev_close", "return_cc"),
        _LASTS,
    ),
    "amihud": ("size", *_LASTS),
    "block_count": ("price", *_VOLUMES),
    "block_volume": ("price", *_VOLUMES),
    **dict.fromkeys(("pre_volume", "regular_volume", "post_volume"), ("executed_at", *_VOLUMES)),
    **dict.fromkeys(("buy_volume", "sell_volume", "cross_volume"), ("side", *_VOLUMES)),
    **dict.fromkeys(("venue_count", "top_venue", "top_venue_share", "venue_hhi"), ("venue", *_VOLUMES)),
    "cancelled_count": ("status",),
    "corrected_count": ("is_correction", "status"),
    "late_count": ("is_late", "status"),
    "outlier_count": ("is_outlier", "status"),
    "capped_count": ("is_capped", "status"),
    "rejected_count": (),
}
"""Columns of otc_trades behind a metric; a metric that is not named here comes from sizes (``_VOLUMES``)."""


def definition_metadata(asset: str) -> Metadata:
    """Metadata of an asset: schema, lineage, where the table is."""
    lineage = _lineage(asset)
    return {
        "dagster/column_schema": MetadataValue.table_schema(_schema(metadata.tables[asset])),
        "dagster/table_name": MetadataValue.text(f"public.{asset}"),
        "dagster/storage_kind": MetadataValue.text("postgres"),
        **({"dagster/column_lineage": MetadataValue.column_lineage(lineage)} if lineage else {}),
    }


def description(asset: str) -> str:
    """The table's own description."""
    return metadata.tables[asset].comment or ""


def materialization_metadata(done: StepDone) -> Metadata:
    """Metadata of one materialized partition, in few entries; see the module's docstring."""
    return {
        "dagster/partition_row_count": MetadataValue.int(done.rows),
        "counts": MetadataValue.json({**done.facts, **_files(done), "seconds": round(done.seconds, 3)}),
        **({"preview": MetadataValue.md(markdown_table(*done.preview))} if done.preview else {}),
    }


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows as a table in Markdown; long texts are cut."""
    lines = [columns, ["-" * 3] * len(columns), *([_cell(value) for value in row] for row in rows)]
    return "\n".join(f"|{'|'.join(line)}|" for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = f"{value}".replace("|", "\\|").replace("\n", " ")
    if "." in text and text.replace(".", "", 1).lstrip("-").isdigit():
        text = text.rstrip("0").rstrip(".")
    return text if len(text) <= 40 else f"{text[:37]}..."


def _files(done: StepDone) -> dict[str, object]:
    found = [one.details["files"] for one in done.checks if one.check.name == "file_rows_conserved"]
    return {"files": found[0]} if found else {}


def _schema(table: Table) -> TableSchema:
    return TableSchema(columns=[_column(column) for column in table.columns])


def _column(column: "Column[object]") -> TableColumn:
    dialect = make_url("postgresql+psycopg://").get_dialect()()
    return TableColumn(
        name=column.name,
        type=column.type.compile(dialect=dialect).replace(' COLLATE "C"', "").lower(),
        description=column.comment,
        # Of a key of several columns none is unique alone.
        constraints=TableColumnConstraints(nullable=bool(column.nullable), unique=False),
    )


def _lineage(asset: str) -> TableColumnLineage | None:
    if asset == TRADES:
        names = [column.name for column in schema.otc_trades.columns]
        sources = {name: _FROM_RAW.get(name, (name,) if name in RAW_COLUMNS else ()) for name in names}
        return _depends(RAW, sources)
    if asset == METRICS:
        metrics = {name: _FROM_TRADES.get(name, _VOLUMES) for name in ("symbol", "trade_date", *VALUE_COLUMNS)}
        return _depends(TRADES, metrics)
    return None


def _depends(upstream: str, sources: Mapping[str, Sequence[str]]) -> TableColumnLineage:
    return TableColumnLineage(
        {
            name: [TableColumnDep(asset_key=AssetKey(upstream), column_name=one) for one in dict.fromkeys(columns)]
            for name, columns in sources.items()
            if columns
        }
    )
