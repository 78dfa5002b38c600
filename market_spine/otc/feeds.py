"""Feeds: how a source's files map to reports, declared in YAML and checked on load.

What it is: ``Feed``, the words a declaration may use, and ``load_feeds``. ``docs/feeds.md`` explains every key.
Belongs here: what can be said about a source and what may not be said together.
Does not belong here: finding files (``landing``), reading them (``reader``), what a report means (``normalize``).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from market_spine.errors import FeedError
from market_spine.otc import path_pattern
from market_spine.otc.feeds_yaml import Entry, compose, hint

CANONICAL: Final = (
    "facility", "report_id", "report_date", "reported_at", "action", "original_report_id", "original_report_date",
    "trade_id", "sequence", "symbol", "venue", "side", "capacity", "executed_at", "trade_date", "price", "size",
    "conditions", "correction",
)  # fmt: skip
"""Every name a column can be mapped to."""
ESSENTIAL: Final = ("executed_at", "symbol", "price", "size")
"""Without these nothing is a trade: they must be mapped, and are required unless the feed says otherwise."""
TAPES: Final = ("cta", "utp", "finra_tdds")
ACTIONS: Final = ("new", "as_of", "cancel", "break", "correct", "reversal")
CORRECTIONS: Final = ("live", "cancelled", "not_a_trade")

_KEYS: Final = (
    "name", "description", "path", "delimiter", "quote", "columns", "required", "defaults", "time_zone", "tape",
    "actions", "corrections", "conditions", "trailer",
)  # fmt: skip
_NEEDED: Final = ("name", "path", "columns", "time_zone", "tape")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
# Not what numbers, dates and names are made of, and nothing COPY or the line reader gives a meaning of its own.
_DELIMITER = re.compile(r"[\t !#$%&'()*,/:;<=>?@\[\\\]^_`{|}~]")


@dataclass(frozen=True)
class Feed:
    """A source of trade reports, as its declaration describes it.

    Args:
        name: the source's name in every table.
        path: pattern of its files below the landing folder.
        columns: canonical name -> name in the file's header.
        time_zone: zone of times that carry no offset.
        tape: whose sale-condition rules apply.
        description: one sentence for people.
        delimiter: between two columns.
        quote: quote character, empty when the source has none and a quote character is ordinary text.
        required: canonical names whose columns must be in the file.
        defaults: canonical name -> constant, for what the source does not say in its rows.
        actions: action code -> one of ``ACTIONS``; empty when every report is new.
        corrections: correction code -> one of ``CORRECTIONS``; empty when every report is live.
        condition_separator: between two condition codes; None when every character is a code.
        trailer: regular expression of the last line, its group ``count`` being the number of rows; None without one.
    """

    name: str
    path: str
    columns: Mapping[str, str]
    time_zone: str
    tape: str
    description: str = ""
    delimiter: str = ","
    quote: str = '"'
    required: tuple[str, ...] = ESSENTIAL
    defaults: Mapping[str, str] = field(default_factory=dict)
    actions: Mapping[str, str] = field(default_factory=dict)
    corrections: Mapping[str, str] = field(default_factory=dict)
    condition_separator: str | None = None
    trailer: str | None = None

    @property
    def pattern(self) -> path_pattern.PathPattern:
        """``path``, parsed."""
        return path_pattern.parse(self.path)


def load_feeds(extra_dir: str = "") -> dict[str, Feed]:
    """The packaged feeds and those of ``extra_dir`` (none when empty), by name in alphabetical order.

    Raises:
        FeedError: a declaration is wrong, or two share a name or a path; the message has file and line.
    """
    packaged = resources.files("market_spine.otc") / "feeds"
    files: list[tuple[str, Traversable]] = [(f"feeds/{one.name}", one) for one in packaged.iterdir()]
    if extra_dir:
        folder = Path(extra_dir)
        if not folder.is_dir():
            raise FeedError(f"{extra_dir}: no such folder; MARKET_SPINE_FEEDS must name one with feed files (*.yaml)")
        files += [(str(one), one) for one in folder.iterdir()]
    feeds: dict[str, Feed] = {}
    origins: dict[str, str] = {}
    for shown, file in sorted(files, key=lambda one: one[0]):
        if not file.name.endswith((".yaml", ".yml")):
            continue
        feed = parse_feed(_content(shown, file), shown)
        for what, said in (("name", feed.name), ("path", feed.path)):
            other = origins.setdefault(f"{what} {said}", shown)
            if other != shown:
                raise FeedError(f"{shown}: the {what} {said!r} is taken by {other}; rename one of the two")
        feeds[feed.name] = feed
    return dict(sorted(feeds.items()))


def _content(shown: str, file: Traversable) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FeedError(f"{shown}: cannot be read: {error}") from error


def parse_feed(content: str, file: str) -> Feed:
    """The feed that ``content`` declares; ``file`` is for messages.

    Raises:
        FeedError: it declares none; the message has file and line.
    """
    feed = compose(content, file, "the feed")
    said = feed.fields(_KEYS, _NEEDED)
    columns = _columns(said["columns"])
    return Feed(
        name=_matching(said["name"], _NAME, "small letters, digits and underscores, a letter first, at most 40"),
        path=said["path"].checked(path_pattern.parse),
        columns=columns,
        time_zone=said["time_zone"].checked(_zone),
        tape=_one_of(said["tape"], TAPES),
        description=said["description"].text() if "description" in said else "",
        delimiter=_matching(said["delimiter"], _DELIMITER, 'one character such as , | ; or a tab ("\\t")')
        if "delimiter" in said
        else ",",
        quote=_quote(said.get("quote")),
        required=_required(said.get("required"), columns),
        defaults=_defaults(said.get("defaults"), columns),
        actions=_codes(said.get("actions"), ACTIONS, columns, said["columns"], "action"),
        corrections=_codes(said.get("corrections"), CORRECTIONS, columns, said["columns"], "correction"),
        condition_separator=_separator(said.get("conditions")),
        trailer=_trailer(said.get("trailer")),
    )


def _columns(entry: Entry) -> dict[str, str]:
    columns: dict[str, str] = {}
    for key, value in entry.items():
        canonical, source = _canonical(key), value.text().strip()
        if not source:
            raise value.error(f"column {canonical!r} has no name in the file; leave the line away if there is none")
        if source in columns.values():
            # A column of the file goes to one place; what it says twice is said by a constant or by the reader of it.
            raise value.error(f"the file's column {source!r} is mapped twice")
        columns[canonical] = source
    for name in ESSENTIAL:
        if name not in columns:
            raise entry.error(f"columns has no {name!r}; a trade needs {', '.join(ESSENTIAL)}")
    return columns


def _canonical(entry: Entry) -> str:
    return _one_of(entry, CANONICAL, "unknown canonical column")


def _one_of(entry: Entry, known: Sequence[str], what: str = "") -> str:
    if entry.text() not in known:
        raise entry.error(f"{what or 'unknown ' + entry.name} {entry.text()!r}{hint(entry.text(), known)}")
    return entry.text()


def _matching(entry: Entry, pattern: re.Pattern[str], meant: str) -> str:
    if not pattern.fullmatch(entry.text()):
        raise entry.error(f"{entry.name} {entry.text()!r} must be {meant}")
    return entry.text()


def _zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # a path out of the zone database, a folder of it
        raise ValueError("no time zone of that name; write it like America/New_York or UTC") from error


def _quote(entry: Entry | None) -> str:
    return '"' if entry is None or _one_of(entry, ('"', "none")) == '"' else ""


def _required(entry: Entry | None, columns: Mapping[str, str]) -> tuple[str, ...]:
    if entry is None:
        return ESSENTIAL
    for member in entry.members():
        if _canonical(member) not in columns:
            raise member.error(f"required column {member.text()!r} is not among columns")
    return tuple(member.text() for member in entry.members())


def _defaults(entry: Entry | None, columns: Mapping[str, str]) -> dict[str, str]:
    defaults: dict[str, str] = {}
    for key, value in entry.items() if entry else ():
        if _canonical(key) in columns:
            raise key.error(f"{key.text()!r} is both a column and a constant; keep one")
        defaults[key.text()] = value.text()
    return defaults


def _codes(
    entry: Entry | None, meanings: Sequence[str], columns: Mapping[str, str], mapped: Entry, column: str
) -> dict[str, str]:
    """Codes and their meaning: there must be some exactly when there is a column that holds them."""
    if entry is None:
        if column in columns:
            where = next(value for key, value in mapped.items() if key.text() == column)
            raise where.error(f"column {column!r} is mapped, but {column}s does not say what its codes mean")
        return {}
    if column not in columns:
        raise entry.error(f"{entry.name} needs a column {column!r} among columns")
    meant = "unknown meaning of a code:"
    return {key.text(): _one_of(value, meanings, meant) for key, value in entry.items()}


def _separator(entry: Entry | None) -> str | None:
    if entry is None or (not entry.is_mapping and _one_of(entry, ("packed",))):
        return None
    separator = entry.fields(("separator",), ("separator",))["separator"]
    if not separator.text():
        raise separator.error("separator is empty; write conditions: packed when every character is a code")
    return separator.text()


def _trailer(entry: Entry | None) -> str | None:
    if entry is None or (not entry.is_mapping and _one_of(entry, ("none",))):
        return None
    return entry.fields(("pattern",), ("pattern",))["pattern"].checked(_trailer_pattern)


def _trailer_pattern(text: str) -> None:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ValueError(f"no regular expression: {error}") from error
    if "count" not in pattern.groupindex:
        raise ValueError("must have a group for the number of rows: (?P<count>[0-9]+)")
