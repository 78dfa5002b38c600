"""Dagster's webserver, asked over GraphQL.

What it is: ``Webserver.ask`` sends one operation and answers with its data, or raises with one line.
Belongs here: transport and errors. Does not belong here: the operations (beside what they are for).

Raw GraphQL over HTTP needs no import of Dagster and lets the instance's own coordinator queue what is launched.
"""

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection, responses
from typing import Any
from urllib.parse import urlsplit

from market_spine.errors import LedgerError

Answer = dict[str, Any]
OK = 200


@dataclass(frozen=True)
class Webserver:
    """Where the webserver answers.

    Args:
        url: ``http://host:port``, without a slash at the end.
        timeout: seconds for one answer; a launch takes 20 to 30 ms, the first one after a start seconds.
    """

    url: str
    timeout: float = 60.0

    def ask(self, operation: str, variables: Mapping[str, object] | None = None) -> Answer:
        """Send an operation; answers with ``data``.

        A union's error types are the caller's to look at: ask for ``__typename`` and hand the part to ``expect``.

        Raises:
            LedgerError: the webserver is away, or refuses the operation.
        """
        try:
            status, text = self._post(json.dumps({"query": operation, "variables": dict(variables or {})}))
            answer = json.loads(text) if status == OK else {}
        except (HTTPException, OSError, ValueError) as error:
            raise LedgerError(
                f"{self.url}: the Dagster webserver does not answer ({error}); start it, or set MARKET_SPINE_WEBSERVER"
            ) from error
        if status != OK:
            raise LedgerError(f"{self.url}: the webserver refused the request: {_first_error(status, text)}")
        if answer.get("errors"):
            raise LedgerError(f"{self.url}: {answer['errors'][0]['message']}")
        return dict(answer["data"])

    def _post(self, body: str) -> tuple[int, bytes]:
        place = urlsplit(self.url)
        kind = HTTPSConnection if place.scheme == "https" else HTTPConnection
        with closing(kind(place.netloc, timeout=self.timeout)) as connection:
            connection.request("POST", f"{place.path}/graphql", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()


def expect(part: Mapping[str, Any], *wanted: str) -> Answer:
    """``part`` when its type is one of ``wanted``.

    Raises:
        LedgerError: it is one of Dagster's error types; carries Dagster's own words.
    """
    if part["__typename"] in wanted:
        return dict(part)
    message = part.get("message") or "; ".join(str(error.get("message")) for error in part.get("errors", ()))
    raise LedgerError(" ".join(f"Dagster answers {part['__typename']}: {message or 'no message'}".split()))


def _first_error(status: int, text: bytes) -> str:
    try:
        return str(json.loads(text)["errors"][0]["message"])
    except (ValueError, KeyError, IndexError, TypeError):
        return f"{status} {responses.get(status, '')}".strip()
