"""The samples of the two feeds beside the canonical one: `vendor_pipe` and `taq`.

What belongs here: their rows, with what is odd about them, as lists of text fields.
What does not: the canonical feed (`sample_story.py`), writing files (`samples.py`).
"""

from datetime import UTC, date, datetime, timedelta

from benchmarks.sample_market import NEW_YORK, Report, ordinary_trades
from benchmarks.sample_reports import D1, D2, D4, D5, D7

VENDOR_HEADER = (
    *("RecordId", "ReportDate", "ReportTime", "Action", "OriginalRecordId", "OriginalReportDate", "TradeId", "SeqNo"),
    *("Symbol", "MarketCenter", "Side", "Capacity", "TradeTime", "TradeDate", "Price", "Quantity", "SaleConditions"),
)
TAQ_HEADER = ("ts_utc", "DT", "EX", "SYMBOL", "COND", "SIZE", "PRICE", "CORR")
_VENDOR_SYMBOLS = {"VNDRF": ("12.40", 6), "PIPEY": ("88.00", 4), "QUBEF": ("0.0750", 5), "TRLRQ": ("0.0021", 3)}
_TEST_SYMBOLS = {"ZTEST": ("99.99", 1), "ZVOID": ("1.00", 1)}
_TAQ_SYMBOLS = {"NWCO": ("157.80", 5), "QRST": ("48.20", 3)}

_TAQ_STORY = [
    ("09:30:00.010", "Q", "25000", "0", "official open: volume is not added"),
    ("11:00:00.100", "@", "300", "0", "an explicit regular condition"),
    ("11:00:01.100", "", "400", "1", "corrected later, this row holds the good values: live"),
    ("11:00:02.100", "", "500", "7", "an error: cancelled"),
    ("11:00:03.100", "", "600", "8", "cancelled later: cancelled"),
    ("11:00:04.100", "", "600", "10", "a cancel record: applied, no trade"),
    ("11:00:05.100", "", "500", "11", "an error record: applied, no trade"),
    ("11:00:06.100", "", "400", "12", "a correction record: applied, no trade"),
    ("11:00:07.100", "", "100", "99", "an unknown correction code: quarantined, bad_correction"),
    ("16:00:02.500", "M", "90000", "0", "official close: volume is not added"),
    ("19:59:58.000", "TI", "5", "0", "the last seconds of the reporting hours"),
]

Row = tuple[list[str], str]
"""The fields of a line, and what is odd about it."""


def vendor_files() -> dict[tuple[date, int], list[Row]]:
    """Rows by report date and version."""
    second = _vendor_rows(D2, 70)
    first_version = [*second[:40], *_vendor_broken_half(second[40:])]
    fourth = _vendor_rows(D4, 70)
    cancelled = second[5][0]
    fourth += [
        _vendor(
            D4,
            901,
            "A",
            "VNDRF",
            "12.35",
            "100",
            "2026-03-08 02:30:00.000000",
            "a time the clocks skipped: quarantined, nonexistent_time",
            trade_date="",
        ),
        _vendor(
            D4,
            902,
            "N",
            "VNDRF",
            "12.35",
            "1,200",
            "2026-03-09 10:15:00.000000",
            "a thousands separator without quotes",
        ),
        _vendor(
            D4,
            903,
            "X",
            cancelled[8],
            cancelled[14],
            cancelled[15],
            cancelled[12],
            "cancels a trade of 03-05 by its record",
            original=cancelled[0],
            original_date="20260305",
            trade_date=cancelled[13],
        ),
        _vendor(
            D4,
            904,
            "N",
            "PIPEY",
            "87.90",
            "100",
            "2026-03-09 10:20:00.000000",
            "two conditions, a blank between",
            conditions="T I",
        ),
        _vendor(
            D4,
            905,
            "N",
            "PIPEY",
            "87.95",
            "40",
            "2026-03-09 10:21:00.000000",
            "no record id, a trade id: live",
            record="",
            trade_id="VT20260309-1",
        ),
        _vendor(
            D4,
            906,
            "N",
            "PIPEY",
            "87.95",
            "40",
            "2026-03-09 10:21:00.000000",
            "the same trade id, other content: quarantined, conflicting_identity",
            record="",
            trade_id="VT20260309-1",
            sequence="906",
        ),
        _vendor(
            D4,
            905,
            "N",
            "PIPEY",
            "87.95",
            "40",
            "2026-03-09 10:21:00.000000",
            "the same trade id, same content: duplicate",
            record="",
            trade_id="VT20260309-1",
        ),
    ]
    return {
        (D2, 1): [
            (row, "superseded as a whole by version 2") if n == 0 else (row, "")
            for n, (row, _) in enumerate(first_version)
        ],
        (D2, 2): [
            (row, "the whole file again, corrected: this version counts") if n == 0 else (row, note)
            for n, (row, note) in enumerate(second)
        ],
        (D4, 1): fourth,
        (D7, 1): [
            (row, "test data, voided by version 2") if n == 0 else (row, note)
            for n, (row, note) in enumerate(_vendor_rows(D7, 20, _TEST_SYMBOLS))
        ],
        (D7, 2): _vendor_rows(D7, 60),
    }


def _vendor_broken_half(rows: list[Row]) -> list[Row]:
    """What version 1 had wrong: every price ten times too high."""
    return [([*row[:14], f"{float(row[14]) * 10:.4f}", *row[15:]], note) for row, note in rows]


def _vendor_rows(day: date, count: int, symbols: dict[str, tuple[str, int]] = _VENDOR_SYMBOLS) -> list[Row]:
    rows: list[Row] = []
    for number, report in enumerate(ordinary_trades(day, count, seed=day.toordinal() + 1, symbols=symbols), start=1):
        rows.append(
            _vendor(
                day,
                number,
                "N",
                report["symbol"],
                report["price"],
                report["size"],
                _wall(report, "executed_at"),
                "",
                conditions=" ".join(report["conditions"]),
                side=report["side"],
                reported=_wall(report, "reported_at"),
            )
        )
    return rows


def _vendor(
    day: date,
    number: int,
    action: str,
    symbol: str,
    price: str,
    size: str,
    executed: str,
    note: str,
    *,
    original: str = "",
    original_date: str = "",
    conditions: str = "",
    side: str = "B",
    reported: str = "",
    trade_date: str | None = None,
    record: str | None = None,
    trade_id: str = "",
    sequence: str = "",
) -> Row:
    compact = f"{day:%Y%m%d}"
    row = [
        f"81000{compact}{number:06d}" if record is None else record,
        compact,
        reported or f"{day} 10:30:00.000000",
        action,
        original,
        original_date,
        trade_id,
        sequence or str(number),
        symbol,
        "OTCX",
        side,
        "P",
        executed,
        compact if trade_date is None else trade_date,
        price,
        size,
        conditions,
    ]
    return row, note


def _wall(report: Report, column: str) -> str:
    return f"{datetime.fromisoformat(report[column]).astimezone(NEW_YORK):%Y-%m-%d %H:%M:%S.%f}"


def taq_files() -> dict[date, list[Row]]:
    """Rows by report date: no ids at all, so that equal rows are different trades."""
    return {day: _taq_rows(day, 150) for day in (D1, D5)}


def _taq_rows(day: date, count: int) -> list[Row]:
    rows: list[Row] = []
    for number, report in enumerate(ordinary_trades(day, count, seed=day.toordinal() + 2, symbols=_TAQ_SYMBOLS)):
        size = str(max(1, round(float(report["size"]))))
        row = _taq(
            report["executed_at"], "DNPTD"[number % 5], report["symbol"], report["conditions"], size, report["price"]
        )
        rows.append((row, ""))
        if number % 13 == 7:
            rows.append((list(row), "equal to the line before in every column, a different trade: both live"))
    price = rows[60][0][6]
    for clock, condition, size, correction, note in _TAQ_STORY:
        rows.append((_taq(_at(day, clock), "D", "NWCO", condition, size, price, correction), note))
    return sorted(rows, key=lambda pair: pair[0][0])


def _taq(
    executed: str, venue: str, symbol: str, conditions: str, size: str, price: str, correction: str = "0"
) -> list[str]:
    at = datetime.fromisoformat(executed)
    at = at - timedelta(microseconds=at.microsecond % 1000)
    stamp = at.isoformat(sep=" ", timespec="milliseconds")
    return [stamp, f"{at.timestamp():.3f}", venue, symbol, conditions, size, price, correction]


def _at(day: date, clock: str) -> str:
    return datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=NEW_YORK).astimezone(UTC).isoformat()
