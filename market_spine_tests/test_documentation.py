"""Every setting and command has its place in docs/, and every link, target and command named there exists.

Belongs here: documentation against the code. Does not belong here: routes and error codes (``test_api_openapi``),
metrics (``test_metrics_scrape``), the tutorial (``test_tutorial``).
"""

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from typer.testing import CliRunner

from docs import check, generated
from market_spine import frames
from market_spine.cli.main import app
from market_spine.settings import Settings, variable_of
from market_spine_tests.orchestrated import Orchestra
from market_spine_tests.scraping import settings_of

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


def text_of(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


# --- every thing has its place, and every place its thing


def test_every_setting_has_its_row_and_every_row_its_setting() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \|.*\| (\S[^|]*) \|$", text_of("settings.md"), re.MULTILINE)
    assert [name for name, _ in rows] == [variable_of(field) for field in fields(Settings)]
    assert [meaning for _, meaning in rows] == [field.metadata["meaning"] for field in fields(Settings)]


def test_every_command_has_its_heading_and_every_heading_its_command() -> None:
    headings = re.findall(r"^## (.*)$", text_of("commands.md"), re.MULTILINE)
    assert headings == [name for name, _ in generated.commands()]
    assert {"spine up", "spine backfill retry-failed", "spine query metrics"} <= set(headings)


def test_every_command_says_what_it_does_and_names_its_options() -> None:
    sections = re.split(r"^## ", text_of("commands.md"), flags=re.MULTILINE)[1:]
    for section, (name, command) in zip(sections, generated.commands(), strict=True):
        meaning = section.splitlines()[2]
        assert len(meaning) > 20, name
        for option in command.params:
            shown = option.opts[0] if option.param_type_name == "option" else ""
            assert shown in section, (name, shown)


def test_exit_codes_are_of_commands_that_exist() -> None:
    assert set(generated.EXITS) <= {name for name, _ in generated.commands()}


UNKNOWN = {
    "spine backfill status": ("nope",),
    "spine backfill retry-failed": ("nope", "--yes"),
    "spine backfill cancel": ("nope",),
    "spine file void": ("4711", "--by", "ann", "--why", "a test"),
    "spine file restore": ("4711",),
    "spine execution show": ("ffffffff",),
    "spine execution events": ("ffffffff",),
    "spine execution cancel": ("ffffffff",),
    "spine execution retry": ("ffffffff",),
    "spine dead-letter show": ("4711",),
    "spine dead-letter retry": ("4711",),
    "spine dead-letter discard": ("4711", "--by", "ann", "--why", "a test"),
}


def test_what_takes_an_id_is_what_says_that_there_is_nothing_of_it() -> None:
    assert {name for name, codes in generated.EXITS.items() if 4 in codes} == set(UNKNOWN)


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_command_that_finds_nothing_of_that_id_ends_with_the_code_of_its_section(
    shared: Orchestra, name: str
) -> None:
    environment = settings_of(shared, webserver_url="http://127.0.0.1:1").to_env()
    done = CliRunner().invoke(app, [*name.split()[1:], *UNKNOWN[name]], env=environment)
    assert done.exit_code == 4, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith("spine: ")


@pytest.mark.parametrize("name", frames.__all__)
def test_every_loader_has_its_row_with_every_argument(name: str) -> None:
    (row,) = re.findall(rf"^\| `{name}\((.*?)\)` \|", text_of("frames.md"), re.MULTILINE)
    said = [word.partition("=")[0] for word in row.split(", ")]
    signature = inspect.signature(getattr(frames, name))
    positional = [one.name for one in signature.parameters.values() if one.kind is not one.KEYWORD_ONLY]
    named = [one.name for one in signature.parameters.values() if one.kind is one.KEYWORD_ONLY]
    assert said == [*positional, "*", *named]


# --- what is named exists


def test_generated_pages_are_what_the_code_says() -> None:
    assert list(check.stale_pages()) == []


@pytest.mark.parametrize("page", check.documents(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_targets_and_commands_of_a_page_exist(page: Path) -> None:
    wrong: Iterator[str]
    for wrong in (check.broken_links(page), check.unknown_targets(page), check.unknown_commands(page)):
        assert list(wrong) == []


def reached_from(start: Path) -> set[Path]:
    """Pages that links lead to from there; a link to a folder shows all its pages."""
    reached: set[Path] = set()
    waiting = [start]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md" or not page.is_file():
            continue
        reached.add(page)
        names = {link.partition("#")[0] for link in check.LINK.findall(check.FENCE.sub("", page.read_text("utf-8")))}
        for target in ((page.parent / name).resolve() for name in names if name):
            waiting += target.glob("*.md") if target.is_dir() else [target]
    return reached


def test_every_page_can_be_reached_from_the_readme() -> None:
    assert set(check.documents()) - reached_from(ROOT / "README.md") == set()


def test_a_page_that_nothing_leads_to_is_not_reached(tmp_path: Path) -> None:
    for name, text in {"a.md": "[b](b.md) [here](#a)", "b.md": "[a](a.md)", "lost.md": "[a](a.md)"}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert reached_from(tmp_path / "a.md") == {tmp_path / "a.md", tmp_path / "b.md"}


# --- the check itself


def test_the_check_finds_what_leads_nowhere(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A page\n\n## With `code`, and more\n\n"
        "[a](#with-code-and-more) [b](#without) [c](other.md) [d](page.md#a-page) [e](https://example.com/none)\n"
        "```sh\nmake nothing\n.venv/bin/spine nothing\n# [not a link](none.md)\n```\n"
        "`make test`, `make bench-api` and `make others`; `spine query nothing`, `spine query` and `spine up`;\n"
        "make sense\n",
        encoding="utf-8",
    )
    assert [line.partition(": ")[2] for line in check.broken_links(page)] == [
        "#without names no heading of page.md",
        "other.md leads to no file",
    ]
    assert [line.partition(": ")[2] for line in check.unknown_targets(page)] == [
        "there is no make nothing",
        "there is no make others",
    ]
    assert [line.partition(": ")[2] for line in check.unknown_commands(page)] == [
        "there is no spine nothing",
        "there is no spine query nothing",
    ]


def test_headings_that_stand_twice_have_anchors_of_their_own() -> None:
    assert check.anchors("# A b\n\n## A b\n\n```\n# not one\n```\n") == {"a-b", "a-b-1"}


def test_a_page_that_was_edited_by_hand_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = tmp_path / "settings.md"
    page.write_text("# Settings\n", encoding="utf-8")
    monkeypatch.setattr(generated, "pages", lambda: {page: generated.settings_page()})
    assert [line.partition(": ")[2] for line in check.stale_pages()] == [
        "is not what the code says: python docs/generated.py"
    ]
