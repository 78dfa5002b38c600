"""Which representation an ``Accept`` header asks for.

Belongs here: media types and their order of preference. Does not belong here: making the representations.
"""

from functools import lru_cache

from market_spine.api.problems import Problem

JSON = "application/json"
CSV = "text/csv"
ARROW = "application/vnd.apache.arrow.stream"
FORMATS = (JSON, CSV, ARROW)
"""The first one is what ``*/*`` and no header at all get."""


@lru_cache(maxsize=256)
def chosen(accept: str, offered: tuple[str, ...] = FORMATS) -> str:
    """The offered media type that the header prefers.

    Raises:
        Problem: it accepts none of them.
    """
    if not accept.strip():
        return offered[0]
    ranges = [_range(part) for part in accept.split(",") if part.strip()]
    best, best_quality = "", 0.0
    for media in offered:
        # the most specific range that matches decides: text/csv over text/* over */*
        matching = [(depth, quality) for name, depth, quality in ranges if _matches(name, media)]
        quality = max(matching)[1] if matching else 0.0
        if quality > best_quality:
            best, best_quality = media, quality
    if not best:
        raise Problem("not_acceptable", f"this address answers {', '.join(offered)}; Accept asks for {accept!r}")
    return best


def _range(part: str) -> tuple[str, int, float]:
    """Name, how specific it is, and quality of one part of the header."""
    name, *parameters = (text.strip().lower() for text in part.split(";"))
    quality = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                quality = 0.0
    depth = 0 if name in ("*/*", "*") else 1 if name.endswith("/*") else 2
    return name, depth, quality


def _matches(name: str, media: str) -> bool:
    return name in (media, "*/*", "*") or (name.endswith("/*") and media.startswith(name[:-1]))
