"""P5: peak memory of the run process, which must not grow with the day.

Belongs here: the two sizes and what is read from the kernel. Does not belong here: memory of the server.
"""

import os
from collections.abc import Collection

from benchmarks import dagster_runs, processes
from benchmarks.arena import Arena
from benchmarks.generate import REPORT_DATE
from benchmarks.measure import AT_MOST, Figure, Outcome, seconds
from benchmarks.sizes import Sizes

LIMIT_MB, LIMIT_RATIO = 250.0, 1.1


def measure(arena: Arena, sizes: Sizes, _wanted: Collection[str]) -> Outcome:
    """P5."""
    with_dagster = dagster_runs.available()
    peaks: dict[bool, list[int]] = {False: [], True: []}
    taken: list[str] = []
    for rows in sizes.memory_rows:
        landing = arena.day(REPORT_DATE, rows, sizes.day_symbols)
        with arena.database() as url:
            settings = arena.settings(url, landing, REPORT_DATE)
            arena.settle()
            done = processes.run(
                processes.python("-m", "benchmarks.steps_child", str(REPORT_DATE)),
                {**os.environ, **settings.to_env()},
            )
        peaks[False].append(done.peak_bytes)
        taken.append(f"{rows:,} reports in {seconds(float(str(done.answer['seconds'])))}")
        arena.say(f"{taken[-1]} with {done.peak_bytes / 1e6:.0f} MB")
        if with_dagster:
            with arena.database() as url:
                settings = arena.settings(url, landing, REPORT_DATE)
                with dagster_runs.home(arena, settings) as dagster:
                    done = processes.run(dagster.command(REPORT_DATE, REPORT_DATE), dagster.environment)
            peaks[True].append(done.peak_bytes)
            arena.say(f"under Dagster {seconds(done.seconds)} with {done.peak_bytes / 1e6:.0f} MB")
        if rows > sizes.day_rows:
            arena.forget(landing)
    judged = peaks[with_dagster]
    small, big = (f"{rows:,}" for rows in sizes.memory_rows)
    how = "dagster job execute" if with_dagster else "without Dagster"
    figures = [
        Figure(
            "P5",
            f"peak memory of the run process, {big} reports, {how}",
            judged[1] / 1e6,
            AT_MOST,
            None,
            LIMIT_MB,
            "MB",
        ),
        Figure(
            "P5",
            f"over that of {small} reports",
            judged[1] / judged[0],
            AT_MOST,
            None,
            LIMIT_RATIO,
            detail=f"{judged[1] / 1e6:,.1f} MB / {judged[0] / 1e6:,.1f} MB",
        ),
    ]
    notes = [f"P5: without Dagster {', '.join(taken)}."]
    if with_dagster:
        plain = peaks[False]
        figures.append(
            Figure(
                "P5",
                f"the three steps alone, {big} reports",
                plain[1] / 1e6,
                unit="MB",
                detail=f"{plain[0] / 1e6:,.1f} MB for {small}",
            )
        )
    else:
        notes.append(dagster_runs.MISSING.format(figure="P5"))
    return Outcome(figures, (), notes)
