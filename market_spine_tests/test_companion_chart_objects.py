"""Objects of the companion chart that name each other, and those of the official one: each finds what it names.

Belongs here: selectors, references, the order of hooks. Does not belong here: objects by themselves
(``test_companion_chart``), who may talk to whom (``test_companion_chart_policies``).
"""

import re
from copy import deepcopy
from typing import Any

import pytest

from market_spine_tests.helm import COMPANION, ENVIRONMENTS, ROOT, Object, render_dagster, run_helm
from market_spine_tests.kubernetes_objects import Pod, find, name_of, named_by, pods, selected
from market_spine_tests.test_companion_chart import COMBINATIONS, rendered

GUIDE = ROOT / "docs" / "companion-chart.md"
KEYS = {
    "market-spine/DATABASE_URL",
    "market-spine/DAGSTER_DATABASE_URL",
    "market-spine/MARKET_SPINE_API_DATABASE_URL",
    "market-spine/MARKET_SPINE_API_OPERATE_TOKENS",
    "market-spine/MARKET_SPINE_API_READ_TOKENS",
    "market-spine-sources/*",
}
"""Keys of Secrets that are made before the release."""
MAY_BE_MISSING = {key for key in KEYS if key.endswith("_TOKENS")} | {"market-spine-sources/*"}
HOOK, WEIGHT = "helm.sh/hook", "helm.sh/hook-weight"
combinations = pytest.mark.parametrize(("environment", "variant"), COMBINATIONS)


def keys_of(pod: Pod) -> dict[str, bool]:
    """Keys of Secrets that a pod takes, and whether they may be missing."""
    return {f"{one.name}/{one.key or '*'}": one.optional for one in named_by(pod) if one.kind == "Secret"}


def annotations(one: Object) -> dict[str, str]:
    return one["metadata"].get("annotations") or {}


@combinations
def test_every_secret_and_config_map_is_rendered_or_declared(environment: str, variant: str) -> None:
    objects = rendered(environment, variant)
    config_maps = {one["metadata"]["name"] for one in objects if one["kind"] == "ConfigMap"}
    for pod in pods(objects):
        assert {one.name for one in named_by(pod) if one.kind == "ConfigMap"} <= config_maps
        for key, optional in keys_of(pod).items():
            assert key in KEYS
            assert optional == (key in MAY_BE_MISSING), key


def test_the_guide_says_which_pod_takes_which_key() -> None:
    found = {pod.labels["app.kubernetes.io/component"]: keys_of(pod) for pod in pods(rendered("production"))}
    assert found["test"] == {}
    rows = re.findall(r"^\| `(\S+/\S+)` \| (x| ?) ?\| (x| ?) ?\| (x| ?) ?\|$", GUIDE.read_text(), re.MULTILINE)
    written = {key: tuple(bool(cell.strip()) for cell in cells) for key, *cells in rows}
    assert written == {key: tuple(key in found[role] for role in ("api", "migration", "retention")) for key in KEYS}


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_external_secrets_make_every_key_that_is_taken(environment: str) -> None:
    made = {
        f"{one['spec']['target']['name']}/{entry['secretKey']}"
        for one in rendered(environment)
        if one["kind"] == "ExternalSecret"
        for entry in one["spec"]["data"]
    }
    assert made == KEYS - {"market-spine-sources/*"} | {"market-spine-postgresql/postgresql-password"}


@combinations
def test_every_account_that_a_pod_runs_under_is_rendered(environment: str, variant: str) -> None:
    objects = rendered(environment, variant)
    accounts = {one["metadata"]["name"] for one in objects if one["kind"] == "ServiceAccount"}
    assert {pod.spec["serviceAccountName"] for pod in pods(objects)} == accounts


@combinations
def test_every_selector_finds_its_pods_and_no_others(environment: str, variant: str) -> None:
    objects = rendered(environment, variant)
    found = pods(objects)
    for one in objects:
        if one["kind"] in ("Deployment", "PodDisruptionBudget"):
            chosen = selected(one["spec"]["selector"], found)
        elif one["kind"] == "Service":
            chosen = selected(one["spec"]["selector"], found)
            ports = {port["name"] for port in chosen[0].containers[0]["ports"]}
            assert {port["targetPort"] for port in one["spec"]["ports"]} <= ports
        else:
            continue
        assert [pod.owner for pod in chosen] == ["Deployment market-spine-api"], name_of(one)
    (api,) = [pod for pod in found if pod.owner == "Deployment market-spine-api"]
    for spread in api.spec["topologySpreadConstraints"]:
        assert selected(spread["labelSelector"], found) == [api]


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_prometheus_and_the_ingress_find_the_service_and_its_port(environment: str) -> None:
    objects = rendered(environment)
    service = find(objects, "Service", "otc-api")
    ports = {port["name"] for port in service["spec"]["ports"]}
    monitor = find(objects, "ServiceMonitor", "market-spine-api")["spec"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert {endpoint["port"] for endpoint in monitor["endpoints"]} <= ports
    # what rules and dashboards select on
    assert service["metadata"]["labels"][monitor["jobLabel"]] == "market-spine"
    ingress = find(objects, "Ingress", "market-spine-api")["spec"]
    for path in ingress["rules"][0]["http"]["paths"]:
        assert path["backend"]["service"]["name"] == "otc-api"
        assert path["backend"]["service"]["port"]["name"] in ports
    assert ingress["tls"][0]["hosts"] == [ingress["rules"][0]["host"]]


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_the_ingress_leads_to_the_page_and_the_api_and_not_to_the_metrics(environment: str) -> None:
    (rule,) = find(rendered(environment), "Ingress", "market-spine-api")["spec"]["rules"]
    led = {(path["path"], path["pathType"]) for path in rule["http"]["paths"]}
    assert led == {("/", "Exact"), ("/page", "Prefix"), ("/api", "Prefix")}


@combinations
def test_what_the_autoscaler_scales_has_no_replicas_of_its_own(environment: str, variant: str) -> None:
    objects = rendered(environment, variant)
    scalers = [one for one in objects if one["kind"] == "HorizontalPodAutoscaler"]
    deployment = find(objects, "Deployment", "market-spine-api")
    assert ("replicas" in deployment["spec"]) == (scalers == [])
    for one in scalers:
        target = one["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) == ("Deployment", "market-spine-api")
        assert deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_node_may_always_be_drained(environment: str) -> None:
    objects = rendered(environment)
    for one in objects:
        if one["kind"] == "PodDisruptionBudget":
            scaler = find(objects, "HorizontalPodAutoscaler", "market-spine-api")
            assert one["spec"]["minAvailable"] < scaler["spec"]["minReplicas"]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_no_service_begins_a_variable_of_ours(environment: str) -> None:
    """Kubernetes gives pods of the namespace variables that begin with the name of each Service."""
    services = [one for one in (*rendered(environment), *render_dagster(environment)) if one["kind"] == "Service"]
    names = {one["metadata"]["name"].upper().replace("-", "_") for one in services}
    assert {"OTC_API", "OTC_PIPELINES"} <= names
    assert not [name for name in names if name.startswith("MARKET_SPINE")]


def test_such_a_name_is_refused() -> None:
    done = run_helm(
        "template", "a", str(COMPANION), "--kube-version", "1.32", "--set", "api.service.name=market-spine-api"
    )
    assert done.returncode != 0
    assert "/api/service/name" in done.stderr


# --- hooks


def out_of_order(objects: list[Object]) -> list[str]:
    """What the pods of hooks need and what is not there in time: rendered later than them, or gone before."""
    missing = []
    by_name = {name_of(one): one for one in objects}
    policies = [one for one in objects if one["kind"] == "NetworkPolicy"]
    for job in (one for one in objects if one["kind"] == "Job"):
        (pod,) = pods([job])
        needed = [f"ServiceAccount {pod.spec['serviceAccountName']}"]
        needed += [f"ConfigMap {one.name}" for one in named_by(pod) if one.kind == "ConfigMap"]
        own = [one for one in policies if one["spec"]["podSelector"] and selected(one["spec"]["podSelector"], [pod])]
        needed += [name_of(one) for one in own] or (["a NetworkPolicy"] if policies else [])
        # not needed by name: the Secrets in it are
        needed += [name_of(one) for one in objects if one["kind"] == "ExternalSecret"]
        for name in needed:
            before = annotations(by_name.get(name, {"metadata": {}}))
            events = set(before.get(HOOK, "").split(","))
            in_time = int(before.get(WEIGHT, 0)) < int(annotations(job)[WEIGHT])
            wanted = {event for event in annotations(job)[HOOK].split(",") if not _made_already(name, event)}
            if not (wanted <= events and in_time):
                missing.append(name)
    return missing


def _made_already(name: str, event: str) -> bool:
    """After an install everything of the release is there, and an ExternalSecret is from before it."""
    return name.startswith("ExternalSecret") and event == "post-install"


@combinations
def test_what_the_migration_needs_is_there_before_it(environment: str, variant: str) -> None:
    objects = rendered(environment, variant)
    assert out_of_order(objects) == []
    for one in objects:
        if HOOK in annotations(one):
            # Else the second upgrade finds the object of the first in its way.
            assert "before-hook-creation" in annotations(one)["helm.sh/hook-delete-policy"]


@pytest.mark.parametrize("kind", ["NetworkPolicy", "ServiceAccount", "ConfigMap"])
@pytest.mark.parametrize("change", [{HOOK: "pre-install"}, {WEIGHT: "0"}, {WEIGHT: "1"}, None])
def test_what_comes_too_late_for_the_migration_is_noticed(kind: str, change: dict[str, str] | None) -> None:
    objects = deepcopy(rendered("production"))
    one = find(objects, kind, "market-spine-migration")
    if change is None:
        del one["metadata"]["annotations"]
    else:
        one["metadata"]["annotations"] |= change
    assert out_of_order(objects) == [f"{kind} market-spine-migration"]


def test_with_a_database_of_its_own_the_migration_waits_for_it() -> None:
    job = find(rendered("production", "everything on"), "Job", "market-spine-migration")
    assert annotations(job)[HOOK] == "post-install,pre-upgrade"
    cluster = find(rendered("production", "everything on"), "Cluster", "market-spine-postgresql")
    # The data is nobody's to delete, and a hook would be deleted with every upgrade.
    assert annotations(cluster) == {"helm.sh/resource-policy": "keep"}


@combinations
def test_the_settings_of_the_migration_are_those_of_everybody(environment: str, variant: str) -> None:
    objects = rendered(environment, variant)
    made: dict[str, Any] = {one["metadata"]["name"]: one["data"] for one in objects if one["kind"] == "ConfigMap"}
    assert made.get("market-spine-migration", made["market-spine"]) == made["market-spine"]


def test_a_clean_up_never_meets_another_and_does_not_last_for_ever() -> None:
    job = find(rendered("production"), "CronJob", "market-spine-retention")["spec"]
    assert job["concurrencyPolicy"] == "Forbid"
    assert job["startingDeadlineSeconds"] < 86400
    assert job["jobTemplate"]["spec"]["activeDeadlineSeconds"] < 86400
