"""Where runs execute is a setting: each launcher is built from our configuration and takes a run on.

Belongs here: choosing a launcher, and runs on Celery. Does not belong here: runs of ``K8sRunLauncher``
(``test_run_job``), of this machine's launcher (``test_deployed``), the values (``test_dagster_values``).
"""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster import DagsterInstance
from dagster._core.launcher import DefaultRunLauncher
from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster_celery.make_app import make_app
from dagster_celery_k8s import CeleryK8sRunLauncher
from dagster_celery_k8s.executor import create_k8s_job_task
from dagster_k8s import K8sRunLauncher

from market_spine.automation.run_pods import PodRunCoordinator, overlaid
from market_spine.cli.services import for_dagster
from market_spine.ledger.tags import SIGN_OF_LIFE
from market_spine.settings import Settings
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine_tests.cluster import Cluster, cluster, wait_for
from market_spine_tests.conftest import DatabaseFactory
from market_spine_tests.helm import ROOT, Object
from market_spine_tests.kubernetes_objects import (
    Pod,
    floating_images,
    guide_table,
    keys_of,
    name_of,
    named_by,
    unrestricted,
    without_resources,
)
from market_spine_tests.orchestrated import DAYS, TABLES, dagster_database, deliver

DAY = DAYS[0]


@pytest.fixture(scope="module")
def stopped(
    server: EmbeddedServer, new_database: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    with cluster(server, new_database, tmp_path_factory.mktemp("stopped"), "stopped") as made:
        yield made


@pytest.fixture(scope="module")
def celery(
    server: EmbeddedServer, new_database: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """With a broker of files, which Celery has for tests, in the place of Redis or RabbitMQ."""
    folder = tmp_path_factory.mktemp("celery")
    for name in ("queue", "results"):
        (folder / name).mkdir()
    options = "runLauncher.config.celeryK8sRunLauncher.configSource.broker_transport_options"
    values = {f"{options}.data_folder_{way}": str(folder / "queue") for way in ("in", "out")}
    values[f"{options}.control_folder"] = str(folder / "control")
    urls = {
        "DAGSTER_CELERY_BROKER_URL": "filesystem://",
        "DAGSTER_CELERY_BACKEND_URL": f"file://{folder / 'results'}",
    }
    with cluster(server, new_database, folder, "celery", values=values, secrets={"market-spine-celery": urls}) as made:
        deliver(made.settings, DAY)
        yield made


@pytest.fixture(scope="module")
def run_id(celery: Cluster) -> str:
    return celery.launch("otc_full_refresh", {"dagster/partition": str(DAY)})


@pytest.fixture(scope="module")
def run_pod(celery: Cluster, run_id: str) -> Pod:
    return pod_of(celery.job_of(run_id))


@pytest.fixture(scope="module")
def task(celery: Cluster, run_pod: Pod) -> Object:
    """The task that the run handed to Celery."""
    (path,) = wait_for(lambda: list((celery.folder / "queue").glob("*.msg")), celery.logs)
    message = json.loads(path.read_text())
    _, arguments, _ = json.loads(base64.b64decode(message["body"]))
    return {"id": message["headers"]["id"], "arguments": arguments, "queue": path.name}


def pod_of(job: Object) -> Pod:
    template = job["spec"]["template"]
    return Pod(name_of(job), template["spec"], template["metadata"]["labels"])


# --- the choice


def test_on_this_machine_a_run_is_a_process_of_the_code_server(
    server: EmbeddedServer, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    with dagster_database(server, settings, tmp_path) as name:
        monkeypatch.setenv("DAGSTER_DATABASE_URL", for_dagster(server.url(name)))
        with DagsterInstance.from_config(str(tmp_path)) as instance:
            assert isinstance(instance.run_launcher, DefaultRunLauncher)
            assert type(instance.run_coordinator) is QueuedRunCoordinator


@pytest.mark.slow
def test_on_kubernetes_a_run_is_a_job(stopped: Cluster) -> None:
    assert isinstance(stopped.instance.run_launcher, K8sRunLauncher)
    assert isinstance(stopped.instance.run_coordinator, PodRunCoordinator)


@pytest.mark.slow
def test_what_is_launched_while_all_is_stopped_waits(stopped: Cluster) -> None:
    """Without a daemon the chart writes no queue, and Dagster would have made the Job at once."""
    run_id = stopped.launch("otc_full_refresh", {"dagster/partition": str(DAY)})
    assert stopped.status_of(run_id) == "QUEUED"
    assert stopped.api.jobs == {}


# --- what a pod is to be


def test_maps_are_laid_over_each_other_and_everything_else_is_replaced() -> None:
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 1}
    assert overlaid(base, {"a": {"c": [3]}, "e": {"f": 1}}) == {"a": {"b": 1, "c": [3]}, "d": 1, "e": {"f": 1}}
    assert base == {"a": {"b": 1, "c": [1, 2]}, "d": 1}


@pytest.mark.parametrize(
    ("pods", "says"),
    [
        ({"every_run": {"container": {}}}, 'unexpected config entry "container"'),
        ({"by_job": {"a": {"container_config": {"resource": {}}}}}, "'resource'"),
        ({"every_run": {"pod_spec_config": {"securityContexts": {}}}}, "'securityContexts'"),
    ],
)
def test_a_pod_that_kubernetes_would_not_know_is_an_error_when_the_queue_starts(pods: Object, says: str) -> None:
    with pytest.raises(Exception, match=says):
        PodRunCoordinator(pods.get("every_run", {}), pods.get("by_job", {}))


def test_the_coordinator_takes_what_dagsters_own_takes(tmp_path: Path) -> None:
    config = yaml.safe_load((ROOT / "dagster.yaml").read_text())["run_coordinator"]["config"]
    ours = {"module": "market_spine.automation.run_pods", "class": "PodRunCoordinator", "config": config}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({"run_coordinator": ours}))
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        coordinator = instance.run_coordinator
        assert isinstance(coordinator, PodRunCoordinator)
        assert coordinator.dequeue_interval_seconds == config["dequeue_interval_seconds"]
        assert coordinator.get_run_queue_config().max_user_code_failure_retries == 3


# --- Celery


@pytest.mark.slow
def test_on_celery_a_run_is_a_job_as_restricted_as_on_kubernetes(celery: Cluster, run_pod: Pod) -> None:
    assert isinstance(celery.instance.run_launcher, CeleryK8sRunLauncher)
    assert (unrestricted(run_pod), without_resources(run_pod), floating_images(run_pod)) == ([], [], [])
    assert run_pod.spec["serviceAccountName"] == "otc-pipelines"
    assert run_pod.labels["market-spine/role"] == "run"
    assert run_pod.containers[0]["resources"]["requests"] == {"cpu": "1", "memory": "256Mi"}


@pytest.mark.slow
def test_a_run_on_celery_takes_the_brokers_address_and_what_every_run_takes(run_pod: Pod) -> None:
    assert keys_of(run_pod) == guide_table()["run"] | {"market-spine-celery/*"}
    assert {one.name for one in named_by(run_pod) if one.kind == "ConfigMap"} == {
        "market-spine",
        "dagster-pipeline-env",
    }


@pytest.mark.slow
def test_a_run_on_celery_hands_its_step_to_the_queue(celery: Cluster, run_id: str, task: Object) -> None:
    """And shows its sign of life meanwhile: it is the run's process that waits."""
    run = celery.instance.get_run_by_id(run_id)
    assert run is not None
    assert run.tags[SIGN_OF_LIFE] == run_id
    assert list(task["arguments"]["per_step_k8s_config"]) == ["otc_sessions"]


@pytest.mark.slow
def test_a_worker_makes_a_pod_of_the_step_and_the_run_succeeds(celery: Cluster, run_id: str, task: Object) -> None:
    """The worker's own code does the task; only the way to Kubernetes is this machine's and not a cluster's."""
    launcher: Any = celery.instance.run_launcher
    app = make_app({"broker": launcher.broker, "backend": launcher.backend, "config_source": launcher.config_source})
    here = {"load_incluster_config": False, "kubeconfig_file": str(celery.api.kubeconfig)}
    events = create_k8s_job_task(app)(**{**task["arguments"], **here})
    app.backend.store_result(task["id"], events, "SUCCESS")
    wait_for(lambda: celery.status_of(run_id) in ("SUCCESS", "FAILURE"), celery.logs)
    assert celery.status_of(run_id) == "SUCCESS", celery.logs()
    (step,) = [job for name, job in celery.api.jobs.items() if name.startswith("dagster-step-")]
    pod = pod_of(step)
    assert (unrestricted(pod), without_resources(pod), floating_images(pod)) == ([], [], [])
    assert pod.spec["serviceAccountName"] == "otc-pipelines"
    materialized = {key.to_user_string() for key in celery.instance.all_asset_keys()}
    assert set(TABLES) <= materialized
