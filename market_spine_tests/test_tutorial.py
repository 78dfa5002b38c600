"""The tutorial does what it says: its commands are run, then its Python blocks in order, as a reader would.

Belongs here: docs/tutorial.md, and the example of docs/frames.md. Does not belong here: links (``test_documentation``).
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from market_spine.warehouse.embedded import EmbeddedServer
from market_spine_tests.processes import serving_process

ROOT = Path(__file__).resolve().parents[1]
TUTORIAL = ROOT / "docs" / "tutorial.md"
API = "http://127.0.0.1:8000"
DEMO = [sys.executable, "-m", "market_spine.cli.main", "demo"]


def blocks(page: Path, language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no {language} block"
    return found


@pytest.fixture(scope="module")
def environment(short_folder: Path) -> Iterator[dict[str, str]]:
    """Where ``make demo`` was run, in a state folder of the test's own."""
    state = Path(tempfile.mkdtemp(dir=short_folder))
    state.chmod(0o711)
    environment = {**os.environ, "MARKET_SPINE_STATE": str(state)}
    try:
        done = subprocess.run(DEMO, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stdout + done.stderr
        yield environment
    finally:
        EmbeddedServer(state / "server").remove()


def run(code: str, environment: dict[str, str], folder: Path) -> str:
    """Run a script where files may be written; what it printed."""
    script = folder / "tutorial.py"
    script.write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(480)
def test_the_blocks_run_in_order_and_end_in_a_chart(environment: dict[str, str], tmp_path: Path) -> None:
    code = "\n".join(blocks(TUTORIAL, "python"))
    assert API in code
    with serving_process(environment, tmp_path) as (url, _):
        said = run(code.replace(API, url), environment, tmp_path)
    assert "vwap" in said
    assert "cancelled_count" in said
    assert "NWCO" in said, "what the asset of one's own found"
    chart = (tmp_path / "acme.html").read_text(encoding="utf-8")
    assert "candlestick" in chart
    assert "2026-03-12" in chart
    assert '<script src="http' not in chart, "it needs no network"


@pytest.mark.slow
@pytest.mark.timeout(480)
def test_the_example_of_the_page_about_frames_runs_where_no_server_does(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (code,) = blocks(ROOT / "docs" / "frames.md", "python")
    said = run(f"{code}\nprint(len(week), len(trades), len(reports))\n", environment, tmp_path)
    assert all(int(number) > 0 for number in said.split())


def test_the_commands_of_the_tutorial_are_targets_and_the_demo_is_what_was_run_here() -> None:
    lines = [line for block in blocks(TUTORIAL, "sh") for line in block.splitlines()]
    assert lines == ["make demo", "make up", "make clean"]
    for line in lines:
        # Run by make itself, make would say which folder it enters.
        command = [*line.split(), "--dry-run", "--no-print-directory"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        if line == "make demo":
            assert done.stdout.rstrip().endswith("spine demo")
