"""The wire: an answer to bytes that are no HTTP request, where no application can be asked.

What it is: uvicorn's protocol with a problem for what its parser refuses; its own answer is a line of plain text.
Belongs here: what happens before there is a request. Does not belong here: requests (``edge`` and further in).
"""

import uuid

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from market_spine.api.problems import Problem, answer

LONGEST_ADDRESS = 65_535
"""Bytes of path and query together; the parser counts them in 16 bits."""


class Protocol(HttpToolsProtocol):
    """One connection."""

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser refused, and close: where the next request begins, nobody knows.

        Args:
            msg: uvicorn's words, the same for whatever was wrong.
        """
        identifier = uuid.uuid4().hex
        said = f"{msg} Either it is no HTTP, or its path and query are longer than {LONGEST_ADDRESS:,} bytes"
        response = answer(Problem("bad_request", said), identifier)
        headers = [*response.raw_headers, (b"x-request-id", identifier.encode()), (b"connection", b"close")]
        head = b"".join(b"%s: %s\r\n" % pair for pair in headers)
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n" + head + b"\r\n" + bytes(response.body))
        self.transport.close()
