"""The life of one pod: its init containers one after the other, its containers beside each other, its status.

What it is: ``PodRun``, a thread that starts the containers' processes, probes them, starts them again as the restart
policy says, and reports to the API server what a kubelet would.
Belongs here: processes and their status. Does not belong here: what fields mean (pod.py), namespaces (container.py).
"""

import signal
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
from container import send
from kube import Kube, Object, Refused
from network import NODE_ADDRESS, PodNetwork
from pod import PodSpec, Unresolved
from probes import Probes

PAUSE = 0.1
MOST_BACKOFF = 20.0
LAST_TRIES = 30
KILLED = 128 + signal.SIGKILL


def now() -> str:
    """The time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class ContainerRun:
    """One container of a pod: its latest process, and how the one before ended."""

    wanted: Object
    process: "subprocess.Popen[bytes] | None" = None
    probes: Probes | None = None
    started: str = ""
    restarts: int = 0
    ended: Object | None = None
    waiting: str = "ContainerCreating"
    again_at: float = 0.0
    killed: bool = False

    @property
    def name(self) -> str:
        """As the pod calls it."""
        return str(self.wanted["name"])

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self.process is not None and self.ended is None

    @property
    def ready(self) -> bool:
        """Whether it runs and its probes say that it can work."""
        return self.running and self.probes is not None and self.probes.ready

    @property
    def pause(self) -> float:
        """Seconds for which it goes on working before it is told to end."""
        return float(self.wanted.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0))

    def kill(self) -> None:
        """Kill its process without a warning."""
        if self.running and self.process is not None:
            self.killed = True
            send(self.process, signal.SIGKILL)

    def take_end(self) -> bool:
        """See whether its process has ended, and how; tells whether it has."""
        if not self.running or self.process is None or (code := self.process.poll()) is None:
            return False
        # unshare does not pass SIGKILL on: it ends with 1.
        number = KILLED if self.killed else code if code >= 0 else 128 - code
        reason = "Completed" if number == 0 else "Error"
        self.ended = {"exitCode": number, "reason": reason, "startedAt": self.started, "finishedAt": now()}
        return True

    def status(self) -> Object:
        """As the API server is told."""
        if self.running:
            state: Object = {"running": {"startedAt": self.started}}
        elif self.ended is not None:
            state = {"terminated": self.ended}
        else:
            state = {"waiting": {"reason": self.waiting}}
        found = {"name": self.name, "state": state, "ready": self.ready, "restartCount": self.restarts}
        return found | {"image": self.wanted["image"], "imageID": "", "started": self.running}


@dataclass
class PodRun:
    """A pod on this node.

    Args:
        pod: as the API server held it when it was given to this node.
        kube: the administrator's account.
        folder: for its volumes and logs.
        hosts: file of host names.
        number: of the pod's network.
    """

    pod: Object
    kube: Kube
    folder: Path
    hosts: Path
    number: int
    containers: list[ContainerRun] = field(default_factory=list)
    _told: Object = field(default_factory=dict)
    _began: str = field(default_factory=now)
    _stop_after: float | None = None
    _delete: bool = False
    _thread: threading.Thread | None = None

    @property
    def name(self) -> str:
        """The pod's."""
        return str(self.pod["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """The pod's."""
        return str(self.pod["metadata"]["namespace"])

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread = threading.Thread(target=self._live, name=self.name)
        self._thread.start()

    def join(self) -> None:
        """Wait until nothing of it runs."""
        if self._thread is not None:
            self._thread.join()

    def stop(self, grace: float, *, delete: bool = False) -> None:
        """Ask its processes to end, kill them after ``grace`` seconds, then let the API server forget the pod."""
        if self._stop_after is None or grace == 0:
            self._stop_after = grace
            self._delete = self._delete or delete

    def kill(self) -> None:
        """Kill its processes without a warning, as a lack of memory or the loss of a node does."""
        for run in self.containers:
            run.kill()

    def lives(self) -> bool:
        """Whether any process of it does."""
        return self._thread is not None and self._thread.is_alive()

    def trouble(self) -> list[str]:
        """What keeps its containers from working, one line each."""
        lines = []
        for run in self.containers:
            if run.ended is not None and run.ended["exitCode"] != 0:
                end = self.log(run.name).decode(errors="replace").splitlines()[-3:]
                lines.append(f"{self.name}/{run.name} ended with {run.ended['exitCode']}: {' | '.join(end)}")
            elif run.process is None:
                lines.append(f"{self.name}/{run.name} was not started: {run.waiting}")
            elif not run.ready and run.running and run.probes is not None:
                lines.append(f"{self.name}/{run.name} is not ready: {run.probes.said}")
        return lines

    def log(self, container: str) -> bytes:
        """What the container has written."""
        path = self.folder / f"{container}.log"
        return path.read_bytes() if path.exists() else b""

    def _live(self) -> None:
        self.folder.mkdir(parents=True)
        self._network = PodNetwork(self.number)
        try:
            self._live_in_network()
        finally:
            self._network.close()

    def _live_in_network(self) -> None:
        spec = PodSpec(self.pod, self.kube, self.folder, self.hosts, self._network.address)
        initial = [ContainerRun(wanted) for wanted in self.pod["spec"].get("initContainers", ())]
        self.containers = [ContainerRun(wanted) for wanted in self.pod["spec"]["containers"]]
        self._tell("Pending", initial, initialized=False)
        if not all(self._run_to_end(run, spec, initial) for run in initial):
            self._close("Failed" if self._stop_after is None else "", initial)
            return
        while self._stop_after is None:
            for run in self.containers:
                self._advance(run, spec)
            done = [run for run in self.containers if run.ended is not None and not self._starts_again(run)]
            if len(done) == len(self.containers):
                failed = any(run.ended is not None and run.ended["exitCode"] != 0 for run in done)
                self._close("Failed" if failed else "Succeeded", initial)
                return
            started = any(run.process is not None for run in self.containers)
            self._tell("Running" if started else "Pending", initial, initialized=True)
            time.sleep(PAUSE)
        self._close("", initial)

    def _run_to_end(self, run: ContainerRun, spec: PodSpec, initial: list[ContainerRun]) -> bool:
        """Run an init container until it succeeds; tells whether it did."""
        while self._stop_after is None:
            self._advance(run, spec)
            if run.ended is not None and run.ended["exitCode"] == 0:
                return True
            if run.ended is not None and self.pod["spec"].get("restartPolicy") == "Never":
                return False
            self._tell("Pending", initial, initialized=False)
            time.sleep(PAUSE)
        return False

    def _advance(self, run: ContainerRun, spec: PodSpec) -> None:
        if run.running:
            if run.take_end():
                run.again_at = time.monotonic() + min(2.0**run.restarts, MOST_BACKOFF)
            elif run.probes is not None and run.probes.dead:
                run.kill()
        elif time.monotonic() >= run.again_at and (run.ended is None or self._starts_again(run)):
            self._start(run, spec)

    def _starts_again(self, run: ContainerRun) -> bool:
        policy = self.pod["spec"].get("restartPolicy", "Always")
        initial = all(run is not one for one in self.containers)
        if policy == "Always" and not initial:
            return True
        return policy != "Never" and run.ended is not None and run.ended["exitCode"] != 0

    def _start(self, run: ContainerRun, spec: PodSpec) -> None:
        try:
            attempt = run.restarts + (run.ended is not None)
            container = spec.container(run.wanted, attempt)
        except (Unresolved, Refused, httpx.TransportError) as error:
            run.waiting = f"CreateContainerConfigError: {error}"
            run.again_at = time.monotonic() + 1.0
            return
        note = self.folder / f"{run.name}-{attempt}" / "container.json"
        with (self.folder / f"{run.name}.log").open("ab") as output:
            run.process = subprocess.Popen(
                [*self._network.enter(), *container.program(note)],
                env=dict(container.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        run.restarts, run.ended, run.killed, run.started = attempt, None, False, now()
        run.probes = Probes(run.wanted, run.process, container, self._network.address)

    def _close(self, phase: str, initial: list[ContainerRun]) -> None:
        """End what still runs, and report for the last time."""
        living = [run for run in [*initial, *self.containers] if run.running and run.process is not None]
        if self._stop_after:
            time.sleep(max((run.pause for run in living), default=0))
        for run in living:
            if run.process is not None:
                send(run.process, signal.SIGTERM)
        deadline = time.monotonic() + (self._stop_after or 0)
        for run in living:
            while not run.take_end():
                if time.monotonic() > deadline or self._stop_after == 0:
                    run.kill()
                time.sleep(PAUSE)
        for _ in range(LAST_TRIES):
            if self._tell(phase or "Failed", initial, initialized=True):
                break
            time.sleep(1)
        if self._delete:
            with suppress(Refused, httpx.TransportError):  # somebody else was quicker; or the next look deletes it
                path = f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"
                options = {"preconditions": {"uid": self.pod["metadata"]["uid"]}, "gracePeriodSeconds": 0}
                self.kube.ask("DELETE", path, {"apiVersion": "v1", "kind": "DeleteOptions"} | options)

    def _tell(self, phase: str, initial: list[ContainerRun], *, initialized: bool) -> bool:
        """Report the status if it is not what was reported last; tells whether the API server knows it now."""
        ready = phase == "Running" and all(run.ready for run in self.containers)
        facts = {"Initialized": initialized, "ContainersReady": ready, "Ready": ready, "PodScheduled": True}
        status: Object = {
            "phase": phase,
            "startTime": self._began,
            "hostIP": NODE_ADDRESS,
            "podIP": self._network.address,
            "podIPs": [{"ip": self._network.address}],
            "conditions": [{"type": name, "status": str(fact)} for name, fact in facts.items()],
            "containerStatuses": [run.status() for run in self.containers],
            "initContainerStatuses": [run.status() for run in initial],
        }
        if status == self._told:
            return True
        path = f"/api/v1/namespaces/{self.namespace}/pods/{self.name}/status"
        try:
            self.kube.ask("PATCH", path, {"metadata": {"uid": self.pod["metadata"]["uid"]}, "status": status})
        except httpx.TransportError:
            return False
        except Refused as refused:
            # Gone, or another of the same name: nobody is left to be told.
            return refused.code in (404, 409)
        self._told = status
        return True
