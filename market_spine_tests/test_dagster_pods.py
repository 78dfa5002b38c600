"""Objects of the official chart with our values: valid, restricted, bounded, and named by each other rightly.

Belongs here: what is rendered. Does not belong here: values (``test_dagster_values``), the pods of runs
(``test_run_job``), objects of the companion chart alone.
"""

import re
from copy import deepcopy
from functools import cache

import kubernetes_validate
import pytest
import yaml

from market_spine_tests.helm import (
    ENVIRONMENTS,
    KUBERNETES,
    ROOT,
    VALUES,
    Object,
    render_companion,
    render_dagster,
)
from market_spine_tests.kubernetes_objects import (
    Pod,
    find,
    floating_images,
    guide_table,
    keys_of,
    name_of,
    named_by,
    pods,
    selected,
    unrestricted,
    without_resources,
)

OVERLAYS = ("", "stopped", "celery", "sso")
COMBINATIONS = [(environment, overlay) for environment in ENVIRONMENTS for overlay in OVERLAYS]
VERSIONS = yaml.safe_load((VALUES / "versions.yaml").read_text())
GUIDE = ROOT / "docs" / "kubernetes.md"
REGISTRY = "registry.example.com/market-spine"
SECRETS = {
    "market-spine": "DATABASE_URL",
    "market-spine-postgresql": "postgresql-password",
    "market-spine-celery": "DAGSTER_CELERY_BROKER_URL and DAGSTER_CELERY_BACKEND_URL, with celery.yaml alone",
}
"""Secrets that are made before the release, which docs/kubernetes.md says how to make."""
NEITHER_HERE_NOR_NEEDED = {"market-spine-sources"}


@cache
def rendered(environment: str, overlay: str = "") -> tuple[Object, ...]:
    return tuple(render_dagster(environment, *filter(None, [overlay])))


def dagster_pods(environment: str, overlay: str = "") -> list[Pod]:
    return pods(list(rendered(environment, overlay)))


def by_role(environment: str, overlay: str = "") -> dict[str, Pod]:
    return {pod.labels["market-spine/role"]: pod for pod in dagster_pods(environment, overlay)}


@pytest.mark.parametrize("kubernetes", KUBERNETES)
@pytest.mark.parametrize(("environment", "overlay"), COMBINATIONS)
def test_kubernetes_knows_every_field(environment: str, overlay: str, kubernetes: str) -> None:
    for one in rendered(environment, overlay):
        kubernetes_validate.validate(one, kubernetes, strict=True)


def test_a_field_that_kubernetes_does_not_know_is_refused() -> None:
    wrong = deepcopy(find(list(rendered("production")), "Deployment", "dagster-daemon"))
    wrong["spec"]["template"]["spec"]["serviceAcountName"] = "dagster"
    with pytest.raises(kubernetes_validate.ValidationError, match="serviceAcountName"):
        kubernetes_validate.validate(wrong, KUBERNETES[0], strict=True)


@pytest.mark.parametrize(("environment", "overlay"), COMBINATIONS)
def test_every_pod_may_run_in_a_restricted_namespace(environment: str, overlay: str) -> None:
    found = dagster_pods(environment, overlay)
    assert len(found) == 3 + (overlay == "celery") - (overlay == "stopped")
    assert {pod.owner: unrestricted(pod) for pod in found if unrestricted(pod)} == {}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"runAsNonRoot": False}, "may become root"),
        ({"allowPrivilegeEscalation": True}, "may gain privileges"),
        ({"capabilities": {"drop": ["NET_RAW"]}}, "has capabilities"),
        ({"readOnlyRootFilesystem": False}, "has a writable root"),
        ({"seccompProfile": {"type": "Unconfined"}}, "no seccomp profile"),
    ],
)
def test_a_pod_that_asks_for_more_is_noticed(change: Object, says: str) -> None:
    pod = deepcopy(by_role("production")["daemon"])
    pod.containers[-1]["securityContext"] |= change
    assert unrestricted(pod) == [f"container dagster {says}"]


@pytest.mark.parametrize(("environment", "overlay"), COMBINATIONS)
def test_every_container_asks_for_what_it_needs_and_has_a_limit_of_memory(environment: str, overlay: str) -> None:
    assert {pod.owner: without_resources(pod) for pod in dagster_pods(environment, overlay)} == {
        pod.owner: [] for pod in dagster_pods(environment, overlay)
    }


@pytest.mark.parametrize(("environment", "overlay"), COMBINATIONS)
def test_no_image_floats(environment: str, overlay: str) -> None:
    assert [image for pod in dagster_pods(environment, overlay) for image in floating_images(pod)] == []


def test_a_floating_image_is_noticed() -> None:
    images = ["a", "host:5000/a", "a:latest", "a:1", "host:5000/a:1", "a@sha256:0", "a:latest@sha256:0"]
    pod = Pod("Pod a", {"containers": [{"image": image} for image in images]}, {})
    assert floating_images(pod) == images[:3]


@pytest.mark.parametrize(("environment", "overlay"), COMBINATIONS)
def test_every_selector_finds_a_pod_and_a_service_the_port_it_names(environment: str, overlay: str) -> None:
    found = dagster_pods(environment, overlay)
    for one in rendered(environment, overlay):
        if one["kind"] == "Deployment":
            assert one["metadata"]["name"] in {pod.owner.split()[1] for pod in selected(one["spec"]["selector"], found)}
        if one["kind"] == "Service":
            (pod,) = selected(one["spec"]["selector"], found)
            (port,) = one["spec"]["ports"]
            listens = str(pod.spec["containers"][0].get("command") or pod.spec["containers"][0]["args"])
            assert re.search(rf"-p[' ,\"]+{port['port']}\b", listens), listens
        if one["kind"] == "Ingress":
            backend = one["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
            service = find(list(rendered(environment, overlay)), "Service", backend["name"])
            assert backend["port"]["number"] == service["spec"]["ports"][0]["port"]


@pytest.mark.parametrize(("environment", "overlay"), COMBINATIONS)
def test_every_secret_and_config_map_is_rendered_or_declared(environment: str, overlay: str) -> None:
    here = {name_of(one) for one in (*rendered(environment, overlay), *render_companion(environment))}
    declared = {f"Secret {name}" for name in SECRETS}
    for pod in dagster_pods(environment, overlay):
        for named in named_by(pod):
            if named.optional:
                assert named.name in {*NEITHER_HERE_NOR_NEEDED, "market-spine-celery"}
            else:
                assert f"{named.kind} {named.name}" in here | declared, pod.owner


@pytest.mark.parametrize(("environment", "overlay"), COMBINATIONS)
def test_no_secret_is_rendered_and_none_stands_in_a_config_map(environment: str, overlay: str) -> None:
    for one in rendered(environment, overlay):
        assert one["kind"] != "Secret"
        for text in (one.get("data") or {}).values():
            assert not re.search(r"://[^/\s]*:[^/\s]*@", text)
            assert not re.search(r"(?im)^[ \t]*(password|token|secret)[ \t]*:[ \t]*[^\s#]", text)


def test_an_account_may_do_no_more_than_its_pods_need() -> None:
    bindings = [one for one in rendered("production") if one["kind"] == "RoleBinding"]
    assert [binding["subjects"] for binding in bindings] == [[{"kind": "ServiceAccount", "name": "dagster"}]]
    accounts = {role: pod.spec["serviceAccountName"] for role, pod in by_role("production").items()}
    assert accounts == {"webserver": "dagster", "daemon": "dagster", "code-location": "otc-pipelines"}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_ui_is_exposed_behind_a_sign_in_or_not_at_all(environment: str) -> None:
    exposed = [one for overlay in ("", "stopped", "celery") for one in rendered(environment, overlay)]
    assert [name_of(one) for one in exposed if one["kind"] == "Ingress"] == []
    assert {one["spec"]["type"] for one in exposed if one["kind"] == "Service"} == {"ClusterIP"}
    ingress = find(list(rendered(environment, "sso")), "Ingress", "dagster-ingress")
    assert {"nginx.ingress.kubernetes.io/auth-url", "nginx.ingress.kubernetes.io/auth-signin"} <= set(
        ingress["metadata"]["annotations"]
    )
    assert ingress["spec"]["tls"][0]["hosts"] == [ingress["spec"]["rules"][0]["host"]]


# --- the two releases


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_settings_name_the_webserver_where_it_answers(environment: str) -> None:
    settings = find(render_companion(environment), "ConfigMap", "market-spine")["data"]
    host, _, port = settings["MARKET_SPINE_WEBSERVER"].removeprefix("http://").partition(":")
    service = find(list(rendered(environment)), "Service", host)
    assert service["spec"]["ports"][0]["port"] == int(port)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_each_role_of_the_network_policies_is_a_pod_of_this_release(environment: str) -> None:
    policies = [one for one in render_companion(environment) if one["kind"] == "NetworkPolicy"]
    roles = set(re.findall(r"'market-spine/role': '([\w-]+)'", str(policies)))
    # runs: test_run_job
    assert roles == {*by_role(environment), "run"}


def test_no_service_begins_a_variable_of_ours() -> None:
    """Kubernetes gives every pod variables that begin with the name of each Service of its namespace."""
    names = [one["metadata"]["name"] for one in rendered("production") if one["kind"] == "Service"]
    taken = [name.upper().replace("-", "_") for name in names]
    ours = re.findall(r"^#(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    chart = ["DAGSTER_HOME", "DAGSTER_PG_PASSWORD", "DAGSTER_CURRENT_IMAGE"]
    assert len(ours) > 20
    assert [name for name in (*ours, *chart) for service in taken if name.startswith(f"{service}_")] == []


# --- what the guide says


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_guide_says_which_pod_takes_which_key(environment: str) -> None:
    table = guide_table()
    found = {role: keys_of(pod) for role, pod in by_role(environment).items()}
    found["celery-worker"] = keys_of(by_role(environment, "celery")["celery-worker"])
    for pod in pods(render_companion(environment)):
        component = pod.labels.get("app.kubernetes.io/component", "")
        if component in ("api", "migration", "retention"):
            found[component] = keys_of(pod)
    # runs: test_run_job
    assert {role: keys for role, keys in table.items() if role != "run"} == found


def test_the_guide_names_an_image_of_ones_own_everywhere() -> None:
    """The flags as they stand in the guide put every pod, the run pods too, on the image of a registry."""
    flags = re.findall(r"--set '?([\w.\[\]-]+)'?=\"?\$IMAGE\"?", GUIDE.read_text())
    objects = render_dagster("production", settings=dict.fromkeys(flags, REGISTRY))
    ours = {c["image"] for pod in pods(objects) for c in pod.spec["containers"]}
    assert ours == {f"{REGISTRY}:{VERSIONS['image']['tag']}"}
    assert f"market-spine:{VERSIONS['image']['tag']}" not in str(objects).replace(REGISTRY, "")


def test_the_guide_mounts_a_folder_of_files_where_it_is_read() -> None:
    """In the code server, whose sensor looks at it, and in the pods of runs; what was mounted before stays."""
    section = GUIDE.read_text().partition("## Files that arrive")[2].partition("\n## ")[0]
    flags = dict(re.findall(r"--set '([^=']+)=([^']+)'", section))
    assert len(flags) == 8
    objects = render_dagster("production", settings=flags)
    (server,) = selected({"market-spine/role": "code-location"}, pods(objects))
    launcher = yaml.safe_load(find(objects, "ConfigMap", "dagster-instance")["data"]["dagster.yaml"])["run_launcher"]
    for volumes, mounts in (
        (server.spec["volumes"], server.spec["containers"][0]["volumeMounts"]),
        (launcher["config"]["volumes"], launcher["config"]["volume_mounts"]),
    ):
        assert [volume["name"] for volume in volumes] == ["tmp", "dagster-home", "landing"]
        assert volumes[2]["persistentVolumeClaim"] == {"claimName": "landing"}
        assert mounts[2] == {"name": "landing", "mountPath": "/landing"}
