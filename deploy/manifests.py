"""Both releases as plain manifests, for those without Helm: ``python deploy/manifests.py [FOLDER]`` (make manifests).

What it is: renders the two charts for each environment and writes ``FOLDER/<environment>/``, one file an object,
numbered in the order in which they are to be applied. Written anew each time.
Belongs here: order and files. Does not belong here: what is rendered (helm-values).

The official chart is looked for in the folder that DAGSTER_CHART names, else in .tools/charts/dagster. IMAGE is the
image's name in a registry of yours; empty: as the values say.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
VALUES = ROOT / "helm-values"
COMPANION = VALUES / "market-spine"
ENVIRONMENTS = ("local", "staging", "production")
OFFICIAL_GROUPS = ("v1", "apps", "batch", "networking.k8s.io", "rbac.authorization.k8s.io")
"""API groups of what the official chart makes; some who pass it on add objects for clusters of their own."""
HEADER = (
    "# Written by `make manifests` from helm-values/; never edited by hand: change the values and write it again.\n"
)
ORDER = (
    ("Namespace",),
    ("NetworkPolicy", "ServiceAccount", "Role", "RoleBinding"),
    ("ConfigMap", "Secret", "ExternalSecret", "PersistentVolumeClaim"),
    ("Cluster", "Service"),
    ("Job",),
    ("Deployment", "StatefulSet", "CronJob"),
)
"""What is named before what names it, and the migration before what needs the tables; every other kind comes last."""

OFFICIAL_IMAGES = (
    "dagsterWebserver.image.repository",
    "dagsterDaemon.image.repository",
    "pipelineRun.image.repository",
    "dagster-user-deployments.deployments[0].image.repository",
)
"""Every place in which the official chart names our image."""

Object = dict[str, Any]


class CannotRender(Exception):
    """A chart cannot be rendered; the message says why in one line."""


def main() -> int:
    """Write them all."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "manifests"
    try:
        for environment in ENVIRONMENTS:
            objects = [*companion(environment), *official(environment)]
            write(folder / environment, sorted(objects, key=rank))
            print(f"manifests: {len(objects)} objects in {folder / environment}")
    except CannotRender as error:
        print(f"manifests: {error}", file=sys.stderr)
        return 1
    return 0


def companion(environment: str) -> list[Object]:
    """Our own chart."""
    image = os.environ.get("IMAGE", "")
    more = ("--set", f"image.registry=,image.repository={image}") if image else ()
    return list(rendered("market-spine", COMPANION, COMPANION / "environments" / f"{environment}.yaml", more=more))


def official(environment: str) -> Iterator[Object]:
    """The official Dagster chart with our values."""
    chart = Path(os.environ.get("DAGSTER_CHART") or ROOT / ".tools" / "charts" / "dagster")
    if not (chart / "Chart.yaml").exists():
        raise CannotRender(
            f"{chart} is no chart; run `helm pull dagster/dagster --untar --version {versions()['chart']['dagster']}` "
            "and set DAGSTER_CHART to the folder"
        )
    found, wanted = yaml.safe_load((chart / "Chart.yaml").read_text())["version"], versions()["chart"]["dagster"]
    if found != wanted:
        print(f"manifests: {environment}: the Dagster chart is {found}; the image has {wanted}", file=sys.stderr)
    files = [VALUES / "dagster" / f"{name}.yaml" for name in ("base", environment)]
    image = os.environ.get("IMAGE", "")
    named = [part for place in OFFICIAL_IMAGES for part in ("--set", f"{place}={image}")] if image else []
    # The chart's schema names others by their address in the network.
    for one in rendered("dagster", chart, *files, more=("--skip-schema-validation", *named)):
        if one["apiVersion"].partition("/")[0] in OFFICIAL_GROUPS:
            yield one
        else:
            name = one["metadata"]["name"]
            print(
                f"manifests: {environment}: left out, not the official chart's: {one['kind']} {name}", file=sys.stderr
            )


def rendered(release: str, chart: Path, *values: Path, more: tuple[str, ...] = ()) -> Iterator[Object]:
    """A chart's objects, its tests left out, without what only Helm reads."""
    ours = ROOT / ".tools" / "bin" / "helm"
    helm = str(ours) if ours.exists() else shutil.which("helm")
    if helm is None:
        raise CannotRender("helm is not here; .ci/tools installs it")
    files = [part for path in values for part in ("--values", str(path))]
    cluster = ["--namespace", "market-spine", "--kube-version", versions()["kubernetes"]["validated"][0]]
    done = subprocess.run(
        [helm, "template", release, str(chart), "--skip-tests", *cluster, *files, *more],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        raise CannotRender(f"{chart}: {done.stderr.strip().splitlines()[0]}")
    for one in yaml.safe_load_all(done.stdout):
        if not one:
            continue
        annotations = one["metadata"].get("annotations") or {}
        kept = {key: value for key, value in annotations.items() if not key.startswith("helm.sh/hook")}
        one["metadata"].pop("annotations", None)
        if kept:
            one["metadata"]["annotations"] = kept
        yield one


def versions() -> Object:
    """Which versions belong together."""
    found: Object = yaml.safe_load((VALUES / "versions.yaml").read_text())
    return found


def rank(one: Object) -> tuple[int, str, str]:
    """Where an object comes among the others."""
    place = next((place for place, kinds in enumerate(ORDER) if one["kind"] in kinds), len(ORDER))
    return place, one["kind"], one["metadata"]["name"]


def write(folder: Path, objects: list[Object]) -> None:
    """One file an object; what an earlier time has left goes."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.yaml"):
        old.unlink()
    for number, one in enumerate(objects, 1):
        name = f"{number:02}-{one['kind'].lower()}-{one['metadata']['name']}.yaml"
        (folder / name).write_text(HEADER + yaml.safe_dump(one, sort_keys=False, width=120), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
