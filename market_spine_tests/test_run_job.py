"""A run on Kubernetes, from our values to its tables: what its Job is, and that the Job's command does the work.

What it is: code server and daemon work as their containers say (``cluster``), and their launcher creates the Job of a
real run, which is looked at and carried out.
Belongs here: runs as pods with ``K8sRunLauncher``. Does not belong here: other launchers (``test_launchers``).
"""

import json
from collections.abc import Iterator
from datetime import date

import kubernetes_validate
import psycopg
import pytest
import yaml
from dagster import RunsFilter

from market_spine.ledger.tags import PARENT, SIGN_OF_LIFE
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine.warehouse.engine import plain_url
from market_spine_tests.cluster import Cluster, cluster, wait_for
from market_spine_tests.conftest import DatabaseFactory
from market_spine_tests.helm import KUBERNETES, NAMESPACE, Object, render_companion
from market_spine_tests.kubernetes_objects import (
    Pod,
    floating_images,
    guide_table,
    keys_of,
    named_by,
    unrestricted,
    without_resources,
)
from market_spine_tests.orchestrated import TABLES, deliver

DAY, BUSY, LONG = date(2026, 3, 4), date(2026, 3, 5), date(2026, 3, 10)


@pytest.fixture(scope="module")
def site(
    server: EmbeddedServer, new_database: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    with cluster(server, new_database, tmp_path_factory.mktemp("cluster")) as made:
        deliver(made.settings, DAY)
        yield made


@pytest.fixture(scope="module")
def finished(site: Cluster) -> str:
    """A run that went from the queue through its Job to its end."""
    run_id = site.launch("otc_full_refresh", {"dagster/partition": str(DAY)})
    ended = wait_for(lambda: site.status_of(run_id) in ("SUCCESS", "FAILURE"), site.logs)
    assert ended
    return run_id


@pytest.fixture(scope="module")
def job(site: Cluster, finished: str) -> Object:
    return site.job_of(finished)


@pytest.fixture(scope="module")
def pod(job: Object) -> Pod:
    template = job["spec"]["template"]
    return Pod("Job", template["spec"], template["metadata"]["labels"])


# --- the work


@pytest.mark.slow
def test_the_jobs_command_does_the_run(site: Cluster, finished: str) -> None:
    """With the Job's own variables, and without an account of Kubernetes."""
    assert site.status_of(finished) == "SUCCESS", site.logs()
    with psycopg.connect(plain_url(site.settings.database_url)) as connection:
        counts = [connection.execute(f"SELECT count(*) FROM {table}").fetchone() for table in TABLES]
    assert counts == [(10,), (10,), (3,)]


@pytest.mark.slow
def test_a_run_in_a_pod_shows_its_sign_of_life(site: Cluster, finished: str) -> None:
    run = site.instance.get_run_by_id(finished)
    assert run is not None
    assert run.tags[SIGN_OF_LIFE] == finished


@pytest.mark.slow
def test_a_run_whose_pod_died_ends_and_starts_again(site: Cluster) -> None:
    """Dagster asks Kubernetes about every run under way; on one machine it has nobody to ask."""
    deliver(site.settings, BUSY, count=300_000)
    run_id = site.launch("otc_full_refresh", {"dagster/partition": str(BUSY)})
    name = site.job_of(run_id)["metadata"]["name"]
    wait_for(lambda: site.status_of(run_id) == "STARTED", site.logs)
    site.api.processes[name].kill()
    wait_for(lambda: site.status_of(run_id) == "FAILURE", site.logs)
    said = [event.message for event in site.instance.all_logs(run_id)]
    assert any("Detected run worker status" in line and "K8s job" in line for line in said), said

    def again() -> list[str]:
        found = site.instance.get_runs(RunsFilter(tags={PARENT: run_id}))
        return [run.run_id for run in found if run.status.value == "SUCCESS"]

    assert wait_for(again, site.logs) != [run_id]


@pytest.mark.slow
def test_a_cancelled_run_is_told_to_stop_and_says_so(site: Cluster) -> None:
    deliver(site.settings, LONG, count=300_000)
    run_id = site.launch("otc_full_refresh", {"dagster/partition": str(LONG)})
    wait_for(lambda: site.status_of(run_id) == "STARTED", site.logs)
    assert site.instance.run_launcher.terminate(run_id)
    wait_for(lambda: site.status_of(run_id) == "CANCELED", site.logs)


# --- the Job


@pytest.mark.slow
@pytest.mark.parametrize("kubernetes", KUBERNETES)
def test_kubernetes_knows_every_field_of_the_job(job: Object, kubernetes: str) -> None:
    kubernetes_validate.validate(job, kubernetes, strict=True)


@pytest.mark.slow
def test_the_pod_may_run_in_a_restricted_namespace(pod: Pod) -> None:
    assert unrestricted(pod) == []
    assert floating_images(pod) == []
    assert [container["image"] for container in pod.containers] == ["market-spine:0.1.0"]


@pytest.mark.slow
def test_the_job_is_cleared_away_and_never_started_again_by_kubernetes(job: Object) -> None:
    assert job["spec"]["ttlSecondsAfterFinished"] == 3600
    assert job["spec"]["backoffLimit"] == 0
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    assert job["metadata"].get("namespace", NAMESPACE) == NAMESPACE


@pytest.mark.slow
def test_a_jobs_resources_come_from_its_tag_and_the_rest_from_the_launcher(site: Cluster, pod: Pod) -> None:
    assert without_resources(pod) == []
    (container,) = pod.containers
    assert container["resources"] == {"requests": {"cpu": "1", "memory": "256Mi"}, "limits": {"memory": "512Mi"}}
    light = site.launch("otc_cleanup", {})
    (container,) = site.job_of(light)["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["requests"] == {"cpu": "100m", "memory": "256Mi"}
    plain = site.launch("otc_normalize", {"dagster/partition": "2026-03-06"})
    (container,) = site.job_of(plain)["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["requests"] == {"cpu": "500m", "memory": "256Mi"}


@pytest.mark.slow
def test_a_run_that_asks_for_something_itself_gets_it(site: Cluster) -> None:
    own = {"container_config": {"resources": {"limits": {"memory": "2Gi"}}}}
    tags = {"dagster/partition": "2026-03-09", "dagster-k8s/config": json.dumps(own)}
    run_id = site.launch("otc_full_refresh", tags)
    (container,) = site.job_of(run_id)["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == {"requests": {"cpu": "1", "memory": "256Mi"}, "limits": {"memory": "2Gi"}}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True


@pytest.mark.slow
def test_the_pod_may_do_nothing_in_kubernetes(pod: Pod) -> None:
    assert pod.spec["serviceAccountName"] == "otc-pipelines"
    assert pod.spec["automountServiceAccountToken"] is False
    assert pod.spec["enableServiceLinks"] is False


@pytest.mark.slow
def test_the_pod_can_write_where_it_has_to_and_nowhere_else(pod: Pod) -> None:
    (container,) = pod.containers
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts == {"tmp": "/tmp", "dagster-home": "/opt/dagster/dagster_home"}
    assert {volume["name"]: set(volume) - {"name"} for volume in pod.spec["volumes"]} == {
        "tmp": {"emptyDir"},
        "dagster-home": {"emptyDir"},
    }
    assert all(volume["emptyDir"]["sizeLimit"] for volume in pod.spec["volumes"])


@pytest.mark.slow
def test_network_policies_find_the_pod(job: Object, pod: Pod) -> None:
    (policy,) = [
        one
        for one in render_companion("production")
        if one["kind"] == "NetworkPolicy" and one["metadata"]["name"] == "market-spine-run"
    ]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= pod.labels.items()
    assert job["metadata"]["labels"]["market-spine/role"] == "run"


@pytest.mark.slow
def test_the_pod_is_left_where_it_works(job: Object) -> None:
    annotations = job["spec"]["template"]["metadata"]["annotations"]
    assert annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"


@pytest.mark.slow
def test_the_guide_says_which_keys_a_run_takes(pod: Pod) -> None:
    assert keys_of(pod) == guide_table()["run"]
    named = {(one.kind, one.name) for one in named_by(pod) if one.kind == "ConfigMap"}
    assert named == {("ConfigMap", "market-spine")}


@pytest.mark.slow
def test_no_password_stands_in_the_job(site: Cluster, job: Object) -> None:
    passwords = [value for keys in site.api.secrets.values() for value in keys.values()]
    assert [password for password in passwords if password in yaml.safe_dump(job)] == []
