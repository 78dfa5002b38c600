"""From deliveries to the three answers: trades, metrics, and what became of every report.

Belongs here: the order in which the other modules are used.
Does not belong here: any rule of its own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Context, localcontext

from market_spine_tests.oracle.calendar import Sessions, sessions_between
from market_spine_tests.oracle.eligibility import flags_of
from market_spine_tests.oracle.lifecycle import settle, trade_order
from market_spine_tests.oracle.metrics import Trade, Value, day_of_symbol, look_back, mark_outliers
from market_spine_tests.oracle.reports import Delivery, Refused, SourceRules, choose
from market_spine_tests.oracle.values import Report, type_row

ROW_STATUSES = ("live", "cancelled", "superseded")
# Sums of squares of NUMERIC(20,10) prices stay exact in this many digits.
_EXACT = Context(prec=80)


@dataclass
class Outcome:
    """What the tables must hold. Dispositions: place of the report -> (disposition, reason, home trade date)."""

    metrics: dict[tuple[str, date], dict[str, Value]] = field(default_factory=dict)
    trades: list[Trade] = field(default_factory=list)
    dispositions: dict[tuple[str, date, str, int], tuple[str, str | None, date]] = field(default_factory=dict)
    live_files: list[Delivery] = field(default_factory=list)
    refused: list[tuple[Delivery, Refused]] = field(default_factory=list)
    blank_lines: int = 0
    trailer_lines: int = 0


def evaluate(
    deliveries: Iterable[Delivery],
    rules: Mapping[str, SourceRules],
    *,
    first_session: date,
    last_session: date,
    computed: set[date] | None = None,
) -> Outcome:
    """Judge a set of deliveries. `computed`: the sessions materialized so far; all up to the last file by default."""
    sessions = sessions_between(first_session, last_session)
    with localcontext(_EXACT):
        files, refused = choose(deliveries, rules, sessions)
        outcome = Outcome(live_files=[delivery for delivery, _ in files], refused=refused)
        reports: list[Report] = []
        for delivery, reading in files:
            outcome.blank_lines += reading.blank
            outcome.trailer_lines += reading.trailer
            reports += [type_row(delivery, row, rules[delivery.source], sessions) for row in reading.rows]
        settle(reports)
        for report in reports:
            assert report.disposition is not None, report
            outcome.dispositions[report.place] = (report.disposition, report.why, report.home)
        _fill_tables(outcome, reports, rules, sessions, computed)
    return outcome


def _trade_of(report: Report, rules: SourceRules) -> Trade:
    assert report.trade_date is not None, report
    assert report.executed_at is not None, report
    assert report.price is not None, report
    assert report.size is not None, report
    assert report.disposition is not None, report
    return Trade(
        trade_date=report.trade_date,
        symbol=report.text["symbol"],
        executed_at=report.executed_at,
        price=report.price,
        size=report.size,
        venue=report.text["venue"],
        side=report.text["side"],
        status=report.disposition,
        corrected=report.action == "correct",
        late=report.action == "as_of" or report.report_date > report.trade_date,
        capped=report.capped,
        outlier=False,
        flags=flags_of(report.text["conditions"], rules.separator, rules.tape),
        source=report.source,
        report_date=report.report_date,
        part=report.part,
        line_no=report.line_no,
    )


def _fill_tables(
    outcome: Outcome,
    reports: list[Report],
    rules: Mapping[str, SourceRules],
    sessions: Sessions,
    computed: set[date] | None,
) -> None:
    rejected: Counter[tuple[str, date]] = Counter()
    days: dict[tuple[str, date], list[Report]] = defaultdict(list)
    for report in reports:
        if report.disposition == "quarantined":
            rejected[report.text["symbol"], report.home] += 1
        # An invalid trade that was cancelled or replaced has no values to store: it is no row of the table.
        elif report.disposition in ROW_STATUSES and report.reason is None and report.trade_date is not None:
            days[report.text["symbol"], report.trade_date].append(report)
    if computed is None:
        dates = {delivery.report_date for delivery in outcome.live_files}
        computed = {day for day in sessions.days if dates and min(dates) <= day <= max(dates)}
        computed |= {day for _, day in days}
    for (symbol, day), rows in sorted(days.items(), key=lambda item: (item[0][1], item[0][0])):
        trades = [_trade_of(report, rules[report.source]) for report in sorted(rows, key=trade_order)]
        mark_outliers([trade for trade in trades if trade.status == "live"])
        outcome.trades += trades
        if day in computed:
            outcome.metrics[symbol, day] = day_of_symbol(
                trades, rejected[symbol, day], sessions.opens(day), sessions.closes(day)
            )
    look_back(outcome.metrics, computed, sessions)
