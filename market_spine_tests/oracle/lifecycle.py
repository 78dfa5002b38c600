"""What becomes of every report: identity, cancels, corrections, reversals.

Belongs here: the final disposition of each report.
Does not belong here: reading text (values.py), numbers computed from the trades (metrics.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime

from market_spine_tests.oracle.values import KILLS, Report

_UNKNOWN = datetime.min.replace(tzinfo=UTC)


def event_order(report: Report) -> tuple[object, ...]:
    """The order in which the events of one trade happened; an unknown clock comes first on its date."""
    number = report.text["report_id"]
    clock = report.reported_at or _UNKNOWN
    return (report.report_date, clock, len(number), number, report.source, report.part, report.line_no)


def trade_order(report: Report) -> tuple[object, ...]:
    """The order of the trades of a symbol within its day."""
    key = report.text["sequence"] or report.text["report_id"]
    return (report.executed_at, len(key), key, report.report_date, report.source, report.part, report.line_no)


def settle(reports: Iterable[Report]) -> None:
    """Give every report its disposition, reason and home."""
    kept = _drop_repeats(sorted(reports, key=lambda one: one.place))
    trades, links, reversals = [], [], []
    for report in kept:
        if report.reason is not None:
            report.ends_as("quarantined", report.reason)
        if report.standing == "not_a_trade":
            if report.reason is None:
                report.ends_as("applied", "not_a_trade")
        elif report.action in ("new", "as_of"):
            trades.append(report)
            if report.reason is None:
                report.ends_as("cancelled" if report.standing == "cancelled" else "live")
        elif report.action is not None and report.linked:
            links.append(report)
        elif report.action == "correct" and report.reason is None:
            report.ends_as("quarantined", "missing_link")
        elif report.action in KILLS and report.reason is None:
            reversals.append(report)
    _apply_links(trades, links)
    live = [one for one in (*trades, *links) if one.disposition == "live"]
    _apply_reversals(live, reversals)


def _drop_repeats(reports: list[Report]) -> list[Report]:
    """Keep the first report of every identity; the others are duplicates or contradict it.

    Valid reports without a report id meet on their trade date. An invalid one can only be compared with those of its
    own report date: a copy that could not be read must not cost the trade that could.
    """
    first: dict[tuple[object, ...], Report] = {}
    occurrences: dict[tuple[object, ...], int] = defaultdict(int)
    kept = []
    for report in reports:
        text = report.text
        key: tuple[object, ...]
        if text["report_id"]:
            key = ("report", report.source, text["facility"], text["report_id"])
        elif text["trade_id"] and report.trade_date is not None:
            key = ("trade", report.source, report.trade_date, text["trade_id"])
        else:
            in_file = (report.source, report.report_date, report.part, report.content)
            occurrences[in_file] += 1
            key = ("content", report.source, report.content, occurrences[in_file])
        meetings = [(*key, "reported", report.report_date)]
        if report.reason is None and not text["report_id"]:
            meetings.append((*key, "traded", report.trade_date))
        earlier = next((first[meeting] for meeting in meetings if meeting in first), None)
        if earlier is None:
            first.update(dict.fromkeys(meetings, report))
            kept.append(report)
        elif earlier.content == report.content:
            report.ends_as("duplicate")
        else:
            report.ends_as("quarantined", "conflicting_identity")
    return kept


def _apply_links(trades: list[Report], links: list[Report]) -> None:
    targets: dict[tuple[str, str, str], dict[date, Report]] = defaultdict(dict)
    for report in (*trades, *links):
        if report.text["report_id"] and report.action not in KILLS:
            key = (report.source, report.text["facility"], report.text["report_id"])
            targets[key][report.report_date] = report

    def target_of(event: Report) -> Report | None:
        named = targets.get((event.source, event.text["facility"], event.text["original_report_id"]), {})
        candidates = {day: one for day, one in named.items() if one is not event}
        if event.text["original_report_date"]:
            return candidates.get(event.original_date) if event.original_date else None
        # Ids may return on another date: without one, the nearest at or before the event, else the next after.
        earlier = [day for day in candidates if day <= event.report_date]
        if earlier:
            return candidates[max(earlier)]
        return candidates[min(candidates)] if candidates else None

    def root_of(event: Report) -> Report | None:
        seen = {id(event)}
        target = target_of(event)
        while target is not None and target.action == "correct":
            if id(target) in seen:
                return None
            seen.add(id(target))
            target = target_of(target)
        return target

    events: dict[int, list[Report]] = defaultdict(list)
    roots: dict[int, Report] = {}
    for event in links:
        if event.reason is not None:
            continue  # it stays in quarantine and does not apply
        root = root_of(event)
        if root is None:
            event.ends_as("held")
        else:
            roots[id(root)] = root
            events[id(root)].append(event)
    for root in roots.values():
        _live_through(root, sorted(events[id(root)], key=event_order))


def _live_through(root: Report, events: list[Report]) -> None:
    """Play the events of one trade in their order. An invalid trade takes part until it is replaced."""
    current = root
    alive = root.disposition != "cancelled"
    for event in events:
        if event.action == "correct" and alive:
            current.ends_as("superseded")
            current = event
            current.ends_as("live")
        elif event.action == "correct":
            event.ends_as("quarantined", "correct_after_cancel")
        elif alive:
            alive = False
            current.ends_as("cancelled")
            event.ends_as("applied", home=current.home)
        else:
            event.ends_as("duplicate", home=current.home)


def _apply_reversals(live: list[Report], reversals: list[Report]) -> None:
    """Reversals without a link: the n-th takes the n-th live trade that looks the same."""

    def looks(report: Report) -> tuple[object, ...]:
        text = report.text
        return (
            report.source, report.trade_date, text["symbol"], report.price, report.size, text["side"], text["venue"],
        )  # fmt: skip

    if not reversals:
        return
    candidates: dict[tuple[object, ...], list[Report]] = defaultdict(list)
    for report in sorted(live, key=trade_order, reverse=True):
        candidates[looks(report)].append(report)
    for event in sorted(reversals, key=event_order):
        matching = candidates.get(looks(event))
        if matching:
            matching.pop().ends_as("cancelled")
            event.ends_as("applied")
        else:
            event.ends_as("quarantined", "unmatched_reversal")
