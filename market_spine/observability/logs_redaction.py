"""Secrets never reach a log line or a span: passwords in addresses, tokens, Authorization headers.

What it is: ``Redactor`` replaces in any text what looks like a secret (the password of an address or of a connection
string, a bearer token, the value of a header) and what is known to be one: the passwords and tokens of the settings.
Belongs here: what is a secret. Does not belong here: where texts come from.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any
from urllib.parse import quote, unquote

from market_spine.settings import Settings, Tokens

HIDDEN = "***"
LEAST_LETTERS = 6
"""A shorter secret is not looked for in texts: it would be found in the middle of ordinary words."""
SECRET_VARIABLES = ("PGPASSWORD", "DAGSTER_PG_PASSWORD", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
"""Secrets that others read from the environment: libpq, Dagster's chart, object storage."""
SECRET_FIELDS = frozenset(
    {"password", "passwd", "secret", "token", "tokens", "authorization", "proxy-authorization", "cookie", "set-cookie"}
)
"""Names whose values are never shown."""

# Most texts have none of these in them, which is known in a microsecond; the patterns that follow take fifty.
_HINTS = ("://", "authorization", "bearer", "cookie", "passw", "pwd", "secret", "token")
# Up to the last @ before a slash or a space: a password may hold an @ of its own.
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*://[^\s:/@]*):[^\s/]*@", re.IGNORECASE)
_ASSIGNED = re.compile(
    r"""\b(\w*(?:password|passwd|pwd|secret|token)s?["']?\s*[=:]\s*)("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s,;&"'})\]]+)""",
    re.IGNORECASE,
)
# As a header, as an item of a dictionary, and as the pair of bytes that ASGI has.
_AUTHORIZATION = re.compile(
    r"""\b((?:proxy-)?authorization["']?\s*[=:,]\s*(?:b?["'])?(?:(?:basic|bearer|digest|token)\s+)?)[^\s,"'})\]]+""",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(bearer\s+)[a-z0-9._~+/=-]{16,}", re.IGNORECASE)


@dataclass(frozen=True)
class Redactor:
    """Replaces secrets.

    Args:
        known: texts that are secrets wherever they stand.
    """

    known: frozenset[str] = field(default=frozenset(), repr=False)

    @classmethod
    def of(cls, settings: Settings, env: Mapping[str, str] | None = None) -> "Redactor":
        """One that knows the passwords and tokens of the settings, and those of the environment."""
        source = os.environ if env is None else env
        found = set(_of_settings(settings))
        found.update(source.get(name, "") for name in SECRET_VARIABLES)
        for header in source.get("OTEL_EXPORTER_OTLP_HEADERS", "").split(","):
            found.update({(value := header.partition("=")[2].strip()), unquote(value)})
        # A development database whose password is its account's or its own name: hiding that hides half of every line.
        plain = {name for text in _texts(settings) for name in _names(text)}
        return cls(frozenset(secret for secret in found if len(secret) >= LEAST_LETTERS and secret not in plain))

    def text(self, text: str) -> str:
        """The text without its secrets."""
        if _is_suspicious(text):
            text = _ADDRESS.sub(rf"\1:{HIDDEN}@", text)
            text = _AUTHORIZATION.sub(rf"\g<1>{HIDDEN}", text)
            text = _BEARER.sub(rf"\g<1>{HIDDEN}", text)
            text = _ASSIGNED.sub(rf"\g<1>{HIDDEN}", text)
        return self._known.sub(HIDDEN, text) if self.known else text

    def is_harmless(self, line: Mapping[str, object]) -> bool:
        """Whether nothing in these fields can be a secret, at a look; False where only a closer one can tell."""
        texts: list[str] = []
        for value in line.values():
            if isinstance(value, str):
                texts.append(value)
            elif not (value is None or isinstance(value, int | float)):
                return False
        text = "\n".join([*line, *texts])
        if _is_suspicious(text):
            return False
        return not any(secret in text for secret in self.known)

    def mapping(self, fields: Mapping[Any, object]) -> dict[str, object]:
        """The fields without secrets, nor the values of those that are named like one."""
        return {
            str(name): HIDDEN if str(name).lower() in SECRET_FIELDS else self.value(value)
            for name, value in fields.items()
        }

    def value(self, value: object) -> object:
        """The value without its secrets, made of what JSON has: texts, numbers, lists, mappings."""
        if isinstance(value, str):
            return self.text(value)
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Mapping):
            return self.mapping(value)
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(inner) for inner in value]
        return self.text(str(value))

    @cached_property
    def _known(self) -> re.Pattern[str]:
        longest_first = sorted(self.known, key=len, reverse=True)
        return re.compile("|".join(re.escape(secret) for secret in longest_first))


def _is_suspicious(text: str) -> bool:
    lower = text.lower()
    return any(hint in lower for hint in _HINTS)


def _of_settings(settings: Settings) -> Iterator[str]:
    """Passwords as they stand in addresses, and as the one who checks them knows them."""
    for setting in fields(settings):
        value = getattr(settings, setting.name)
        if isinstance(value, Tokens):
            yield from value.each
    for text in _texts(settings):
        password = _account(text).partition(":")[2]
        yield from (password, unquote(password), quote(unquote(password), safe=""))


def _texts(settings: Settings) -> Iterable[str]:
    """Settings that are addresses."""
    values = (getattr(settings, setting.name) for setting in fields(settings))
    return (str(value) for value in values if isinstance(value, str) and "://" in value)


def _account(address: str) -> str:
    """``name:password`` of an address."""
    return address.partition("://")[2].rpartition("@")[0]


def _names(address: str) -> Iterator[str]:
    """What of an address is no secret: account, host, database."""
    yield _account(address).partition(":")[0]
    place, _, path = address.partition("://")[2].rpartition("@")[2].partition("/")
    yield place.partition(":")[0]
    yield path.partition("?")[0]
