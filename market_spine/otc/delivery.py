"""A file as it was delivered: plain, gzip or zstd bytes become plain bytes, hashed and counted on the way.

What it is: ``Delivery``, read once from front to end in bounded memory.
Belongs here: compression and its damage. Does not belong here: lines, columns, text (``reader``).
"""

import hashlib
import io
import zlib
from collections.abc import Iterator
from typing import Final

import zstandard

from market_spine.errors import FileRefused
from market_spine.otc.remote import Location, open_binary, remote_errors

_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_ZSTD_PORTION: Final = 65_536
_GZIP_WINDOW: Final = zlib.MAX_WBITS | 16


class Delivery:
    """The bytes of one file.

    Args:
        path: the file.
        compression: "", "gzip" or "zstd".
        piece_bytes: about how much plain text a piece has.
    """

    def __init__(self, path: Location, compression: str, piece_bytes: int) -> None:
        self._path = path
        self._compression = compression
        self._piece_bytes = piece_bytes
        self._hash = hashlib.sha256()
        self._size = 0

    @property
    def sha256(self) -> str:
        """Hash of what was read so far; of the file once the pieces are exhausted."""
        return self._hash.hexdigest()

    @property
    def size(self) -> int:
        """Bytes read so far, as delivered."""
        return self._size

    def pieces(self) -> Iterator[bytes]:
        """The plain bytes, never an empty piece.

        Raises:
            FileRefused: it cannot be read to its end. The line is not known here.
            LandingError: the address it is at stopped answering; the file itself may be good.
        """
        # A generator owns the open file, so that a reader nobody finished closes it when it is dropped.
        try:
            with remote_errors(self._path), open_binary(self._path) as stream:
                if self._compression == "gzip":
                    yield from self._gunzip(stream)
                elif self._compression == "zstd":
                    yield from self._unzstd(stream)
                else:
                    yield from self._plain(stream)
        except OSError as error:
            raise self._refused(f"cannot be read: {error.strerror}") from error

    def _refused(self, problem: str) -> FileRefused:
        return FileRefused(self._path, None, problem)

    def _read(self, stream: io.RawIOBase, size: int) -> bytes:
        data = stream.read(size)
        self._hash.update(data)
        self._size += len(data)
        return data

    def _plain(self, stream: io.RawIOBase) -> Iterator[bytes]:
        while data := self._read(stream, self._piece_bytes):
            if self._size == len(data) and data.startswith((_GZIP, _ZSTD)):
                kind, ending = ("gzip", ".gz") if data.startswith(_GZIP) else ("zstd", ".zst")
                raise self._refused(f"holds {kind} data, but its name does not end in {ending}")
            yield data

    def _gunzip(self, stream: io.RawIOBase) -> Iterator[bytes]:
        member = zlib.decompressobj(_GZIP_WINDOW)
        data = b""
        complete = False  # whether the bytes so far end with the end of a member
        while data or (data := self._read(stream, self._piece_bytes)):
            if complete:
                data = data.lstrip(b"\0")  # tapes and block devices pad with zeros
                if not data:
                    continue
                member = zlib.decompressobj(_GZIP_WINDOW)
            try:
                plain = member.decompress(data, self._piece_bytes)
            except zlib.error as error:
                raise self._refused(self._damage("gzip", _GZIP, complete, str(error))) from error
            complete = member.eof
            data = member.unused_data if complete else member.unconsumed_tail
            if plain:
                yield plain
        if not complete and self._size:
            raise self._refused(f"the gzip data stop before their end, after {self._size:,} bytes; deliver it again")

    def _unzstd(self, stream: io.RawIOBase) -> Iterator[bytes]:
        make = zstandard.ZstdDecompressor().decompressobj
        frame = make()
        data = b""
        complete = False
        # This library gives out all a piece of input holds at once, so the input is cut by the ratio seen so far:
        # otherwise 64 KB of zeros would become 2 GB of memory.
        portion, given = 128, 0
        while data or (data := self._read(stream, portion)):
            frame = make() if complete else frame
            try:
                plain = frame.decompress(data)
            except zstandard.ZstdError as error:
                raise self._refused(self._damage("zstd", _ZSTD, complete, str(error))) from error
            given += len(plain)
            if given:
                portion = max(64, min(_ZSTD_PORTION, self._size * self._piece_bytes // given))
            complete = frame.eof
            data = frame.unused_data if complete else b""
            if plain:
                yield plain
        if not complete and self._size:
            raise self._refused(f"the zstd data stop before their end, after {self._size:,} bytes; deliver it again")

    def _damage(self, kind: str, magic: bytes, between: bool, detail: str) -> str:
        if between:
            return f"holds more than {kind} data: other bytes follow its end"
        with open_binary(self._path) as stream:
            if not stream.read(len(magic)).startswith(magic):
                return f"is no {kind} file, though its name says so"
        return f"the {kind} data are damaged ({detail}); deliver it again"
