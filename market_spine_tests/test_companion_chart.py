"""The companion chart in each environment: linted, rendered, valid, restricted, bounded.

Belongs here: what must hold of every object by itself. Does not belong here: objects that name each other
(``test_companion_chart_objects``), policies (``test_companion_chart_policies``), values
(``test_companion_chart_values``).
"""

import json
import tomllib
from copy import deepcopy
from functools import cache
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from market_spine_tests.helm import (
    COMPANION,
    ENVIRONMENTS,
    KUBERNETES,
    ROOT,
    VALUES,
    Object,
    companion_values,
    reference,
    render_companion,
    run_helm,
)
from market_spine_tests.kubernetes_objects import (
    Pod,
    find,
    floating_images,
    name_of,
    pods,
    unrestricted,
    without_resources,
)

VARIANTS: dict[str, dict[str, str]] = {
    "as it is": {},
    "stopped": {"pipelinesEnabled": "false"},
    "everything on": {
        "postgresqlCluster.enabled": "true",
        "openTelemetry.OTEL_EXPORTER_OTLP_ENDPOINT": "http://alloy.monitoring.svc:4318",
        "landing.claim": "landing",
        "settings.MARKET_SPINE_LANDING": "/landing",
        "image.digest": f"sha256:{'0' * 64}",
        "image.pullSecrets": "{registry}",
        "api.priorityClassName": "important",
        "api.nodeSelector.disk": "ssd",
        "api.tolerations[0].operator": "Exists",
        "api.podAnnotations.note": "a",
        "api.serviceAccountAnnotations.identity": "a",
    },
    "everything off": {
        "migration.enabled": "false",
        "retention.enabled": "false",
        "api.autoscaling.enabled": "false",
        "api.podDisruptionBudget.enabled": "false",
        "api.ingress.enabled": "false",
        "monitoring.serviceMonitor.enabled": "false",
        "monitoring.rules.enabled": "false",
        "monitoring.dashboards.enabled": "false",
        "networkPolicies.enabled": "false",
        "externalSecrets.enabled": "false",
    },
}
COMBINATIONS = [(environment, variant) for environment in ENVIRONMENTS for variant in VARIANTS]
OTHERS = {
    "ServiceMonitor": "servicemonitors.crd.yaml",
    "PrometheusRule": "prometheusrules.crd.yaml",
}
NOT_VALIDATED_HERE = {"ExternalSecret", "Cluster"}
"""Kinds of operators whose definitions are not at hand."""
combinations = pytest.mark.parametrize(("environment", "variant"), COMBINATIONS)


@cache
def rendered(environment: str, variant: str = "as it is") -> list[Object]:
    """For many tests: a copy is changed, never this."""
    return render_companion(environment, VARIANTS[variant])


@cache
def validate(text: str, kubernetes: str) -> None:
    """An object that is the same in several variants, once."""
    kubernetes_validate.validate(json.loads(text), kubernetes, strict=True)


@cache
def validator(kind: str) -> jsonschema.Draft7Validator:
    """Of a custom resource; what its definition does not name is refused, as ``kubectl apply`` does by default."""
    definition = yaml.safe_load(reference(OTHERS[kind]).read_text())
    (version,) = [one for one in definition["spec"]["versions"] if one["name"] == "v1"]
    schema = version["schema"]["openAPIV3Schema"]
    schema["properties"]["metadata"] = {"type": "object"}
    return jsonschema.Draft7Validator(_closed(schema))


def _closed(part: Any) -> Any:
    if isinstance(part, list):
        return [_closed(one) for one in part]
    if not isinstance(part, dict):
        return part
    made = {name: _closed(value) for name, value in part.items()}
    if isinstance(part.get("properties"), dict) and not part.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    return made


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_helm_has_nothing_to_say_against_it(environment: str) -> None:
    files = [part for path in companion_values(environment) for part in ("--values", str(path))]
    done = run_helm("lint", "--strict", str(COMPANION), "--kube-version", KUBERNETES[0], *files)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kubernetes", KUBERNETES)
@combinations
def test_kubernetes_knows_every_field(environment: str, variant: str, kubernetes: str) -> None:
    objects = rendered(environment, variant)
    for one in objects:
        if one["kind"] not in {*OTHERS, *NOT_VALIDATED_HERE}:
            validate(json.dumps(one, sort_keys=True), kubernetes)
    assert len(objects) >= 5


def test_a_field_that_kubernetes_does_not_know_is_refused() -> None:
    wrong = deepcopy(find(rendered("production"), "Deployment", "market-spine-api"))
    wrong["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        kubernetes_validate.validate(wrong, KUBERNETES[0], strict=True)


@pytest.mark.parametrize("kind", OTHERS)
def test_the_prometheus_operator_knows_every_field(kind: str) -> None:
    for environment, variant in COMBINATIONS:
        for one in rendered(environment, variant):
            if one["kind"] == kind:
                validator(kind).validate(one)
    assert any(one["kind"] == kind for one in rendered("production"))


@pytest.mark.parametrize(
    ("kind", "name", "change"),
    [
        ("ServiceMonitor", "market-spine-api", {"jobLable": "a"}),
        ("ServiceMonitor", "market-spine-api", {"endpoints": [{"port": "http", "interval": "often"}]}),
        ("PrometheusRule", "market-spine", {"groups": [{"name": "a", "rules": [{"alert": "A"}]}]}),
    ],
)
def test_a_field_that_the_prometheus_operator_does_not_know_is_refused(kind: str, name: str, change: Object) -> None:
    wrong = deepcopy(find(rendered("production"), kind, name))
    wrong["spec"] |= change
    with pytest.raises(jsonschema.ValidationError):
        validator(kind).validate(wrong)


@combinations
def test_every_pod_may_run_in_a_restricted_namespace(environment: str, variant: str) -> None:
    found = pods(rendered(environment, variant))
    roles = {pod.labels["app.kubernetes.io/component"] for pod in found}
    assert roles == ({"api", "test"} if variant == "everything off" else {"api", "migration", "retention", "test"})
    assert {pod.owner: unrestricted(pod) for pod in found if unrestricted(pod)} == {}
    assert {pod.spec["securityContext"]["runAsUser"] for pod in found} == {10001}


@combinations
def test_no_pod_is_given_a_token_of_kubernetes_or_the_variables_of_services(environment: str, variant: str) -> None:
    for pod in pods(rendered(environment, variant)):
        assert pod.spec["automountServiceAccountToken"] is False, pod.owner
        assert pod.spec["enableServiceLinks"] is False, pod.owner


@combinations
def test_every_container_asks_for_what_it_needs_and_has_a_limit_of_memory(environment: str, variant: str) -> None:
    assert [name for pod in pods(rendered(environment, variant)) for name in without_resources(pod)] == []


@combinations
def test_every_pod_runs_one_image_and_it_does_not_float(environment: str, variant: str) -> None:
    found = pods(rendered(environment, variant))
    assert [image for pod in found for image in floating_images(pod)] == []
    assert len({container["image"] for pod in found for container in pod.containers}) == 1


@combinations
def test_no_secret_is_rendered(environment: str, variant: str) -> None:
    assert [name_of(one) for one in rendered(environment, variant) if one["kind"] == "Secret"] == []


def test_the_image_is_that_of_the_versions_and_the_project() -> None:
    versions = yaml.safe_load((VALUES / "versions.yaml").read_text())
    chart = yaml.safe_load((COMPANION / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert chart["appVersion"] == versions["image"]["tag"] == project
    (image,) = {container["image"] for pod in pods(rendered("local")) for container in pod.containers}
    assert image == f"{versions['image']['repository']}:{project}"
    (image,) = {
        container["image"] for pod in pods(rendered("production", "everything on")) for container in pod.containers
    }
    assert image == f"registry.example.com/{versions['image']['repository']}:{project}@sha256:{'0' * 64}"


def test_an_older_kubernetes_is_refused() -> None:
    done = run_helm("template", "market-spine", str(COMPANION), "--kube-version", "1.29")
    assert done.returncode != 0
    assert "requires kubeVersion" in done.stderr


# --- the API


def api(environment: str, variant: str = "as it is") -> Pod:
    (found,) = [pod for pod in pods(rendered(environment, variant)) if pod.owner == "Deployment market-spine-api"]
    return found


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_api_is_asked_whether_it_lives_and_whether_it_can_serve(environment: str) -> None:
    container = api(environment).containers[0]
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/health/live", "liveness": "/health/live", "readiness": "/health/ready"}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_api_has_time_to_finish_its_answers(environment: str) -> None:
    from market_spine.cli.api import STOP_SECONDS

    pod = api(environment)
    pause = pod.containers[0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod.spec["terminationGracePeriodSeconds"] > pause + STOP_SECONDS


def test_a_change_of_a_setting_starts_the_api_anew() -> None:
    def checksum(**settings: str) -> str:
        one = find(render_companion("production", settings), "Deployment", "market-spine-api")
        return str(one["spec"]["template"]["metadata"]["annotations"]["checksum/settings"])

    assert checksum() == checksum()
    assert checksum() != checksum(**{"settings.MARKET_SPINE_LANDING": "s3://elsewhere/landing"})


def test_without_an_operator_the_pods_say_where_their_metrics_are() -> None:
    def annotations(environment: str) -> Object:
        one = find(rendered(environment), "Deployment", "market-spine-api")
        return dict(one["spec"]["template"]["metadata"]["annotations"])

    assert annotations("local")["prometheus.io/path"] == "/metrics"
    assert not [name for name in annotations("production") if name.startswith("prometheus.io")]


# --- switched off


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_stopped_suspends_the_clean_up_and_leaves_the_api_as_it_is(environment: str) -> None:
    def cron_job(variant: str) -> Any:
        return find(rendered(environment, variant), "CronJob", "market-spine-retention")["spec"]

    assert cron_job("as it is")["suspend"] is False
    assert cron_job("stopped") == {**cron_job("as it is"), "suspend": True}
    assert api(environment, "stopped") == api(environment)
