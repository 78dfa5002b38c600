"""Holds README.md, CHANGELOG.md and docs/ to what is there: ``python docs/check.py``, part of ``make check``.

Links and anchors lead somewhere, named ``make`` targets and ``spine`` commands exist, generated pages are current.
Belongs here: what can be seen without running anything. Does not belong here: the code of the tutorial, which a test
runs.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from docs import generated

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"^(```+).*?^\1\s*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(<?([^()\s>]+)>?(?:\s+\"[^\"]*\")?\)")
CODE = re.compile(r"`[^`\n]+`")
TARGET = re.compile(r"(?:^|[`\s])make(?: -\w+)? ([a-z][a-z0-9-]*)")
COMMAND = re.compile(r"(?:^|[`\s/])spine ((?:[a-z][a-z-]*)(?: [a-z][a-z-]*)?)")
ELSEWHERE = ("http://", "https://", "mailto:")


def documents(root: Path = ROOT) -> list[Path]:
    """Every page."""
    return [root / "README.md", root / "CHANGELOG.md", *sorted((root / "docs").rglob("*.md"))]


def anchors(text: str) -> set[str]:
    """What a page's headings can be linked as, the way GitHub makes it."""
    found: list[str] = []
    for heading in re.findall(r"^#+ +(.*?)\s*$", FENCE.sub("", text), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return {*found, *re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text)}


def broken_links(page: Path) -> Iterator[str]:
    """Relative links of a page that lead nowhere."""
    text = page.read_text(encoding="utf-8")
    for link in LINK.findall(CODE.sub("", FENCE.sub("", text))):
        if link.startswith(ELSEWHERE):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / unquote(name)).resolve() if name else page
        if not target.exists():
            yield f"{page}: {link} leads to no file"
        elif anchor and (target.suffix != ".md" or anchor not in anchors(target.read_text(encoding="utf-8"))):
            yield f"{page}: {link} names no heading of {target.name}"


def code_of(text: str) -> Iterator[str]:
    """What stands as code: fenced blocks, indented ones and words between backticks."""
    for block in FENCE.finditer(text):
        yield block.group()
    rest = FENCE.sub("", text)
    yield from CODE.findall(rest)
    yield from re.findall(r"^    .*$", rest, re.MULTILINE)


def targets() -> set[str]:
    """The targets of the Makefile."""
    return set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def unknown_targets(page: Path) -> Iterator[str]:
    """``make`` targets a page names that do not exist."""
    for code in code_of(page.read_text(encoding="utf-8")):
        for name in TARGET.findall(code):
            if name not in targets():
                yield f"{page}: there is no make {name}"


def unknown_commands(page: Path) -> Iterator[str]:
    """``spine`` commands a page names that do not exist."""
    known = {name.removeprefix("spine ") for name, _ in generated.commands()}
    groups = {name.partition(" ")[0] for name in known if " " in name}
    for code in code_of(page.read_text(encoding="utf-8")):
        for words in COMMAND.findall(code):
            first, _, second = words.partition(" ")
            is_known = (not second or words in known) if first in groups else first in known
            if not is_known:
                yield f"{page}: there is no spine {words}"


def stale_pages() -> Iterator[str]:
    """Generated pages that do not say what the code says."""
    for page, text in generated.pages().items():
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            yield f"{page}: is not what the code says: python docs/generated.py"


def complaints() -> list[str]:
    """Everything that is wrong, a line each."""
    found = list(stale_pages())
    for page in documents():
        found += [*broken_links(page), *unknown_targets(page), *unknown_commands(page)]
    return [line.replace(f"{ROOT}/", "") for line in found]


if __name__ == "__main__":
    wrong = complaints()
    for line in wrong:
        print(line, file=sys.stderr)
    sys.exit(bool(wrong))
