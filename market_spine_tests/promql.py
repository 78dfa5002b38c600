"""The metrics that PromQL names, and where ours are written.

Belongs here: reading rules and dashboards. Does not belong here: what they ought to say.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from market_spine_tests.helm import COMPANION

RULES = sorted((COMPANION / "rules").glob("*.yaml"))
DASHBOARDS = sorted((COMPANION / "dashboards").glob("*.json"))
OTHER_EXPORTERS = {
    # Prometheus itself
    "up",
    # kubelet
    "kubelet_volume_stats_capacity_bytes",
    "kubelet_volume_stats_used_bytes",
    # cAdvisor
    "container_cpu_usage_seconds_total",
    "container_memory_working_set_bytes",
    # kube-state-metrics
    "kube_cronjob_status_last_schedule_time",
    "kube_deployment_status_replicas_available",
    "kube_horizontalpodautoscaler_status_desired_replicas",
    "kube_job_failed",
    "kube_pod_container_resource_limits",
    "kube_pod_container_status_restarts_total",
    "kube_pod_info",
    "kube_pod_status_phase",
}
"""Metrics that no process of ours exports."""
_WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}
_GROUPED = r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)"


def metrics_in(expression: str) -> set[str]:
    """The metrics an expression reads: names that are no function, no label and no word of the language."""
    # in this order: a string may hold braces, a selector brackets
    for part in (r'"(?:\\.|[^"\\])*"', r"\{[^}]*\}", r"\[[^\]]*\]", _GROUPED):
        expression = re.sub(part, " ", expression)
    names = re.findall(r"(?<![\w.$])[a-zA-Z_:][\w:]*(?!\w|\s*\()", expression)
    return {name for name in names if name not in _WORDS and name not in _AGGREGATIONS}


_AGGREGATIONS = {"sum", "max", "min", "count", "avg"}
"""Written before their grouping: ``sum by (le) (...)``."""


def alerts() -> dict[str, Any]:
    """Every alert by its name."""
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """The panels of a dashboard, headings left out."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def dashboards() -> dict[str, dict[str, Any]]:
    """Every dashboard by the name of its file."""
    return {path.stem: json.loads(path.read_text()) for path in DASHBOARDS}


def expressions() -> Iterator[tuple[str, str]]:
    """Every expression of a rule or a dashboard, and where it is; Grafana's variables filled in."""
    for name, rule in alerts().items():
        yield name, rule["expr"]
    for name, dashboard in dashboards().items():
        for panel in panels(dashboard):
            for target in panel["targets"]:
                yield f"{name}: {panel['title']}", filled(target["expr"])
        for variable in dashboard["templating"]["list"]:
            if found := re.fullmatch(r"label_values\((.*), \w+\)", variable.get("definition", "")):
                yield f"{name}: {variable['name']}", found[1]


def filled(expression: str) -> str:
    """An expression as Prometheus gets it when all is chosen."""
    return re.sub(r"\$(?!__)\w+", ".*", expression.replace("$__rate_interval", "2m"))
