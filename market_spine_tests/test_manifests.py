"""Plain manifests: everything that Helm would apply, in an order in which it can be applied, made anew each time.

Belongs here: ``make manifests``. Does not belong here: what the objects are (``test_dagster_pods``, the companion's).
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from market_spine_tests.helm import ENVIRONMENTS, ROOT, Object, helm, official_chart, render_companion, render_dagster
from market_spine_tests.kubernetes_objects import name_of, named_by, pods

HEADER = "# Written by `make manifests`"
REGISTRY = "registry.example.com/market-spine"


def made(folder: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(ROOT / "deploy" / "manifests.py"), str(folder)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    helm()
    official_chart()
    found = tmp_path_factory.mktemp("manifests")
    for environment in ENVIRONMENTS:
        (found / environment).mkdir()
        (found / environment / "99-job-of-last-year.yaml").write_text("{}")
    done = made(found)
    assert done.returncode == 0, done.stderr
    return found


def written(folder: Path, environment: str) -> list[Object]:
    return [yaml.safe_load(path.read_text()) for path in sorted((folder / environment).iterdir())]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_file_is_an_object_and_nothing_older_is_left(folder: Path, environment: str) -> None:
    rendered = [*render_dagster(environment), *render_companion(environment)]
    hooks = {name_of(one): (one["metadata"].get("annotations") or {}).get("helm.sh/hook") for one in rendered}
    wanted = {name for name, hook in hooks.items() if hook != "test"}
    assert {name_of(one) for one in written(folder, environment)} == wanted
    assert len(list((folder / environment).iterdir())) == len(wanted)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_objects_are_those_of_the_charts(folder: Path, environment: str) -> None:
    rendered = {name_of(one): one for one in (*render_dagster(environment), *render_companion(environment))}
    for one in written(folder, environment):
        parts = {"metadata", "kind", "apiVersion"}
        assert {key: one[key] for key in one.keys() - parts} == {
            key: value for key, value in rendered[name_of(one)].items() if key not in parts
        }
        assert one["metadata"].get("labels") == rendered[name_of(one)]["metadata"].get("labels")


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_each_says_that_it_is_not_to_be_edited(folder: Path, environment: str) -> None:
    for path in (folder / environment).iterdir():
        assert path.read_text().startswith(HEADER)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_a_pod_needs_is_applied_before_it(folder: Path, environment: str) -> None:
    objects = written(folder, environment)
    place = {name_of(one): number for number, one in enumerate(objects)}
    for pod in pods(objects):
        needed = [f"{named.kind} {named.name}" for named in named_by(pod)]
        needed.append(f"ServiceAccount {pod.spec['serviceAccountName']}")
        later = [name for name in needed if place.get(name, -1) > place[pod.owner]]
        assert later == []
    policies = [number for name, number in place.items() if name.startswith("NetworkPolicy")]
    assert max(policies) < min(place[pod.owner] for pod in pods(objects))


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_migration_comes_before_what_needs_its_tables(folder: Path, environment: str) -> None:
    objects = written(folder, environment)
    kinds = [one["kind"] for one in objects]
    assert kinds.index("Job") < kinds.index("Deployment")
    assert "helm.sh/hook" not in str(objects)


def test_an_image_of_ones_own_is_everywhere(folder: Path, tmp_path: Path) -> None:
    assert made(tmp_path, IMAGE=REGISTRY).returncode == 0
    text = "".join(path.read_text() for path in (tmp_path / "production").iterdir())
    images = set(re.findall(r"[\w./-]*market-spine:[\w.]+", text))
    assert images == {f"{REGISTRY}:0.1.0"}


def test_a_missing_chart_is_one_line_that_says_where_to_get_it(tmp_path: Path) -> None:
    helm()
    done = made(tmp_path, DAGSTER_CHART=str(tmp_path / "nothing"))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("manifests: ")
    assert "helm pull dagster/dagster" in line
