"""The companion chart's values: closed and described, held to the settings that there are and to what PostgreSQL bears.

Belongs here: values.schema.json, values.yaml, environments/*.yaml. Does not belong here: what is rendered of them.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from market_spine.ledger.connections import API_LEDGER, CODE_SERVER, COMMANDS, DAEMON, RUN, WEBSERVER
from market_spine.settings import Settings, Tokens, variable_of
from market_spine_tests.helm import (
    COMPANION,
    ENVIRONMENTS,
    KUBERNETES,
    ROOT,
    Object,
    companion_values,
    dagster_values,
    merged,
    render_companion,
    run_helm,
)
from market_spine_tests.kubernetes_objects import find

SCHEMA = json.loads((COMPANION / "values.schema.json").read_text())
VALUES = yaml.safe_load((COMPANION / "values.yaml").read_text())
WRITE = COMPANION / "scripts" / "write.py"
SECRETS = {variable_of(one) for one in fields(Settings) if one.type in (str, Tokens)}
"""Addresses with passwords, and tokens."""


def values_of(environment: str) -> Object:
    return merged(companion_values(environment), VALUES)


def complaints(values: Object) -> list[str]:
    return [f"{one.json_path}: {one.message}" for one in jsonschema.Draft202012Validator(SCHEMA).iter_errors(values)]


def with_typos(part: Object, values: Object) -> Iterator[Object]:
    """The values with one unknown key, at each place that the schema closes."""
    resolved = SCHEMA["$defs"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part
    if resolved.get("additionalProperties") is False:
        yield {**values, "typo": 1}
    for name, child in resolved.get("properties", {}).items():
        if isinstance(values.get(name), dict):
            for changed in with_typos(child, values[name]):
                yield {**values, name: changed}


def write(*arguments: str, script: Path = WRITE) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-B", str(script), *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_values_are_what_the_schema_says(environment: str) -> None:
    assert complaints(values_of(environment)) == []


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_an_unknown_key_is_refused_wherever_it_is() -> None:
    typos = list(with_typos(SCHEMA, values_of("production")))
    assert len(typos) > 40
    assert [typo for typo in typos if not complaints(typo)] == []


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("pipelinesEnable=false", "pipelinesEnable"),
        ("api.resource.limits.memory=1Gi", "resource"),
        ("api.resources.limits.memmory=1Gi", "memmory"),
        ("image.tag=latest", "/image/tag"),
        ("settings.MARKET_SPINE_KEEP_RUN_DAYS=3", "MARKET_SPINE_KEEP_RUN_DAYS"),
        ("settings.DATABASE_URL=postgresql://a:b@c/d", "DATABASE_URL"),
        ("settings.MARKET_SPINE_API_READ_TOKENS=a", "MARKET_SPINE_API_READ_TOKENS"),
        ("settings.MARKET_SPINE_API_CONNECTIONS=8", "/settings/MARKET_SPINE_API_CONNECTIONS"),
        ("openTelemetry.OTEL_EXPORTER_OTLP_HEADERS=a", "HEADERS"),
        ("openTelemetry.PATH=a", "PATH"),
        ("api.ingress.enabled=true", "/api/ingress"),
        ("externalSecrets.enabled=true", "/externalSecrets"),
        ("networkPolicies.postgresql.to[0].ipBlok.cidr=10.0.0.0/8", "ipBlok"),
        ("retention.schedule=daily", "/retention/schedule"),
        ("migration.deadlineSeconds=long", "/migration/deadlineSeconds"),
    ],
)
def test_helm_refuses_what_the_schema_does_not_know_and_names_it(setting: str, says: str) -> None:
    done = run_helm("template", "a", str(COMPANION), "--kube-version", KUBERNETES[0], "--set", setting)
    assert done.returncode != 0
    assert says in done.stderr


def _parts(part: Any, path: str) -> Iterator[tuple[str, Object]]:
    for name, child in part.get("properties", {}).items():
        yield f"{path}.{name}", child
        yield from _parts(child, f"{path}.{name}")


def test_every_value_is_described_and_has_a_default() -> None:
    parts = dict(_parts(SCHEMA, ""))
    assert [path for path, part in parts.items() if not part.get("description")] == []
    for path, part in parts.items():
        found: Any = VALUES
        for name in path.removeprefix(".").split("."):
            assert name in found or "if" in part, path
            found = found[name]


def test_what_follows_from_other_files_is_up_to_date() -> None:
    done = write("--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_file_that_is_not_is_named(tmp_path: Path) -> None:
    copy = tmp_path / "helm-values" / "market-spine"
    shutil.copytree(COMPANION, copy)
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "companion-chart.md", tmp_path / "docs")
    board = copy / "dashboards" / "api.json"
    text = board.read_text()
    board.write_text(text.replace("0.95", "0.99"))
    schema = json.loads((copy / "values.schema.json").read_text())
    del schema["$defs"]["settings"]["properties"]["MARKET_SPINE_DUE_HOUR"]
    (copy / "values.schema.json").write_text(json.dumps(schema))
    script = copy / "scripts" / "write.py"
    done = write("--check", script=script)
    assert done.returncode == 1
    stale = [line.partition(":")[0] for line in done.stdout.splitlines()]
    assert stale == ["helm-values/market-spine/values.schema.json", "helm-values/market-spine/dashboards/api.json"]
    assert write(script=script).returncode == 0
    assert board.read_text() == text
    assert write("--check", script=script).returncode == 0


# --- the settings


def test_the_schema_has_every_setting_that_is_no_secret_and_no_other() -> None:
    known = {variable_of(one) for one in fields(Settings)}
    assert {"DATABASE_URL", "MARKET_SPINE_API_OPERATE_TOKENS"} <= SECRETS
    assert set(SCHEMA["$defs"]["settings"]["properties"]) == known - SECRETS


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_pods_can_read_the_settings_they_are_given(environment: str) -> None:
    given = find(render_companion(environment), "ConfigMap", "market-spine")["data"]
    assert not set(given) & SECRETS
    settings = Settings.from_env(given)
    assert settings.to_env().items() >= given.items()


def test_variables_of_opentelemetry_come_beside_them() -> None:
    endpoint = "http://alloy.monitoring.svc:4318"
    made = render_companion("production", {"openTelemetry.OTEL_EXPORTER_OTLP_ENDPOINT": endpoint})
    assert find(made, "ConfigMap", "market-spine")["data"]["OTEL_EXPORTER_OTLP_ENDPOINT"] == endpoint


# --- connections


def connections(environment: str, companion: Object | None = None) -> int:
    """What both releases may open on PostgreSQL at the most; a migration runs before the new pods do."""
    ours, theirs = companion or values_of(environment), merged(dagster_values(environment))
    settings = Settings.from_env(ours["settings"])
    api = ours["api"]
    processes = api["autoscaling"]["maxReplicas"] if api["autoscaling"]["enabled"] else api["replicas"]
    return (
        theirs["concurrency"]["runs"]["maxConcurrentRuns"] * (RUN + settings.build_connections)
        + theirs["dagsterWebserver"]["replicaCount"] * WEBSERVER
        + CODE_SERVER
        + DAEMON
        + processes * (settings.api_connections + API_LEDGER)
        + COMMANDS
    )


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_releases_open_no_more_connections_than_their_budget(environment: str) -> None:
    budget = Settings.from_env(values_of(environment)["settings"]).max_connections
    # Room for the migration and a pod that is being replaced, and no more than a third beyond what is needed.
    assert connections(environment) <= budget <= connections(environment) * 4 / 3


def test_the_guide_says_how_many_that_is() -> None:
    guide = (ROOT / "docs" / "companion-chart.md").read_text()
    (row,) = re.findall(r"^\| database connections, at the most \| (.*) \|$", guide, re.MULTILINE)
    budgets = [Settings.from_env(values_of(one)["settings"]).max_connections for one in ENVIRONMENTS]
    assert row == " | ".join(map(str, budgets))


def test_more_processes_than_the_budget_bears_are_noticed() -> None:
    values = deepcopy(values_of("production"))
    values["api"]["autoscaling"]["maxReplicas"] = 8
    assert connections("production", values) > Settings.from_env(values["settings"]).max_connections


def test_a_database_in_the_cluster_takes_as_many_connections_as_any_environment_may_open() -> None:
    takes = int(VALUES["postgresqlCluster"]["parameters"]["max_connections"])
    assert takes >= max(Settings.from_env(values_of(one)["settings"]).max_connections for one in ENVIRONMENTS)
