"""The harness behind `make bench` and `make chaos` measures what it says, on tiny sizes.

Belongs here: its pieces, and one round of each figure that needs no Dagster. Does not belong here: figures that mean
anything.
"""

import csv
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import psycopg
import pytest

from benchmarks import chaos_report, dagster_runs, digests, figure_correction, figure_day, processes, report, rivals
from benchmarks.__main__ import main
from benchmarks.arena import Arena, Steps, day_file
from benchmarks.chaos import DAGSTER, STEPS, Killer, Runner
from benchmarks.chaos_days import Scenario
from benchmarks.chaos_report import RUN, Kill
from benchmarks.figure_correction import write_correction
from benchmarks.generate import REPORT_DATE, write_day
from benchmarks.measure import AT_LEAST, AT_MOST, Clock, Figure, Outcome, interleaved, steps_table
from benchmarks.sizes import quick_sizes

TINY = replace(
    quick_sizes(1),
    day_rows=400,
    day_symbols=20,
    pandas_rows=200,
    insert_rows=100,
    correction_rows=400,
    other_symbols=20,
)


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    with Arena(lambda _text: None) as running:
        yield running


def test_ways_are_run_in_turns_and_every_round_is_kept() -> None:
    order: list[str] = []

    def way(name: str, value: float) -> float:
        order.append(name)
        return value

    samples = interleaved(2, {"a": lambda: way("a", 1), "b": lambda: way("b", 2)}, lambda _text: None)
    assert order == ["a", "b", "a", "b"]
    assert samples["b"].values == [2, 2]


@pytest.mark.parametrize(
    ("direction", "value", "reached"),
    [(AT_MOST, 2.9, "goal"), (AT_MOST, 4.0, "limit"), (AT_MOST, 6.1, "no"), (AT_LEAST, 2.0, "no")],
)
def test_a_figure_says_whether_it_reaches_its_goal_or_its_limit(direction: str, value: float, reached: str) -> None:
    goal, limit = (3.0, 6.0) if direction == AT_MOST else (15.0, 8.0)
    assert Figure("P1", "what", value, direction, goal, limit).reached == reached


def test_a_clock_sums_a_step_within_a_round_and_keeps_the_rounds_apart() -> None:
    clock = Clock()
    for _ in range(2):
        for _ in range(3):
            with clock.step("otc_trades"):
                pass
        clock.end_round()
    assert len(clock.steps["otc_trades"].values) == 2
    assert steps_table("title", clock).rows[-1][0] == "sum"


def test_the_page_names_what_is_not_reached_and_how_to_run_again(tmp_path: Path) -> None:
    missed = Figure("P1", "file to tables", 7.0, AT_MOST, 3.0, 6.0)
    report.write(tmp_path / "page.md", [("CPU", "one")], [Outcome([missed], (), ["a note"])], rounds=3, minutes=40)
    page = (tmp_path / "page.md").read_text()
    assert "P1, file to tables: 7.00 x, limit at most 6.00 x." in page
    assert "make bench" in page
    assert "a note" in page
    assert "benchmarks-operating.md" in page, "the figures of operating it are looked for here too"


def test_an_unknown_figure_is_refused_before_anything_starts(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "P4"])
    assert "choose from P1, P2, P3, P5, P6, P7" in capsys.readouterr().err


def test_every_rival_reads_the_whole_file(arena: Arena) -> None:
    path = day_file(arena.day(REPORT_DATE, 400, 20), REPORT_DATE)
    with arena.database() as url:
        rivals.copy_bare(url, path)
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT count(*) FROM bare").fetchone() == (400,)
        rivals.drop_bare(url)
        assert rivals.insert_rows(url, path, 100) == 100
        assert rivals.pandas_script(url, path, None) == 400


def test_a_day_is_measured_against_all_its_rivals(arena: Arena) -> None:
    bench = figure_day.DayBench(arena, TINY)
    assert all(way() > 0 for way in (bench.copy, bench.ours, bench.pandas, bench.insert))
    assert list(bench.clock.steps) == ["otc_trades_raw", "otc_trades", "otc_metrics_daily"]


def test_a_late_correction_is_measured_and_touches_its_symbol_alone(arena: Arena) -> None:
    outcome = figure_correction.measure(arena, TINY, ())
    assert outcome.figures[0].value > 0


def test_the_corrected_trade_is_one_that_nothing_else_refers_to(tmp_path: Path) -> None:
    write_day(tmp_path / "day.csv", REPORT_DATE, 400, 20)
    write_correction(tmp_path / "day.csv", tmp_path / "next.csv", date(2026, 3, 3))
    with (tmp_path / "next.csv").open(newline="") as stream:
        (correction,) = csv.DictReader(stream)
    others = [row["original_report_id"] for row in rivals.rows_of(tmp_path / "day.csv")]
    assert correction["action"] == "correct"
    assert correction["original_report_id"] not in others


def test_a_process_that_fails_is_quoted() -> None:
    with pytest.raises(RuntimeError, match="ended with code 3: no luck"):
        processes.run(processes.python("-c", "print('no luck'); raise SystemExit(3)"))


def test_the_peak_of_a_process_is_the_greatest_size_it_had() -> None:
    done = processes.run(
        processes.python("-c", "import time; held = bytearray(200_000_000); del held; time.sleep(0.3)")
    )
    assert 200_000_000 < done.peak_bytes < 300_000_000


def test_a_table_between_two_states_is_told_from_either() -> None:
    empty: dict[str, dict[str, str]] = {table: {} for tables in digests.TOGETHER.values() for table in tables}
    day = "2026-03-02"
    old = {**empty, "otc_trades": {day: "1:1"}, "otc_days": {day: "1:1"}}
    new = {**empty, "otc_trades": {day: "1:2"}, "otc_days": {day: "1:2"}}
    assert digests.judge(old, old, new).groups["trades"] == "old"
    assert digests.judge(new, old, new).all_new
    half = digests.judge({**old, "otc_days": {day: "1:2"}}, old, new)
    assert half.mixed == ["trades: a mix of old and new"]
    assert digests.judge({**old, "otc_trades": {day: "1:3"}}, old, new).mixed == [
        "trades: neither old nor new: otc_trades 2026-03-02"
    ]


def test_a_row_that_stands_twice_or_is_gone_changes_the_digest(arena: Arena) -> None:
    landing = arena.day(REPORT_DATE, 400, 20)
    with arena.database() as url:
        Steps.on(arena.settings(url, landing, REPORT_DATE)).run(REPORT_DATE)
        whole = digests.read(url)
        assert whole.broken == ()
        with psycopg.connect(url) as connection:
            connection.execute("DELETE FROM otc_trades_raw WHERE line_no = 2")
        cut = digests.read(url)
    assert cut.digests["otc_trades_raw"] != whole.digests["otc_trades_raw"]
    assert cut.digests["otc_trades"] == whole.digests["otc_trades"]
    assert len(cut.broken) == 1


def test_a_killed_run_leaves_the_old_or_the_new_day_and_the_next_one_completes(arena: Arena) -> None:
    with arena.database() as url:
        scenario = Scenario(arena, "small", 300, 250_000, url)
        scenario.prepare()
        kill = Killer(arena, random.Random(1)).kill(1, Runner(STEPS, scenario, None, seconds=0.3), RUN)
    assert kill.problems == ()
    assert kill.next_seconds > 0


@pytest.mark.slow
def test_a_dagster_run_is_killed_between_its_own_first_and_last_word(arena: Arena) -> None:
    with arena.database() as url:
        scenario = Scenario(arena, "small", 300, 250_000, url)
        scenario.prepare()
        with dagster_runs.home(arena, scenario.settings) as dagster:
            killer, runner = Killer(arena, random.Random(1)), Runner(DAGSTER, scenario, dagster)
            killer.calibrate(runner)
            assert 0 < runner.seconds < 60
            kill = killer.kill(1, runner, RUN)
    assert kill.problems == ()


def test_the_page_of_chaos_counts_the_states_it_met(tmp_path: Path) -> None:
    found = {"raw": "new", "trades": "old", "metrics": "old"}
    kills = [Kill(n, STEPS, "small", RUN, 0.1, "otc_trades", found, 0, 0.0, 1.0, ()) for n in (1, 2)]
    chaos_report.write(tmp_path / "chaos.md", [("CPU", "one")], kills, seed=1, seconds=60)
    page = (tmp_path / "chaos.md").read_text()
    assert "| run process | new | old | old | 2 |" in page
    assert "After all 2 kills everything was as it must be." in page
