"""Patterns of landing paths: ``otc/otc_{report_date}[_{part}][.v{version}].csv``.

What it is: the little language a feed says in where its files land, parsed once and matched against real names.
Belongs here: its grammar, and walking a folder along a pattern.
Does not belong here: feeds, and what to do about two files that claim the same place (``landing``).

``{report_date}`` is 2026-03-02, ``{report_date:%Y%m%d}`` any order of %Y, %m and %d; ``{part}`` and ``{version}`` may
follow; square brackets hold what may be absent. ``.gz`` and ``.zst`` endings are accepted without being written.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Final

from market_spine.otc.remote import Location, entries

COMPRESSIONS: Final = {"": "", ".gz": "gzip", ".zst": "zstd"}
"""Ending of a file's name -> how it is compressed."""
MAX_VERSION: Final = 2**31 - 1  # what the database's integer holds

_ISO: Final = "%Y-%m-%d"
_TOKEN = re.compile(r"\{(?P<field>\w*)(?::(?P<format>[^{}]*))?\}|(?P<bracket>[\[\]])|(?P<text>[^{}\[\]]+)|(?P<stray>.)")
_ENDING = "(?P<ending>" + "|".join(re.escape(one) for one in COMPRESSIONS if one) + ")?"
_DIRECTIVE = re.compile(r"%(.?)")
_DIGITS = {"Y": 4, "m": 2, "d": 2}
_FIELDS = {
    # An underscore may follow inside a part, so that `late_batch` is a part and not a file nobody sees.
    "part": r"[A-Za-z0-9][A-Za-z0-9_-]*",
    "version": r"[0-9]+",
}


@dataclass(frozen=True)
class PathMatch:
    """A path that fits a pattern; ``problem`` says why its date or version is none, and is empty when all is well."""

    path: Location
    report_date: date | None
    part: str
    version: int | None
    compression: str
    problem: str = ""


@dataclass(frozen=True)
class _Segment:
    """One folder or file name of the pattern; ``fits`` is None where it holds no placeholder."""

    text: str
    fits: re.Pattern[str] | None
    date_formats: tuple[str, ...]


@dataclass(frozen=True)
class PathPattern:
    """A parsed pattern; ``parse`` makes it, ``matches`` uses it."""

    text: str
    segments: tuple[_Segment, ...]
    whole: re.Pattern[str]

    @property
    def depth(self) -> int:
        """How many names a path of this pattern has."""
        return len(self.segments)

    @property
    def versioned(self) -> bool:
        """Whether a name can carry a version."""
        return "version" in self.whole.groupindex

    def matches(self, landing: Location, day: date | None = None) -> Iterator[PathMatch]:
        """Files under ``landing`` that fit, only those of ``day`` when it is given; one listing for each folder.

        Raises:
            LandingError: the landing folder is at an address that does not answer.
        """
        for names, path in self._walk(landing, (), day):
            match = self.whole.fullmatch("/".join(names))
            if match is not None:
                found = self._read(path, match)
                if day is None or found.report_date == day:
                    yield found

    def _walk(
        self, folder: Location, names: tuple[str, ...], day: date | None
    ) -> Iterator[tuple[tuple[str, ...], Location]]:
        segment = self.segments[len(names)]
        last = len(names) + 1 == self.depth
        if segment.fits is None:  # the last name always has a pattern: it may end in .gz
            yield from self._walk(folder / segment.text, (*names, segment.text), day)
            return
        needles = [day.strftime(one) for one in segment.date_formats] if day else []
        for name, path in entries(folder, needles, segment.fits):
            if not last:
                yield from self._walk(path, (*names, name), day)
            elif path.is_file():
                yield (*names, name), path

    def _read(self, path: Location, match: re.Match[str]) -> PathMatch:
        part = (match["part"] or "") if "part" in self.whole.groupindex else ""
        # A pattern with a version whose bracket is empty here: the first delivery, older than any numbered one.
        version = int(match["version"] or 0) if self.versioned else None
        compression = COMPRESSIONS[match["ending"] or ""]
        problem = ""
        day = None
        try:
            day = date(int(match["Y"]), int(match["m"]), int(match["d"]))
        except ValueError:
            problem = f"{match['Y']}-{match['m']}-{match['d']} is no date"
        if version is not None and version > MAX_VERSION:
            day, problem = None, f"version {version} is over {MAX_VERSION}"
        return PathMatch(path, day, part, version, compression, problem)


@lru_cache(maxsize=256)
def parse(text: str) -> PathPattern:
    """The pattern ``text`` describes.

    Raises:
        ValueError: it describes none; the message says why.
    """
    if text.startswith("/") or "\\" in text or any(name in ("", ".", "..") for name in text.split("/")):
        raise ValueError("must be a relative path with forward slashes, without . and ..")
    if text.endswith((".gz", ".zst")):
        raise ValueError("leave .gz and .zst away: both are accepted after any name")
    names = text.split("/")
    seen: set[str] = set()
    whole: list[str] = []
    segments: list[_Segment] = []
    for place, name in enumerate(names, start=1):
        ending = _ENDING if place == len(names) else ""
        formats: list[str] = []
        whole.append(_regex(name, seen, formats) + ending)
        alone = _regex(name, set(), [])
        plain = not ("{" in name or ending)
        segments.append(_Segment(name, None if plain else re.compile(alone + ending), tuple(formats)))
    if not seen >= set(_DIGITS):
        raise ValueError("must hold the report date: {report_date}, or {report_date:...} with %Y, %m and %d")
    return PathPattern(text, tuple(segments), re.compile("/".join(whole)))


def _regex(name: str, seen: set[str], formats: list[str]) -> str:
    """One name of the pattern as a regular expression; ``seen`` and ``formats`` collect what is met."""
    out: list[str] = []
    depth = 0
    for token in _TOKEN.finditer(name):
        field, bracket = token["field"], token["bracket"]
        if token["text"] is not None:
            out.append(re.escape(token["text"]))
        elif bracket is not None:
            depth += 1 if bracket == "[" else -1
            if depth not in (0, 1):
                raise ValueError("square brackets must be closed within a name and may not be nested")
            out.append("(?:" if bracket == "[" else ")?")
        elif field == "report_date":
            if depth:
                raise ValueError("the report date may not stand in square brackets")
            formats.append(token["format"] or _ISO)
            out.append(_date_regex(formats[-1], seen))
        elif field in _FIELDS and token["format"] is None:
            if field in seen:
                raise ValueError(f"{{{field}}} may stand only once")
            seen.add(field)
            out.append(f"(?P<{field}>{_FIELDS[field]})")
        else:
            raise ValueError(f"{token[0]} is no placeholder; there are {{report_date}}, {{part}} and {{version}}")
    if depth:
        raise ValueError("square brackets must be closed within a name and may not be nested")
    return "".join(out)


def _date_regex(date_format: str, seen: set[str]) -> str:
    def directive(match: re.Match[str]) -> str:
        letter = match[1]
        if letter not in _DIGITS:
            raise ValueError(f"the report date's format may hold %Y, %m and %d, not %{letter}")
        if letter in seen:
            return f"(?P={letter})"  # the same date again, in another folder or name
        seen.add(letter)
        return f"(?P<{letter}>[0-9]{{{_DIGITS[letter]}}})"

    return _DIRECTIVE.sub(directive, re.escape(date_format))
