"""``python -m benchmarks.steps_child DAY...``: the three steps of some days in one process.

What it is: the run process without Dagster, settings from the environment, for figures about its memory and for
`make chaos`, which kills it. Says on a line of its own which step begins, and in the end, as JSON, how much memory it
took.
Belongs here: nothing more.
"""

import json
import sys
import time
from collections.abc import Sequence
from datetime import date

from benchmarks.arena import Steps
from benchmarks.processes import own_peak
from market_spine.errors import SpineError
from market_spine.settings import Settings


def main(arguments: Sequence[str]) -> int:
    """Run the days; 0, or 1 with the error in one line."""
    steps = Steps.on(Settings.from_env())
    start = time.perf_counter()
    try:
        for argument in arguments:
            for name, step in steps.named().items():
                print(f"begins {name}", flush=True)
                step(date.fromisoformat(argument))
    except SpineError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps({"seconds": time.perf_counter() - start, "peak_bytes": own_peak()}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
