"""A node without containers: it takes the pods that the scheduler gives it and runs their commands on this machine.

What it is: ``Node`` does what a kubelet does as far as the two releases need it: it registers itself, starts and stops
pods (``PodRun``), and answers the API server when somebody asks for a container's log.
Belongs here: which pods run here. Does not belong here: the life of one pod (pod_run.py).
"""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import httpx
from kube import Kube, Object, Refused
from log_server import PORT, LogServer
from network import NODE_ADDRESS
from pod_run import PodRun, now
from services import Services

NAME = "smoke"
FIRST = 10
"""Number of the first pod; the address of a pod that is gone is not given again."""
LOOK_SECONDS = 0.5
HEARTBEAT_SECONDS = 10.0
ROOM = {"cpu": "32", "memory": "128Gi", "ephemeral-storage": "100Gi", "pods": "110"}
"""What it says to have. The scheduler adds up requests, and the pods of a whole cluster are to fit on one machine."""


@dataclass
class Node:
    """The node; also a context manager, on whose end every pod is killed.

    Args:
        kube: the administrator's account.
        folder: for volumes and logs.
        services: told of each Service, so that pods reach it by name.
    """

    kube: Kube
    folder: Path
    services: Services
    pods: dict[str, PodRun] = field(default_factory=dict)
    _ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True)
        self._register()
        self._logs = LogServer(self.folder, lambda: list(self.pods.values()))
        self._logs.start()
        self._thread = threading.Thread(target=self._work, name="node")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._logs.stop()
        for run in self.pods.values():
            run.stop(0)
        for run in self.pods.values():
            run.join()

    def trouble(self) -> list[str]:
        """What keeps pods from working, one line for each container."""
        return [line for run in self.pods.values() for line in run.trouble()]

    def pod(self, name: str) -> PodRun:
        """The pod of this name that runs, or ran, here last.

        Raises:
            KeyError: there was none.
        """
        found = [run for run in self.pods.values() if run.name == name]
        if not found:
            raise KeyError(name)
        return found[-1]

    def _work(self) -> None:
        beat = 0.0
        while not self._ended.is_set():
            # A busy API server is asked again; what is wrong with a pod is the pod's own to report.
            with suppress(httpx.TransportError, Refused):
                if time.monotonic() - beat > HEARTBEAT_SECONDS:
                    self._beat()
                    beat = time.monotonic()
                self.services.look()
                self._provide_volumes()
                self._look()
            self._ended.wait(LOOK_SECONDS)

    def _look(self) -> None:
        found = self.kube.items("/api/v1/pods", fieldSelector=f"spec.nodeName={NAME}")
        present = {pod["metadata"]["uid"] for pod in found}
        for pod in found:
            uid = pod["metadata"]["uid"]
            if uid not in self.pods:
                if pod["status"].get("phase") in ("Succeeded", "Failed"):
                    continue
                self.pods[uid] = PodRun(pod, self.kube, self.folder / uid, self.services.hosts, FIRST + len(self.pods))
                self.pods[uid].start()
            if "deletionTimestamp" in pod["metadata"]:
                self.pods[uid].stop(pod["metadata"].get("deletionGracePeriodSeconds", 30), delete=True)
        for uid, run in self.pods.items():
            if uid not in present:
                run.stop(0)

    def _provide_volumes(self) -> None:
        """A folder for each claim that waits for a volume, whatever class it asks for."""
        for claim in self.kube.items("/api/v1/persistentvolumeclaims"):
            if claim["spec"].get("volumeName") or claim["status"].get("phase") != "Pending":
                continue
            place = claim["metadata"]
            name = f"{place['namespace']}-{place['name']}"
            if self.kube.find(f"/api/v1/persistentvolumes/{name}") is not None:
                continue
            folder = self.folder / "claims" / name
            folder.mkdir(parents=True)
            folder.chmod(0o777)
            spec = {
                "capacity": claim["spec"]["resources"]["requests"],
                "accessModes": claim["spec"]["accessModes"],
                "storageClassName": claim["spec"].get("storageClassName", ""),
                "hostPath": {"path": str(folder)},
                "claimRef": {"namespace": place["namespace"], "name": place["name"]},
            }
            volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}
            self.kube.create(volume, "")

    def _register(self) -> None:
        labels = {
            "kubernetes.io/hostname": NAME,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            "topology.kubernetes.io/zone": "smoke-1",
        }
        self.kube.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NAME, "labels": labels}}, "")
        self._beat()

    def _beat(self) -> None:
        ready = {"type": "Ready", "status": "True", "reason": "Here", "lastHeartbeatTime": now()}
        status: Object = {
            "capacity": ROOM,
            "allocatable": ROOM,
            "conditions": [ready],
            "addresses": [{"type": "InternalIP", "address": NODE_ADDRESS}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": PORT}},
        }
        self.kube.ask("PATCH", f"/api/v1/nodes/{NAME}/status", {"status": status})
