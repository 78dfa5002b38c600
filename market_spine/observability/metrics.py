"""The metrics: what each is called, what it means, and how a snapshot becomes the text that Prometheus reads.

What it is: ``exposition`` writes everything there is; ``Process`` holds what only this process knows. No registry is
global, so that two applications in one process do not count each other's requests.
Belongs here: names, help texts, labels (docs/monitoring.md says more of each; a test holds the two together). Does not
belong here: reading the databases (``metrics_reading``), counting requests (``metrics_http``).
"""

import math
from collections import Counter as Counts
from collections.abc import Iterator, Mapping
from itertools import accumulate
from types import MappingProxyType
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from market_spine.ledger import tags
from market_spine.ledger.submission import PIPELINES
from market_spine.ledger.tally import BUCKETS, Durations, RunCounts
from market_spine.observability.metrics_reading import Away, LedgerFigures, MarketFigures
from market_spine.observability.metrics_scrape import Snapshot
from market_spine.observability.metrics_sessions import STATES

Labels = TypeVar("Labels", bound=tuple[str, ...])
STATUSES: Mapping[str, str] = MappingProxyType(
    {
        "QUEUED": "queued",
        "NOT_STARTED": "not_started",
        "MANAGED": "managed",
        "STARTING": "starting",
        "STARTED": "running",
        "CANCELING": "canceling",
        "SUCCESS": "success",
        "FAILURE": "failure",
        "CANCELED": "canceled",
    }
)
"""Dagster's statuses as labels."""
PIPELINE_OF: Mapping[str, str] = MappingProxyType(
    {
        "otc_trades_raw": "otc_ingest",
        "otc_trades": "otc_normalize",
        "otc_metrics_daily": "otc_compute_daily_metrics",
    }
)
"""The pipeline that makes a table: what a dead letter is counted under, whichever pipeline tried it last."""
REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Process:
    """What this process knows of itself and of the requests it answers."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self.requests = Counter(
            "spine_http_requests",
            "Requests answered, by route.",
            ("method", "route", "status"),
            registry=registry,
        )
        self.seconds = Histogram(
            "spine_http_request_duration_seconds",
            "From a request's arrival to the last byte of its answer.",
            ("method", "route"),
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        self.in_progress = Gauge(
            "spine_http_requests_in_progress", "Requests that are being answered.", registry=registry
        )


class _Everything(Collector):
    """What the process knows, then what the databases say."""

    def __init__(self, process: Process, snapshot: Snapshot) -> None:
        self._process = process
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """All metrics."""
        for metric in self._process.registry.collect():
            # When each series began doubles them, and Prometheus finds out by itself.
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric
        yield from of_snapshot(self._snapshot)


def exposition(process: Process, snapshot: Snapshot, accept: str) -> tuple[bytes, str]:
    """Everything as text, and its media type: OpenMetrics where the caller accepts it, else Prometheus' own format."""
    encode, media = choose_encoder(accept)
    return encode(_Everything(process, snapshot)), media


def of_snapshot(snapshot: Snapshot) -> Iterator[Metric]:
    """The metrics of both databases; one that is away has none, for a stale number looks like a true one."""
    ledger, market, sessions = snapshot.ledger, snapshot.market, snapshot.sessions
    yield _gauge("spine_ledger_up", "1: this scrape could read Dagster's database.", 0 if _away(ledger) else 1)
    yield _gauge("spine_warehouse_up", "1: this scrape could read the market database.", 0 if _away(market) else 1)
    if not isinstance(ledger, Away):
        yield from _of_ledger(ledger)
    if not isinstance(market, Away):
        yield from _of_market(market)
    if not isinstance(sessions, Away):
        values = {(state,): sessions[state] for state in STATES}
        yield _gauges("spine_sessions", "Sessions by state, against the calendar.", ("state",), values)


def _of_ledger(figures: LedgerFigures) -> Iterator[Metric]:
    runs, lanes = figures.runs, figures.runs.lanes
    lane = ("lane",)
    yield from _of_runs(runs)
    queued = {(name,): one.queued for name, one in lanes.items()}
    yield _gauges("spine_pending_executions", "Executions that wait in the queue.", lane, queued)
    ages = {(name,): one.oldest_seconds for name, one in lanes.items()}
    yield _gauges("spine_oldest_queued_seconds", "Since the oldest waiting execution was submitted.", lane, ages)
    running = {(name,): one.running for name, one in lanes.items()}
    yield _gauges("spine_running_executions", "Executions that hold a place to run.", lane, running)
    beats = {(name,): age for name, age in figures.heartbeats.items()}
    yield _gauges("spine_daemon_heartbeat_age_seconds", "Since each daemon was last heard of.", ("daemon",), beats)
    yield _gauge(
        "spine_slots_held_by_dead_runs",
        "Places to run, and pool slots, held by runs whose process is gone.",
        figures.dead_slots,
    )
    yield _gauge("spine_event_log_bytes", "Dagster's event log on disk, with indexes.", figures.event_log_bytes)


def _of_runs(runs: RunCounts) -> Iterator[Metric]:
    yield _counters(
        "spine_executions_submitted",
        "Executions submitted.",
        ("pipeline", "lane", "trigger_source"),
        runs.submitted,
    )
    ends = [STATUSES[status] for status in tags.FINISHED]
    # From zero on, so that the first failure of a pipeline is an increase and not the beginning of a series.
    completed = Counts({(pipeline, end): 0 for pipeline in PIPELINES for end in ends})
    by_job = Counts({(job, end): 0 for job in PIPELINES.values() for end in ends})
    for (pipeline, job, status), count in runs.ended.items():
        completed[pipeline, _word(status)] += count
        by_job[job, _word(status)] += count
    yield _counters("spine_executions_completed", "Executions that ended.", ("pipeline", "status"), completed)
    yield _counters("spine_pipeline_runs", "Runs of Dagster's jobs that ended.", ("pipeline", "result"), by_job)
    present = {(pipeline, _word(status)): count for (pipeline, status), count in runs.present.items()}
    yield _gauges(
        "spine_executions_total", "Executions by their present status.", ("pipeline", "status"), completed | present
    )
    durations = HistogramMetricFamily(
        "spine_execution_duration_seconds", "From an execution's start to its end.", labels=("pipeline",)
    )
    for pipeline in sorted({*PIPELINES, *runs.durations}):
        found = runs.durations.get(pipeline, Durations())
        durations.add_metric((pipeline,), _cumulated(found.buckets), found.seconds)
    yield durations


def _of_market(figures: MarketFigures) -> Iterator[Metric]:
    letters = dict.fromkeys([(name,) for name in PIPELINE_OF.values()], 0)
    for asset, count in figures.letters.items():
        letters[PIPELINE_OF.get(asset, asset),] = count
    yield _counters("spine_dead_letters", "Dead letters ever opened.", ("pipeline",), letters)
    yield _gauge("spine_dlq_unresolved", "Dead letters that nobody has resolved.", figures.unresolved)
    yield _gauge("spine_sessions_overdue", "Sessions past their hour without metrics.", figures.overdue)
    newest = figures.newest
    if newest is not None:
        yield _gauge(
            "spine_last_session_age_seconds",
            "Since the metrics of the newest complete session were published.",
            newest.age_seconds,
        )
        reports = {(name,): count for name, count in newest.reports.items()}
        yield _gauges("spine_session_reports", "Reports of the newest session.", ("disposition",), reports)
        yield _gauge("spine_quarantine_ratio", "Share of them in quarantine.", newest.quarantine_ratio)


def _cumulated(buckets: Mapping[float, int]) -> list[tuple[str, float]]:
    """Buckets as Prometheus has them: each holds all that are no longer than its bound."""
    ends = sorted({*BUCKETS, *buckets})
    sums = accumulate(buckets.get(end, 0) for end in ends)
    return [("+Inf" if end == math.inf else str(end), count) for end, count in zip(ends, sums, strict=True)]


def _word(status: str) -> str:
    return STATUSES.get(status, status.lower())


def _gauge(name: str, says: str, value: float) -> Metric:
    return GaugeMetricFamily(name, says, value=value)


def _gauges(name: str, says: str, labels: tuple[str, ...], values: Mapping[Labels, float]) -> Metric:
    family = GaugeMetricFamily(name, says, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family


def _counters(name: str, says: str, labels: tuple[str, ...], values: Mapping[Labels, float]) -> Metric:
    family = CounterMetricFamily(name, says, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family


def _away(found: object) -> bool:
    return isinstance(found, Away)
