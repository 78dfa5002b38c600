"""What is proven of the two releases: what the API server accepts, what Helm brings up, what an upgrade does.

What it is: one function for each group of proofs, in the order in which smoke.py calls them.
Belongs here: what is expected of objects and releases. Does not belong here: runs (run_proofs.py), starting things.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import yaml
from image import PROJECT
from kube import Kube, Object, Refused, conditions
from releases import COMPANION, DAGSTER, NAMESPACE, Releases
from report import NotProven, Report

LOCAL_DATABASE = PROJECT / "deploy" / "kubernetes-local" / "postgresql.yaml"
RESTRICTED = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/enforce-version": "latest",
}
ENVIRONMENTS = ("local", "staging", "production")
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
STRICT = {"dryRun": "All", "fieldValidation": "Strict"}
LOOSE_PODS: dict[str, Object] = {
    "no security context": {},
    "as root": {"securityContext": {"runAsNonRoot": False, "runAsUser": 0}},
    "on the node's network": {"hostNetwork": True},
}


def namespaces(kube: Kube) -> None:
    """Make the namespace of the releases, and one to try each environment in; the strictest level in all of them."""
    for name in (NAMESPACE, *map(_trial, ENVIRONMENTS)):
        kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}}, "")


def admission(kube: Kube, report: Report) -> None:
    """The restricted level is in force: pods that break it are refused, and for that reason."""
    with report.proof("admission refuses pods that break the restricted level") as details:
        _service_account(kube, _trial("local"), "default")
        for what, spec in LOOSE_PODS.items():
            containers = [{"name": "shell", "image": "shell", "command": ["true"]}]
            pod = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "loose"},
                "spec": {"containers": containers} | spec,
            }
            try:
                kube.create(pod, _trial("local"), **STRICT)
            except Refused as refused:
                if "violates PodSecurity" not in str(refused):
                    raise NotProven(f"{what}: refused for another reason: {refused}") from refused
                details.append(what)
            else:
                raise NotProven(f"{what}: accepted")


def accepted(kube: Kube, releases: Releases, environment: str, report: Report, absent: dict[str, str]) -> None:
    """Every object of both releases is accepted, and so is the pod of every template, in that environment."""
    namespace = _trial(environment)
    left_out: dict[str, int] = {}
    with report.proof(f"both releases are accepted, environment {environment}") as details:
        objects = [
            one for release in (COMPANION, DAGSTER) for one in releases.rendered(release, environment, namespace)
        ]
        if environment == "local":
            objects += yaml.safe_load_all(LOCAL_DATABASE.read_text())
        for one in objects:
            if one["kind"] == "ServiceAccount":
                # For real: a pod is refused whose account is not there.
                _service_account(kube, namespace, one["metadata"]["name"])
        pods = 0
        for one in objects:
            if one["kind"] in absent:
                left_out[one["kind"]] = left_out.get(one["kind"], 0) + 1
            elif one["kind"] != "ServiceAccount":
                _try(kube, namespace, one)
            for template in _templates(one):
                pod = {"apiVersion": "v1", "kind": "Pod", **template}
                pod["metadata"] = {**template["metadata"], "name": one["metadata"]["name"]}
                _try(kube, namespace, pod)
                pods += 1
        details.append(f"{len(objects) - sum(left_out.values())} objects, unknown fields refused; {pods} pods")
    for kind, count in left_out.items():
        report.left_out(f"{count} x {kind}, environment {environment}", absent[kind])


def installed(kube: Kube, releases: Releases, report: Report) -> None:
    """Helm installs both and sees them become ready; their accounts may do what they need and no more."""
    with report.proof("helm install market-spine: the migration Job, then the API, ready by its probes") as details:
        releases.install(COMPANION, "local")
        done = kube.ask("GET", f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/market-spine-migration")
        if "Complete" not in conditions(done):
            raise NotProven("the migration Job is not complete")
        details.append(f"{done['status']['succeeded']} migration pod succeeded")
    with report.proof("helm install dagster: webserver, daemon, code location, ready by their probes") as details:
        releases.install(DAGSTER, "local")
        found = kube.items(DEPLOYMENTS)
        details += [one["metadata"]["name"] for one in found if "Available" in conditions(one)]
        if len(details) != len(found):
            raise NotProven(f"of {len(found)} Deployments only these are available: {', '.join(details)}")
    with report.proof("helm test market-spine"):
        said = releases.run("test", COMPANION, "--logs")
        if "Phase:          Succeeded" not in said:
            raise NotProven(said)
    with report.proof("service accounts may do what they need and no more") as details:
        for account, verb, resource, wanted in (
            ("dagster", "create", "jobs.batch", True),
            ("dagster", "delete", "jobs.batch", True),
            ("dagster", "get", "secrets", False),
            ("dagster", "create", "deployments.apps", False),
            ("otc-pipelines", "create", "jobs.batch", False),
            ("otc-pipelines", "get", "secrets", False),
            ("market-spine-api", "get", "pods", False),
        ):
            may = _may(kube, account, verb, resource)
            if may is not wanted:
                raise NotProven(f"{account} may{'' if may else ' not'} {verb} {resource}")
            details.append(f"{account} may{'' if may else ' not'} {verb} {resource}")


def retention(kube: Kube, report: Report) -> None:
    """The nightly clean-up does its work when a Job is made from the CronJob."""
    with report.proof("a Job made from the clean-up's CronJob succeeds"):
        path = f"/apis/batch/v1/namespaces/{NAMESPACE}"
        found = kube.items(f"{path}/cronjobs")
        if not found:
            raise NotProven("there is no CronJob")
        spec = found[0]["spec"]["jobTemplate"]["spec"]
        kube.ask(
            "POST",
            f"{path}/jobs",
            {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "by-hand"}, "spec": spec},
        )
        _wait_for_job(kube, f"{path}/jobs/by-hand")


def upgraded(kube: Kube, releases: Releases, report: Report) -> None:
    """A changed setting rolls out and back; whoever asks the API meanwhile is answered."""
    path = f"/api/v1/namespaces/{NAMESPACE}/configmaps/market-spine"
    address = api_address(kube)
    before = kube.ask("GET", path)["data"].get("MARKET_SPINE_KEEP_RUNS_DAYS")
    with report.proof("helm upgrade: the migration again, then a new API; no request is refused") as details:
        with asked(address) as answers:
            releases.upgrade(COMPANION, "local", "--set-string", "settings.MARKET_SPINE_KEEP_RUNS_DAYS=31")
        details.append(all_answered(answers))
        if kube.ask("GET", path)["data"].get("MARKET_SPINE_KEEP_RUNS_DAYS") != "31":
            raise NotProven("the setting did not change")
    with report.proof("helm rollback: the setting of before; no request is refused") as details:
        with asked(address) as answers:
            releases.roll_back(COMPANION, 1)
        details.append(all_answered(answers))
        if kube.ask("GET", path)["data"].get("MARKET_SPINE_KEEP_RUNS_DAYS") != before:
            raise NotProven("the setting did not change back")
    with report.proof("helm upgrade of dagster with nothing changed: no field that cannot be changed is touched"):
        releases.upgrade(DAGSTER, "local")


def api_address(kube: Kube) -> str:
    """Where the API says that it lives, by its Service."""
    service = kube.ask("GET", f"/api/v1/namespaces/{NAMESPACE}/services/otc-api")["spec"]
    return f"http://{service['clusterIP']}:{service['ports'][0]['port']}/health/live"


def _trial(environment: str) -> str:
    return f"trial-{environment}"


def _service_account(kube: Kube, namespace: str, name: str) -> None:
    kube.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}, namespace)


def _try(kube: Kube, namespace: str, wanted: Object) -> None:
    try:
        kube.create(wanted, namespace, **STRICT)
    except Refused as refused:
        raise NotProven(f"{wanted['kind']} {wanted['metadata']['name']}: {refused}") from refused


def _templates(wanted: Object) -> Iterator[Object]:
    spec = wanted.get("spec", {})
    if wanted["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    if wanted["kind"] in ("CronJob", "Deployment", "Job", "StatefulSet"):
        template = {"metadata": {}, **spec["template"]}
        claims = [claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", ())]
        made = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims]
        yield template | {"spec": template["spec"] | {"volumes": [*template["spec"].get("volumes", ()), *made]}}


def _may(kube: Kube, account: str, verb: str, resource: str) -> bool:
    name, _, group = resource.partition(".")
    asked = {"namespace": NAMESPACE, "verb": verb, "resource": name, "group": group}
    spec = {"user": f"system:serviceaccount:{NAMESPACE}:{account}", "resourceAttributes": asked}
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    answer = kube.ask("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    return bool(answer["status"]["allowed"])


def _wait_for_job(kube: Kube, path: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended = set(conditions(kube.ask("GET", path)))
        if "Complete" in ended:
            return
        if "Failed" in ended:
            raise NotProven("the Job failed")
        time.sleep(0.3)
    raise NotProven(f"the Job did not end within {seconds:.0f} s")


@contextmanager
def asked(address: str) -> Iterator[list[str]]:
    """Ask an address ten times a second for as long as the block; the list tells what came back."""
    answers: list[str] = []
    over = threading.Event()

    def ask() -> None:
        with httpx.Client(trust_env=False, timeout=10) as client:
            while not over.wait(0.1):
                try:
                    # A connection of its own each time: one that is open already says nothing about the next.
                    answers.append(str(client.get(address, headers={"Connection": "close"}).status_code))
                except httpx.TransportError as error:
                    answers.append(repr(error))

    thread = threading.Thread(target=ask, name="asking")
    thread.start()
    try:
        yield answers
    finally:
        over.set()
        thread.join()


def all_answered(answers: list[str]) -> str:
    wrong = [answer for answer in answers if answer != "200"]
    if wrong or not answers:
        raise NotProven(f"{len(wrong)} of {len(answers)} requests had no answer, the first one {wrong[:1]}")
    return f"{len(answers)} requests answered"
