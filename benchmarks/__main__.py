"""``make bench``: the figures that were asked for, measured in one run on a server of its own, shown and written down.

Belongs here: the command line and the order of the figures. Does not belong here: measuring (``figure_*``).
"""

import argparse
import logging
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import (
    figure_backfill,
    figure_correction,
    figure_day,
    figure_history,
    figure_memory,
    machine,
    report,
)
from benchmarks.arena import TEMPLATE, Arena
from benchmarks.measure import Outcome
from benchmarks.sizes import Sizes, quick_sizes
from benchmarks.telling import Teller
from market_spine.cli.services import PROJECT

PAGE = PROJECT / "docs" / "benchmarks.md"
WIDTH = 150
QUICK_REPEAT = 1
Measure = Callable[[Arena, Sizes, Collection[str]], Outcome]
# P1 and P2 share their rounds. P3 is last: a daemon that would not stop must not disturb the others.
MODULES: dict[tuple[str, ...], Measure] = {
    ("P1", "P2"): figure_day.measure,
    ("P5",): figure_memory.measure,
    ("P6",): figure_history.measure,
    ("P7",): figure_correction.measure,
    ("P3",): figure_backfill.measure,
}
KEYS = sorted(key for keys in MODULES for key in keys)
log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """The command line; 1 when a figure could not be measured or misses its limit."""
    chosen = _parser().parse_args(arguments)
    teller = Teller()
    console, say = teller.console, teller.say
    console.width = max(console.width, WIDTH)
    wanted = set(chosen.only) if chosen.only else set(KEYS)
    sizes = quick_sizes(chosen.repeat or QUICK_REPEAT) if chosen.quick else Sizes()
    if chosen.repeat:
        sizes = replace(sizes, repeat=chosen.repeat)
    say("starting an embedded server of our own")
    with Arena(say, chosen.folder) as arena:
        found = machine.describe(arena.server.url(TEMPLATE))
        outcomes, failed = run(arena, sizes, wanted)
    report.show(console, found, outcomes)
    whole = not chosen.quick and wanted == set(KEYS)
    if outcomes and (chosen.write or whole):
        report.write(chosen.page, found, outcomes, rounds=sizes.repeat, minutes=teller.seconds() / 60)
        console.print(f"written: {chosen.page}")
    missed = any(figure.reached == "no" for outcome in outcomes for figure in outcome.figures)
    return 1 if failed or (missed and not chosen.quick) else 0


def run(arena: Arena, sizes: Sizes, wanted: Collection[str]) -> tuple[list[Outcome], bool]:
    """Measure what is wanted; one that fails is told of and does not cost the others."""
    outcomes: list[Outcome] = []
    failed = False
    for keys, measure in MODULES.items():
        if not wanted & set(keys):
            continue
        names = ", ".join(key for key in keys if key in wanted)
        arena.say(names)
        try:
            outcomes.append(measure(arena, sizes, wanted))
        except Exception as error:
            # An hour of other figures must not be lost; the exit code tells.
            failed = True
            log.exception("%s could not be measured", names)
            outcomes.append(Outcome([], (), [f"{names}: could not be measured: {type(error).__name__}: {error}"]))
    return outcomes, failed


def _keys(text: str) -> list[str]:
    keys = [key.strip().upper() for key in text.split(",") if key.strip()]
    wrong = sorted(set(keys) - set(KEYS))
    if wrong or not keys:
        raise argparse.ArgumentTypeError(f"{', '.join(wrong) or 'nothing'}: choose from {', '.join(KEYS)}")
    return keys


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes everywhere, about a minute")
    parser.add_argument("--only", type=_keys, help=f"some figures, like P1,P7; there are {', '.join(KEYS)}")
    parser.add_argument("--repeat", type=int, help="rounds of each figure (3, with --quick 1)")
    parser.add_argument("--folder", type=Path, help="where the temporary server and files go; needs some 15 GB")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write")
    parser.add_argument("--write", action="store_true", help="write the page even after --quick or --only")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
