"""Generated days of OTC trade reports in the canonical `otc` format, as big as a benchmark wants them.

What it is: `write_day` streams one file of any size in flat memory; `write_history` writes many small sessions.
The shape is that of real days: a few symbols trade most, sub-penny to hundreds of dollars, odd lots and fractions,
busy opens and closes, 1 % cancels and corrections of earlier reports of the same day.
What belongs here: volume. What does not: odd and broken input (`benchmarks/samples.py`), timing (the other modules).

The same arguments and the same DuckDB version give the same bytes (values come from its `hash`).
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb

from market_spine.calendar import ZONE_NAME, TradingCalendar

# 2026-03-02 is an ordinary Monday; the figures of docs/benchmarks.md are about it.
REPORT_DATE = date(2026, 3, 2)
HISTORY_FROM = date(2025, 1, 2)
_QUERY = Path(__file__).with_name("sql") / "generate_day.sql"
_FIRST_REPORT, _LAST_REPORT = time(8), time(20)  # OTC reporting hours, New York


def write_day(
    path: Path,
    report_date: date = REPORT_DATE,
    rows: int = 2_000_000,
    symbols: int = 12_000,
    *,
    cancels: float = 0.005,
    corrections: float = 0.005,
    seed: int = 7,
    threads: int = 2,
) -> Path:
    """Writes one day to `path` (plain CSV, header first) and returns it."""
    with _connection(threads) as connection:
        _write(connection, path, report_date, rows, symbols, cancels=cancels, corrections=corrections, seed=seed)
    return path


def write_history(
    directory: Path,
    sessions: Iterable[date],
    reports_per_session: int = 5_000,
    *,
    symbols: int = 500,
    cancels: float = 0.005,
    corrections: float = 0.005,
    seed: int = 7,
) -> list[Path]:
    """Writes `otc/otc_{session}.csv` under `directory` for every session and returns the paths."""
    folder = directory / "otc"
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    # One thread: a session of a few thousand rows is done before a second one has started.
    with _connection(threads=1) as connection:
        for session in sessions:
            path = folder / f"otc_{session}.csv"
            _write(
                connection,
                path,
                session,
                reports_per_session,
                symbols,
                cancels=cancels,
                corrections=corrections,
                seed=seed + session.toordinal(),
            )
            written.append(path)
    return written


def _connection(threads: int) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"threads": threads, "memory_limit": "400MB", "preserve_insertion_order": True})


def _write(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    report_date: date,
    rows: int,
    symbols: int,
    *,
    cancels: float,
    corrections: float,
    seed: int,
) -> None:
    session = TradingCalendar(report_date, report_date)
    zone = ZoneInfo(ZONE_NAME)
    start, end = (datetime.combine(report_date, edge, tzinfo=zone) for edge in (_FIRST_REPORT, _LAST_REPORT))
    variables = {
        "seed": seed,
        "rows": rows,
        "symbols": symbols,
        "cancels": float(cancels),
        "corrections": float(corrections),
        "report_date": report_date.isoformat(),
        "day_number": report_date.toordinal() - date(1970, 1, 1).toordinal(),
        "day_start": _microseconds(start),
        "session_open": _microseconds(session.session_open(report_date)),
        "session_close": _microseconds(session.session_close(report_date)),
        "day_end": _microseconds(end),
    }
    for name, value in variables.items():
        connection.execute(f"set variable {name} = $value", {"value": value})
    connection.execute(_QUERY.read_text(encoding="utf-8"))
    connection.view("generated_day").write_csv(str(path), header=True, sep=",")


def _microseconds(at: datetime) -> int:
    return int(at.timestamp()) * 1_000_000


def main(arguments: Sequence[str]) -> int:
    """The command line: `day` writes one big file, `history` a folder of small sessions."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generate", description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    day = commands.add_parser("day", help="one big day")
    day.add_argument("path", type=Path)
    day.add_argument("--rows", type=int, default=2_000_000)
    day.add_argument("--symbols", type=int, default=12_000)
    day.add_argument("--date", type=date.fromisoformat, default=REPORT_DATE)
    day.add_argument("--seed", type=int, default=7)
    history = commands.add_parser("history", help="many small sessions")
    history.add_argument("directory", type=Path)
    history.add_argument("--sessions", type=int, default=250)
    history.add_argument("--reports", type=int, default=5_000)
    history.add_argument("--symbols", type=int, default=500)
    history.add_argument("--from", dest="first", type=date.fromisoformat, default=HISTORY_FROM)
    chosen = parser.parse_args(arguments)
    if chosen.command == "day":
        print(write_day(chosen.path, chosen.date, chosen.rows, chosen.symbols, seed=chosen.seed))
    else:
        sessions = TradingCalendar(chosen.first).sessions()[: chosen.sessions]
        paths = write_history(chosen.directory, sessions, chosen.reports, symbols=chosen.symbols)
        print(f"{len(paths)} files in {chosen.directory / 'otc'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
