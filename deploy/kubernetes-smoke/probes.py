"""Probes of one container: startup, readiness and liveness, as the pod asks for them.

What it is: ``Probes``, a thread that asks as often as the pod says, and knows whether the container can work.
Belongs here: asking a container how it is. Does not belong here: what follows from the answer (pod_run.py).
"""

import http.client
import shutil
import socket
import subprocess
import threading
import time

from container import Container, first_process
from kube import Object

SOONEST = 1.0


class Probes:
    """Whether a container can work.

    Args:
        wanted: the container's entry in the pod.
        process: that made its namespaces and lives as long as the container.
        container: as it was started; commands of probes run as it does.
        address: the pod's.
    """

    def __init__(self, wanted: Object, process: "subprocess.Popen[bytes]", container: Container, address: str) -> None:
        self.ready = not any(f"{kind}Probe" in wanted for kind in ("startup", "readiness"))
        self.dead = False
        self.said = "not asked yet"
        self._wanted = wanted
        self._process = process
        self._container = container
        self._address = address
        self._thread = threading.Thread(target=self._work, name=f"probes-{wanted['name']}", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        if (startup := self._wanted.get("startupProbe")) is not None and not self._passes_in_time(startup):
            self.dead = True
            return
        readiness, liveness = self._wanted.get("readinessProbe"), self._wanted.get("livenessProbe")
        self.ready = readiness is None
        asked_ready = asked_live = 0.0
        failed = 0
        while self._alive():
            if readiness is not None and _due(asked_ready, readiness, self.ready):
                self.ready, asked_ready = self._passes(readiness), time.monotonic()
            if liveness is not None and _due(asked_live, liveness, settled=True):
                failed, asked_live = (0 if self._passes(liveness) else failed + 1), time.monotonic()
                if failed >= liveness.get("failureThreshold", 3):
                    self.dead = True
                    return
            time.sleep(SOONEST / 4)

    def _passes_in_time(self, probe: Object) -> bool:
        left = probe.get("failureThreshold", 3)
        while left > 0 and self._alive():
            began = time.monotonic()
            if self._passes(probe):
                return True
            # Asked sooner than the pod says, but for as long: nobody has to wait for the end of a period.
            left -= max(time.monotonic() - began, SOONEST) / probe.get("periodSeconds", 10)
            time.sleep(max(SOONEST - (time.monotonic() - began), 0))
        return not self._alive()

    def _alive(self) -> bool:
        return self._process.poll() is None

    def _passes(self, probe: Object) -> bool:
        patience = float(probe.get("timeoutSeconds", 1))
        if "exec" in probe:
            return self._command_passes(probe["exec"]["command"], patience)
        kind = next(one for one in ("httpGet", "tcpSocket", "grpc") if one in probe)
        place = (self._address, self._port(probe[kind]["port"]))
        if kind != "httpGet":
            return self._connects(place, patience)
        try:
            connection = http.client.HTTPConnection(*place, timeout=patience)
            headers = {one["name"]: one["value"] for one in probe[kind].get("httpHeaders", ())}
            connection.request("GET", probe[kind].get("path", "/"), headers=headers)
            answer = connection.getresponse()
            self.said = f"{answer.status} {answer.read().decode(errors='replace')}"
        except (OSError, http.client.HTTPException) as error:
            self.said = repr(error)
            return False
        return 200 <= answer.status < 400

    def _connects(self, place: tuple[str, int], patience: float) -> bool:
        try:
            socket.create_connection(place, patience).close()
        except OSError as error:
            self.said = repr(error)
            return False
        return True

    def _port(self, port: int | str) -> int:
        if isinstance(port, int):
            return port
        return int(next(one["containerPort"] for one in self._wanted["ports"] if one.get("name") == port))

    def _command_passes(self, command: list[str], patience: float) -> bool:
        inner = first_process(self._process)
        if inner is None:
            return False
        user, group = self._container.user
        enter = [
            shutil.which("nsenter") or "nsenter",
            f"--target={inner}",
            "--mount",
            "--pid",
            "--net",
            "--root",
            "--wd",
        ]
        drop = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--"]
        environment = dict(self._container.environment)
        try:
            done = subprocess.run(
                [*enter, *drop, *command], env=environment, capture_output=True, timeout=patience, check=False
            )
        except subprocess.TimeoutExpired as error:
            self.said = str(error)
            return False
        self.said = (done.stdout + done.stderr).decode(errors="replace").strip()[-300:]
        return done.returncode == 0


def _due(asked: float, probe: Object, settled: bool) -> bool:
    return time.monotonic() - asked >= (probe.get("periodSeconds", 10) if settled else SOONEST)
