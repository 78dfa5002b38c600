"""compose.yaml: what each container may do, in which order they start, and that it holds to the other files.

Belongs here: what can be read from it. Does not belong here: the platform running (``test_image_built``).
"""

import json
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from market_spine.settings import Settings, variable_of

ROOT = Path(__file__).resolve().parents[1]
FILES = ROOT / "deploy" / "compose"
PORTS = (3000, 3030, 8000)
SECRETS = {
    "POSTGRES_PASSWORD": "of-the-superuser",
    "MARKET_SPINE_PASSWORD": "of-the-owner",
    "MARKET_SPINE_API_PASSWORD": "of-the-reader",
    "DAGSTER_PASSWORD": "of-dagster",
    "GRAFANA_PASSWORD": "of-grafana",
}
OURS = {"migrate", "otc-pipelines", "webserver", "daemon", "api"}


def composed(variables: dict[str, str] | None = None) -> dict[str, Any]:
    """compose.yaml with its variables put in: ``${NAME:-default}``, ``${NAME:?complaint}``, ``${NAME}``."""
    given = SECRETS if variables is None else variables

    def value(match: re.Match[str]) -> str:
        found = given.get(match["name"], "")
        if not found and match["kind"] == ":?":
            raise KeyError(f"{match['name']}: {match['rest']}")
        return found or (match["rest"] or "")

    text = re.sub(r"\$\{(?P<name>\w+)(?P<kind>:[-?])?(?P<rest>[^}]*)\}", value, (ROOT / "compose.yaml").read_text())
    found = dict(yaml.safe_load(text))
    for one in found["services"].values():
        one["environment"] = {name: str(value or "") for name, value in one.get("environment", {}).items()}
    return found


def services() -> dict[str, dict[str, Any]]:
    return dict(composed()["services"])


def test_compose_itself_reads_it(tmp_path: Path) -> None:
    if not shutil.which("docker") or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker compose is not here")
    done = subprocess.run(
        ["docker", "compose", "--profile", "monitoring", "config", "--format", "json"],
        cwd=ROOT,
        env={**os.environ, **SECRETS},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["services"]) == set(services())


# --- what a container may do


@pytest.mark.parametrize("name", services())
def test_every_container_has_no_right_and_nothing_to_write_to_but_volumes(name: str) -> None:
    one = services()[name]
    assert one["read_only"] is True
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in one
    assert "cap_add" not in one


@pytest.mark.parametrize("name", services())
def test_every_image_has_a_full_version(name: str) -> None:
    assert re.search(r":\d+\.\d+(\.\d+)?(-\w+)?$|:v\d+\.\d+\.\d+$", services()[name]["image"]), services()[name][
        "image"
    ]


def test_the_images_version_is_the_projects() -> None:
    project = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert project is not None
    assert {services()[name]["image"] for name in OURS} == {f"market-spine:{project[1]}"}


def test_ports_are_bound_to_this_machine_only_and_the_database_has_none() -> None:
    bound = {name: one["ports"] for name, one in services().items() if "ports" in one}
    assert set(bound) == {"webserver", "api", "prometheus", "grafana"}
    assert [port for ports in bound.values() for port in ports if not port.startswith("127.0.0.1:")] == []


def test_what_has_no_port_cannot_leave_the_machine() -> None:
    assert composed()["networks"]["inside"] == {"internal": True}
    assert {name for name, one in services().items() if "outside" in one["networks"]} == {
        name for name, one in services().items() if "ports" in one
    }


def test_the_landing_folder_is_mounted_to_be_read_only() -> None:
    for name in OURS:
        landing = [one for one in services()[name]["volumes"] if isinstance(one, dict) and one["target"] == "/landing"]
        assert [one["read_only"] for one in landing] == [True]
        assert services()[name]["environment"]["MARKET_SPINE_LANDING"] == "/landing"


def test_the_api_reads_with_a_login_of_its_own_and_no_other_service_has_its_tokens() -> None:
    api = services()["api"]["environment"]
    assert api["MARKET_SPINE_API_DATABASE_URL"].startswith("postgresql://market_spine_api:of-the-reader@")
    others = {variable for name in OURS - {"api"} for variable in services()[name]["environment"]}
    assert [variable for variable in others if "API" in variable] == []


# --- secrets


@pytest.mark.parametrize("missing", SECRETS)
def test_without_a_password_nothing_starts(missing: str) -> None:
    with pytest.raises(KeyError, match="make compose-env"):
        composed({**SECRETS, missing: ""})


def test_the_environment_file_is_made_once_with_passwords_nobody_else_may_read(tmp_path: Path) -> None:
    (tmp_path / "deploy" / "compose").mkdir(parents=True)
    script = Path(shutil.copy(FILES / "environment", tmp_path / "deploy" / "compose"))
    subprocess.run([script], check=True, capture_output=True)
    made = tmp_path / ".env"
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    values = dict(line.split("=", 1) for line in made.read_text().splitlines() if line and not line.startswith("#"))
    assert set(SECRETS) <= set(values)
    assert len(set(values.values())) == len(values)
    assert [name for name, value in values.items() if not re.fullmatch("[0-9a-f]{48}", value)] == []
    composed(values)

    before = made.read_text()
    subprocess.run([script], check=True, capture_output=True)
    assert made.read_text() == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".env")] == [".env"]


# --- order


def test_nothing_starts_before_what_it_needs_is_healthy_or_done() -> None:
    needs = {
        name: {other: how["condition"] for other, how in one.get("depends_on", {}).items()}
        for name, one in services().items()
    }
    assert needs["migrate"] == {"postgres": "service_healthy"}
    assert needs["otc-pipelines"] == needs["api"] == {"migrate": "service_completed_successfully"}
    assert needs["webserver"] == needs["daemon"] == {"otc-pipelines": "service_healthy"}
    waited_for = {other for one in needs.values() for other, how in one.items() if how == "service_healthy"}
    assert [name for name in waited_for if "healthcheck" not in services()[name]] == []


def test_every_service_that_stays_has_a_health_check() -> None:
    checks = {name: one["healthcheck"] for name, one in services().items()}
    assert [name for name, one in checks.items() if one.get("disable")] == ["migrate"]
    assert {name: checks[name]["test"] for name in sorted(OURS - {"migrate"})} == {
        "api": ["CMD", "spine", "health", "api"],
        "daemon": ["CMD", "spine", "health", "daemon"],
        "otc-pipelines": ["CMD", "spine", "health", "code-server"],
        "webserver": ["CMD", "spine", "health", "webserver"],
    }


# --- it holds to the other files


def test_every_variable_is_a_setting_and_every_file_it_mounts_is_there() -> None:
    settings = {variable_of(one) for one in Settings.__dataclass_fields__.values()}
    assert {variable for name in OURS for variable in services()[name]["environment"]} <= settings
    for name, one in services().items():
        for volume in one["volumes"]:
            source = volume["source"] if isinstance(volume, dict) else volume.partition(":")[0]
            if source.startswith("."):
                assert (ROOT / source).exists(), f"{name} mounts {source}"
            else:
                assert source in composed()["volumes"], f"{name} mounts {source}"


def test_the_workspace_names_the_code_server_where_it_listens() -> None:
    (server,) = yaml.safe_load((FILES / "workspace.yaml").read_text())["load_from"]
    command = services()["otc-pipelines"]["command"]
    assert server["grpc_server"] == {"host": "otc-pipelines", "port": 3030, "location_name": "otc-pipelines"}
    assert "--port=3030" in command
    assert "--location-name=otc-pipelines" in command


def test_prometheus_reads_its_configuration_and_the_projects_rules(tmp_path: Path) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not here: .ci/tools installs it")
    text = (FILES / "prometheus.yaml").read_text()
    mounted = "/etc/prometheus/rules"
    assert f"{mounted}:ro" in "".join(services()["prometheus"]["volumes"])
    (tmp_path / "prometheus.yaml").write_text(text.replace(mounted, str(ROOT / "helm-values/market-spine/rules")))
    done = subprocess.run([program, "check", "config", tmp_path / "prometheus.yaml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "rules found" in done.stdout


def test_prometheus_gives_the_labels_that_the_rules_ask_for() -> None:
    (scraped,) = yaml.safe_load((FILES / "prometheus.yaml").read_text())["scrape_configs"]
    (target,) = scraped["static_configs"]
    rules = "".join(path.read_text() for path in (ROOT / "helm-values/market-spine/rules").glob("*.yaml"))
    assert f'job="{scraped["job_name"]}"' in rules
    assert target == {"targets": ["api:8000"], "labels": {"namespace": "market-spine"}}


def test_grafana_finds_prometheus_and_the_projects_dashboards() -> None:
    (source,) = yaml.safe_load((FILES / "grafana/datasources/prometheus.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((FILES / "grafana/dashboards/market-spine.yaml").read_text())["providers"]
    assert source["url"] == "http://prometheus:9090"
    mounts = [volume.split(":") for volume in services()["grafana"]["volumes"]]
    (folder,) = [source for source, target, *_ in mounts if target == provider["options"]["path"]]
    assert sorted((ROOT / folder).glob("*.json"))
