"""Who may open a connection to whom, worked out from the policies for the pods of both releases.

Belongs here: the whole table, and that nothing beside it is allowed. Does not belong here: the rules by which policies
are read (``network_policies``).
"""

from collections.abc import Sequence
from copy import deepcopy
from functools import cache

import pytest

from market_spine_tests.helm import (
    ENVIRONMENTS,
    NAMESPACE,
    Object,
    dagster_values,
    merged,
    render_companion,
    render_dagster,
)
from market_spine_tests.kubernetes_objects import Pod, find, pods
from market_spine_tests.network_policies import End, allowed, policies_of
from market_spine_tests.test_companion_chart import COMBINATIONS, VARIANTS, rendered

POSTGRESQL = {"local": "203.0.113.5", "staging": "10.20.0.5", "production": "10.10.0.5"}
PORTS = (22, 443, 3000, 3030, 4318, 5432, 6443, 8000)
INTERNET = End("internet", namespace="", address="203.0.113.9")
STRANGER = End("another pod", {"app": "other"})
ABROAD = End("another namespace", {"app": "other"}, "elsewhere")
PROMETHEUS = End("prometheus", {"app": "prometheus"}, "monitoring")
INGRESS = End("ingress controller", {"app": "nginx"}, "ingress-nginx")
RESOLVER = End("resolver", {"k8s-app": "kube-dns"}, "kube-system")
DATABASE_USERS = ("webserver", "daemon", "code-location", "run", "api", "migration", "retention")
TABLE = {
    # the Kubernetes API and object stores, sources: addresses that nobody can know beforehand
    *((role, "internet", 443) for role in ("webserver", "daemon", "code-location", "run", "api")),
    *((role, "internet", 22) for role in ("code-location", "run", "api")),
    *((role, "internet", 6443) for role in ("webserver", "daemon")),
    *((role, "postgresql", 5432) for role in DATABASE_USERS),
    ("webserver", "code-location", 3030),
    ("daemon", "code-location", 3030),
    ("api", "webserver", 3000),
    ("test", "api", 8000),
    ("prometheus", "api", 8000),
    ("ingress controller", "api", 8000),
}
"""docs/companion-chart.md, for production. A port that is open to any address is counted for one address alone."""


def policies(environment: str, variant: str = "as it is") -> list[Object]:
    return [one for one in rendered(environment, variant) if one["kind"] == "NetworkPolicy"]


@cache
def dagster_pods(environment: str) -> list[Pod]:
    return pods(render_dagster(environment))


def ends(environment: str, variant: str = "as it is") -> list[End]:
    """The pods of both releases, and everybody around."""
    ours = [End(pod.labels["app.kubernetes.io/component"], pod.labels) for pod in pods(rendered(environment, variant))]
    theirs = [End(pod.labels["market-spine/role"], pod.labels) for pod in dagster_pods(environment)]
    # Dagster makes the pods of runs; of their labels these are ours.
    launcher = merged(dagster_values(environment))["runLauncher"]["config"]["k8sRunLauncher"]
    around = [INTERNET, STRANGER, ABROAD, PROMETHEUS, INGRESS, RESOLVER]
    database = End("postgresql", namespace="", address=POSTGRESQL[environment])
    return [*ours, *theirs, End("run", launcher["labels"]), database, *around]


def table(found: Sequence[Object], every: Sequence[End]) -> set[tuple[str, str, int]]:
    """All that is allowed between ends of which one at least is in the namespace."""
    return {
        (source.name, target.name, port)
        for source in every
        for target in every
        for port in PORTS
        if NAMESPACE in (source.namespace, target.namespace) and source != target
        if allowed(found, source, target, port)
        # open to every address: one that stands for all of them is enough
        if not (target.namespace != NAMESPACE and target != INTERNET and allowed(found, source, INTERNET, port))
    }


def test_in_production_exactly_what_the_table_says_is_allowed() -> None:
    assert table(policies("production"), ends("production")) == TABLE


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_pod_may_ask_for_names_and_nobody_else_for_them(environment: str) -> None:
    found = policies(environment)
    inside = [end for end in ends(environment) if end.namespace == NAMESPACE]
    assert len(inside) == 9
    for end in inside:
        assert allowed(found, end, RESOLVER, 53, "UDP")
        assert allowed(found, end, RESOLVER, 53)
        assert not allowed(found, end, INTERNET, 53, "UDP")


@pytest.mark.parametrize(("environment", "variant"), [one for one in COMBINATIONS if one[1] != "everything off"])
def test_everything_is_denied_that_no_policy_names(environment: str, variant: str) -> None:
    found = policies(environment, variant)
    everybody = find(found, "NetworkPolicy", "market-spine-default-deny")["spec"]
    assert everybody == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for end in (STRANGER, ABROAD, INTERNET):
        for other in ends(environment, variant):
            if other.namespace == NAMESPACE and other != end:
                assert not [port for port in PORTS if allowed(found, end, other, port)], (end.name, other.name)
    outside = [port for port in PORTS if allowed(found, STRANGER, INTERNET, port)]
    assert outside == []


@pytest.mark.parametrize(("environment", "variant"), [one for one in COMBINATIONS if one[1] != "everything off"])
def test_every_policy_selects_a_pod(environment: str, variant: str) -> None:
    inside = [end for end in ends(environment, variant) if end.namespace == NAMESPACE]
    if VARIANTS[variant].get("postgresqlCluster.enabled"):
        # made by the operator, with this label
        inside.append(End("postgresql", {"cnpg.io/cluster": "market-spine-postgresql"}))
    chosen = {
        policy["metadata"]["name"] for end in inside for policy in policies_of(policies(environment, variant), end)
    }
    assert chosen == {policy["metadata"]["name"] for policy in policies(environment, variant)}


def test_without_the_policy_of_runs_no_run_reaches_its_database() -> None:
    without = [one for one in policies("production") if one["metadata"]["name"] != "market-spine-run"]
    assert table(without, ends("production")) == {row for row in TABLE if row[0] != "run"}


def test_a_policy_whose_selector_matches_nothing_is_noticed() -> None:
    found = deepcopy(policies("production"))
    find(found, "NetworkPolicy", "market-spine-run")["spec"]["podSelector"]["matchLabels"] = {
        "market-spine/role": "runs"
    }
    assert table(found, ends("production")) != TABLE


def test_without_the_denial_a_stranger_reaches_everything_that_no_policy_selects() -> None:
    without = [one for one in policies("production") if one["metadata"]["name"] != "market-spine-default-deny"]
    assert allowed(without, ABROAD, STRANGER, 8000)
    assert not allowed(policies("production"), ABROAD, STRANGER, 8000)


def test_with_a_sign_in_in_front_its_proxy_reaches_the_ui() -> None:
    name = "networkPolicies.webserver.from[0].namespaceSelector.matchLabels.kubernetes\\.io/metadata\\.name"
    with_proxy = render_companion("production", {name: "ingress-nginx"})
    found = [one for one in with_proxy if one["kind"] == "NetworkPolicy"]
    assert table(found, ends("production")) == TABLE | {("ingress controller", "webserver", 3000)}


def test_traces_leave_for_the_collector_only_when_one_is_named() -> None:
    collector = End("collector", {"app": "alloy"}, "monitoring")
    run = next(end for end in ends("production") if end.name == "run")
    assert not allowed(policies("production"), run, collector, 4318)
    assert allowed(policies("production", "everything on"), run, collector, 4318)


def test_a_database_in_the_cluster_is_reached_by_those_who_use_it() -> None:
    found = policies("production", "everything on")
    database = End("cluster", {"cnpg.io/cluster": "market-spine-postgresql"})
    reaching = {end.name for end in ends("production", "everything on") if allowed(found, end, database, 5432)}
    assert reaching == set(DATABASE_USERS)
    operator = End("operator", {"app": "cnpg"}, "cnpg-system")
    assert allowed(found, operator, database, 8000)
    assert allowed(found, PROMETHEUS, database, 9187)
    assert not allowed(found, ABROAD, database, 5432)


def test_in_an_environment_without_an_ingress_its_controller_reaches_nothing() -> None:
    assert not [row for row in table(policies("local"), ends("local")) if row[0] == "ingress controller"]
