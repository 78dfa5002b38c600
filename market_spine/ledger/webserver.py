"""Dagster's webserver, asked over GraphQL.

What it is: ``Webserver.ask`` sends one operation and answers with its data, or raises with one line.
Belongs here: transport and errors. Does not belong here: the operations (beside what they are for).

Raw GraphQL over HTTP needs no import of Dagster and lets the instance's own coordinator queue what is launched.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from market_spine.errors import LedgerError

Answer = dict[str, Any]


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
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked with the settings
            f"{self.url}/graphql",
            data=json.dumps({"query": operation, "variables": dict(variables or {})}).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as response:  # noqa: S310 - see above
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            raise LedgerError(f"{self.url}: the webserver refused the request: {_first_error(error)}") from error
        except (urllib.error.URLError, OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise LedgerError(
                f"{self.url}: the Dagster webserver does not answer ({reason}); start it, or set MARKET_SPINE_WEBSERVER"
            ) from error
        if answer.get("errors"):
            raise LedgerError(f"{self.url}: {answer['errors'][0]['message']}")
        return dict(answer["data"])


def expect(part: Mapping[str, Any], *wanted: str) -> Answer:
    """``part`` when its type is one of ``wanted``.

    Raises:
        LedgerError: it is one of Dagster's error types; carries Dagster's own words.
    """
    if part["__typename"] in wanted:
        return dict(part)
    message = part.get("message") or "; ".join(str(error.get("message")) for error in part.get("errors", ()))
    raise LedgerError(" ".join(f"Dagster answers {part['__typename']}: {message or 'no message'}".split()))


def _first_error(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["errors"][0]["message"])
    except (ValueError, KeyError, IndexError, OSError):
        return f"{error.code} {error.reason}"
