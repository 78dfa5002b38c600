"""Values of the official Dagster chart: they are ones it knows, they agree with dagster.yaml, and with each other.

Belongs here: the values files and the dagster.yaml they become. Does not belong here: the pods (``test_dagster_pods``),
runs (``test_run_job``).
"""

import json
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from market_spine.ledger.connections import WEBSERVER_OVERFLOW
from market_spine_tests.helm import (
    COMPANION,
    ENVIRONMENTS,
    ROOT,
    VALUES,
    Object,
    dagster_values,
    merge,
    merged,
    official_chart,
    reference,
    render_dagster,
)
from market_spine_tests.kubernetes_objects import find

OVERLAYS = ("", "stopped", "celery", "sso")
CELERY_STOPPED = ("celery", "stopped", "stopped-celery")
COMBINATIONS = [(environment, overlay) for environment in ENVIRONMENTS for overlay in OVERLAYS]
VERSIONS = yaml.safe_load((VALUES / "versions.yaml").read_text())

KNOWN_TO_TEMPLATES = {
    "dagsterDaemon.runMonitoring": {"cancelTimeoutSeconds", "maxRuntimeSeconds"},
    "": {"extraManifests"},
}
"""Keys that the chart's templates read although neither its schema nor its own values have them."""

DIFFERS = {
    "run_launcher.module": "runs are pods",
    "run_launcher.class": "runs are pods",
    "run_launcher.config": "and this is what they are",
    "storage.postgres.postgres_url.env": "the chart writes a storage for each of the three, from postgresql.*",
    "run_storage": "see storage",
    "event_log_storage": "see storage",
    "schedule_storage": "see storage",
    "scheduler.module": "Dagster's default, which the chart always writes",
    "scheduler.class": "Dagster's default, which the chart always writes",
    "compute_logs.module": "nothing is written in a pod",
    "compute_logs.class": "nothing is written in a pod",
    "run_coordinator.module": "Dagster's own queue, which also says what a run's pod is to be",
    "run_coordinator.class": "Dagster's own queue, which also says what a run's pod is to be",
    "run_coordinator.config.run_pods": "there are no pods on one machine",
    "run_monitoring.start_timeout_seconds": "a node may have to be made and an image pulled before a run starts",
    "retention.sensor.purge_after_days.started": "Dagster's default (-1: kept), which the chart's schema demands",
}
"""Every place where the chart's dagster.yaml is another than the project's, and why."""


def chart_values() -> Object:
    """The chart's own values, those of its subchart included."""
    chart = official_chart()
    own: Object = yaml.safe_load((chart / "values.yaml").read_text())
    below = "dagster-user-deployments"
    subchart = yaml.safe_load((chart / "charts" / below / "values.yaml").read_text())
    return merge(own, {below: merge(subchart, own[below])})


def values_of(environment: str, overlay: str = "") -> Object:
    return merged(dagster_values(environment, *filter(None, [overlay])), chart_values())


def unknown_keys(values: Any, schema: Object, known: Any, whole: Object, where: str = "") -> Iterator[str]:
    """Keys that neither the schema nor the chart's own values have, below the schema's open parts too.

    Args:
        values: what is looked at.
        schema: of that part.
        known: the chart's own values there; None where it has none.
        whole: the schema that references point into.
        where: path of the part.
    """
    shapes = list(_alternatives(schema, whole))
    if isinstance(values, list):
        items = next((shape["items"] for shape in shapes if "items" in shape), {})
        for place, value in enumerate(values):
            example = known[0] if isinstance(known, list) and known else None
            yield from unknown_keys(value, items, example, whole, f"{where}[{place}]")
        return
    if not isinstance(values, dict):
        return
    properties: Object = {}
    for shape in shapes:
        properties |= shape.get("properties", {})
    examples = known if isinstance(known, dict) else {}
    free = not properties and not examples
    for key, value in values.items():
        path = f"{where}.{key}".lstrip(".")
        if key in properties or key in examples or key in KNOWN_TO_TEMPLATES.get(where, ()):
            yield from unknown_keys(value, properties.get(key, {}), examples.get(key), whole, path)
        elif not free:
            yield path


def _alternatives(schema: Object, whole: Object) -> Iterator[Object]:
    """The schema itself and all that it refers to or allows instead."""
    yield schema
    if "$ref" in schema:
        found: Any = whole
        for step in schema["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        yield from _alternatives(found, whole)
    for one in schema.get("anyOf", ()):
        yield from _alternatives(one, whole)


def schema() -> Object:
    found: Object = json.loads(reference("values.schema.json").read_text())
    return found


def complaints(values: Object) -> list[str]:
    """What the chart's schema says, and keys that it lets pass in silence."""
    whole = schema()
    validator = jsonschema.validators.validator_for(whole)(whole)
    said = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(values)]
    return said + [f"{path}: unknown" for path in unknown_keys(values, whole, chart_values(), whole)]


def instance_config(environment: str, *overlays: str) -> Object:
    """The dagster.yaml that the chart makes."""
    objects = render_dagster(environment, *overlays)
    found: Object = yaml.safe_load(find(objects, "ConfigMap", "dagster-instance")["data"]["dagster.yaml"])
    return found


def leaves(value: Any, where: str = "") -> dict[str, Any]:
    """Paths of everything that is no map, and its value."""
    if not isinstance(value, dict) or not value:
        return {where: value}
    found: dict[str, Any] = {}
    for key, part in value.items():
        found |= leaves(part, f"{where}.{key}".lstrip("."))
    return found


def differences(one: Object, other: Object) -> set[str]:
    """Paths at which two configurations say different things; of a path that is explained above, the explained part."""
    left, right = leaves(one), leaves(other)
    missing = object()
    paths = {path for path in left | right if left.get(path, missing) != right.get(path, missing)}
    return {next((known for known in DIFFERS if f"{path}.".startswith(f"{known}.")), path) for path in paths}


# --- the values


@pytest.mark.parametrize(("environment", "overlay"), COMBINATIONS)
def test_the_chart_knows_every_value(environment: str, overlay: str) -> None:
    assert complaints(values_of(environment, overlay)) == []


@pytest.mark.parametrize(
    "typo",
    [
        {"dagsterDeamon": {"enabled": False}},
        {"dagster-user-deployments": {"deployments": [{"name": "a", "image": {}, "port": 1, "resuorces": {}}]}},
        {"dagster-user-deployments": {"rbac": False}},
        {"global": {"postgresSecretName": "x"}},
        {"dagsterDaemon": {"runMonitoring": {"pollIntervallSeconds": 5}}},
        {"dagsterDaemon": {"runRetries": {"max_retries": 5}}},
        {"dagsterWebserver": {"image": {"tags": "1"}}},
        {"dagsterWebserver": {"replicas": 2}},
        {"runLauncher": {"config": {"k8sRunLauncher": {"securityContexts": {}}}}},
        {"concurrency": {"runs": {"maxConcurrentRun": 1}}},
    ],
    ids=lambda typo: "/".join(re.findall(r"\w+", str(typo))[-3:]),
)
def test_a_typo_is_refused_wherever_it_is(typo: Object) -> None:
    said = complaints(merge(values_of("production"), typo))
    assert said != []


@pytest.mark.parametrize("path", sorted((VALUES / "dagster").glob("*.yaml")), ids=lambda path: path.stem)
def test_no_overlay_replaces_a_list_of_the_base(path: Path) -> None:
    """Helm replaces a list whole, so that what base.yaml says there would be lost."""
    lists = {where for where, value in leaves(yaml.safe_load(path.read_text())).items() if isinstance(value, list)}
    base = leaves(merged([VALUES / "dagster" / "base.yaml"]))
    assert path.stem == "base" or not lists & set(base)


def test_the_run_coordinator_has_no_limits_of_its_own() -> None:
    coordinator = values_of("production")["dagsterDaemon"]["runCoordinator"]["config"]["customRunCoordinator"]
    assert not {"max_concurrent_runs", "tag_concurrency_limits"} & set(coordinator["config"])


# --- versions


def test_the_chart_is_as_old_as_the_installed_dagster() -> None:
    assert VERSIONS["chart"]["dagster"] == version("dagster")


def test_the_image_has_the_version_of_the_project_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert VERSIONS["image"]["tag"] == project
    for overlay in OVERLAYS:
        values = merged(dagster_values("production", *filter(None, [overlay])))
        ours = [
            values["dagsterWebserver"]["image"],
            values["dagsterDaemon"]["image"],
            values["pipelineRun"]["image"],
            values["dagster-user-deployments"]["deployments"][0]["image"],
        ]
        if overlay == "celery":
            ours.append(values["runLauncher"]["config"]["celeryK8sRunLauncher"]["image"])
        named = {(image["repository"], image["tag"]) for image in ours}
        assert named == {(VERSIONS["image"]["repository"], VERSIONS["image"]["tag"])}


def test_the_images_that_pods_wait_with_are_those_of_the_versions() -> None:
    values = merged(dagster_values("production"))
    assert values["postgresql"]["image"]["tag"] == VERSIONS["waiting"]["postgres"]
    assert values["busybox"]["image"]["tag"] == VERSIONS["waiting"]["busybox"]


# --- the dagster.yaml


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_lanes_limits_monitoring_retries_and_retention_are_those_of_one_machine(environment: str) -> None:
    project = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    assert differences(project, instance_config(environment)) == set(DIFFERS)


def test_a_limit_that_is_another_is_noticed() -> None:
    project = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    other = instance_config("production")
    other["concurrency"]["runs"]["max_concurrent_runs"] += 1
    del other["run_retries"]["max_retries"]
    other["concurrency"]["runs"]["tag_concurrency_limits"].pop()
    assert differences(project, other) - set(DIFFERS) == {
        "concurrency.runs.max_concurrent_runs",
        "concurrency.runs.tag_concurrency_limits",
        "run_retries.max_retries",
    }


def test_a_run_has_longer_to_start_than_on_one_machine() -> None:
    project = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    here = instance_config("production")["run_monitoring"]["start_timeout_seconds"]
    assert here > project["run_monitoring"]["start_timeout_seconds"]


def test_the_webserver_opens_no_more_connections_than_the_budget_counts() -> None:
    assert values_of("production")["dagsterWebserver"]["dbPoolMaxOverflow"] == WEBSERVER_OVERFLOW


@pytest.mark.parametrize(("environment", "overlay"), COMBINATIONS)
def test_dagsters_storage_is_reached_with_the_driver_it_can_use(environment: str, overlay: str) -> None:
    config = instance_config(environment, *filter(None, [overlay]))
    storages = [
        config[name]["config"]["postgres_db"] for name in ("run_storage", "event_log_storage", "schedule_storage")
    ]
    assert storages == [storages[0]] * 3
    assert storages[0]["scheme"] == "postgresql+psycopg2"
    assert storages[0]["password"] == {"env": "DAGSTER_PG_PASSWORD"}


def test_the_storage_is_where_the_companion_chart_would_make_it() -> None:
    cluster = yaml.safe_load((COMPANION / "values.yaml").read_text())["postgresqlCluster"]["name"]
    assert values_of("production")["postgresql"]["postgresqlHost"] == f"{cluster}-rw"


# --- switched off


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_stopped_takes_the_daemon_away_and_nothing_else(environment: str) -> None:
    def names(*overlays: str) -> set[tuple[str, str]]:
        return {(one["kind"], one["metadata"]["name"]) for one in render_dagster(environment, *overlays)}

    assert names() - names("stopped") == {("Deployment", "dagster-daemon"), ("ConfigMap", "dagster-daemon-env")}
    assert names("stopped") - names() == set()


def test_what_is_handed_in_while_stopped_waits_in_the_same_queue() -> None:
    """Without this the chart leaves the queue out, and Dagster would start the run at once."""
    base, stopped = instance_config("production"), instance_config("production", "stopped")
    assert stopped["run_coordinator"] == base["run_coordinator"]
    assert stopped["concurrency"] == base["concurrency"]


def test_the_same_holds_on_celery() -> None:
    celery, stopped = (instance_config("production", *overlays) for overlays in (["celery"], CELERY_STOPPED))
    assert stopped["run_coordinator"] == celery["run_coordinator"]
    assert stopped["run_launcher"] == celery["run_launcher"]
    assert complaints(merged(dagster_values("production", *CELERY_STOPPED), chart_values())) == []
