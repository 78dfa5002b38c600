"""Who may ask: bearer tokens with two scopes, read and operate.

What it is: ``Keys`` compares what a request brings with the tokens of the settings; ``Gate`` stands before every
address of the API where reads need a token, ``may_operate`` before every route that changes something.
Belongs here: telling who may. Does not belong here: where tokens come from (``settings``).

Every token is compared, by digests of equal length and in constant time: how long an answer takes tells nothing.
"""

import hmac
from dataclasses import dataclass
from hashlib import sha256
from typing import Self

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from market_spine.api.problems import Problem, answer
from market_spine.settings import Settings

REALM = 'Bearer realm="market-spine"'
BEARER = b"bearer"
Digests = tuple[bytes, ...]


@dataclass(frozen=True, repr=False)
class Keys:
    """The tokens, as digests.

    Args:
        read: those that may read.
        operate: those that may read and write.
    """

    read: Digests
    operate: Digests

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Those of the settings."""
        return cls(
            *(
                tuple(sha256(token.encode()).digest() for token in tokens.each)
                for tokens in (settings.api_read_tokens, settings.api_operate_tokens)
            )
        )

    def check_read(self, authorization: bytes | None) -> None:
        """See that the header ``Authorization`` allows to read.

        Raises:
            Problem: it does not.
        """
        if self.read and not _known(_token(authorization), (*self.read, *self.operate)):
            raise _unknown()

    def check_operate(self, authorization: bytes | None) -> None:
        """See that the header ``Authorization`` allows to write.

        Raises:
            Problem: it does not, or nothing does.
        """
        if not self.operate:
            raise Problem(
                "writes_disabled",
                "writes are refused until MARKET_SPINE_API_OPERATE_TOKENS names a token that may operate",
            )
        token = _token(authorization)
        may_operate, may_read = _known(token, self.operate), _known(token, self.read)
        if may_operate:
            return
        if not may_read:
            raise _unknown()
        raise Problem(
            "insufficient_scope",
            "this token may read; a write needs one of MARKET_SPINE_API_OPERATE_TOKENS",
            headers={"WWW-Authenticate": f'{REALM}, error="insufficient_scope", scope="operate"'},
        )


class Gate:
    """Lets nobody to an address of the API who may not read."""

    def __init__(self, app: ASGIApp, keys: Keys, prefix: str) -> None:
        self.app = app
        self.keys = keys
        self.prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        # Not only at its beginning: a proxy's root_path may stand before it.
        if scope["type"] == "http" and self.prefix in scope["path"]:
            given = next((value for name, value in scope["headers"] if name == b"authorization"), None)
            try:
                self.keys.check_read(given)
            except Problem as problem:
                await answer(problem, scope["state"]["request_id"])(scope, receive, send)
                return
        await self.app(scope, receive, send)


async def may_operate(request: Request) -> None:
    """The dependency of every route that changes something.

    Raises:
        Problem: the caller may not.
    """
    keys: Keys = request.app.state.keys
    given = request.headers.get("authorization")
    keys.check_operate(None if given is None else given.encode("latin-1"))


def _token(authorization: bytes | None) -> bytes:
    if authorization is None:
        raise Problem(
            "unauthenticated", "a token is needed: Authorization: Bearer ...", headers={"WWW-Authenticate": REALM}
        )
    scheme, _, token = authorization.strip().partition(b" ")
    if scheme.lower() != BEARER:
        raise _unknown()
    return token.strip()


def _known(token: bytes, digests: Digests) -> bool:
    given = sha256(token).digest()
    found = False
    for digest in digests:
        found |= hmac.compare_digest(given, digest)
    return found


def _unknown() -> Problem:
    return Problem(
        "unauthenticated",
        "Authorization names no token that is known here",
        headers={"WWW-Authenticate": f'{REALM}, error="invalid_token"'},
    )
