"""The two releases, put into the cluster by Helm itself, as the runbook has an operator do it.

Belongs here: Helm's commands and where charts and values are. Does not belong here: what is proven about the result.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from image import PROJECT
from kube import Object
from report import NotProven

NAMESPACE = "market-spine"
DAGSTER, COMPANION = "dagster", "market-spine"
VALUES = PROJECT / "helm-values"
PATIENCE = "240s"
ADDED = ("virtualservice.yaml", "kyverno.yaml")
"""Templates that some distributors' copies of the official chart have and the official chart has not; they are for
Istio and Kyverno, and without those no API server takes them."""


def helm_program() -> str | None:
    """Helm; None where it is not."""
    ours = PROJECT / ".tools" / "bin" / "helm"
    return str(ours) if ours.exists() else shutil.which("helm")


def chart(release: str) -> Path:
    """The folder of a release's chart."""
    if release == COMPANION:
        return VALUES / "market-spine"
    return Path(os.environ.get("DAGSTER_CHART") or PROJECT / ".tools" / "charts" / "dagster")


def without_additions(source: Path, target: Path) -> tuple[Path, list[str]]:
    """The official chart without what a distributor has added; answers with its folder and with what was left out."""
    added = [name for name in ADDED if (source / "templates" / name).exists()]
    if not added:
        return source, []
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(*added, "*.tgz"))
    for archive in source.glob("charts/*.tgz"):
        shutil.copy(archive, target / "charts")
    return target, added


def values(release: str, environment: str) -> list[Path]:
    """The values files of a release, in the order Helm is given them."""
    if release == COMPANION:
        return [VALUES / "market-spine" / "environments" / f"{environment}.yaml"]
    return [VALUES / "dagster" / "base.yaml", VALUES / "dagster" / f"{environment}.yaml"]


def database_host() -> str:
    """What the values call the database's machine."""
    return str(yaml.safe_load((VALUES / "dagster" / "base.yaml").read_text())["postgresql"]["postgresqlHost"])


@dataclass(frozen=True)
class Releases:
    """Helm at this cluster.

    Args:
        kubeconfig: the administrator's.
        folder: Helm's own files.
        version: of the API server.
        official: the official chart's folder.
    """

    kubeconfig: Path
    folder: Path
    version: str
    official: Path

    def install(self, release: str, environment: str) -> str:
        """Install a release and wait until all of it is ready; answers with what Helm said.

        Raises:
            NotProven: Helm refused, or it did not become ready.
        """
        return self.run("install", release, self._chart(release), *self._wanted(release, environment), *self._wait())

    def upgrade(self, release: str, environment: str, *settings: str) -> str:
        """Upgrade a release to the same chart, with settings of Helm's own (``--set``, ...), and wait.

        Raises:
            NotProven: as ``install``.
        """
        wanted = self._wanted(release, environment)
        return self.run("upgrade", release, self._chart(release), *wanted, *settings, *self._wait())

    def roll_back(self, release: str, revision: int) -> str:
        """Go back to an earlier revision, and wait.

        Raises:
            NotProven: as ``install``.
        """
        return self.run("rollback", release, str(revision), *self._wait())

    def rendered(self, release: str, environment: str, namespace: str) -> list[Object]:
        """The objects that a release consists of in an environment, hooks included.

        Raises:
            NotProven: Helm refused.
        """
        wanted = self._wanted(release, environment)
        text = self.run(
            "template", release, self._chart(release), *wanted, "--kube-version", self.version, namespace=namespace
        )
        return [found for found in yaml.safe_load_all(text) if found]

    def run(self, *arguments: str, namespace: str = NAMESPACE) -> str:
        """One of Helm's commands; answers with what it said.

        Raises:
            NotProven: it ended with an error.
        """
        program = helm_program() or "helm"
        home = {"HELM_CACHE_HOME": "cache", "HELM_CONFIG_HOME": "config", "HELM_DATA_HOME": "data"}
        done = subprocess.run(
            [program, *arguments, "--kubeconfig", str(self.kubeconfig), "--namespace", namespace],
            env={**os.environ, **{key: str(self.folder / name) for key, name in home.items()}},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise NotProven(f"helm {' '.join(arguments[:2])}: {done.stderr.strip()}")
        return done.stdout

    def _wanted(self, release: str, environment: str) -> Sequence[str]:
        files = [part for path in values(release, environment) for part in ("--values", str(path))]
        # The values schema of the official chart names other schemas by address, which Helm would fetch.
        return [*files, "--skip-schema-validation"]

    def _chart(self, release: str) -> str:
        return str(self.official if release == DAGSTER else chart(release))

    def _wait(self) -> Sequence[str]:
        return ("--wait", "--timeout", PATIENCE)
