"""What is proven of runs: from the queue over a Job to success, and every way in which one ends otherwise.

What it is: ``Platform`` asks the deployed API and looks at the cluster and at both databases; one function a proof.
Belongs here: what is expected of runs. Does not belong here: releases (proofs.py), starting things.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar
from uuid import uuid4

import httpx
import psycopg
from database import Database
from kube import Kube, Object, conditions
from node import Node
from releases import NAMESPACE
from report import NotProven, Report

Value = TypeVar("Value")
BUSY_SECONDS = 90.0
ENDED = ("SUCCESS", "FAILURE", "CANCELED")
JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
MATERIALIZED = """SELECT asset_key FROM event_logs
    WHERE run_id = %s AND dagster_event_type = 'ASSET_MATERIALIZATION' AND partition = %s ORDER BY asset_key"""
CURRENT = "SELECT count(*) FROM otc_metrics_daily WHERE trade_date = %s AND known_to IS NULL"
RETRY = "SELECT run_id FROM run_tags WHERE key = 'dagster/parent_run_id' AND value = %s"
STATUS = "SELECT status FROM runs WHERE run_id = %s"


@dataclass(frozen=True)
class Platform:
    """The installed releases, as their users see them.

    Args:
        kube: the administrator's account.
        node: where pods run.
        database: of both releases.
    """

    kube: Kube
    node: Node
    database: Database

    def api(self, method: str, path: str, body: Object | None = None) -> Object:
        """Ask the API, over its Service, with a token that may operate.

        What the webserver was too busy for is sent again, as a client would: on a loaded machine its first answer may
        take longer than the API waits. The key makes it the same request, however often it is sent.

        Raises:
            NotProven: it refused.
        """
        deadline = time.monotonic() + BUSY_SECONDS
        key = str(uuid4())
        while (answer := self._send(method, path, body, key)).status_code == 503 and time.monotonic() < deadline:
            time.sleep(1)
        if answer.status_code >= 400:
            raise NotProven(f"{method} {path}: {answer.status_code} {answer.text}")
        found: Object = answer.json()
        return found

    def _send(self, method: str, path: str, body: Object | None, key: str) -> httpx.Response:
        service = self.kube.ask("GET", f"/api/v1/namespaces/{NAMESPACE}/services/otc-api")["spec"]
        address = f"http://{service['clusterIP']}:{service['ports'][0]['port']}/api/v1{path}"
        headers = {"Authorization": f"Bearer {self.database.token}", "Idempotency-Key": key}
        return httpx.request(method, address, json=body, headers=headers, trust_env=False, timeout=60)

    def submit(self, session: str) -> str:
        """Hand in a session's whole pipeline; answers with the run's id."""
        wanted = {"pipeline": "otc_full_refresh", "session": session}
        return str(self.api("POST", "/executions", wanted)["id"])

    def status(self, run: str) -> str:
        """Dagster's status of a run; empty when there is no such run."""
        return str(next(iter(self.ledger(STATUS, run)), [""])[0])

    def wait_for_status(self, run: str, wanted: str, seconds: float = 180) -> None:
        """Wait until a run has this status.

        Raises:
            NotProven: it ended otherwise, or in time had not come so far.
        """

        def reached() -> bool:
            found = self.status(run)
            if found in ENDED and found != wanted:
                raise NotProven(f"the run is {found}, not {wanted}")
            return found == wanted

        wait(reached, seconds, lambda: f"the run is {self.status(run)}, not {wanted}")

    def ledger(self, query: str, *values: str) -> list[tuple[object, ...]]:
        """Rows of Dagster's database."""
        with psycopg.connect(self.database.dagster) as connection:
            return connection.execute(query.encode(), values).fetchall()

    def market(self, query: str, *values: str) -> list[tuple[object, ...]]:
        """Rows of the market tables."""
        with psycopg.connect(self.database.market) as connection:
            return connection.execute(query.encode(), values).fetchall()

    def job(self, run: str) -> Object | None:
        """The Job of a run."""
        return self.kube.find(f"{JOBS}/dagster-run-{run}")

    def pod(self, run: str) -> Object:
        """The pod of a run.

        Raises:
            NotProven: there is none.
        """
        found = self.kube.items(PODS, labelSelector=f"job-name=dagster-run-{run}")
        if not found:
            raise NotProven(f"the Job of run {run} has no pod")
        return found[0]

    @contextmanager
    def held_up(self) -> Iterator[None]:
        """Keep runs from getting anywhere for as long as the block: they wait for the table of files."""
        with psycopg.connect(self.database.market) as connection:
            connection.execute("LOCK TABLE otc_files IN ACCESS EXCLUSIVE MODE")
            yield
            connection.rollback()


def succeeds(platform: Platform, report: Report, session: str) -> None:
    """A session handed in over the API goes through queue, daemon, launcher and Job to its metrics."""
    with report.proof(f"a run of {session}: API, queue, daemon, K8sRunLauncher, Job, pod, success") as details:
        run = platform.submit(session)
        platform.wait_for_status(run, "SUCCESS")
        job = wait(lambda: _ended(platform.job(run)), 30, lambda: "the run's Job has not ended")
        if "Complete" not in conditions(job):
            raise NotProven(f"the run succeeded, its Job did not: {list(conditions(job))}")
        assets = platform.ledger(MATERIALIZED, run, session)
        if len(assets) != 3:
            raise NotProven(f"materialized: {assets}")
        ((count,),) = platform.market(CURRENT, session)
        if not count:
            raise NotProven(f"no metrics of {session}")
        details += [f"{len(assets)} assets materialized", f"{count} rows of metrics"]
    with report.proof("its pod was what our values say") as details:
        details += list(_as_configured(platform.pod(run)))


def fails(platform: Platform, report: Report, session: str) -> None:
    """A run whose pod dies is a failure, says why, and is started again as a new one, which succeeds."""
    with report.proof("a run whose pod is killed: Job failed, run FAILURE by run monitoring") as details:
        with platform.held_up():
            run = platform.submit(session)
            platform.wait_for_status(run, "STARTED")
            platform.node.pod(platform.pod(run)["metadata"]["name"]).kill()
            job = wait(lambda: _ended(platform.job(run)), 30, lambda: "the Job of the killed pod has not ended")
            if "Failed" not in conditions(job):
                raise NotProven(f"the Job of the killed pod is {list(conditions(job))}")
            platform.wait_for_status(run, "FAILURE")
        state = platform.pod(run)["status"]["containerStatuses"][0]["state"]["terminated"]
        details.append(f"exit code {state['exitCode']}")
    with report.proof("and is started again by run retries, in a Job of its own, with success"):
        again = wait(lambda: platform.ledger(RETRY, run), 60, lambda: "no run was started in its place")
        platform.wait_for_status(str(again[0][0]), "SUCCESS")


def cancels(platform: Platform, report: Report, session: str) -> None:
    """A run that is canceled over the API takes its Job with it."""
    what = "a run canceled over the API: its Job is deleted, its pod ends, run CANCELED"
    with report.proof(what), platform.held_up():
        run = platform.submit(session)
        platform.wait_for_status(run, "STARTED")
        platform.api("POST", f"/executions/{run}/cancel")
        wait(lambda: platform.job(run) is None, 60, lambda: "the Job is still there")
        # Held up until then: the Job is gone before its pod is told to stop, and a run is done in half a second.
        platform.wait_for_status(run, "CANCELED", 120)


def automatic(platform: Platform, report: Report, sessions: list[str]) -> None:
    """What lies in the landing folder is processed without anybody asking, each run in a Job."""
    with report.proof(
        f"the landing sensor: runs of {len(sessions)} bundled sessions, nobody asked for them"
    ) as details:

        def missing() -> list[str]:
            return [session for session in sessions if platform.market(CURRENT, session) == [(0,)]]

        wait(lambda: not missing(), 300, lambda: f"no metrics of {', '.join(missing())}")
        wait(lambda: not _under_way(platform), 120, lambda: "runs are still under way")

        def jobs() -> list[Object]:
            return platform.kube.items(JOBS, labelSelector="market-spine/role=run")

        wait(lambda: all(_ended(job) for job in jobs()), 30, lambda: "runs have ended, their Jobs have not")
        done = [job for job in jobs() if "Complete" in conditions(job)]
        if len(done) != len(jobs()):
            raise NotProven(f"of {len(jobs())} Jobs of runs {len(done)} are complete")
        details.append(f"{len(done)} Jobs complete")


def wait(ask: Callable[[], Value], seconds: float, otherwise: Callable[[], str]) -> Value:
    """Ask until the answer is true; answers with it.

    Raises:
        NotProven: it never was.
    """
    deadline = time.monotonic() + seconds
    while not (found := ask()):
        if time.monotonic() > deadline:
            raise NotProven(f"not within {seconds:.0f} s: {otherwise()}")
        time.sleep(0.3)
    return found


def _under_way(platform: Platform) -> bool:
    query = "SELECT run_id FROM runs WHERE NOT status = ANY(string_to_array(%s, ' '))"
    return bool(platform.ledger(query, " ".join(ENDED)))


def _ended(job: Object | None) -> Object:
    """The Job, if it has ended; otherwise an empty one, which is not true."""
    return job if job is not None and {"Complete", "Failed"} & set(conditions(job)) else {}


def _as_configured(pod: Object) -> Iterator[str]:
    spec, container = pod["spec"], pod["spec"]["containers"][0]
    wanted = {
        "role": pod["metadata"]["labels"].get("market-spine/role") == "run",
        "account otc-pipelines": spec["serviceAccountName"] == "otc-pipelines",
        "no token mounted": spec.get("automountServiceAccountToken") is False,
        "read-only root": container["securityContext"].get("readOnlyRootFilesystem") is True,
        "user 10001": spec["securityContext"].get("runAsUser") == 10001,
        "limits": "memory" in container["resources"].get("limits", {}),
        "requests": {"cpu", "memory"} <= set(container["resources"].get("requests", {})),
    }
    for what, so in wanted.items():
        if not so:
            raise NotProven(f"the run's pod has not: {what}")
        yield what
