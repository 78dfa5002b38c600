"""Keyset cursors: where the last page ended, and which route it belongs to.

What it is: the last row's key and the name of the route as one opaque word. It is no secret and
grants nothing: whoever makes one up gets a page of what they may read anyway, or a problem.
Belongs here: writing and reading cursors. Does not belong here: the keys themselves.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from market_spine.api.problems import Problem

MOST_BYTES = 512


def digest(*parts: object) -> str:
    """A short digest of whatever identifies a request or a state."""
    return hashlib.blake2b(repr(parts).encode("utf-8", errors="replace"), digest_size=9).hexdigest()


def write(request: str, key: Sequence[str | int]) -> str:
    """The cursor behind a row.

    Args:
        request: name of the route.
        key: the row's key.
    """
    text = json.dumps([request, *key], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def read(cursor: str, request: str, kinds: Sequence[type]) -> list[Any]:
    """The key that a cursor holds.

    Args:
        cursor: as ``write`` made it.
        request: name of the route.
        kinds: types of the key's parts: str, int, date, datetime.

    Raises:
        Problem: it is none, or one of another route.
    """
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        name, *parts = json.loads(base64.b64decode(padded[:MOST_BYTES], altchars=b"-_", validate=True))
        key = [_part(part, kind) for part, kind in zip(parts, kinds, strict=True)]
    except (binascii.Error, UnicodeError, ValueError, TypeError, RecursionError) as error:
        raise Problem(
            "invalid_cursor", "cursor: take next_cursor of the page before, as it is", field="cursor"
        ) from error
    if name != request:
        raise Problem("invalid_cursor", "cursor: it belongs to another address", field="cursor")
    return key


def _part(part: object, kind: type) -> object:
    if kind is int:
        if type(part) is not int or not 0 <= part < 2**31:
            raise ValueError
        return part
    if not isinstance(part, str) or "\0" in part:
        raise ValueError
    return kind.fromisoformat(part) if kind in (date, datetime) else part
