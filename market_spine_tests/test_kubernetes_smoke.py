"""The smoke test on Kubernetes, run as its users run it, and what it says where it cannot run.

Belongs here: the commands k8s-smoke, k8s-up and k8s-down from outside. Does not belong here: what is proven of the
releases, which the smoke test itself says (deploy/kubernetes-smoke).
"""

import os
import re
import runpy
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from market_spine_tests.helm import ROOT

SMOKE = ROOT / "deploy" / "kubernetes-smoke"
MISSING = 3
PROVEN = re.compile(r"^proven +[0-9.]+ s  (.+)$", re.MULTILINE)
WANTED = (
    "admission refuses pods that break the restricted level",
    "both releases are accepted, environment local",
    "both releases are accepted, environment staging",
    "both releases are accepted, environment production",
    "K8sRunLauncher, Job, pod, success",
    "run FAILURE by run monitoring",
    "run CANCELED",
    "restored from pg_dump's archives",
)


def run(*command: str | Path, path: Path | None = None, timeout: float = 60) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, **({"PATH": str(path)} if path is not None else {})}
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, timeout=timeout)


def tools(folder: Path, *names: str) -> Path:
    """A folder for PATH with these programs of this machine, and no others."""
    for name in names:
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    return folder


@pytest.mark.long
@pytest.mark.xdist_group("k8s-smoke")
@pytest.mark.timeout(3600)
def test_both_releases_work_on_a_real_control_plane() -> None:
    done = run(sys.executable, SMOKE / "smoke.py", timeout=3500)
    if done.returncode == MISSING:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    proven = "\n".join(PROVEN.findall(done.stdout))
    assert [what for what in WANTED if what not in proven] == []


@pytest.mark.long
@pytest.mark.xdist_group("k8s-smoke")
@pytest.mark.timeout(600)
def test_nothing_of_it_is_left_when_it_is_killed(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, str(SMOKE / "smoke.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as smoke:
        assert smoke.stdout is not None
        assert smoke.stderr is not None
        lines = iter(smoke.stdout.readline, "")
        started = next((line for line in lines if "a control plane starts" in line), None)
        if started is None and smoke.wait() == MISSING:
            pytest.skip(smoke.stderr.read().strip().splitlines()[-1])
        assert started is not None, smoke.stderr.read()
        assert programs_below(tmp_path) != []
        smoke.kill()
    assert programs_below(tmp_path, wait=True) == []


def programs_below(folder: Path, *, wait: bool = False) -> list[str]:
    """Commands of the processes that name the folder; ``wait``: until there is none, for ten seconds."""
    for _ in range(100 if wait else 1):
        found = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
        below = [command for command in found if str(folder) in command]
        if not wait or not below:
            break
        time.sleep(0.1)
    return below


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.skipif(sys.platform != "linux", reason="where it is not Linux, that is what is said")
def test_without_root_it_says_so_in_one_line() -> None:
    pretend = "import os, sys; os.geteuid = lambda: 1000; sys.path.insert(0, sys.argv[1])"
    done = run(sys.executable, "-c", f"{pretend}; import smoke; sys.exit(smoke.main())", SMOKE)
    assert (done.returncode, done.stdout) == (MISSING, "")
    assert done.stderr == "k8s-smoke: needs root, to make network and mount namespaces: sudo make k8s-smoke\n"


def test_a_cluster_is_refused_in_one_line_where_nothing_can_make_one(tmp_path: Path) -> None:
    path = tools(tmp_path, "bash", "dirname")
    done = run("/usr/bin/env", "bash", ROOT / "deploy" / "k8s-up", path=path)
    assert (done.returncode, done.stdout) == (MISSING, "")
    assert re.fullmatch(r"k8s-up: needs kind .* or k3d .*\n", done.stderr)


def test_there_is_no_cluster_to_remove_where_nothing_can_make_one(tmp_path: Path) -> None:
    done = run("/usr/bin/env", "bash", ROOT / "deploy" / "k8s-down", path=tools(tmp_path, "bash"))
    assert (done.returncode, done.stdout) == (MISSING, "")
    assert re.fullmatch(r"k8s-down: needs kind or k3d, .*\n", done.stderr)


@pytest.fixture(scope="module")
def read() -> Any:
    """The reader of Dockerfiles, which stands among scripts and in no package."""
    return runpy.run_path(str(SMOKE / "dockerfile.py"))["read"]


def test_a_dockerfile_is_read_to_what_its_last_stage_says(read: Any) -> None:
    stage = read(
        "ARG BASE=python:3.11\n"
        "FROM ${BASE} AS build\n"
        "ENV PATH=/build/bin ONLY_HERE=1\n"
        "FROM ${BASE}\n"
        "# a comment\n"
        "ARG VERSION=0.1.0\n"
        "ENV PATH=/opt/venv/bin:/bin \\\n    RELEASE=${VERSION}\n"
        "WORKDIR /opt/app\n"
        "USER 10001:10001\n"
        'CMD ["spine", "--help"]\n'
    )
    assert stage.environment == {"PATH": "/opt/venv/bin:/bin", "RELEASE": "0.1.0"}
    assert (stage.folder, stage.user, stage.entry, stage.command) == ("/opt/app", 10001, (), ["spine", "--help"])


def test_a_stage_begins_with_what_the_one_it_is_built_on_said(read: Any) -> None:
    stage = read('FROM python:3.11 AS base\nENV A=1\nUSER 5\nFROM base\nENV B=${A}2\nENTRYPOINT ["tini"]\n')
    assert (stage.environment, stage.user, stage.entry) == ({"A": "1", "B": "12"}, 5, ["tini"])


def test_an_account_without_a_number_is_refused(read: Any) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        read("FROM python:3.11\nUSER somebody\n")


def test_the_docs_name_the_version_that_is_built() -> None:
    module = (SMOKE / "control-plane" / "go.mod").read_text()
    version = re.search(r"k8s\.io/kubernetes (v1\.\d+\.\d+)", module)
    assert version is not None
    assert version[1] in (ROOT / "docs" / "kubernetes-smoke.md").read_text()
    replaced = set(re.findall(r"=> k8s\.io/\S+ (v0\.\d+\.\d+)", module))
    assert replaced == {version[1].replace("v1.", "v0.", 1)}, "the parts of Kubernetes are of another release than it"
