"""The chart's rules, dashboards and test pod against what runs: an API that is served, a Prometheus that asks it.

Belongs here: names and labels of metrics, rules evaluated by Prometheus itself, the command of the chart's test pod.
Does not belong here: what each metric says (``test_metrics``), when each alert fires (``test_rules``).
"""

import json
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from market_spine.warehouse.embedded import EmbeddedServer
from market_spine_tests.deployed import Deployed, deployed
from market_spine_tests.driving import DatabaseFactory
from market_spine_tests.helm import render_companion
from market_spine_tests.kubernetes_objects import find
from market_spine_tests.orchestrated import PROJECT, deliver
from market_spine_tests.processes import free_port
from market_spine_tests.promql import (
    OTHER_EXPORTERS,
    RULES,
    alerts,
    dashboards,
    expressions,
    filled,
    metrics_in,
    panels,
)
from market_spine_tests.serving import serving

DAY = date(2026, 3, 4)
READY_SECONDS = 60.0
ASKED = "/api/v1/otc/symbols"
EMPTY = {
    # of runs that ended while Prometheus looked: none did
    "ledger: Failed share of a day",
    # no answer is an error
    "MarketSpineApiErrors",
}
"""What Prometheus rightly has nothing to say about here."""
pytestmark = pytest.mark.slow


@dataclass
class Served:
    """An API in a process of its own."""

    url: str
    process: "subprocess.Popen[bytes]"

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=20) as answer:
            return str(answer.read().decode())


@dataclass
class Prometheus:
    """A Prometheus that asks that API every second and evaluates our rules."""

    url: str

    def ask(self, path: str, **parameters: str) -> Any:
        """The ``data`` of an answer of its HTTP API.

        Raises:
            AssertionError: it answers that the question is wrong.
        """
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return json.loads(answer.read())["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What an expression says now."""
        found: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return found


def wait_for(question: Callable[[], Any], seconds: float = READY_SECONDS) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        try:
            answer = question()
        except (OSError, AssertionError) as error:
            answer, why = None, error
        else:
            why = None
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {why or answer}"
        time.sleep(0.2)


@contextmanager
def running(command: list[str], log: Path, environment: Mapping[str, str] | None = None) -> Iterator[Any]:
    """A process for the length of a block."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=output, stderr=output)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="module")
def site(
    server: EmbeddedServer, new_database: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    """A deployed instance that has computed a session, and whose daemon works."""
    with deployed(server, new_database, tmp_path_factory.mktemp("served"), automation=False) as made:
        deliver(made.settings, DAY)
        run = made.launch("otc_full_refresh", DAY)
        assert made.wait_until_finished(run) == ["SUCCESS"], made.logs()
        yield made


@pytest.fixture(scope="module")
def api(site: Deployed) -> Iterator[Served]:
    port = free_port()
    command = [sys.executable, "-m", "market_spine.cli.main", "api", "--port", str(port)]
    with running(command, site.folder / "api.log", site.environment) as process:
        served = Served(f"http://127.0.0.1:{port}", process)
        wait_for(lambda: served.get("/health/ready"))
        served.get(ASKED)
        yield served


@pytest.fixture(scope="module")
def prometheus(api: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not here: Debian's package of that name, .ci/tools installs it")
    folder = tmp_path_factory.mktemp("prometheus")
    target = {
        "job_name": "market-spine",
        "static_configs": [{"targets": [api.url.removeprefix("http://")], "labels": {"namespace": "market-spine"}}],
    }
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "scrape_configs": [target],
        "rule_files": [str(path) for path in RULES],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = ["prometheus", f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with running([*command, f"--web.listen-address=127.0.0.1:{port}"], folder / "log"):
        asked = Prometheus(f"http://127.0.0.1:{port}")
        wait_for(lambda: asked.query('up{job="market-spine"} == 1'))
        # A rate needs two scrapes with requests in them.
        api.get(ASKED)
        wait_for(lambda: asked.query(f'rate(spine_http_requests_total{{route="{ASKED}"}}[2m]) >= 0'))
        yield asked


def exported(text: str) -> set[str]:
    """Names of samples; what a scrape stores."""
    return {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}


def test_every_metric_of_a_rule_or_a_dashboard_is_exported(api: Served, site: Deployed) -> None:
    named = {metric: where for where, expression in expressions() for metric in metrics_in(expression)}
    assert {"spine_dlq_unresolved", "spine_http_request_duration_seconds_bucket", "process_open_fds"} <= set(named)
    ours = set(named) - OTHER_EXPORTERS
    found = exported(api.get("/metrics"))
    assert {metric: named[metric] for metric in ours - found} == {}
    assert not found & OTHER_EXPORTERS
    with serving(site.settings) as again:
        again.get(ASKED)
        assert ours <= exported(again.get("/metrics").text)


def test_a_metric_that_is_not_exported_is_noticed(api: Served) -> None:
    assert metrics_in("max(spine_dlq_unresolvd) > 0") - exported(api.get("/metrics")) == {"spine_dlq_unresolvd"}


def test_prometheus_evaluates_every_rule(prometheus: Prometheus) -> None:
    def evaluated() -> list[dict[str, Any]]:
        found = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
        return found if all(rule["health"] != "unknown" for rule in found) else []

    rules = wait_for(evaluated)
    assert {rule["name"] for rule in rules} == set(alerts())
    assert {rule["name"]: rule["lastError"] for rule in rules if rule["health"] != "ok"} == {}


def test_every_selector_of_a_rule_finds_a_series(prometheus: Prometheus) -> None:
    """A label that no series has would never fire and never be missed."""
    for name, rule in alerts().items():
        selectors = re.findall(r"(?:spine_\w+|up)\{[^}]*\}", rule["expr"])
        nothing = [selector for selector in selectors if not prometheus.query(selector)]
        assert nothing == [selector for selector in nothing if name in EMPTY and 'status=~"5.."' in selector], name


def test_every_panel_shows_something(prometheus: Prometheus) -> None:
    shown = {}
    for name, dashboard in dashboards().items():
        for panel in panels(dashboard):
            found = [prometheus.query(filled(target["expr"])) for target in panel["targets"]]
            if not any(metrics_in(target["expr"]) & OTHER_EXPORTERS - {"up"} for target in panel["targets"]):
                shown[f"{name}: {panel['title']}"] = all(found)
    assert len(shown) > 30
    assert {title for title, there in shown.items() if not there} == EMPTY & set(shown)


def test_a_question_that_is_wrong_is_noticed(prometheus: Prometheus) -> None:
    with pytest.raises(AssertionError, match="parse error"):
        prometheus.query("sum by (a (up)")
    assert prometheus.query('spine_dlq_unresolved{job="other"}') == []


def test_the_test_of_the_chart_asks_whether_the_api_is_ready(api: Served) -> None:
    pod = find(render_companion("production"), "Pod", "market-spine-test")
    _, *arguments = pod["spec"]["containers"][0]["command"]

    def asked(url: str) -> "subprocess.CompletedProcess[str]":
        command = [one.replace("http://otc-api:8000", url) for one in arguments]
        assert command != arguments
        return subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=30)

    there = asked(api.url)
    assert there.returncode == 0, there.stderr
    assert json.loads(there.stdout)["status"] == "ready"
    assert asked(f"http://127.0.0.1:{free_port()}").returncode != 0


def test_an_api_that_is_gone_alerts(prometheus: Prometheus, api: Served) -> None:
    """The last one of this module: it ends the API."""

    def states() -> dict[str, str]:
        return {one["labels"]["alertname"]: one["state"] for one in prometheus.ask("alerts")["alerts"]}

    assert "MarketSpineApiDown" not in states()
    api.process.terminate()
    wait_for(lambda: prometheus.query('up{job="market-spine"} == 0'))
    assert wait_for(lambda: states().get("MarketSpineApiDown")) == "pending"
