"""Which sale conditions let a print move which number: the oracle's own reading of the published table.

Belongs here: the facts per tape and the AND over the codes of one print.
Does not belong here: what the flags are then used for (metrics.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class Flags:
    """What one print may update. `last_if_only`: the last only when nothing else can set it (note 1)."""

    high_low: bool
    last: bool
    volume: bool
    last_if_only: bool = False
    unknown: int = 0


REGULAR = Flags(high_low=True, last=True, volume=True)
VOLUME_ONLY = Flags(high_low=False, last=False, volume=True)
NOTHING = Flags(high_low=False, last=False, volume=False)
LAST_IF_ONLY = Flags(high_low=True, last=False, volume=True, last_if_only=True)
NEVER_LAST = Flags(high_low=True, last=False, volume=True)
NEVER_VOLUME = Flags(high_low=True, last=True, volume=False)

# Where a tape gave a letter two meanings the later one is here: CTA I odd lot (was CAP election),
# UTP V contingent (was stock option), UTP X trade-thru exempt (was cross, the same flags).
_LETTERS: dict[str, dict[str, Flags]] = {
    "cta": {
        "@EXFO56KL1G": REGULAR,
        "BCTUNHRIV7": VOLUME_ONLY,
        "MQ": NOTHING,
        "4PZ": LAST_IF_ONLY,
        "9": NEVER_VOLUME,
    },
    "utp": {
        "@ABD6XFO15KL2SY": REGULAR,
        "WCTUNHRIV7": VOLUME_ONLY,
        "MQ": NOTHING,
        "4PZ": LAST_IF_ONLY,
        "G3": NEVER_LAST,
        "9": NEVER_VOLUME,
    },
    "finra_tdds": {
        "@": REGULAR,
        "WCTUNRI": VOLUME_ONLY,
        "PZ": LAST_IF_ONLY,
    },
}
TABLE: dict[str, dict[str, Flags]] = {
    tape: {letter: flags for letters, flags in groups.items() for letter in letters}
    for tape, groups in _LETTERS.items()
}
# A feed may name the over-the-counter tape by its operator or by the service.
TAPES = {"cta": "cta", "utp": "utp", "finra_tdds": "finra_tdds", "finra": "finra_tdds", "tdds": "finra_tdds"}


def codes_of(conditions: str, separator: str | None) -> list[str]:
    """The single codes of a conditions field: every non-blank letter, or the parts between separators."""
    if separator is None:
        return [letter for letter in conditions if not letter.isspace()]
    return [part.strip() for part in conditions.split(separator) if part.strip()]


@lru_cache(maxsize=65536)
def flags_of(conditions: str, separator: str | None, tape: str) -> Flags:
    """The AND of the flags over all codes; an unknown code is regular and counted, no code is regular."""
    table = TABLE[TAPES[tape.lower()]]
    found = [table.get(code) for code in codes_of(conditions, separator)]
    known = [flags for flags in found if flags is not None]
    # "Unless it is the only one" excuses 4, P and Z, not another code that bars the last for good.
    barred = [flags for flags in known if not flags.last]
    return Flags(
        high_low=all(flags.high_low for flags in known),
        last=not barred,
        volume=all(flags.volume for flags in known),
        last_if_only=bool(barred) and all(flags.last_if_only for flags in barred),
        unknown=len(found) - len(known),
    )
