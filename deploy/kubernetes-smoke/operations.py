"""What the runbook says, done: a secret rotated, a migration that fails, a node drained, a backup restored.

What it is: one function for each section, with the commands of docs/runbook.md, kubectl's and Helm's own.
Belongs here: what people do to a platform that runs. Does not belong here: what it does by itself (run_proofs.py).
"""

import json
import secrets
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import psycopg
from database import DAGSTER, MARKET
from kube import conditions
from node import NAME
from proofs import DEPLOYMENTS, all_answered, api_address, asked
from releases import COMPANION, NAMESPACE, Releases
from report import NotProven, Report
from run_proofs import PODS, Platform, wait

from market_spine.warehouse.embedded_home import bundled_programs

API_PODS = "app.kubernetes.io/name=market-spine,app.kubernetes.io/component=api"
NOBODY = "00000000-0000-0000-0000-000000000000"
FIGURES = """SELECT count(*), sum(total_volume), min(trade_date), max(trade_date) FROM otc_metrics_daily"""
RUNS = "SELECT status, count(*) FROM runs GROUP BY status ORDER BY status"


@dataclass(frozen=True)
class Kubectl:
    """kubectl at this cluster, in the namespace of the releases.

    Args:
        program: .tools/bin/control-plane, which is kubectl too.
        kubeconfig: the administrator's.
    """

    program: Path
    kubeconfig: Path

    def __call__(self, *arguments: str) -> str:
        """One command; answers with what it said.

        Raises:
            NotProven: it ended with an error.
        """
        place = ["--kubeconfig", str(self.kubeconfig), "--namespace", NAMESPACE]
        done = subprocess.run(
            [self.program, "kubectl", *arguments, *place], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise NotProven(f"kubectl {' '.join(arguments[:2])}: {done.stderr.strip()}")
        return done.stdout

    def set_secret(self, key: str, value: str) -> None:
        """Change one key of the Secret that the releases name."""
        self("patch", "secret", "market-spine", "--type=merge", f"--patch={json.dumps({'stringData': {key: value}})}")


def rotates_a_secret(platform: Platform, kubectl: Kubectl, report: Report) -> Platform:
    """The API's token is changed in the Secret and its pods restarted; answers with the platform that knows the new."""
    old, new = platform.database.token, secrets.token_urlsafe(24)
    with report.proof(
        "a rotated token: the new one is taken, the old one is not, and no request is refused"
    ) as details:
        with asked(api_address(platform.kube)) as answers:
            kubectl.set_secret("MARKET_SPINE_API_OPERATE_TOKENS", new)
            kubectl("rollout", "restart", "deployment/market-spine-api")
            kubectl("rollout", "status", "deployment/market-spine-api", "--timeout=120s")
        details.append(all_answered(answers))
        # The rollout is over when the new pod is ready; the one of before answers until it has ended.
        wait(lambda: len(platform.kube.items(PODS, labelSelector=API_PODS)) == 1, 60, lambda: "the old pod is there")
        # Nobody's run is not found, which is said only to those who may operate.
        codes = (_write_answer(platform, old), _write_answer(platform, new))
        if codes != (401, 404):
            raise NotProven(f"the old token was answered with {codes[0]}, the new one with {codes[1]}")
    return replace(platform, database=replace(platform.database, token=new))


def survives_a_failed_migration(platform: Platform, kubectl: Kubectl, releases: Releases, report: Report) -> None:
    """A migration that fails stops the upgrade, not the API; with its cause gone, the same upgrade succeeds."""
    with report.proof(
        "a migration that fails: Helm stops, the API of before goes on, the next try succeeds"
    ) as details:
        right = platform.database.address(MARKET, MARKET)
        kubectl.set_secret("DATABASE_URL", right.replace(platform.database.passwords[MARKET], "wrong"))
        with asked(api_address(platform.kube)) as answers:
            try:
                releases.upgrade(COMPANION, "local", "--set", "migration.backoffLimit=0")
            except NotProven as error:
                details.append(str(error).rpartition("Error: ")[2].splitlines()[0])
            else:
                raise NotProven("the upgrade succeeded with a password that is wrong")
            said = kubectl("logs", "job/market-spine-migration")
            if "password authentication failed" not in said:
                raise NotProven(f"the migration's log does not say why: {said[-300:]}")
            kubectl.set_secret("DATABASE_URL", right)
            releases.upgrade(COMPANION, "local")
        details.append(all_answered(answers))


def is_drained_and_restored(platform: Platform, kubectl: Kubectl, report: Report, folder: Path) -> None:
    """Every pod leaves the node; both databases are dropped and restored meanwhile; everything comes back."""
    with report.proof("kubectl drain: every pod leaves the node") as details:
        kubectl("drain", NAME, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=180s")
        living = [run.name for run in platform.node.pods.values() if run.lives()]
        if living:
            raise NotProven(f"still running: {', '.join(living)}")
        pending = kubectl("get", "pods", "--field-selector=status.phase=Pending", "--output=name").split()
        details.append(f"{len(pending)} pods wait for a node")
    with report.proof("both databases dropped, and restored from pg_dump's archives") as details:
        before = (platform.market(FIGURES), platform.ledger(RUNS))
        for name in (MARKET, DAGSTER):
            _dump_drop_restore(platform, name, folder / f"{name}.dump")
        if (platform.market(FIGURES), platform.ledger(RUNS)) != before:
            raise NotProven("the figures differ after the restore")
        details.append(f"{before[0][0][0]} rows of metrics, {sum(int(str(count)) for _, count in before[1])} runs")
    with report.proof("kubectl uncordon: everything is ready again"):
        kubectl("uncordon", NAME)

        def unready() -> list[str]:
            found = platform.kube.items(DEPLOYMENTS)
            return [one["metadata"]["name"] for one in found if "Available" not in conditions(one)]

        wait(lambda: not unready(), 240, lambda: f"not available: {', '.join(unready())}")
        platform.api("GET", "/executions")


def _write_answer(platform: Platform, token: str) -> int:
    address = api_address(platform.kube).replace("/health/live", f"/api/v1/executions/{NOBODY}/cancel")
    answer = httpx.post(address, headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=30)
    return answer.status_code


def _dump_drop_restore(platform: Platform, name: str, archive: Path) -> None:
    programs, administrator = bundled_programs(), platform.database.administrator
    source = platform.database.market if name == MARKET else platform.database.dagster
    _run(programs / "pg_dump", "--format=custom", f"--file={archive}", source)
    with psycopg.connect(administrator, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
    _run(programs / "pg_restore", "--create", "--exit-on-error", f"--dbname={administrator}", str(archive))


def _run(program: Path, *arguments: str) -> None:
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotProven(f"{program.name}: {done.stderr.strip()}")
