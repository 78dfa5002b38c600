"""As much of Kubernetes' API as launching a run needs, over HTTP: Jobs, which it runs as processes of this machine.

What it is: ``JobsApi`` keeps what is posted, starts the container of each Job with the variables that the rendered
objects and the given secrets say, and answers with the Job's status. ``kubeconfig`` leads Dagster there.
Belongs here: that. Does not belong here: whether a Job is right. A real control plane takes the same Jobs in
``make k8s-smoke``.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import yaml

from market_spine_tests.helm import ROOT, Object
from market_spine_tests.kubernetes_objects import find

Secrets = Mapping[str, Mapping[str, str]]


def environment_of(container: Object, objects: list[Object], secrets: Secrets) -> dict[str, str]:
    """The variables of a container, as the kubelet would make them of these objects and secrets."""
    found: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        if reference := source.get("configMapRef"):
            found |= find(objects, "ConfigMap", reference["name"]).get("data") or {}
        elif reference := source.get("secretRef"):
            found |= secrets.get(reference["name"], {}) if reference.get("optional") else secrets[reference["name"]]
    for variable in container.get("env") or []:
        if reference := (variable.get("valueFrom") or {}).get("secretKeyRef"):
            found[variable["name"]] = secrets[reference["name"]][reference["key"]]
        else:
            found[variable["name"]] = variable["value"]
    return found


def on_this_machine(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables of a process that does what a container would: nothing of ours, but this machine's programs."""
    ours = ("MARKET_SPINE_", "DAGSTER_", "DATABASE_URL", "KUBERNETES_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    programs = os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", "")])
    quiet = {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "PYTHONUNBUFFERED": "1"}
    return {**inherited, **quiet, **variables, "PATH": programs}


@dataclass
class JobsApi:
    """The API, and the Jobs it was given.

    Args:
        folder: for the output of Jobs, one file each.
        objects: rendered ones.
        secrets: those that are made before the release, with their values.
        run: whether the containers of Jobs are started.
    """

    folder: Path
    objects: list[Object]
    secrets: Secrets
    run: bool = True
    jobs: dict[str, Object] = field(default_factory=dict)
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    port: int = 0

    @property
    def kubeconfig(self) -> Path:
        """A file that leads there."""
        path = self.folder / "kubeconfig"
        cluster = {"name": "here", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}
        context = {"name": "here", "context": {"cluster": "here", "user": "here"}}
        user: Object = {"name": "here", "user": {}}
        config = {"apiVersion": "v1", "kind": "Config", "current-context": "here"}
        path.write_text(
            yaml.safe_dump({**config, "clusters": [cluster], "contexts": [context], "users": [user]}), encoding="utf-8"
        )
        return path

    def create(self, job: Object) -> Object:
        """Keep a Job and start its container."""
        name = job["metadata"]["name"]
        self.jobs[name] = job
        if self.run:
            (container,) = job["spec"]["template"]["spec"]["containers"]
            variables = environment_of(container, self.objects, self.secrets)
            with (self.folder / f"{name}.log").open("wb") as output:
                self.processes[name] = subprocess.Popen(
                    container["args"], env=on_this_machine(variables), cwd=ROOT, stdout=output, stderr=output
                )
        return job

    def status(self, name: str) -> Object:
        """A Job as it stands."""
        process = self.processes.get(name)
        code = process.poll() if process else None
        state = {"active": 1} if code is None else {"failed": 1} if code else {"succeeded": 1}
        return {**self.jobs[name], "status": state}

    def delete(self, name: str) -> Object:
        """End a Job's container the way a kubelet does: it is asked to."""
        if process := self.processes.get(name):
            process.terminate()
        return {"kind": "Status", "apiVersion": "v1", "status": "Success"}

    def stop(self) -> None:
        """Kill what still runs."""
        for process in self.processes.values():
            process.kill()
            process.wait()


@contextmanager
def jobs_api(folder: Path) -> Iterator[JobsApi]:
    """The API on a free port of this machine; nothing is left after the block."""
    api = JobsApi(folder, [], {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(api))
    api.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        api.stop()


def _handler(api: JobsApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._answer(201, api.create(body))

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            kind, name, what = [*path.rpartition("/namespaces/")[2].split("/")[1:], "", ""][:3]
            selected = unquote(query).rpartition("name=")[2].partition("&")[0]
            if kind == "jobs" and name in api.jobs:
                self._answer(200, api.status(name))
            elif kind == "jobs" and not name:
                items = [api.status(job) for job in api.jobs if job == selected]
                self._answer(200, {"kind": "JobList", "apiVersion": "batch/v1", "items": items})
            elif kind == "pods" and not name:
                items = [{"metadata": {"name": selected}}] if selected in api.jobs else []
                self._answer(200, {"kind": "PodList", "apiVersion": "v1", "items": items})
            elif kind == "pods" and what == "log":
                self._answer(200, (api.folder / f"{name}.log").read_text())
            else:
                self._answer(404, {"kind": "Status", "apiVersion": "v1", "reason": "NotFound", "code": 404})

        def do_DELETE(self) -> None:
            self._answer(200, api.delete(self.path.partition("?")[0].rpartition("/")[2]))

        def _answer(self, status: int, body: Any) -> None:
            text = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Keep the tests' output clean."""

    return Handler
