"""Grafana's JSON from the short descriptions in ``dashboards/*.yaml``.

The ledger's figures are the same from every API process, so expressions take them by ``max`` and never sum them over
processes; those of HTTP are of each process and are summed.
Belongs here: the shape of a dashboard file, layout on the grid of 24 columns. Does not belong here: what a dashboard
shows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

SCHEMA_VERSION = 41
"""Of Grafana 12; newer ones bring it up to date themselves."""
COLUMNS = 24
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
MATCHERS = {"{OURS": '{job="market-spine",namespace=~"$namespace"', "{NAMED": '{namespace="$namespace"'}
"""What stands for the matchers of nearly every expression: of our own metrics, and of those the cluster has of us."""
Json = dict[str, Any]


def variable(label: str, about: str, query: str, *, first: str = "") -> Json:
    """A variable that Prometheus fills; several of its values or all may be chosen, unless it has a first one."""
    several = not first
    return {
        "label": label,
        "description": about,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": "variable"},
        "refresh": 2,
        "sort": 1,
        "multi": several,
        "includeAll": several,
        # also series without the label: outside a cluster there is no namespace
        **({"allValue": ".*"} if several else {}),
        "current": {"text": "All", "value": "$__all"} if several else {"text": first, "value": first},
    }


VARIABLES: Mapping[str, Json] = {
    "datasource": {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
    "namespace": {
        "name": "namespace",
        **variable(
            "Namespace",
            "Where Market Spine is installed; All where Prometheus does not run in a cluster.",
            'label_values(up{job="market-spine"}, namespace)',
        ),
    },
    "cluster_namespace": {
        "name": "namespace",
        **variable(
            "Namespace", "Where both releases are.", "label_values(kube_pod_info, namespace)", first="market-spine"
        ),
    },
    "pipeline": {
        "name": "pipeline",
        **variable("Pipeline", "What was executed.", "label_values(spine_executions_total, pipeline)"),
    },
    "route": {
        "name": "route",
        **variable("Route", "Path of the API.", "label_values(spine_http_requests_total, route)"),
    },
}


@dataclass(frozen=True)
class Panel:
    """One panel.

    Args:
        title: what it shows.
        about: how to read it; the (i) in its corner.
        queries: ``expr`` (PromQL) and ``legend`` of each line.
        unit: Grafana's name of it.
        kind: timeseries, stat, bargauge, piechart.
        size: columns of 24, and rows.
        limits: values from which on a colour counts, in order; below the first it is green.
        stacked: lines on top of each other.
        most: the end of the axis, where one is known.
        texts: value, text in its place, colour.
    """

    title: str
    about: str
    queries: Sequence[Mapping[str, str]]
    unit: str
    kind: str = "timeseries"
    size: tuple[int, int] = (8, 8)
    limits: Sequence[tuple[float, str]] = ()
    stacked: bool = False
    most: float | None = None
    texts: Sequence[tuple[float, str, str]] = ()

    def json(self, number: int, x: int, y: int) -> Json:
        """As Grafana keeps it."""
        now = self.kind != "timeseries"
        width, height = self.size
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.about,
            "datasource": DATASOURCE,
            "gridPos": {"h": height, "w": width, "x": x, "y": y},
            "targets": [
                {
                    "refId": chr(ord("A") + place),
                    "datasource": DATASOURCE,
                    "expr": _written_out(query["expr"]),
                    "legendFormat": query.get("legend", ""),
                    "instant": now,
                    "range": not now,
                }
                for place, query in enumerate(self.queries)
            ],
            "fieldConfig": {"defaults": self._defaults(), "overrides": []},
            "options": self._options(),
        }

    def _defaults(self) -> Json:
        steps = [{"color": "green", "value": None}, *({"color": color, "value": value} for value, color in self.limits)]
        found: Json = {"unit": self.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}}
        if self.most is not None:
            found["max"] = self.most
        if self.texts:
            options = {
                f"{value:g}": {"text": text, "color": color, "index": place}
                for place, (value, text, color) in enumerate(self.texts)
            }
            found["mappings"] = [{"type": "value", "options": options}]
        if self.kind == "timeseries":
            found["custom"] = {
                "drawStyle": "line",
                "lineWidth": 1,
                "fillOpacity": 20 if self.stacked else 5,
                "showPoints": "never",
                "spanNulls": False,
                "stacking": {"mode": "normal" if self.stacked else "none", "group": "A"},
                "thresholdsStyle": {"mode": "dashed" if self.limits else "off"},
            }
            found["color"] = {"mode": "palette-classic"}
        elif self.kind == "piechart":
            found["color"] = {"mode": "palette-classic"}
        else:
            found["color"] = {"mode": "thresholds"}
        return found

    def _options(self) -> Json:
        last = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        match self.kind:
            case "timeseries":
                return {
                    "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
                    "tooltip": {"mode": "multi", "sort": "desc"},
                }
            case "stat":
                return {"reduceOptions": last, "colorMode": "background", "graphMode": "none", "textMode": "auto"}
            case "bargauge":
                return {"reduceOptions": last, "displayMode": "basic", "orientation": "horizontal"}
            case _:
                return {
                    "reduceOptions": last,
                    "pieType": "donut",
                    "legend": {"displayMode": "table", "placement": "right", "showLegend": True, "values": ["value"]},
                }


def _written_out(expression: str) -> str:
    for short, matchers in MATCHERS.items():
        expression = expression.replace(short, matchers)
    return expression


def dashboard(source: Path) -> Json:
    """A dashboard as Grafana keeps it, from its description; a key that no panel has is a TypeError."""
    described = yaml.safe_load(source.read_text(encoding="utf-8"))
    return {
        "uid": f"market-spine-{source.stem}",
        "title": f"Market Spine / {described['title']}",
        "description": described["about"],
        "tags": ["market-spine"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "1m",
        "time": {"from": described["since"], "to": "now"},
        "templating": {"list": [VARIABLES[name] for name in ("datasource", *described["variables"])]},
        "annotations": {"list": []},
        "links": [
            {
                "type": "dashboards",
                "title": "Market Spine",
                "tags": ["market-spine"],
                "asDropdown": True,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "panels": _placed(described["rows"]),
    }


def _placed(rows: Sequence[Json]) -> list[Json]:
    """Panels from left to right, a new line where one does not fit any more, a heading over each row."""
    placed: list[Json] = []
    y = 0
    for row in rows:
        placed.append(
            {
                "id": len(placed) + 1,
                "type": "row",
                "title": row["heading"],
                "collapsed": False,
                "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": y},
                "panels": [],
            }
        )
        x, y, tallest = 0, y + 1, 0
        for described in row["panels"]:
            panel = Panel(**described)
            width, height = panel.size
            if x + width > COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            placed.append(panel.json(len(placed) + 1, x, y))
            x, tallest = x + width, max(tallest, height)
        y += tallest
    return placed
