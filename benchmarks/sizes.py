"""How big each figure's work is: as it was promised, and small enough to try in a minute.

Belongs here: numbers of rows, sessions and rounds. Does not belong here: anything that uses them.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Sizes of all figures; the defaults are those of docs/benchmarks.md."""

    quick: bool = False
    repeat: int = 3
    day_rows: int = 2_000_000
    day_symbols: int = 12_000
    pandas_rows: int = 500_000
    pandas_patience_s: float = 240.0
    insert_rows: int = 100_000
    backfill_sessions: int = 250
    backfill_reports: int = 5_000
    backfill_symbols: int = 500
    single_runs: int = 10
    memory_rows: tuple[int, int] = (1_000_000, 10_000_000)
    history_sessions: tuple[int, int] = (10, 2_500)
    history_reports: int = 50
    history_day_rows: int = 200_000
    correction_rows: int = 500_000
    other_symbols: int = 6_000


def quick_sizes(repeat: int) -> Sizes:
    """Everything small: what is measured is the harness, not the product."""
    return Sizes(
        quick=True,
        repeat=repeat,
        day_rows=50_000,
        day_symbols=500,
        pandas_rows=20_000,
        insert_rows=5_000,
        backfill_sessions=6,
        backfill_reports=500,
        backfill_symbols=50,
        single_runs=2,
        memory_rows=(20_000, 200_000),
        history_sessions=(3, 20),
        history_reports=20,
        history_day_rows=10_000,
        correction_rows=20_000,
        other_symbols=300,
    )
