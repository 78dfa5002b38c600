"""Write what the chart holds a second time: the settings in its schema, its dashboards, the table of its documentation.

    python helm-values/market-spine/scripts/write.py            # writes
    python helm-values/market-spine/scripts/write.py --check    # says which files differ, and fails

What it is: ``settings`` of values.schema.json follows market_spine/settings.py, dashboards/*.json follow
scripts/dashboards/*.yaml, the table in docs/companion-chart.md follows values.schema.json and values.yaml.
Belongs here: files that follow from others. Does not belong here: the others.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import grafana
import yaml

from market_spine.settings import Settings, variable_of

CHART = Path(__file__).resolve().parents[1]
PROJECT = CHART.parents[1]
SECRETS = (
    "DATABASE_URL",
    "DAGSTER_DATABASE_URL",
    "MARKET_SPINE_API_DATABASE_URL",
    "MARKET_SPINE_API_OPERATE_TOKENS",
    "MARKET_SPINE_API_READ_TOKENS",
)
"""Settings that a ConfigMap must not hold."""
BEGIN, END = "<!-- values: begin -->", "<!-- values: end -->"


def schema_with_settings(text: str) -> str:
    """The schema, its settings those that there are."""
    schema = json.loads(text)
    schema["$defs"]["settings"]["properties"] = {
        variable: {"description": setting.metadata["meaning"], "type": "string"}
        for setting in fields(Settings)
        if (variable := variable_of(setting)) not in SECRETS
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def table(schema: dict[str, Any], values: dict[str, Any]) -> str:
    """Every value with its default and meaning, as Markdown."""
    lines = ["| value | default | meaning |", "|---|---|---|"]
    for path, part in _leaves(schema, schema, ()):
        default: Any = values
        for name in path:
            default = default.get(name, {}) if isinstance(default, dict) else default
        shown = json.dumps(default, ensure_ascii=False).replace("|", "\\|")
        meaning = part["description"].replace("|", "\\|").replace("<", "&lt;")
        lines.append(f"| `{'.'.join(path)}` | `{shown}` | {meaning} |")
    return "\n".join(lines)


def _leaves(part: dict[str, Any], root: dict[str, Any], path: tuple[str, ...]) -> Iterator[tuple[Any, dict[str, Any]]]:
    for name, child in part["properties"].items():
        # What is used in several places (resources, peers, the settings) is one value here.
        if "properties" in child and "$ref" not in child:
            yield from _leaves(child, root, (*path, name))
        else:
            yield (*path, name), child


def made() -> dict[Path, str]:
    """Every file with the text it ought to have."""
    schema_file, page = CHART / "values.schema.json", PROJECT / "docs" / "companion-chart.md"
    schema = schema_with_settings(schema_file.read_text(encoding="utf-8"))
    found = {schema_file: schema}
    for source in sorted((CHART / "scripts" / "dashboards").glob("*.yaml")):
        text = json.dumps(grafana.dashboard(source), indent=2, ensure_ascii=False) + "\n"
        found[CHART / "dashboards" / f"{source.stem}.json"] = text
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    found[page] = f"{before}{BEGIN}\n{table(json.loads(schema), values)}\n{END}{after}"
    return found


def main() -> int:
    """Write them, or say which are out of date."""
    parser = argparse.ArgumentParser(description="Write the chart's files that follow from others.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 when a file is out of date")
    check = parser.parse_args().check
    stale = {path: text for path, text in made().items() if not path.exists() or path.read_text("utf-8") != text}
    for path, text in stale.items():
        print(f"{path.relative_to(PROJECT)}: {'out of date; run write.py' if check else 'written'}")
        if not check:
            path.write_text(text, encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
