"""From reports to bytes: headers, quotes, versions, and the habits of the people who write such files.

Belongs here: the paper the reports of a random world are written on.
Does not belong here: what the reports say (world.py, mischief.py).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date

from market_spine_tests.oracle.reports import Delivery, SourceRules


@dataclass(frozen=True)
class Paper:
    rules: SourceRules
    trailer: str | None
    odd: bool
    note: bool
    """A column nobody asked for; in all files of the source or in none, so that a repeat stays a repeat."""


def write_files(
    rng: random.Random,
    paper: Paper,
    *,
    place: tuple[date, str],
    texts: list[dict[str, str]],
    versions: bool,
    broken: bool,
) -> list[Delivery]:
    """The deliveries of one part of a day: the right file, perhaps a wrong one before it and a cut one after it."""
    day, part = place

    def delivery(version: int | None, content: bytes) -> Delivery:
        return Delivery(paper.rules.name, day, part, version, content, 0)

    final = _content(rng, paper, texts)
    if not versions:
        return [delivery(None, final)]
    # 9 and 10: as text the later version would sort first.
    low, high = rng.choice([(1, 2), (9, 10)])
    files = [delivery(high, final)]
    if rng.random() < 0.3:
        # The wrong version lacks some rows, tells some differently and shows them in another order.
        wrong = [dict(text) for text in texts if rng.random() < 0.8] or [dict(texts[0])]
        for text in wrong:
            if rng.random() < 0.2:
                text["size"] = str(rng.randrange(1, 1000))
        rng.shuffle(wrong)
        files.append(delivery(low, _content(rng, paper, wrong)))
    if broken and rng.random() < 0.3:
        whole = final.rstrip(b"\r\n")
        files.append(delivery(high + 1, whole[: whole.rindex(b"\n") + 2]))
    return files


def _content(rng: random.Random, paper: Paper, texts: list[dict[str, str]]) -> bytes:
    rules = paper.rules

    def odd(chance: float) -> bool:
        return paper.odd and rng.random() < chance

    columns = [(name, source) for name, source in rules.columns.items()]
    rng.shuffle(columns)
    note, last_empty = paper.note, odd(0.3)
    end = "\r\n" if odd(0.4) else "\n"
    header = [source for _, source in columns] + ["desk note"] * note + [""] * last_empty
    lines = [rules.delimiter.join(header)]
    for text in texts:
        fields = [_field(rng, rules, text[name], padded=odd(0.03)) for name, _ in columns]
        fields += [_note(rules, text)] * note + [""] * last_empty
        lines.append(rules.delimiter.join(fields))
        if odd(0.02):
            lines.append("")
    if paper.trailer is not None:
        lines.append(paper.trailer.format(count=len(texts)))
    text_of_file = end.join(lines) + (end if not odd(0.3) else "")
    return (b"\xef\xbb\xbf" if odd(0.3) else b"") + text_of_file.encode()


def _field(rng: random.Random, rules: SourceRules, value: str, *, padded: bool) -> str:
    if padded:
        value = f" {value}  "
    if rules.quote and (rules.delimiter in value or (value and rng.random() < 0.02)):
        return f"{rules.quote}{value}{rules.quote}"
    return value if rules.quote else value.replace(rules.delimiter, "")


def _note(rules: SourceRules, text: dict[str, str]) -> str:
    if not rules.quote or len(text["price"]) % 3:
        return ""
    return f"{rules.quote}says {rules.quote * 2}{text['side']}{rules.quote * 2}{rules.delimiter} naïve{rules.quote}"
