"""The GitHub workflows: no more rights than they need, nothing that can change under them, and no target that is gone.

Belongs here: what can be read from the files, and what two linters find. Does not belong here: what the jobs run.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FILES = [path.name for path in WORKFLOWS]
MAY_WRITE = {("update.yml", "propose"): {"contents", "pull-requests"}}
"""The jobs that may write, and what."""
SERVERS = ["16", "17", "18"]


def workflow(name: str) -> dict[str, Any]:
    # YAML 1.1 takes the key `on` for a truth value.
    found = yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text())
    return {"on" if key is True else key: value for key, value in found.items()}


def jobs() -> list[tuple[str, str]]:
    return [(name, job) for name in FILES for job in workflow(name)["jobs"]]


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in workflow(name)["jobs"].values() for step in job["steps"]]


def audit(folder: Path) -> "subprocess.CompletedProcess[str]":
    program = str(Path(sys.executable).parent / "zizmor")
    return subprocess.run([program, "--offline", "--no-progress", folder], capture_output=True, text=True)


# --- rights


@pytest.mark.parametrize("name", FILES)
def test_a_workflow_may_read_and_no_more(name: str) -> None:
    assert workflow(name)["permissions"] == {"contents": "read"}
    # On pull_request_target the code of a stranger would run with our rights.
    assert "pull_request_target" not in workflow(name)["on"]


@pytest.mark.parametrize(("name", "job"), jobs())
def test_a_job_has_an_end_and_only_a_listed_one_may_write(name: str, job: str) -> None:
    one = workflow(name)["jobs"][job]
    assert 0 < one["timeout-minutes"] <= 60
    written = {right for right, level in one.get("permissions", {}).items() if level != "read"}
    assert written == MAY_WRITE.get((name, job), set())


def test_the_job_that_may_write_runs_nothing_of_the_project() -> None:
    for name, job in MAY_WRITE:
        commands = " ".join(step.get("run", "") for step in workflow(name)["jobs"][job]["steps"])
        assert commands
        assert not re.search(r"\b(make|python|pip|uv)\b|\.ci/", commands)


@pytest.mark.parametrize("name", FILES)
def test_no_checkout_leaves_its_token_behind(name: str) -> None:
    checkouts = [step for step in steps(name) if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    assert [step for step in checkouts if step["with"]["persist-credentials"] is not False] == []


# --- pins


@pytest.mark.parametrize("name", FILES)
def test_every_action_is_pinned_by_its_commit_with_the_version_beside_it(name: str) -> None:
    lines = [line for line in (ROOT / ".github" / "workflows" / name).read_text().splitlines() if "uses:" in line]
    assert lines
    pinned = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
    assert [line.strip() for line in lines if not pinned.search(line)] == []


def test_an_action_has_one_version_everywhere() -> None:
    used = {step["uses"] for name in FILES for step in steps(name) if "uses" in step}
    assert len(used) == len({one.partition("@")[0] for one in used})


# --- what they call


@pytest.mark.parametrize("name", FILES)
def test_every_target_and_script_that_is_called_is_there(name: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    commands = "\n".join(step.get("run", "") for step in steps(name))
    called = {word for line in re.findall(r"^\s*make (.*)$", commands, re.MULTILINE) for word in _targets(line)}
    assert called - targets == set()
    assert [path for path in re.findall(r"(?<!\w)\.ci/\w+", commands) if not (ROOT / path).stat().st_mode & 0o100] == []


def _targets(line: str) -> list[str]:
    plain = re.sub(r'\$\{\{.*?\}\}|\w+="[^"]*"', "", line)
    return [word for word in plain.split() if "=" not in word]


def test_every_supported_python_and_every_supported_server_is_tested() -> None:
    found = workflow("ci.yml")["jobs"]
    supported = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', (ROOT / "pyproject.toml").read_text())
    assert supported is not None
    wanted = [f"3.{minor}" for minor in range(int(supported[1]), int(supported[2]))]
    assert found["embedded"]["strategy"]["matrix"]["python"] == wanted
    assert found["server"]["strategy"]["matrix"]["postgresql"] == SERVERS
    (step,) = [step for step in found["server"]["steps"] if "env" in step]
    assert step["run"] == "make test"
    assert set(step["env"]) == {"MARKET_SPINE_TEST_SERVER"}


def test_the_first_step_of_continuous_integration_brings_the_tools() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert [line for line in lines if line.startswith((".ci/", "make "))] == [
        ".ci/tools",
        "make check",
        "make test",
        "make test-long",
    ]


def test_dependabot_watches_the_actions_and_the_images() -> None:
    found = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())
    assert {one["package-ecosystem"] for one in found["updates"]} == {"github-actions", "docker", "docker-compose"}


# --- the linters


def test_actionlint_finds_nothing() -> None:
    ours = ROOT / ".tools" / "bin" / "actionlint"
    program = str(ours) if ours.exists() else shutil.which("actionlint")
    if program is None:
        pytest.skip("actionlint is not here: .ci/tools builds it")
    done = subprocess.run([program, "-no-color", *WORKFLOWS], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_audit_finds_nothing() -> None:
    done = audit(ROOT / ".github")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("right", "wrong", "finding"),
    [
        ("permissions:\n  contents: read\n", "permissions: write-all\n", "excessive-permissions"),
        ("@de0fac2e4500dabe0009e67214ff5f5447ce83dd # v6.0.2", "@v6", "unpinned-uses"),
        ("  pull_request:\n", "  pull_request_target:\n", "dangerous-triggers"),
        ("persist-credentials: false", "fetch-depth: 1", "artipacked"),
    ],
)
def test_the_audit_finds_what_it_should(tmp_path: Path, right: str, wrong: str, finding: str) -> None:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert right in text
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    (folder / "ci.yml").write_text(text.replace(right, wrong))
    done = audit(tmp_path / ".github")
    assert done.returncode != 0
    assert finding in done.stdout


# --- the tools script


def test_an_option_that_is_none_is_refused() -> None:
    done = subprocess.run([ROOT / ".ci" / "tools", "--all"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "tools: --all is no option; usage: .ci/tools [--strict] [--chart]\n"


@pytest.mark.parametrize(("option", "code"), [((), 0), (("--strict",), 1)])
def test_what_cannot_be_had_is_said_in_a_line_each_and_only_strictly_an_error(
    tmp_path: Path, option: tuple[str, ...], code: int
) -> None:
    """A machine with a shell and awk, but neither Go nor a package manager."""
    (tmp_path / ".ci").mkdir()
    (tmp_path / "helm-values").mkdir()
    script = shutil.copy(ROOT / ".ci" / "tools", tmp_path / ".ci" / "tools")
    shutil.copy(ROOT / "helm-values" / "versions.yaml", tmp_path / "helm-values" / "versions.yaml")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("bash", "awk", "dirname", "grep", "cat"):
        (programs / name).symlink_to(str(shutil.which(name)))
    for _ in range(2):
        done = subprocess.run(
            [programs / "bash", script, *option], env={"PATH": str(programs)}, capture_output=True, text=True
        )
        lines = done.stderr.splitlines()
        assert [line.split()[1] for line in lines] == ["helm", "actionlint", "promtool", "chromium"]
        assert all("missing" in line and ("install" in line) for line in lines)
        assert done.returncode == code
