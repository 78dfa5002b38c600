"""Named SQL statements from ``.sql`` files, composed safely.

What it is: a file holds blocks that start with ``-- name: some_name``; the comment lines below say what the statement
does; the rest is the statement. ``{name}`` stands for an identifier or a fragment (composed by psycopg, never by string
formatting), ``%(name)s`` for a value.
Belongs here: finding, splitting and composing statements.
Does not belong here: any SQL.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from psycopg import sql

from market_spine.errors import WarehouseError


@dataclass(frozen=True)
class Statements:
    """The statements of one ``.sql`` file, by name."""

    origin: str
    texts: Mapping[str, str]

    def __call__(self, name: str, /, **parts: sql.Composable | str) -> sql.Composed:
        """Compose statement ``name``; a ``str`` part is an identifier, anything else is used as composed.

        Raises:
            WarehouseError: no such statement in this file.
        """
        try:
            text = self.texts[name]
        except KeyError:
            raise WarehouseError(
                f"{self.origin} has no statement named {name!r}; it has {sorted(self.texts)}"
            ) from None
        composed = {key: sql.Identifier(part) if isinstance(part, str) else part for key, part in parts.items()}
        return sql.SQL(text).format(**composed)


@cache
def statements(package: str, filename: str) -> Statements:
    """Read ``sql/<filename>`` of ``package`` once.

    Raises:
        WarehouseError: a name stands twice, or text stands before the first name.
    """
    origin = f"{package}/sql/{filename}"
    text = resources.files(package).joinpath("sql", filename).read_text(encoding="utf-8")
    texts: dict[str, list[str]] = {}
    current: list[str] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("-- name: "):
            name = line.removeprefix("-- name: ").strip()
            if name in texts:
                raise WarehouseError(f"{origin} line {number}: the name {name!r} stands twice")
            current = texts[name] = []
        elif line.startswith("--"):
            continue
        elif current is not None:
            current.append(line)
        elif line.strip():
            raise WarehouseError(f"{origin} line {number}: text before the first '-- name:'")
    return Statements(origin, {name: "\n".join(lines).strip() for name, lines in texts.items()})


def qualified(schema: str, name: str) -> sql.Identifier:
    """``schema.name`` as one quoted identifier."""
    return sql.Identifier(schema, name)
