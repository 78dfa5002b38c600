"""What a pod's fields mean for its containers: environment, volumes, account, command.

What it is: ``PodSpec`` reads a pod as the API server holds it, asks for the Secrets, ConfigMaps and tokens that it
names, and answers with a ``Container`` for each of its containers.
Belongs here: resolving references. Does not belong here: running, probing, reporting.
"""

import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from container import Bind, Container
from image import Image
from kube import Kube, Object

REFERENCE = re.compile(r"\$(?:\$|\(([-._a-zA-Z0-9]+)\))")


class Unresolved(Exception):
    """A pod names what is not there, or what this node cannot do; the text says what."""


@dataclass(frozen=True)
class PodSpec:
    """A pod to be run here.

    Args:
        pod: as the API server holds it.
        kube: the node's account.
        folder: of this pod on this machine.
        hosts: the file of host names that its containers see.
        address: the pod's own.
    """

    pod: Object
    kube: Kube
    folder: Path
    hosts: Path
    address: str

    @property
    def namespace(self) -> str:
        """Where the pod and what it names are."""
        return str(self.pod["metadata"]["namespace"])

    @cached_property
    def volumes(self) -> dict[str, Path]:
        """Folders of the pod's volumes, by name."""
        return {volume["name"]: self._volume(volume) for volume in self.pod["spec"].get("volumes", ())}

    def container(self, wanted: Object, attempt: int) -> Container:
        """The container of one entry of ``containers`` or ``initContainers``.

        Raises:
            Unresolved: it names what is not there, or asks for root where the pod forbids it.
        """
        image = Image.named(wanted["image"])
        environment = {**image.environment, **self.environment(wanted)}
        command = [*(wanted.get("command") or image.entry), *(wanted.get("args") or image.arguments(wanted))]
        if not command:
            raise Unresolved(f"{wanted['name']}: neither the pod nor the image names a command")
        allowed = {**self.pod["spec"].get("securityContext", {}), **wanted.get("securityContext", {})}
        user = allowed.get("runAsUser", image.user)
        if allowed.get("runAsNonRoot") and user == 0:
            raise Unresolved(f"{wanted['name']}: runAsNonRoot, and its user is root")
        home = self.folder / f"{wanted['name']}-{attempt}"
        home.mkdir(parents=True)
        return Container(
            root=str(home / "root"),
            binds=[*image.binds, *self._mounts(wanted), Bind(str(self.hosts), "/etc/hosts"), *image.own_files(home)],
            command=[expand(part, environment) for part in command],
            environment=environment,
            folder=wanted.get("workingDir") or image.folder,
            user=(user, allowed.get("runAsGroup", image.group)),
            read_only=bool(allowed.get("readOnlyRootFilesystem")),
            drop_capabilities="ALL" in allowed.get("capabilities", {}).get("drop", ()),
            no_new_privileges=allowed.get("allowPrivilegeEscalation") is False,
        )

    def environment(self, wanted: Object) -> dict[str, str]:
        """The container's variables: of Services, of whole ConfigMaps and Secrets, then one by one."""
        values = self._service_variables()
        for source in wanted.get("envFrom", ()):
            for kind, of in (("configMapRef", "configmaps"), ("secretRef", "secrets")):
                if kind in source:
                    found = self._data(of, source[kind]["name"], optional=source[kind].get("optional", False))
                    values |= {f"{source.get('prefix', '')}{key}": text.decode() for key, text in found.items()}
        for entry in wanted.get("env", ()):
            if "valueFrom" not in entry:
                values[entry["name"]] = expand(entry.get("value", ""), values)
            elif (value := self._value(entry)) is not None:
                values[entry["name"]] = value
        return values

    def _value(self, entry: Object) -> str | None:
        source = entry["valueFrom"]
        if "fieldRef" in source:
            return self._field(source["fieldRef"]["fieldPath"])
        for kind, of in (("configMapKeyRef", "configmaps"), ("secretKeyRef", "secrets")):
            if kind in source:
                chosen = source[kind]
                found = self._data(of, chosen["name"], optional=chosen.get("optional", False))
                if chosen["key"] in found:
                    return found[chosen["key"]].decode()
                if chosen.get("optional"):
                    return None
                raise Unresolved(f"{of}/{chosen['name']} has no key {chosen['key']}, which {entry['name']} needs")
        raise Unresolved(f"{entry['name']}: this node does not know {', '.join(source)}")

    def _field(self, path: str) -> str:
        known = {"status.podIP": self.address, "status.hostIP": self.address}
        if path in known:
            return known[path]
        if (labelled := re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path)) is not None:
            return str(self.pod["metadata"].get(labelled[1], {}).get(labelled[2], ""))
        found: Any = self.pod
        for part in path.split("."):
            found = found[part]
        return str(found)

    def _service_variables(self) -> dict[str, str]:
        """What Kubernetes tells of the namespace's Services; a Service may so name a variable that a program reads."""
        links = self.pod["spec"].get("enableServiceLinks", True)
        services = self.kube.items(f"/api/v1/namespaces/{self.namespace}/services") if links else []
        services.append(self.kube.ask("GET", "/api/v1/namespaces/default/services/kubernetes"))
        values = {}
        for service in services:
            address = service["spec"].get("clusterIP", "None")
            if address == "None":
                continue
            name = service["metadata"]["name"].upper().replace("-", "_")
            values[f"{name}_SERVICE_HOST"] = address
            first = service["spec"]["ports"][0]
            values[f"{name}_SERVICE_PORT"] = str(first["port"])
            values[f"{name}_PORT"] = f"tcp://{address}:{first['port']}"
        return values

    def _mounts(self, wanted: Object) -> Iterator[Bind]:
        # A folder before what is inside it, as runtimes do, in whatever order they are listed.
        for mounted in sorted(wanted.get("volumeMounts", ()), key=lambda one: str(one["mountPath"])):
            if mounted["name"] not in self.volumes:
                raise Unresolved(f"{wanted['name']} mounts {mounted['name']}, which is no volume of the pod")
            source = self.volumes[mounted["name"]] / mounted.get("subPath", "")
            volume = next(one for one in self.pod["spec"]["volumes"] if one["name"] == mounted["name"])
            fixed = any(kind in volume for kind in ("configMap", "secret", "projected", "downwardAPI"))
            yield Bind(str(source), mounted["mountPath"], readonly=fixed or mounted.get("readOnly", False))

    def _volume(self, volume: Object) -> Path:
        folder = self.folder / "volumes" / str(volume["name"])
        folder.mkdir(parents=True, exist_ok=True)
        if "emptyDir" in volume:
            folder.chmod(0o777)
        elif "persistentVolumeClaim" in volume:
            return self._claimed(volume["persistentVolumeClaim"]["claimName"])
        elif "projected" in volume:
            for source in volume["projected"]["sources"]:
                _write(folder, self._projected(source))
        elif "configMap" in volume or "secret" in volume:
            _write(folder, self._projected(volume))
        else:
            kinds = ", ".join(set(volume) - {"name"})
            raise Unresolved(f"volume {volume['name']}: this node does not know {kinds}")
        return folder

    def _projected(self, source: Object) -> Mapping[str, bytes]:
        if "serviceAccountToken" in source:
            wanted = source["serviceAccountToken"]
            return {wanted["path"]: self._account_token(wanted).encode()}
        if "downwardAPI" in source:
            items = source["downwardAPI"]["items"]
            return {item["path"]: self._field(item["fieldRef"]["fieldPath"]).encode() for item in items}
        kind, of = ("configMap", "configmaps") if "configMap" in source else ("secret", "secrets")
        chosen = source[kind]
        found = self._data(of, chosen.get("name") or chosen["secretName"], optional=chosen.get("optional", False))
        items = chosen.get("items")
        return {item["path"]: found[item["key"]] for item in items} if items else found

    def _account_token(self, wanted: Object) -> str:
        """A token of the pod's service account, bound to the pod: what the pod may do is what its Roles say."""
        account = self.pod["spec"]["serviceAccountName"]
        bound = {"kind": "Pod", "apiVersion": "v1", **{key: self.pod["metadata"][key] for key in ("name", "uid")}}
        request = {"spec": {"expirationSeconds": wanted.get("expirationSeconds", 3600), "boundObjectRef": bound}}
        request["spec"]["audiences"] = [wanted["audience"]] if "audience" in wanted else []
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{account}/token"
        answer = self.kube.ask(
            "POST", path, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"} | request
        )
        return str(answer["status"]["token"])

    def _claimed(self, claim: str) -> Path:
        found = self.kube.ask("GET", f"/api/v1/namespaces/{self.namespace}/persistentvolumeclaims/{claim}")
        name = found["spec"].get("volumeName")
        if not name:
            raise Unresolved(f"the claim {claim} has no volume yet")
        volume = self.kube.ask("GET", f"/api/v1/persistentvolumes/{name}")
        return Path(str(volume["spec"]["hostPath"]["path"]))

    def _data(self, of: str, name: str, *, optional: bool) -> Mapping[str, bytes]:
        found = self.kube.find(f"/api/v1/namespaces/{self.namespace}/{of}/{name}")
        if found is None:
            if optional:
                return {}
            raise Unresolved(f"{of}/{name} is not there")
        data = found.get("data") or {}
        if of == "secrets":
            return {key: b64decode(text) for key, text in data.items()}
        return {key: text.encode() for key, text in data.items()}


def expand(text: str, values: Mapping[str, str]) -> str:
    """Kubernetes' ``$(NAME)``; what is not known stays as it stands."""

    def replaced(found: "re.Match[str]") -> str:
        if found[1] is None:
            return "$"
        return values.get(found[1], found[0])

    return REFERENCE.sub(replaced, text)


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o644)
