"""The dashboards: complete enough to be read by somebody who has never seen them, and put into the chart as they are.

Belongs here: dashboards/*.json. Does not belong here: whether their metrics are exported
(``test_companion_chart_served``).
"""

import json
import re
from itertools import combinations
from typing import Any

import pytest

from market_spine_tests.helm import render_companion
from market_spine_tests.kubernetes_objects import find
from market_spine_tests.promql import DASHBOARDS, OTHER_EXPORTERS, alerts, dashboards, expressions, metrics_in, panels

EXPECTED = ("platform", "ledger", "data-quality", "api", "kubernetes")
UNITS = {"short", "none", "s", "bytes", "percentunit", "reqps"}
PANELS = [(name, panel) for name, dashboard in dashboards().items() for panel in panels(dashboard)]
each_panel = pytest.mark.parametrize(
    ("name", "panel"), PANELS, ids=lambda one: one if isinstance(one, str) else one["title"]
)


def test_there_is_one_for_each_part() -> None:
    assert set(dashboards()) == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_dashboard_is_found_by_a_name_of_its_own_and_lets_the_prometheus_be_chosen(name: str) -> None:
    dashboard = dashboards()[name]
    assert dashboard["uid"] == f"market-spine-{name}"
    assert dashboard["description"]
    assert dashboard["schemaVersion"] >= 39
    variables = {one["name"]: one for one in dashboard["templating"]["list"]}
    assert variables["datasource"]["query"] == "prometheus"
    assert set(variables) > {"datasource"}


@pytest.mark.parametrize("name", EXPECTED)
def test_every_variable_that_is_used_is_there_and_every_one_there_is_used(name: str) -> None:
    dashboard = dashboards()[name]
    used = set(re.findall(r"\$\{?(?!__)(\w+)", json.dumps(dashboard["panels"])))
    assert used == {one["name"] for one in dashboard["templating"]["list"]}


@pytest.mark.parametrize("name", EXPECTED)
def test_panels_lie_side_by_side_on_the_grid(name: str) -> None:
    places = [panel["gridPos"] for panel in dashboards()[name]["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below
    identities = [panel["id"] for panel in dashboards()[name]["panels"]]
    assert len(set(identities)) == len(identities)


@each_panel
def test_a_panel_says_what_it_shows_in_which_unit_and_where_from(name: str, panel: dict[str, Any]) -> None:
    assert len(panel["description"]) > 10
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert panel["targets"]
    legends = [target["legendFormat"] for target in panel["targets"]]
    assert panel["type"] == "stat" or all(legends)


def test_the_limit_of_an_alert_is_a_line_in_its_panel() -> None:
    limits = {
        found: [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"] if step["value"]]
        for _, panel in PANELS
        for found in re.findall(r"MarketSpine\w+", panel["description"])
    }
    assert set(limits) <= set(alerts())
    assert {
        name: found[-1] for name, found in limits.items() if name in ("MarketSpineApiErrors", "MarketSpineApiSlow")
    } == {
        "MarketSpineApiErrors": 0.05,
        "MarketSpineApiSlow": 0.5,
    }
    for name, found in limits.items():
        if limit := re.search(r"> ([\d.]+)$", alerts()[name]["expr"]):
            # "more than none" is one or more
            assert (float(limit[1]) or 1.0) in found or name == "MarketSpineApiDown", name


@each_panel
def test_a_figure_that_every_process_exports_alike_is_never_added_up_over_processes(
    name: str, panel: dict[str, Any]
) -> None:
    for target in panel["targets"]:
        for metric in metrics_in(target["expr"]) - OTHER_EXPORTERS:
            if not metric.startswith(("spine_http_", "process_")):
                assert re.search(rf"max( by \([^)]*\) )?\((increase\()?{metric}\b", target["expr"]), target["expr"]


def test_the_chart_hands_every_dashboard_to_grafana_as_it_is() -> None:
    objects = render_companion("production")
    for path in DASHBOARDS:
        made = find(objects, "ConfigMap", f"market-spine-dashboard-{path.stem}")
        assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
        ((file, text),) = made["data"].items()
        assert file == f"market-spine-{path.name}"
        assert json.loads(text) == json.loads(path.read_text())


@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ('sum by (le) (rate(a_bucket{route=~"b{c"}[5m])) / on (d) group_left (e) f', {"a_bucket", "f"}),
        ('label_replace(max(a) == 0, "b", "c", "", "") or absent(d{e="f"})', {"a", "d"}),
        ("time() - max(a{}) unless max by (b) (c) > bool 1e3", {"a", "c"}),
        ("histogram_quantile(0.95, sum(rate(a[1d:1h] offset 5m)))", {"a"}),
    ],
)
def test_the_metrics_of_an_expression_are_found(expression: str, named: set[str]) -> None:
    assert metrics_in(expression) == named


def test_every_metric_of_other_exporters_is_declared_because_something_shows_it() -> None:
    named = {metric for _, expression in expressions() for metric in metrics_in(expression)}
    assert named >= OTHER_EXPORTERS
