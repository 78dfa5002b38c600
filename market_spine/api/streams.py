"""Answers without an end: CSV as PostgreSQL writes it, and Arrow made of it, in flat memory.

What it is: one COPY a request, taken as fast as the caller takes it. Arrow's own CSV reader turns its text into exact
columns (decimal128), block by block, off the event loop.
Belongs here: representations that are streamed. Does not belong here: the statements, connections.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

import pyarrow as pa
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from market_spine.api import queries
from market_spine.api.columns import Known
from market_spine.api.database import Reader, Values
from market_spine.api.negotiation import ARROW, CSV
from market_spine.api.pages import CACHE, VARY
from market_spine.warehouse.arrow import read_rows

BLOCK_BYTES = 2 * 1024 * 1024
"""Text that becomes one record batch: enough for Arrow to be quick, and little to hold."""


async def stream(
    reader: Reader,
    media: str,
    query: bytes,
    values: Values,
    columns: Mapping[str, Known],
    *,
    seconds: int,
    tag: str,
    filename: str,
) -> StreamingResponse:
    """The answer; errors up to its first bytes are raised, later ones break the connection off.

    Args:
        reader: the database.
        media: ``CSV`` or ``ARROW``.
        query: what to read, values as text.
        values: its values.
        columns: the columns of the answer, in order.
        seconds: how long it may last.
        tag: its ETag.
        filename: what a browser saves it as, without its ending.

    Raises:
        Problem: the database is away, or has not begun in time.
    """
    stack = AsyncExitStack()
    try:
        copied = await stack.enter_async_context(
            reader.copying(queries.copy(query, header=media == CSV), values, seconds)
        )
        chunks = copied if media == CSV else _arrow(copied, columns)
        first = await anext(chunks, b"")
    except BaseException:
        await stack.aclose()
        raise
    ending = "csv" if media == CSV else "arrow"
    disposition = {"Content-Disposition": f'inline; filename="{filename}.{ending}"'}
    kind = f"{CSV}; charset=utf-8; header=present" if media == CSV else ARROW
    headers = {"ETag": tag, "Cache-Control": CACHE, **disposition, **VARY}
    return _Stream(_joined(first, chunks), stack, media_type=kind, headers=headers)


class _Stream(StreamingResponse):
    """Gives the connection back whatever happens, a caller who left before the first byte included."""

    def __init__(self, content: AsyncIterator[bytes], stack: AsyncExitStack, **more: Any) -> None:
        super().__init__(content, **more)
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._stack.aclose()


async def _joined(first: bytes, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    yield first
    async for chunk in chunks:
        yield chunk


async def _arrow(copied: AsyncIterator[bytes], columns: Mapping[str, Known]) -> AsyncGenerator[bytes, None]:
    schema = pa.schema(
        [pa.field(name, known.arrow, metadata={"comment": known.meaning}) for name, known in columns.items()]
    )
    sink = _Sink()
    writer = pa.ipc.new_stream(sink, schema)
    parts: list[bytes] = []
    size = 0
    async for chunk in copied:
        parts.append(chunk)
        size += len(chunk)
        if size >= BLOCK_BYTES:
            await asyncio.to_thread(_write, writer, b"".join(parts), schema)
            parts, size = [], 0
            yield sink.taken()
    if parts:
        await asyncio.to_thread(_write, writer, b"".join(parts), schema)
    writer.close()
    yield sink.taken()


class _Sink:
    """A file that only remembers what was written since somebody last looked."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _write(writer: pa.RecordBatchStreamWriter, text: bytes, schema: pa.Schema) -> None:
    writer.write_table(read_rows(text, schema).cast(schema))
