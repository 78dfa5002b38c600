"""The least that can answer a symbol-year over HTTP: ``python -m benchmarks.bare_service DATABASE PORT``.

What it is: asyncio, a pool of psycopg connections and no framework; neither checks, nor errors, nor a log. Its
latencies at a load say what this machine can do: what the API has above them is its own.
Belongs here: answering. Does not belong here: measuring (``figure_api``).
"""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import parse_qs

import uvloop
from psycopg_pool import AsyncConnectionPool

from benchmarks.api_child import usual_query
from market_spine.api.database import as_text
from market_spine.settings import Settings


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    url, port = arguments
    with suppress(KeyboardInterrupt):
        uvloop.run(_serve(url, int(port)))
    return 0


async def _serve(url: str, port: int) -> None:
    query = usual_query().as_bytes()
    most = Settings().api_connections
    pool = AsyncConnectionPool(
        url, kwargs={"autocommit": True}, configure=as_text, min_size=most, max_size=most, open=False
    )

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                given = parse_qs(head.split(b" ", 2)[1].partition(b"?")[2].decode())
                values = {"symbol": given["symbol"][0], "first": given["start"][0], "last": given["end"][0]}
                async with pool.connection() as connection:
                    cursor = await connection.execute(query, values, prepare=True)
                    rows = await cursor.fetchall()
                body = "\n".join([",".join(row) for row in rows]).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
        writer.close()

    async with pool:
        await pool.wait()
        server = await asyncio.start_server(answer, "127.0.0.1", port)
        await server.serve_forever()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
