"""Reading delivered files: what a delivery is, which one of several counts, and which are refused whole.

Belongs here: bytes to rows of text, the structure errors, the choice among versions.
Does not belong here: what the text means (values.py) and what becomes of a report (lifecycle.py).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date

from market_spine_tests.oracle.calendar import Sessions

CANONICAL = (
    "facility", "report_id", "report_date", "reported_at", "action", "original_report_id", "original_report_date",
    "trade_id", "sequence", "symbol", "venue", "side", "capacity", "executed_at", "trade_date", "price", "size",
    "conditions", "correction",
)  # fmt: skip
LONGEST_LINE = 1_048_576
BLANKS = " \t"


@dataclass(frozen=True)
class Delivery:
    """One file as it arrived, decompressed. `order` is the order of arrival."""

    source: str
    report_date: date
    part: str
    version: int | None
    content: bytes = field(repr=False)
    order: int


@dataclass(frozen=True)
class SourceRules:
    """What the oracle needs to know of a feed. `separator` None: condition codes are packed letters."""

    name: str
    columns: Mapping[str, str]
    delimiter: str = ","
    quote: str | None = '"'
    time_zone: str = "UTC"
    tape: str = "finra_tdds"
    actions: Mapping[str, str] = field(default_factory=dict)
    corrections: Mapping[str, str] = field(default_factory=dict)
    separator: str | None = None
    trailer: str | None = None
    defaults: Mapping[str, str] = field(default_factory=dict)
    required: frozenset[str] = frozenset({"symbol", "executed_at", "price", "size"})


class Refused(Exception):
    """A file that loads nothing: the line and what is wrong with it."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")
        self.line = line
        self.problem = problem


@dataclass(frozen=True)
class Row:
    """One data row: canonical text as it came, and the columns nobody asked for (blank ones left out)."""

    line_no: int
    text: Mapping[str, str]
    extra: tuple[tuple[str, str], ...]

    @property
    def content(self) -> tuple[object, ...]:
        return (*(self.text[name] for name in CANONICAL), self.extra)


@dataclass(frozen=True)
class Reading:
    """A file read to its end. rows + blank + trailer + header = its lines."""

    rows: list[Row]
    blank: int
    trailer: int


def _lines_of(content: bytes, quote: str | None) -> list[tuple[int, str]]:
    raw = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if raw[-1] == b"":
        raw.pop()
    if not raw:
        raise Refused(1, "the file is empty")
    lines = []
    for number, ending_line in enumerate(raw, start=1):
        line = ending_line.removesuffix(b"\r")
        if len(line) > LONGEST_LINE:
            raise Refused(number, "the line is longer than 1 MiB")
        if b"\0" in line:
            raise Refused(number, "the line holds a NUL byte")
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            raise Refused(number, "the line is not UTF-8") from None
        if quote and text.count(quote) % 2:
            raise Refused(number, "a quote is opened and not closed")
        lines.append((number, text))
    return lines


def _split(number: int, text: str, rules: SourceRules) -> list[str]:
    if rules.quote and rules.quote in text:
        reader = csv.reader([text], delimiter=rules.delimiter, quotechar=rules.quote, strict=True)
        try:
            return next(reader)
        except csv.Error as problem:
            raise Refused(number, f"the row cannot be split into columns ({problem})") from None
    if "\r" in text:
        raise Refused(number, "a carriage return stands in the middle of the row")
    return text.split(rules.delimiter)


def _drop_trailer(lines: list[tuple[int, str]], rules: SourceRules) -> tuple[int, int] | None:
    """Take the trailer off the end; its line number and the count it states."""
    if rules.trailer is None:
        return None
    number, text = lines[-1]
    found = re.match(rules.trailer, text.strip(BLANKS))
    if found is None:
        raise Refused(number, "the trailer row is missing, so the file may be cut off")
    lines.pop()
    stated = found.groupdict().get("count") or found.group(1)
    return number, int(stated.replace(",", ""))


def read_content(content: bytes, rules: SourceRules) -> Reading:
    """All rows of a file, or Refused with the line that makes the whole file unreadable."""
    lines = _lines_of(content, rules.quote)
    header_line, header_text = lines[0]
    header = [name.strip(BLANKS) for name in _split(header_line, header_text, rules)]
    names = header[:-1] if header[-1] == "" else header
    if len(set(names)) != len(names):
        raise Refused(header_line, "a column name stands twice in the header")
    for name in sorted(rules.required & set(rules.columns)):
        if rules.columns[name] not in names:
            raise Refused(header_line, f"the required column {rules.columns[name]} is missing")
    body = [(number, text) for number, text in lines[1:] if text.strip(BLANKS)]
    blank = len(lines) - 1 - len(body)
    trailer = _drop_trailer(body, rules) if body else None
    wanted = {source: name for name, source in rules.columns.items() if source in names}
    extra_names = [name for name in names if name not in wanted]
    rows = []
    for number, text in body:
        fields = _split(number, text, rules)
        if len(fields) != len(header):
            raise Refused(number, f"the row has {len(fields)} columns, the header has {len(header)}")
        by_name = dict(zip(names, fields, strict=False))
        values = dict.fromkeys(CANONICAL, "")
        # A default stands for a column the feed does not map; a blank in a mapped column stays blank.
        values.update({name: value for name, value in rules.defaults.items() if name not in rules.columns})
        values.update({name: by_name[source] for source, name in wanted.items()})
        extra = tuple(sorted((name, by_name[name]) for name in extra_names if by_name[name] != ""))
        rows.append(Row(number, values, extra))
    if not rows:
        raise Refused(len(lines), "the file has a header and no data rows")
    if trailer is not None and trailer[1] != len(rows):
        raise Refused(trailer[0], f"the trailer counts {trailer[1]} rows, the file has {len(rows)}")
    return Reading(rows, blank, 0 if trailer is None else 1)


def choose(
    deliveries: Iterable[Delivery], rules: Mapping[str, SourceRules], sessions: Sessions
) -> tuple[list[tuple[Delivery, Reading]], list[tuple[Delivery, Refused]]]:
    """The live file of every (source, report date, part) with its rows, and the deliveries refused.

    With a version in the name the highest readable version counts, whatever the order of arrival; a
    second, different file with the same version is refused. Without one, the last new content counts.
    """
    chosen: dict[tuple[str, date, str], tuple[Delivery, Reading]] = {}
    contents: dict[tuple[str, date, str], set[bytes]] = {}
    versions: dict[tuple[str, date, str], dict[int, bytes]] = {}
    refused: list[tuple[Delivery, Refused]] = []
    for delivery in sorted(deliveries, key=lambda one: one.order):
        place = (delivery.source, delivery.report_date, delivery.part)
        seen, numbered = contents.setdefault(place, set()), versions.setdefault(place, {})
        if delivery.version is None and delivery.content in seen:
            continue
        if delivery.version in numbered:
            if numbered[delivery.version] != delivery.content:
                refused.append((delivery, Refused(0, f"version {delivery.version} arrived before with other content")))
            continue
        try:
            if delivery.report_date not in sessions:
                raise Refused(0, f"the report date {delivery.report_date} is no session")
            reading = read_content(delivery.content, rules[delivery.source])
        except Refused as problem:
            refused.append((delivery, problem))
            continue
        seen.add(delivery.content)
        if delivery.version is not None:
            numbered[delivery.version] = delivery.content
        current = chosen.get(place)
        if current is None or delivery.version is None or delivery.version > (current[0].version or 0):
            chosen[place] = (delivery, reading)
    return [chosen[place] for place in sorted(chosen)], refused
