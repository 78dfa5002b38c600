"""What every module of the package keeps to, read from the source itself.

Belongs here: direction of imports, where Dagster and SQL may stand, what importing may do.
Does not belong here: style that the linter checks, behaviour.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from market_spine.warehouse.sql import statements

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "market_spine"

METRICS = "observability.metrics"
"""Modules of that name's beginning are a part of their own: everything may log, and a scrape reads everything."""
LAYERS = (
    ("errors",),
    ("settings", "calendar", "calendar_freeze"),
    ("observability",),
    ("warehouse",),
    ("otc", "ledger"),
    (METRICS, "frames"),
    ("automation", "api"),
    ("definitions", "cli"),
)
"""From the bottom up. A module imports from its own part and from layers below, never from beside or above."""

DAGSTER = {
    "market_spine.otc.assets": "the three assets",
    "market_spine.otc.session_run": "one run of them",
    "market_spine.otc.earlier_tries": "what a run's earlier tries did, from its events",
    "market_spine.otc.metadata": "what the UI shows of them",
    "market_spine.otc.partitions": "trading days as partitions",
    "market_spine.otc.resources": "settings as a resource",
    "market_spine.otc.storage_care": "two corrections of Dagster's own storage",
    "market_spine.definitions": "assembles them",
}
"""The only modules that know the orchestrator, besides automation."""

SQL_IN_PYTHON = {
    "market_spine.otc.typing_sql": "fragments that depend on the feed's declared codes and columns",
    "market_spine.otc.day_pass": "joins fragments of two files; counts of tables built aside",
    "market_spine.otc.normalize": "joins slices; FOR VALUES of a leaf; drops tables built aside",
    "market_spine.otc.metrics": "joins leaves; drops tables built aside",
    "market_spine.otc.quality": "a session setting of its checks",
    "market_spine.warehouse.engine": "session settings and advisory locks",
}
"""Modules that hold pieces of statements, and why no .sql file can hold them."""

SQL_WORDS = re.compile(
    r"\b(SELECT|INSERT INTO|UPDATE \w|DELETE FROM|CREATE (TABLE|INDEX|SCHEMA|DATABASE|ROLE)|"
    r"(ALTER|DROP) (TABLE|SCHEMA|DATABASE|ROLE)|TRUNCATE|GRANT|SET LOCAL|UNION ALL|CASE WHEN)\b"
)
HEAVY = ("dagster", "pandas")
PANDAS = {
    "market_spine.calendar_freeze": "a tool that asks exchange_calendars, run by hand once a year",
    "market_spine.frames": "partitions as DataFrames, for people's own code",
    "market_spine.frames.arrow": "its types",
    "market_spine.frames.loader": "its functions",
}
MOST_LINES = 400


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the package, parsed, by its name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text(), str(path))
    return found


def path_of(module: str) -> Path:
    path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    return path if path.exists() else path.with_suffix("") / "__init__.py"


def imports(tree: ast.AST) -> Iterator[str]:
    """Full names a module imports, late imports inside functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # `from market_spine import errors` names a module, `from market_spine.errors import X` does not
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(module: str) -> str:
    """otc, warehouse, cli, ... or the module itself at the top."""
    if module.partition(".")[2].startswith(METRICS):
        return METRICS
    return module.split(".")[1] if "." in module else ""


def layer_of(part: str) -> int:
    return next(height for height, parts in enumerate(LAYERS) if part in parts)


def strings(tree: ast.Module) -> Iterator[str]:
    """Every string of a module but the documentation."""
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value


# --- arrows


def test_every_part_of_the_package_has_its_layer() -> None:
    known = {part for parts in LAYERS for part in parts}
    assert {part_of(module) for module in modules()} - known == {""}


@pytest.mark.parametrize("module", modules())
def test_imports_go_down_only(module: str) -> None:
    part = part_of(module)
    wrong = [
        name
        for name in imports(modules()[module])
        if name.startswith("market_spine.")
        and part_of(name) != part
        and (not part or layer_of(part_of(name)) >= layer_of(part))
        # settings and calendar are parts of their own on one layer; a tool of the calendar reads the calendar
        and (part, part_of(name)) != ("calendar_freeze", "calendar")
    ]
    assert wrong == [], f"{module} may not import {wrong}"


@pytest.mark.parametrize("part", ["warehouse", "errors", "settings", "calendar"])
def test_the_lower_parts_know_nothing_of_trades_or_of_the_orchestrator(part: str) -> None:
    names = {name for module in modules() if part_of(module) == part for name in imports(modules()[module])}
    assert [name for name in names if name.startswith(("market_spine.otc", "dagster"))] == []


def test_dagster_is_known_to_thin_modules_only() -> None:
    users = {
        module
        for module, tree in modules().items()
        if any(name.split(".")[0].startswith("dagster") for name in imports(tree))
    }
    assert {module for module in users if part_of(module) != "automation"} <= set(DAGSTER)
    assert set(DAGSTER) - set(modules()) == set(), "the list names modules that are gone"


# --- SQL


def test_sql_stands_in_sql_files() -> None:
    holders = {module for module, tree in modules().items() if any(SQL_WORDS.search(one) for one in strings(tree))}
    assert holders == set(SQL_IN_PYTHON)


def sql_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.sql"))


@pytest.mark.parametrize("path", sql_files(), ids=lambda path: path.name)
def test_every_statement_says_below_its_name_what_it_does(path: Path) -> None:
    lines = path.read_text().splitlines()
    named = [number for number, line in enumerate(lines) if line.startswith("-- name: ")]
    assert named
    silent = [lines[number] for number in named if not re.match(r"-- \S.{9,}", lines[number + 1])]
    assert silent == []
    package = ".".join(path.relative_to(ROOT).parent.parent.parts)
    texts = statements(package, path.name).texts
    assert len(texts) == len(named)
    assert [name for name, text in texts.items() if not text] == []


@cache
def said() -> frozenset[str]:
    """Every string in the code, the tests and the benchmarks."""
    found = {text for tree in modules().values() for text in strings(tree)}
    for other in ("market_spine_tests", "benchmarks"):
        found |= {text for file in (ROOT / other).rglob("*.py") for text in strings(ast.parse(file.read_text()))}
    return frozenset(found)


@pytest.mark.parametrize("path", sql_files(), ids=lambda path: path.name)
def test_every_statement_is_used(path: Path) -> None:
    package = ".".join(path.relative_to(ROOT).parent.parent.parts)
    assert [name for name in statements(package, path.name).texts if name not in said()] == []


# --- modules


@pytest.mark.parametrize("module", modules())
def test_every_module_says_what_it_is_and_fits_on_a_few_screens(module: str) -> None:
    text = ast.get_docstring(modules()[module]) or ""
    assert len(text) > 20, f"{module} has no docstring"
    lines = len(path_of(module).read_text().splitlines())
    assert lines <= MOST_LINES, f"{module} has {lines} lines"
    if lines > 60 and path_of(module).name != "__init__.py":
        assert "belong" in text.lower(), f"{module} does not say what belongs in it and what does not"


def test_public_names_are_listed_in_order() -> None:
    for module, tree in modules().items():
        for node in tree.body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
                names = ast.literal_eval(node.value)
                # constants, then classes, then functions, each in order of the alphabet: as ruff sorts them
                constants = [name for name in names if name.isupper()]
                classes = [name for name in names if name[0].isupper() and not name.isupper()]
                rest = [name for name in names if not name[0].isupper()]
                assert names == [*sorted(constants), *sorted(classes), *sorted(rest)], module
                assert len(names) == len(set(names)), module


# --- importing

WATCH = """
import importlib, sys
sys.dont_write_bytecode = True
modules, others = (text.split(",") for text in sys.argv[1:])
for name in others:
    importlib.import_module(name)
seen = []
def hook(event, args):
    writes = event == "open" and isinstance(args[1], str) and any(letter in args[1] for letter in "wax+")
    if writes or event.startswith(("socket.", "subprocess.", "os.mkdir", "os.remove", "os.rename", "os.putenv")):
        seen.append((event, str(args[:2])))
sys.addaudithook(hook)
for name in modules:
    before = len(seen)
    importlib.import_module(name)
    for one in seen[before:]:
        print(name, *one)
"""
LIGHT = """
import importlib, sys
for name in sys.argv[1].split(","):
    importlib.import_module(name)
    for heavy in sys.argv[2].split(","):
        if heavy in sys.modules:
            raise SystemExit(f"{name} imports {heavy}")
"""


def run(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_a_module_writes_nothing_connects_nowhere_and_starts_nothing() -> None:
    ours = [module for module in modules() if not module.endswith("__main__")]
    others = {name.split(".")[0] for tree in modules().values() for name in imports(tree)} - {"market_spine"}
    assert run(WATCH, ",".join(ours), ",".join(sorted(others))) == ""


def test_what_is_no_orchestration_does_without_dagster_and_pandas() -> None:
    light = [
        module
        for module in modules()
        if module not in DAGSTER and module not in PANDAS and part_of(module) not in ("automation", "cli")
    ]
    run(LIGHT, ",".join(light), ",".join(HEAVY))
