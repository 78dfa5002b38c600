"""What network policies allow, worked out from the rendered objects as a cluster would.

What it is: ``allowed`` says whether one end may open a connection to another, by the rules of networking.k8s.io/v1.
Belongs here: those rules, as far as our policies use them. Does not belong here: who ought to reach whom.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from market_spine_tests.helm import NAMESPACE, Object


@dataclass(frozen=True)
class End:
    """One end of a connection.

    Args:
        name: for people.
        labels: of the pod; of something that is no pod, empty.
        namespace: its namespace; empty outside the cluster.
        address: its address, where it is outside.
    """

    name: str
    labels: dict[str, str] = field(default_factory=dict)
    namespace: str = NAMESPACE
    address: str = ""


def allowed(policies: Sequence[Object], source: End, target: End, port: int, protocol: str = "TCP") -> bool:
    """Whether ``source`` may open a connection to a port of ``target``."""
    return _passes(policies, "Egress", source, target, port, protocol) and _passes(
        policies, "Ingress", target, source, port, protocol
    )


def policies_of(policies: Sequence[Object], end: End) -> list[Object]:
    """The policies that select an end; those of our namespace alone."""
    return [
        policy
        for policy in policies
        if end.namespace == NAMESPACE and _selects(policy["spec"]["podSelector"], end.labels)
    ]


def _passes(policies: Sequence[Object], direction: str, own: End, other: End, port: int, protocol: str) -> bool:
    """Whether the policies of one end let the connection pass; an end that none selects is open."""
    mine = [policy["spec"] for policy in policies_of(policies, own) if direction in policy["spec"]["policyTypes"]]
    rules = [rule for spec in mine for rule in spec.get(direction.lower()) or []]
    peers = "to" if direction == "Egress" else "from"
    return not mine or any(_port(rule, port, protocol) and _peer(rule.get(peers), other) for rule in rules)


def _port(rule: Object, port: int, protocol: str) -> bool:
    wanted = rule.get("ports")
    return not wanted or any(one["port"] == port and one["protocol"] == protocol for one in wanted)


def _peer(peers: Sequence[Object] | None, other: End) -> bool:
    return not peers or any(_is(peer, other) for peer in peers)


def _is(peer: Object, other: End) -> bool:
    if "ipBlock" in peer:
        return bool(other.address) and ip_address(other.address) in ip_network(peer["ipBlock"]["cidr"])
    if not other.namespace:
        return False
    if "namespaceSelector" in peer:
        inside = _selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": other.namespace})
    else:
        inside = other.namespace == NAMESPACE
    return inside and _selects(peer.get("podSelector") or {}, other.labels)


def _selects(selector: Object, labels: dict[str, str]) -> bool:
    """Our selectors have labels only; one with expressions is not understood, and must not count as matching all."""
    assert set(selector) <= {"matchLabels"}, selector
    return bool((selector.get("matchLabels") or {}).items() <= labels.items())
