"""The alert rules: valid, tested as they fire and as they do not, explained where they point, and put into the chart.

Belongs here: rules/*.yaml. Does not belong here: whether their metrics are exported (``test_companion_chart_served``).
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from market_spine_tests.helm import COMPANION, KUBERNETES, ROOT, Object, render_companion, run_helm
from market_spine_tests.kubernetes_objects import find
from market_spine_tests.promql import OTHER_EXPORTERS, RULES, alerts, metrics_in

TESTS = COMPANION / "rules" / "tests"
GUIDE = ROOT / "docs" / "monitoring-kubernetes.md"


def promtool(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not here: Debian's package prometheus has it, .ci/tools installs it")
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=60)


def rendered_alerts(**settings: str) -> dict[str, Object]:
    groups = find(render_companion("production", settings), "PrometheusRule", "market-spine")["spec"]["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def test_prometheus_accepts_every_rule() -> None:
    done = promtool("check", "rules", *RULES)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sum(map(int, re.findall(r"(\d+) rules found", done.stdout))) == len(alerts())


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_every_alert_fires_when_it_should_and_not_when_it_should_not(path: Path) -> None:
    done = promtool("test", "rules", TESTS / path.name)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", alerts())
def test_every_alert_is_tested_both_ways(name: str) -> None:
    checks = [
        check
        for path in TESTS.glob("*.yaml")
        for test in yaml.safe_load(path.read_text())["tests"]
        for check in test["alert_rule_test"]
        if check["alertname"] == name
    ]
    assert {bool(check.get("exp_alerts")) for check in checks} == {True, False}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("> 0.05", "> 0.2"),
        ('status=~"5.."', 'status=~"4.."'),
        ("for: 1m", "for: 1h"),
        ("severity: critical", "severity: none"),
    ],
)
def test_a_rule_that_says_something_else_fails_its_tests(before: str, after: str, tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    text = (COMPANION / "rules" / "api.yaml").read_text()
    assert before in text
    (tmp_path / "api.yaml").write_text(text.replace(before, after))
    shutil.copy(TESTS / "api.yaml", tmp_path / "tests")
    assert promtool("test", "rules", tmp_path / "tests" / "api.yaml").returncode != 0


@pytest.mark.parametrize(("name", "rule"), alerts().items())
def test_every_alert_says_how_bad_it_is_what_it_means_and_where_to_read_on(name: str, rule: Object) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert ROOT / page == GUIDE
    headings = re.findall(r"^### (\w+)$", GUIDE.read_text(), re.MULTILINE)
    assert name in headings
    assert anchor == name.lower()


def test_the_guide_explains_no_alert_that_there_is_not() -> None:
    named = set(re.findall(r"\bMarketSpine[A-Z]\w+", GUIDE.read_text()))
    assert named == set(alerts())


@pytest.mark.parametrize(("name", "rule"), alerts().items())
def test_a_figure_that_every_process_exports_alike_is_never_added_up_over_processes(name: str, rule: Object) -> None:
    """Two API processes would make two dead letters of one."""
    alike = {metric for metric in metrics_in(rule["expr"]) if not metric.startswith("spine_http_")} - OTHER_EXPORTERS
    for metric in alike:
        assert re.search(rf"(max|min)( by \([^)]*\) )?\((increase\()?{metric}\b", rule["expr"]), rule["expr"]


def test_the_chart_takes_every_rule_as_it_is_but_for_where_it_is_installed() -> None:
    rendered = rendered_alerts()
    assert set(rendered) == set(alerts())
    ours = 'job="market-spine",namespace="market-spine"'
    for name, rule in alerts().items():
        expected = rule["expr"].replace('job="market-spine"', ours)
        assert rendered[name] == {**rule, "expr": expected}


def test_in_another_namespace_the_rules_ask_for_that_one() -> None:
    shown = ("--show-only", "templates/prometheusrule.yaml", "--kube-version", KUBERNETES[0], "--namespace", "other")
    done = run_helm("template", "market-spine", str(COMPANION), *shown)
    assert done.returncode == 0, done.stderr
    for group in yaml.safe_load(done.stdout)["spec"]["groups"]:
        for rule in group["rules"]:
            assert set(re.findall(r'namespace="([\w-]+)"', rule["expr"])) == {"other"}, rule["expr"]


def test_the_address_of_the_runbook_is_a_value() -> None:
    for name, rule in rendered_alerts(**{"monitoring.runbookUrl": "https://wiki.example.com/alerts"}).items():
        assert rule["annotations"]["runbook_url"] == f"https://wiki.example.com/alerts#{name.lower()}"


def test_with_the_pipelines_off_a_daemon_that_is_down_alerts_nobody() -> None:
    gone = set(alerts()) - set(rendered_alerts(pipelinesEnabled="false"))
    assert gone == {
        rule["alert"] for rule in yaml.safe_load((COMPANION / "rules/pipelines.yaml").read_text())["groups"][0]["rules"]
    }
    assert "MarketSpineDaemonDown" in gone
