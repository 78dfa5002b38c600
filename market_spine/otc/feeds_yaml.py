"""YAML whose errors name the file and the line.

What it is: a thin walk over the nodes of a document, which know where they stand; values stay the text as
written.
Belongs here: mappings, lists and texts of any YAML file. Does not belong here: what a feed may say (``feeds``).

Nodes instead of values also because YAML turns the codes ``N``, ``Y``, ``on`` and ``01`` into booleans and numbers.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import yaml

from market_spine.errors import FeedError


@dataclass(frozen=True)
class Entry:
    """A value in the document. ``name`` is the key it stands under, for messages."""

    file: str
    name: str
    node: yaml.Node

    @property
    def line(self) -> int:
        """Line of the file, the first being 1."""
        return int(self.node.start_mark.line) + 1

    def error(self, problem: str) -> FeedError:
        """An error about this value."""
        return FeedError(f"{self.file} line {self.line}: {problem}")

    def text(self) -> str:
        """The value as text; absent (``key:``) is an empty one."""
        if not isinstance(self.node, yaml.ScalarNode):
            raise self.error(f"{self.name} must be one value, not a list or a mapping")
        return str(self.node.value)

    @property
    def is_mapping(self) -> bool:
        """Whether keys stand under it."""
        return isinstance(self.node, yaml.MappingNode)

    def items(self) -> Iterator[tuple["Entry", "Entry"]]:
        """Keys and values of a mapping; each is an entry, so that either can be the one that is wrong."""
        if not isinstance(self.node, yaml.MappingNode):
            raise self.error(f"{self.name} must be a mapping (key: value)")
        seen: set[str] = set()
        for key_node, value_node in self.node.value:
            key = Entry(self.file, f"a key of {self.name}", key_node)
            if key.text() in seen:
                raise key.error(f"{self.name} has {key.text()!r} twice")
            seen.add(key.text())
            yield key, Entry(self.file, key.text(), value_node)

    def members(self) -> list["Entry"]:
        """The values of a list."""
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.error(f"{self.name} must be a list ([a, b])")
        return [Entry(self.file, f"a member of {self.name}", node) for node in self.node.value]

    def fields(self, known: Sequence[str], needed: Sequence[str] = ()) -> dict[str, "Entry"]:
        """The values of a mapping of which all possible keys are known."""
        found: dict[str, Entry] = {}
        for key, value in self.items():
            if key.text() not in known:
                raise key.error(f"unknown key {key.text()!r} in {self.name}{hint(key.text(), known)}")
            found[key.text()] = value
        for name in needed:
            if name not in found:
                raise self.error(f"{self.name} has no {name!r}")
        return found

    def checked(self, make: Callable[[str], object]) -> str:
        """The value, after ``make`` accepted it; its ValueError becomes an error with this line."""
        try:
            make(self.text())
        except ValueError as error:
            raise self.error(f"{self.name} {self.text()!r}: {error}") from error
        return self.text()


def hint(wrong: str, known: Sequence[str]) -> str:
    """What was perhaps meant, else everything that can be."""
    close = get_close_matches(wrong, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}"


def compose(content: str, file: str, name: str) -> Entry:
    """The document in ``content``; ``file`` and ``name`` are for messages.

    Raises:
        FeedError: it is no YAML, or empty.
    """
    try:
        node = yaml.compose(content, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" line {mark.line + 1}" if mark else ""
        raise FeedError(f"{file}{line}: no YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:  # a character YAML does not allow; it has a position but no mark
        raise FeedError(f"{file}: no YAML: {' '.join(str(error).split())}") from error
    if node is None:
        raise FeedError(f"{file} line 1: the file is empty")
    return Entry(file, name, node)
