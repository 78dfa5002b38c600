"""Helm for the tests: where it is, what a chart renders to, how values files merge.

Belongs here: asking Helm and reading its answer. Does not belong here: what a chart ought to render.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
VALUES = ROOT / "helm-values"
COMPANION = VALUES / "market-spine"
ENVIRONMENTS = ("local", "staging", "production")
REFERENCE = ROOT.parent / "shared" / "reference" / "dagster-helm"
NAMESPACE = "market-spine"
KUBERNETES: tuple[str, ...] = tuple(yaml.safe_load((VALUES / "versions.yaml").read_text())["kubernetes"]["validated"])
"""Versions of Kubernetes that rendered objects are validated for."""
OFFICIAL_GROUPS = ("v1", "apps", "batch", "networking.k8s.io", "rbac.authorization.k8s.io")
"""API groups of what the official chart makes."""

Object = dict[str, Any]
"""A Kubernetes object, or a map of values."""


def helm() -> str:
    """Helm's program; without it the test is skipped."""
    ours = ROOT / ".tools" / "bin" / "helm"
    found = str(ours) if ours.exists() else shutil.which("helm")
    if found is None:
        pytest.skip("helm is not here: .ci/tools installs it")
    return found


def official_chart() -> Path:
    """The folder of the official Dagster chart; without it the test is skipped."""
    chart = Path(os.environ.get("DAGSTER_CHART") or ROOT / ".tools" / "charts" / "dagster")
    if not (chart / "Chart.yaml").exists():
        pytest.skip("the official Dagster chart is not here: unpack it and set DAGSTER_CHART to its folder")
    return chart


def reference(name: str) -> Path:
    """A file of the reference that is not ours to ship (schema of the official chart, CRDs), or a skip."""
    path = REFERENCE / name
    if not path.exists():
        pytest.skip(f"../shared/reference/dagster-helm/{name} is not here: it is not ours to ship")
    return path


def dagster_values(environment: str, *overlays: str) -> list[Path]:
    """Values of the official chart for an environment, in the order Helm is given them; overlays: stopped, celery..."""
    return [VALUES / "dagster" / f"{name}.yaml" for name in ("base", environment, *overlays)]


def companion_values(environment: str) -> list[Path]:
    """Values of the companion chart for an environment; its own values.yaml is the base."""
    return [COMPANION / "environments" / f"{environment}.yaml"]


def run_helm(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Helm's answer, whatever it was."""
    return subprocess.run([helm(), *arguments], capture_output=True, text=True, timeout=120)


@cache
def _rendered(chart: Path, values: tuple[Path, ...], release: str, settings: tuple[str, ...]) -> str:
    files = [part for path in values for part in ("--values", str(path))]
    chosen = [part for setting in settings for part in ("--set", setting)]
    # The values schema of the official chart names other schemas by address, which Helm would fetch.
    skip = ["--skip-schema-validation"] if chart != COMPANION else []
    # Without a cluster Helm takes the version of Kubernetes that its own build happened to be told, or 1.20.
    cluster = ["--namespace", NAMESPACE, "--kube-version", KUBERNETES[0]]
    done = run_helm("template", release, str(chart), *cluster, *skip, *files, *chosen)
    assert done.returncode == 0, done.stderr
    return done.stdout


def render(chart: Path, values: list[Path], release: str, settings: Mapping[str, str] | None = None) -> list[Object]:
    """The objects that a chart renders to, hooks included."""
    chosen = tuple(f"{name}={value}" for name, value in (settings or {}).items())
    text = _rendered(chart, tuple(values), release, chosen)
    return [document for document in yaml.safe_load_all(text) if document]


def render_dagster(environment: str, *overlays: str, settings: Mapping[str, str] | None = None) -> list[Object]:
    """The official chart with our values.

    Some who pass the chart on add objects for their own clusters (Istio, Kyverno); the official one has none such.
    """
    objects = render(official_chart(), dagster_values(environment, *overlays), "dagster", settings)
    return [one for one in objects if one["apiVersion"].partition("/")[0] in OFFICIAL_GROUPS]


def render_companion(environment: str, settings: Mapping[str, str] | None = None) -> list[Object]:
    """The companion chart with our values."""
    return render(COMPANION, companion_values(environment), "market-spine", settings)


def merge(base: Object, overlay: Object) -> Object:
    """As Helm merges values: maps key by key, everything else (lists too) replaced whole; null removes."""
    merged = dict(base)
    for key, value in overlay.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def merged(files: list[Path], base: Object | None = None) -> Object:
    """The values that files make together, on top of a chart's own where those are given."""
    values: Object = base or {}
    for path in files:
        values = merge(values, yaml.safe_load(path.read_text()) or {})
    return values
