"""`make k8s-smoke`: both releases and real runs on a real Kubernetes control plane, without a container engine.

What it is: the program. It refuses what cannot work, moves into namespaces of its own (network, mounts, processes), and
there starts the control plane, the node and the database, and goes through the proofs. When it ends, however it ends,
nothing of it is left.
Belongs here: the order of things. Does not belong here: the things.
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import network
import operations
import proofs
import run_proofs
import yaml
from control_plane import NotStarted, control_plane
from database import database
from image import DOCKERFILE, PROJECT
from kube import Kube
from node import Node
from releases import COMPANION, DAGSTER, NAMESPACE, Releases, chart, database_host, helm_program, without_additions
from report import FAILURES, Report
from services import Services

HERE = Path(__file__).resolve().parent
PROGRAM = PROJECT / ".tools" / "bin" / "control-plane"
NEEDED = ("unshare", "nsenter", "setpriv", "chroot", "mount", "ip", "openssl")
INSIDE = "--inside"
CANNOT = 3
"""Exit code when something is missing: not a failure of what is to be proven."""
SESSIONS = ["2026-03-04", "2026-03-05", "2026-03-06", "2026-03-09", "2026-03-10", "2026-03-11", "2026-03-12"]
"""The bundled ones, data/landing."""
CRDS = PROJECT.parent / "shared" / "reference" / "dagster-helm"


def missing() -> str | None:
    """What is missing on this machine, and what to do about it; None when nothing is."""
    if platform.system() != "Linux":
        return "needs Linux: its pods are namespaces of the kernel"
    if os.geteuid() != 0:
        return "needs root, to make network and mount namespaces: sudo make k8s-smoke"
    absent = [name for name in NEEDED if shutil.which(name) is None]
    if absent:
        return f"needs {', '.join(absent)} (Debian: util-linux, iproute2, openssl)"
    if helm_program() is None:
        return "needs helm: .ci/tools installs it"
    if not (chart(DAGSTER) / "Chart.yaml").exists():
        return "needs the official Dagster chart: unpack it and set DAGSTER_CHART to its folder"
    for path in (DOCKERFILE, chart(COMPANION) / "Chart.yaml"):
        if not path.exists():
            return f"{path.relative_to(PROJECT)} is not there"
    return None


def main() -> int:
    """Outside: refuse, build, move in. Inside: prove."""
    if INSIDE in sys.argv:
        return inside(Path(sys.argv[-1]))
    why = missing()
    if why is not None:
        print(f"k8s-smoke: {why}", file=sys.stderr)
        return CANNOT
    built = subprocess.run([HERE / "build"], check=False)
    if built.returncode != 0:
        return built.returncode
    with tempfile.TemporaryDirectory(prefix="k8s-smoke-") as folder:
        Path(folder).chmod(0o755)
        # Whatever ends this process ends unshare, which ends the process namespace with everything in it.
        apart = [
            "setpriv",
            "--pdeathsig=KILL",
            "unshare",
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child=SIGKILL",
            "--mount-proc",
        ]
        done = subprocess.run([*apart, sys.executable, __file__, INSIDE, folder], check=False)
        if done.returncode not in (0, CANNOT):
            kept = keep_logs(Path(folder))
            print(f"k8s-smoke: logs of the control plane and of all containers are in {kept}", file=sys.stderr)
    return done.returncode


def keep_logs(folder: Path) -> Path:
    """Put the logs of a run that failed where they stay; answers with the folder."""
    kept = PROJECT / ".spine" / "k8s-smoke"
    shutil.rmtree(kept, ignore_errors=True)
    for path in folder.rglob("*.log"):
        target = kept / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return kept


def inside(folder: Path) -> int:
    """The proofs, in order; answers with the exit code."""
    if not network.is_private():
        print("k8s-smoke: this network namespace is not its own", file=sys.stderr)
        return CANNOT
    network.prepare()
    report = Report()
    try:
        with ExitStack() as stack:
            prove(folder, report, stack)
    except (*FAILURES, NotStarted) as error:
        if not report.failed:
            print(f"k8s-smoke: {error}", file=sys.stderr)
        report.failed = True
    report.close()
    return 1 if report.failed else 0


def prove(folder: Path, report: Report, stack: ExitStack) -> None:
    """Start everything, then go from what is accepted to what runs.

    Raises:
        NotProven, NotStarted: something is not as it should be.
    """
    with report.proof("a control plane starts: etcd, kube-apiserver, controllers, scheduler") as details:
        kube = stack.enter_context(control_plane(PROGRAM, folder / "control-plane"))
        version = kube.ask("GET", "/version")["gitVersion"]
        details.append(version)
    proofs.namespaces(kube)
    absent = custom_kinds(kube)
    official, added = without_additions(chart(DAGSTER), folder / "dagster")
    if added:
        report.left_out(f"of the chart in {chart(DAGSTER).name}/: {', '.join(added)}", "a distributor's, not Dagster's")
    releases = Releases(folder / "control-plane" / "administrator.kubeconfig", folder / "helm", version, official)
    proofs.admission(kube, report)
    for environment in ("local", "staging", "production"):
        proofs.accepted(kube, releases, environment, report, absent)

    host = database_host()
    services = Services(kube, folder / "hosts", {host: network.NODE_ADDRESS})
    stack.callback(services.stop)
    with report.proof("a PostgreSQL outside of the cluster, with one account for each of its uses"):
        found = stack.enter_context(database(folder / "database", host))
    node = stack.enter_context(Node(kube, folder / "node", services))
    stack.push(lambda kind, *_: complain(node) if kind is not None else None)
    for secret in found.secrets():
        kube.apply(secret, NAMESPACE)
    proofs.installed(kube, releases, report)
    platform = run_proofs.Platform(kube, node, found)
    run_proofs.automatic(platform, report, SESSIONS)
    run_proofs.succeeds(platform, report, SESSIONS[0])
    run_proofs.fails(platform, report, SESSIONS[1])
    run_proofs.cancels(platform, report, SESSIONS[2])
    proofs.retention(kube, report)
    proofs.upgraded(kube, releases, report)
    kubectl = operations.Kubectl(PROGRAM, folder / "control-plane" / "administrator.kubeconfig")
    platform = operations.rotates_a_secret(platform, kubectl, report)
    operations.survives_a_failed_migration(platform, kubectl, releases, report)
    operations.is_drained_and_restored(platform, kubectl, report, folder)


def complain(node: Node) -> None:
    """Say what was wrong with pods when something was not proven."""
    for line in node.trouble():
        print(f"k8s-smoke: {line}", file=sys.stderr)


def custom_kinds(kube: Kube) -> dict[str, str]:
    """Define the kinds that come from operators, where their definitions are; answers with those absent, and why."""
    absent = {
        "ExternalSecret": "its definition is not here",
        "Cluster": "its definition is not here",
        "ServiceMonitor": "../shared/reference/dagster-helm is not here",
        "PrometheusRule": "../shared/reference/dagster-helm is not here",
    }
    for path in sorted(CRDS.glob("*.crd.yaml")):
        for definition in yaml.safe_load_all(path.read_text()):
            if definition:
                kube.apply(definition, "")
                absent.pop(definition["spec"]["names"]["kind"], None)
    return absent


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("k8s-smoke: stopped")
