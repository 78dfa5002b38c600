"""What the OpenAPI says of the answers: their schemas, made from the declared columns, and examples.

Belongs here: schemas and examples. Does not belong here: parameters, which stand at their routes.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Boolean, Column, Date, Double, Integer, Numeric, Table

from market_spine.api import negotiation
from market_spine.api.problems import KINDS, MEDIA_TYPE, TYPE_PREFIX
from market_spine.warehouse.schema import otc_metrics_daily, otc_trades

Schema = dict[str, Any]
COMPONENTS = "#/components/schemas/"
TITLE = "Market Spine"
DESCRIPTION = """Daily metrics of OTC trades, the trades behind them, and what became of every report.

Decimals are JSON numbers with every digit the database has: `13.6480456789` is exactly that. A client that reads them
into binary floats rounds them there (Python: `json.loads(text, parse_float=decimal.Decimal)`).
Errors are RFC 9457 problem details; programs go by `code`."""
EXAMPLE_DAY = "2026-03-04"


def _of_column(column: "Column[Any]") -> Schema:
    kind: Schema = {"type": "string"}
    if isinstance(column.type, Boolean):
        kind = {"type": "boolean"}
    elif isinstance(column.type, Integer):
        kind = {"type": "integer"}
    elif isinstance(column.type, Numeric | Double):
        kind = {"type": "number"}
    elif isinstance(column.type, Date):
        kind = {"type": "string", "format": "date"}
    elif getattr(column.type, "timezone", False):
        kind = {"type": "string", "format": "date-time"}
    return {**kind, "type": [kind["type"], "null"], "description": column.comment}


def _row(table: Table, *required: str, without: tuple[str, ...] = ()) -> Schema:
    properties = {str(column.name): _of_column(column) for column in table.columns if column.name not in without}
    return {
        "type": "object",
        "properties": properties,
        "required": list(required or properties),
        "additionalProperties": False,
    }


def object_of(**properties: Schema) -> Schema:
    """An object that has all of these members."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def page_of(name: str) -> Schema:
    """A page of rows of a component."""
    return {
        "type": "object",
        "properties": {
            "data": {"type": "array", "items": {"$ref": COMPONENTS + name}},
            "next_cursor": {
                "type": ["string", "null"],
                "description": "Where the next page begins; null: this is the last.",
            },
            "count": {"type": "integer", "description": "Rows of all pages together; only where count=true."},
        },
        "required": ["data", "next_cursor"],
        "additionalProperties": False,
    }


_DAY: Schema = {"type": "string", "format": "date"}
_MOMENT: Schema = {"type": ["string", "null"], "format": "date-time"}
_NUMBER: Schema = {"type": ["integer", "null"]}
_TEXT: Schema = {"type": ["string", "null"]}
_COUNTS: Schema = {"type": ["object", "null"]}


def schemas() -> dict[str, Schema]:
    """The components of the OpenAPI."""
    problem = object_of(
        type={"type": "string", "format": "uri"},
        title={"type": "string"},
        status={"type": "integer"},
        code={"type": "string", "enum": sorted(KINDS), "description": "What a program goes by."},
        detail={"type": "string", "description": "What is wrong, and what to do."},
        field={"type": ["string", "null"], "description": "The parameter it is about."},
        request_id={"type": "string", "description": "Also in the header X-Request-ID and in the log."},
    )
    problem["properties"]["execution"] = {
        "type": "string",
        "description": "The execution it is about, if any.",
    }
    file = object_of(
        file_id={"type": "integer"}, source={"type": "string"}, path={"type": "string"}, version=_NUMBER,
        report_date=_DAY, status={"enum": ["live", "superseded", "voided", "rejected"]}, problem=_TEXT,
        rows={"type": "integer"}, known_at=_MOMENT, exceptions=_COUNTS, quarantined=_COUNTS,
    )  # fmt: skip
    check = object_of(
        asset={"type": "string"}, check={"type": "string"}, passed={"type": "boolean"}, blocking={"type": "boolean"},
        details={}, checked_at=_MOMENT,
    )  # fmt: skip
    day = object_of(
        day=_DAY, normalized_at=_MOMENT, computed_at=_MOMENT, reports=_NUMBER, carried_in=_NUMBER, rules_version=_TEXT,
        counts=_COUNTS, files={"type": "array", "items": file}, checks={"type": "array", "items": check},
    )  # fmt: skip
    report = object_of(
        day=_DAY, file_id=_NUMBER, line_no=_NUMBER, entry=_NUMBER, source=_TEXT, path=_TEXT, report_date=_DAY,
        reason=_TEXT, symbol=_TEXT, detail=_TEXT, report=_COUNTS,
    )  # fmt: skip
    rows = {
        "Metrics": _row(otc_metrics_daily, "symbol", "trade_date", "revision", without=("known_to",)),
        "Revision": _row(otc_metrics_daily, "symbol", "trade_date", "revision", "known_from", "known_to"),
        "Trade": _row(otc_trades),
        "Quality": day,
        "QuarantinedReport": report,
        "Symbol": object_of(symbol={"type": "string"}, first_date=_DAY, last_date=_DAY, days={"type": "integer"}),
        "Problem": problem | {"additionalProperties": False},
    }
    pages = {f"{name}Page": page_of(name) for name in rows if name != "Problem"}
    health = {"Health": object_of(status={"type": "string"})}
    return rows | pages | health


def problem_answer(*codes: str) -> Schema:
    """The answer of a status that may be any of these problems."""
    examples = {
        code: {
            "summary": KINDS[code].title,
            "value": {
                "type": TYPE_PREFIX + code,
                "title": KINDS[code].title,
                "status": KINDS[code].status,
                "code": code,
                "detail": KINDS[code].title,
                "field": None,
                "request_id": "3f1c8c1f0a2b4f6e9d1a7c5b3e2d1f00",
            },
        }
        for code in codes
    }
    return {
        "description": "; ".join(KINDS[code].title for code in codes),
        "content": {MEDIA_TYPE: {"schema": {"$ref": COMPONENTS + "Problem"}, "examples": examples}},
    }


def _page(name: str, row: Mapping[str, Any], *, streamed: str = "") -> dict[int | str, Schema]:
    example = {"data": [dict(row)], "next_cursor": None}
    content: Schema = {
        negotiation.JSON: {"schema": {"$ref": f"{COMPONENTS}{name}Page"}, "example": example},
    }
    if streamed:
        content[negotiation.CSV] = {"schema": {"type": "string"}, "example": streamed}
        content[negotiation.ARROW] = {"schema": {"type": "string", "format": "binary"}}
    return {
        200: {"description": "A page" + (", or everything as a stream." if streamed else "."), "content": content},
        304: {"description": "What If-None-Match names is still what would be answered."},
        401: problem_answer("unauthenticated"),
        406: problem_answer("not_acceptable"),
        422: problem_answer("invalid_parameter", "unknown_parameter", "unknown_field", "invalid_cursor"),
        500: problem_answer("internal_error"),
        503: problem_answer("database_unavailable", "query_timeout", "not_ready"),
    }


METRICS_ANSWERS = _page(
    "Metrics",
    {
        "symbol": "ACME", "trade_date": EXAMPLE_DAY, "revision": 1, "trade_count": 121, "total_volume": 17092.571429,
        "vwap": 13.6480456789, "open_price": 13.25, "high_price": 14.1, "low_price": 13.2, "close_price": 13.9,
    },
    streamed=f"symbol,trade_date,revision,vwap\nACME,{EXAMPLE_DAY},1,13.6480456789\n",
)  # fmt: skip
REVISIONS_ANSWERS = _page(
    "Revision",
    {
        "symbol": "ACME", "trade_date": EXAMPLE_DAY, "revision": 1, "vwap": 13.6480456789,
        "known_from": f"{EXAMPLE_DAY}T22:00:05+00:00", "known_to": "2026-03-05T22:00:04+00:00",
    },
)  # fmt: skip
TRADES_ANSWERS = _page(
    "Trade",
    {
        "trade_date": EXAMPLE_DAY, "symbol": "ACME", "executed_at": f"{EXAMPLE_DAY}T15:01:00+00:00", "trade_seq": 1,
        "price": 13.25, "size": 100.0, "file_id": 1, "line_no": 2, "is_correction": False, "is_late": False,
        "is_capped": False, "is_outlier": False, "upd_volume": True, "upd_high_low": True, "upd_last": True,
        "last_if_only": False, "unknown_condition": False, "status": "live", "venue": "XOTC", "side": "B",
        "capacity": "P", "conditions": "", "facility": "ORF", "report_id": "1", "trade_id": None,
    },
    streamed=f"trade_date,symbol,executed_at,price\n{EXAMPLE_DAY},ACME,{EXAMPLE_DAY} 15:01:00+00,13.2500000000\n",
)  # fmt: skip
QUALITY_ANSWERS = _page(
    "Quality",
    {
        "day": EXAMPLE_DAY, "normalized_at": f"{EXAMPLE_DAY}T22:00:00+00:00",
        "computed_at": f"{EXAMPLE_DAY}T22:00:05+00:00", "reports": 10, "carried_in": 0, "rules_version": "2026-02",
        "counts": {"live": 9, "quarantined": 1}, "files": [], "checks": [],
    },
)  # fmt: skip
QUARANTINE_ANSWERS = _page(
    "QuarantinedReport",
    {
        "day": EXAMPLE_DAY, "file_id": 1, "line_no": 17, "entry": 1, "source": "otc",
        "path": f"otc/otc_{EXAMPLE_DAY}.csv", "report_date": EXAMPLE_DAY, "reason": "non_positive_price",
        "symbol": "ACME", "detail": None, "report": {"price": "-1"},
    },
)  # fmt: skip
SYMBOLS_ANSWERS = _page("Symbol", {"symbol": "ACME", "first_date": "2026-01-02", "last_date": EXAMPLE_DAY, "days": 42})
LIVE_ANSWERS: dict[int | str, Schema] = {
    200: {
        "description": "The process answers.",
        "content": {negotiation.JSON: {"schema": {"$ref": COMPONENTS + "Health"}, "example": {"status": "live"}}},
    },
    422: problem_answer("unknown_parameter"),
}
READY_ANSWERS: dict[int | str, Schema] = {
    200: {
        "description": "The database answers, and its schema is new enough.",
        "content": {negotiation.JSON: {"schema": {"$ref": COMPONENTS + "Health"}, "example": {"status": "ready"}}},
    },
    422: problem_answer("unknown_parameter"),
    503: problem_answer("not_ready"),
}
ANSWERS = {
    "/api/v1/otc/metrics/daily": METRICS_ANSWERS,
    "/api/v1/otc/metrics/revisions": REVISIONS_ANSWERS,
    "/api/v1/otc/trades": TRADES_ANSWERS,
    "/api/v1/otc/quality": QUALITY_ANSWERS,
    "/api/v1/otc/quarantine": QUARANTINE_ANSWERS,
    "/api/v1/otc/symbols": SYMBOLS_ANSWERS,
    "/health/live": LIVE_ANSWERS,
    "/health/ready": READY_ANSWERS,
}
"""What each route answers, by its address."""
