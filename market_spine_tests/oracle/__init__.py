"""The independent oracle: plain Python that says what the tables must hold, to judge the SQL.

Belongs here: a second, slow and literal reading of the domain rules.
Does not belong here: any import of market_spine; a shared helper would share its mistakes.
"""

from market_spine_tests.oracle.metrics import VALUE_COLUMNS, Trade
from market_spine_tests.oracle.outcome import Outcome, evaluate
from market_spine_tests.oracle.reports import CANONICAL, Delivery, Refused, SourceRules, read_content

__all__ = [
    "CANONICAL",
    "VALUE_COLUMNS",
    "Delivery",
    "Outcome",
    "Refused",
    "SourceRules",
    "Trade",
    "evaluate",
    "read_content",
]
