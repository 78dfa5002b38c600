"""The published facts of a real TAQ file, reproduced exactly by the real pipeline.

The file's licence does not allow it to be part of the project; where it is not beside the repository, this is skipped.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import date
from pathlib import Path

import pytest

from market_spine_tests.driving import Platform

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "taq" / "taq_xxx_2018-01-02_03.csv.gz"
TUE, WED = date(2018, 1, 2), date(2018, 1, 3)
pytestmark = pytest.mark.skipif(not REAL.exists(), reason="../shared/data/taq is not here: its licence is not ours")


@pytest.fixture(scope="module")
def platform(
    new_database: Callable[[], AbstractContextManager[str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    with new_database() as url:
        real = Platform(url, tmp_path_factory.mktemp("landing"), TUE)
        # One file of two sessions, taken for the second one's: the first day's prints are late reports.
        real.deliver("taq", f"taq_{WED}.csv.gz", REAL.read_bytes())
        real.settle()
        yield real


@pytest.mark.parametrize(
    ("day", "raw_volume", "eligible_volume", "high"),
    [(TUE, 5_553_205, 5_108_362, None), (WED, 4_701_346, 4_146_054, "157.49")],
)
def test_both_sessions_have_the_published_volumes_and_high(
    platform: Platform, day: date, raw_volume: int, eligible_volume: int, high: str | None
) -> None:
    # of a cancelled pair, the cancel record is no trade: raw volume is that of the rows as they came
    text = """SELECT sum(size::numeric) AS volume FROM otc_trades_raw
              WHERE (executed_at::timestamp AT TIME ZONE 'UTC' AT TIME ZONE 'America/New_York')::date = %s"""
    rows = platform.query(text, (day,))
    (metrics,) = platform.query("SELECT * FROM otc_metrics_daily WHERE trade_date = %s AND known_to IS NULL", (day,))
    assert (rows[0]["volume"], metrics["total_volume"]) == (raw_volume, eligible_volume)
    if high is not None:
        assert f"{metrics['high_price']:.2f}" == high
        assert metrics["high_price"] == round(metrics["high_price"], 2)


def test_no_row_is_lost_and_equal_rows_stay_trades(platform: Platform) -> None:
    counts = platform.query("SELECT sum(rows) AS rows FROM otc_files")[0]
    trades = platform.query(
        "SELECT count(*) AS rows, count(*) FILTER (WHERE status = 'cancelled') AS dead FROM otc_trades"
    )
    others = platform.query("SELECT disposition, reason, count(*) FROM otc_exceptions GROUP BY 1, 2 ORDER BY 1, 2")
    decided = [one for one in others if one["disposition"] != "carried"]
    assert counts["rows"] == 77_263
    assert trades[0]["rows"] + sum(one["count"] for one in decided) == 77_263
    assert {one["disposition"] for one in decided} == {"applied"}  # the cancel records


def test_the_first_session_counts_its_evening_beyond_midnight_utc(platform: Platform) -> None:
    (found,) = platform.query(
        "SELECT count(*) FROM otc_trades WHERE executed_at::date > trade_date AND trade_date IN (%s, %s)", (TUE, WED)
    )
    assert found["count"] == 13
