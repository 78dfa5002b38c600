"""Two runs on one session at once end in one whole day; ``python -m benchmarks.races`` does it a hundred times."""

from collections.abc import Callable
from datetime import date

from benchmarks.races import race
from market_spine.otc.steps import STEPS, Steps
from market_spine.settings import Settings
from market_spine.warehouse.engine import in_parallel
from market_spine_tests.orchestrated import DAYS, deliver


def test_pairs_of_runs_on_one_session_never_mix_two_days(settings: Settings) -> None:
    result = race(settings, 5)
    assert result.problems == []
    assert result.days_seen >= 5


def test_two_small_days_built_side_by_side_never_wait_for_each_other_in_a_circle(settings: Settings) -> None:
    def build(day: date) -> Callable[[], None]:
        def again_and_again() -> None:
            steps = Steps(settings)
            for number in range(1, 13):
                deliver(settings, day, count=10 + number, name=f"otc_{day}.v{number}.csv")
                for _ in steps.run_session(day, STEPS, preview=False):
                    pass

        return again_and_again

    in_parallel([build(day) for day in DAYS])
