"""Our values at work on this machine: both releases rendered, code server and daemon started as their containers say.

What it is: ``cluster`` starts the very commands of the rendered containers, with the variables that rendered objects
and given secrets say; ``Cluster`` hands runs in and looks at what becomes of them. Runs are Jobs of ``jobs_api``.
Belongs here: the life of those processes. Does not belong here: what a Job ought to be.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import psutil
import pytest
import yaml
from dagster import DagsterInstance
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_graphql.cli import execute_query

from market_spine.settings import Settings
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine_tests.conftest import DatabaseFactory
from market_spine_tests.helm import ROOT, Object, render_companion, render_dagster
from market_spine_tests.jobs_api import JobsApi, Secrets, environment_of, jobs_api, on_this_machine
from market_spine_tests.kubernetes_objects import find
from market_spine_tests.orchestrated import dagster_database
from market_spine_tests.processes import free_port

LAUNCH = """mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
CODE_LOCATION = "dagster-dagster-user-deployments-otc-pipelines"

Value = TypeVar("Value")


@dataclass
class Cluster:
    """The rendered release, its code server and daemon as processes, and the API they create Jobs with."""

    settings: Settings
    api: JobsApi
    instance: DagsterInstance
    workspace: Path
    folder: Path

    def launch(self, job: str, tags: Mapping[str, str]) -> str:
        """Hand a run in as the UI does; answers with its id."""
        metadata = {"tags": [{"key": key, "value": value} for key, value in tags.items()]}
        selector = {"repositoryLocationName": "otc-pipelines", "repositoryName": "__repository__", "jobName": job}
        params = {"selector": selector, "mode": "default", "executionMetadata": metadata}
        with WorkspaceProcessContext(self.instance, WorkspaceFileTarget([str(self.workspace)])) as context:
            answer = execute_query(context, LAUNCH, {"params": params})["data"]["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return str(answer["run"]["runId"])

    def job_of(self, run_id: str) -> Object:
        """The Job of a run, once the daemon has created it."""
        return wait_for(lambda: self.api.jobs.get(f"dagster-run-{run_id}"), self.logs)

    def status_of(self, run_id: str) -> str:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status.value

    def logs(self) -> str:
        """The end of each process's output."""
        return "\n".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in sorted(self.folder.glob("*.log")))


def wait_for(ask: Callable[[], Value | None], logs: Callable[[], str], seconds: float = 120) -> Value:
    deadline = time.monotonic() + seconds
    while not (found := ask()):
        assert time.monotonic() < deadline, logs()
        time.sleep(0.2)
    return found


@contextmanager
def cluster(
    server: EmbeddedServer,
    new_database: DatabaseFactory,
    folder: Path,
    *overlays: str,
    values: Mapping[str, str] | None = None,
    secrets: Secrets | None = None,
) -> Iterator[Cluster]:
    """Everything in place, on databases of its own; nothing is left after the block.

    Args:
        server: the session's.
        new_database: the session's.
        folder: for landing files, DAGSTER_HOME, logs.
        overlays: values files of the official chart after the environment's.
        values: of the official chart, beside addresses of this machine.
        secrets: beside those that are always there.
    """
    with ExitStack() as stack:
        market = stack.enter_context(new_database())
        settings = Settings(database_url=market, landing=folder / "landing", state_dir=folder / "state")
        ledger = urlsplit(server.tcp_url(stack.enter_context(dagster_database(server, settings, folder))))
        here = {
            "postgresql.postgresqlHost": "127.0.0.1",
            "postgresql.service.port": str(ledger.port),
            "postgresql.postgresqlUsername": "postgres",
            "postgresql.postgresqlDatabase": ledger.path.strip("/"),
            "global.dagsterHome": str(folder / "home"),
            "dagster-user-deployments.deployments[0].port": str(free_port()),
        }
        api = stack.enter_context(jobs_api(folder))
        api.objects = [
            *render_dagster("production", *overlays, settings={**here, **(values or {})}),
            *render_companion("local", {"settings.MARKET_SPINE_LANDING": str(folder / "landing")}),
        ]
        api.secrets = {
            "market-spine": {"DATABASE_URL": market},
            "market-spine-postgresql": {"postgresql-password": str(ledger.password)},
            **(secrets or {}),
        }
        settings.landing.mkdir()
        _write_files(api, folder)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for variables in [{"DAGSTER_PG_PASSWORD": str(ledger.password)}, *(secrets or {}).values()]:
            for name, value in variables.items():
                patch.setenv(name, value)
        patch.setenv("DAGSTER_K8S_PIPELINE_RUN_ENV_CONFIGMAP", "dagster-pipeline-env")
        instance = stack.enter_context(DagsterInstance.from_config(str(folder / "home")))
        made = Cluster(settings, api, instance, folder / "workspace.yaml", folder)
        code_server = find(api.objects, "Deployment", CODE_LOCATION)
        stack.callback(_stop, _start(made, "code-server", code_server))
        wait_for(lambda: _probed(made, code_server), made.logs)
        for one in api.objects:
            if one["metadata"]["name"] == "dagster-daemon" and one["kind"] == "Deployment":
                stack.callback(_stop, _start(made, "daemon", one))
        yield made


def _write_files(api: JobsApi, folder: Path) -> None:
    """What containers find in their ConfigMaps; a process of this machine is in no cluster, and knows no Services."""
    config = yaml.safe_load(find(api.objects, "ConfigMap", "dagster-instance")["data"]["dagster.yaml"])
    config["run_launcher"]["config"] |= {"load_incluster_config": False, "kubeconfig_file": str(api.kubeconfig)}
    (folder / "home").mkdir()
    (folder / "home" / "dagster.yaml").write_text(yaml.safe_dump(config))
    workspace = find(api.objects, "ConfigMap", "dagster-workspace-yaml")["data"]["workspace.yaml"]
    (folder / "workspace.yaml").write_text(workspace.replace("host: otc-pipelines", "host: 127.0.0.1"))


def _start(cluster: Cluster, name: str, deployment: Object) -> "subprocess.Popen[bytes]":
    """The container of a Deployment as a process of this machine."""
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    command = [*container.get("command", []), *container.get("args", [])]
    at = str(cluster.workspace)
    command = [part.replace("/dagster-workspace/workspace.yaml", at) for part in command]
    variables = environment_of(container, cluster.api.objects, cluster.api.secrets)
    with (cluster.folder / f"{name}.log").open("wb") as output:
        return subprocess.Popen(
            command, env=on_this_machine(variables), cwd=ROOT, stdout=output, stderr=output, start_new_session=True
        )


def _probed(cluster: Cluster, deployment: Object) -> bool:
    """What the container's readiness probe says."""
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    variables = environment_of(container, cluster.api.objects, cluster.api.secrets)
    command = container["readinessProbe"]["exec"]["command"]
    return not subprocess.run(command, env=on_this_machine(variables), cwd=ROOT, capture_output=True).returncode


def _stop(process: "subprocess.Popen[bytes]") -> None:
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    for child in children:
        if child.is_running():
            child.kill()
    process.wait()
