"""The Kubernetes API as plain JSON: what the control plane, the node and the proofs ask it.

What it is: ``Kube`` sends dictionaries to paths and answers with dictionaries; ``path_of`` finds an object's path.
Belongs here: requests and their refusals. Does not belong here: what is asked and why.
"""

import json
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import yaml

Object = dict[str, Any]

MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"
MANAGER = "k8s-smoke"


class Refused(Exception):
    """The API server said no; ``code`` is its HTTP status, the text its own words."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Kube:
    """An account at an API server.

    Args:
        url: of the API server.
        authority: file with the certificate that its own is signed by.
        token: the account's.
    """

    url: str
    authority: Path
    token: str

    def ask(self, method: str, path: str, body: Object | None = None, **query: str) -> Object:
        """One request; answers with the object.

        Raises:
            Refused: every answer from 400 on.
        """
        kind = {"PATCH": MERGE}.get(method, "application/json")
        return self._send(method, path, json.dumps(body) if body is not None else None, kind, query)

    def apply(self, wanted: Object, namespace: str, **query: str) -> Object:
        """Server-side apply: the object is made, or changed where it differs."""
        text = json.dumps(wanted)
        path = f"{self.path_of(wanted, namespace)}/{wanted['metadata']['name']}"
        return self._send("PATCH", path, text, APPLY, {"fieldManager": MANAGER, "force": "true", **query})

    def create(self, wanted: Object, namespace: str, **query: str) -> Object:
        """Create the object."""
        return self.ask("POST", self.path_of(wanted, namespace), wanted, **query)

    def items(self, path: str, **query: str) -> list[Object]:
        """The objects of a list."""
        found: list[Object] = self.ask("GET", path, None, **query)["items"]
        return found

    def find(self, path: str) -> Object | None:
        """The object, or None where there is none."""
        try:
            return self.ask("GET", path)
        except Refused as refused:
            if refused.code != 404:
                raise
            return None

    def text(self, path: str, **query: str) -> str:
        """An answer that is no object, for example a container's log."""
        return self._answer("GET", path, None, "application/json", query).text

    def path_of(self, wanted: Object, namespace: str) -> str:
        """Where objects of this kind are, in this namespace if the kind is in one.

        Raises:
            Refused: the API server has no such kind.
        """
        group = wanted["apiVersion"]
        base = f"/apis/{group}" if "/" in group else f"/api/{group}"
        for resource in self.ask("GET", base)["resources"]:
            if resource["kind"] == wanted["kind"] and "/" not in resource["name"]:
                place = (
                    f"/namespaces/{wanted['metadata'].get('namespace', namespace)}" if resource["namespaced"] else ""
                )
                return f"{base}{place}/{resource['name']}"
        raise Refused(404, f"{group} has no kind {wanted['kind']}")

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig of this account, for Helm and the controllers."""
        cluster = {"server": self.url, "certificate-authority": str(self.authority)}
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "smoke",
                    "clusters": [{"name": "smoke", "cluster": cluster}],
                    "users": [{"name": "smoke", "user": {"token": self.token}}],
                    "contexts": [{"name": "smoke", "context": {"cluster": "smoke", "user": "smoke"}}],
                }
            )
        )
        path.chmod(0o600)
        return path

    @cached_property
    def _client(self) -> httpx.Client:
        trusted = ssl.create_default_context(cafile=str(self.authority))
        headers = {"Authorization": f"Bearer {self.token}", "Accept": "application/json"}
        return httpx.Client(base_url=self.url, verify=trusted, headers=headers, timeout=30, trust_env=False)

    def _send(self, method: str, path: str, text: str | None, kind: str, query: Mapping[str, str]) -> Object:
        found: Object = self._answer(method, path, text, kind, query).json()
        return found

    def _answer(self, method: str, path: str, text: str | None, kind: str, query: Mapping[str, str]) -> httpx.Response:
        answer = self._client.request(method, path, content=text, params=query, headers={"Content-Type": kind})
        if answer.status_code >= 400:
            said = answer.json().get("message", "") if "json" in answer.headers.get("Content-Type", "") else answer.text
            raise Refused(answer.status_code, said)
        return answer


def conditions(found: Object) -> Iterator[str]:
    """Names of an object's conditions that are true."""
    for condition in found.get("status", {}).get("conditions", ()):
        if condition["status"] == "True":
            yield condition["type"]
