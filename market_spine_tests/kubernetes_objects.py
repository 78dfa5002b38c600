"""Rendered objects, looked at: their pods, what those name, and whether they may run in a restricted namespace.

Belongs here: questions that are asked of the objects of any chart, and of Jobs that Dagster makes.
Does not belong here: rendering (``helm``), what a certain chart ought to render.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from market_spine_tests.helm import ROOT, Object


@dataclass(frozen=True)
class Pod:
    """A pod that an object would make.

    Args:
        owner: kind and name of the object.
        spec: the pod's.
        labels: the pod's.
    """

    owner: str
    spec: Object
    labels: dict[str, str]

    @property
    def containers(self) -> list[Object]:
        """All of them, those that run first too."""
        return [*(self.spec.get("initContainers") or []), *self.spec["containers"]]


@dataclass(frozen=True)
class Named:
    """A Secret or ConfigMap that a pod names; ``key`` is empty where all of its keys become variables."""

    kind: str
    name: str
    key: str
    optional: bool


def name_of(one: Object) -> str:
    """Kind and name."""
    return f"{one['kind']} {one['metadata']['name']}"


def find(objects: list[Object], kind: str, name: str) -> Object:
    """The object of that kind and name."""
    return next(one for one in objects if name_of(one) == f"{kind} {name}")


def pods(objects: list[Object]) -> list[Pod]:
    """Every pod that these objects would make."""
    found = []
    for one in objects:
        template = one if one["kind"] == "Pod" else _template(one)
        if template:
            found.append(Pod(name_of(one), template["spec"], template["metadata"].get("labels") or {}))
    return found


def _template(one: Object) -> Object | None:
    spec = one.get("spec") or {}
    if one["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    return spec.get("template") if one["kind"] in ("Deployment", "StatefulSet", "Job", "CronJob") else None


def named_by(pod: Pod) -> Iterator[Named]:
    """Every Secret and ConfigMap that a pod takes variables or files from."""
    for container in pod.containers:
        for source in container.get("envFrom") or []:
            yield from _references(source, "secretRef", "configMapRef")
        for variable in container.get("env") or []:
            yield from _references(variable.get("valueFrom") or {}, "secretKeyRef", "configMapKeyRef")
    for volume in pod.spec.get("volumes") or []:
        if "configMap" in volume:
            yield Named("ConfigMap", volume["configMap"]["name"], "", bool(volume["configMap"].get("optional")))
        if "secret" in volume:
            yield Named("Secret", volume["secret"]["secretName"], "", bool(volume["secret"].get("optional")))


def _references(source: Object, secret: str, config_map: str) -> Iterator[Named]:
    for field, kind in ((secret, "Secret"), (config_map, "ConfigMap")):
        if reference := source.get(field):
            yield Named(kind, reference["name"], reference.get("key", ""), bool(reference.get("optional")))


def unrestricted(pod: Pod) -> list[str]:
    """What the level `restricted` of Pod Security would refuse, and a root that can be written; empty: nothing.

    https://kubernetes.io/docs/concepts/security/pod-security-standards/
    """
    spec, wrong = pod.spec, []
    whole = spec.get("securityContext") or {}
    wrong += [name for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    for volume in spec.get("volumes") or []:
        wrong += [f"volume {volume['name']}: {kind}" for kind in volume if kind not in {"name", *allowed}]
    for container in pod.containers:
        own = container.get("securityContext") or {}
        found: dict[str, Any] = {**whole, **own}
        checks = {
            "may become root": found.get("runAsNonRoot") is True and found.get("runAsUser") != 0,
            "may gain privileges": own.get("allowPrivilegeEscalation") is False and not own.get("privileged"),
            "has capabilities": (own.get("capabilities") or {}).get("drop") == ["ALL"]
            and not set((own.get("capabilities") or {}).get("add") or []) - {"NET_BIND_SERVICE"},
            "no seccomp profile": (found.get("seccompProfile") or {}).get("type") in ("RuntimeDefault", "Localhost"),
            "has a writable root": own.get("readOnlyRootFilesystem") is True,
            "has a host port": not any(port.get("hostPort") for port in container.get("ports") or []),
        }
        wrong += [f"container {container['name']} {words}" for words, right in checks.items() if not right]
    return wrong


def without_resources(pod: Pod) -> list[str]:
    """Containers without a request for processor or memory, or without a limit of memory."""
    missing = []
    for container in pod.containers:
        resources = container.get("resources") or {}
        requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
        if not ("cpu" in requests and "memory" in requests and "memory" in limits):
            missing.append(container["name"])
    return missing


def floating_images(pod: Pod) -> list[str]:
    """Images without a tag or digest, or with the tag `latest`."""
    images = [container["image"] for container in pod.containers]
    return [
        image
        for image in images
        if "@sha256:" not in image and image.rpartition("/")[2].partition(":")[2] in ("", "latest")
    ]


def selected(selector: Object, found: list[Pod]) -> list[Pod]:
    """The pods whose labels a selector (matchLabels, or a Service's) asks for."""
    wanted = selector.get("matchLabels", selector)
    return [pod for pod in found if wanted.items() <= pod.labels.items()]


def keys_of(pod: Pod) -> set[str]:
    """``Secret/key`` of every secret a pod takes; a whole Secret is ``Secret/*``."""
    return {f"{named.name}/{named.key or '*'}" for named in named_by(pod) if named.kind == "Secret"}


def guide_table() -> dict[str, set[str]]:
    """The table of secrets of docs/kubernetes.md: the keys of each pod."""
    text = (ROOT / "docs" / "kubernetes.md").read_text().partition("## Secrets")[2].partition("\n## ")[0]
    header, _, *lines = [line for line in text.splitlines() if line.startswith("|")]
    roles = [cell.strip() for cell in header.strip("|").split("|")][1:]
    table: dict[str, set[str]] = {role: set() for role in roles}
    for line in lines:
        key, *marks = [cell.strip() for cell in line.strip("|").split("|")]
        for role, mark in zip(roles, marks, strict=True):
            if mark:
                table[role].add(key.strip("`"))
    return table
