"""A landed file as the payload of ``COPY leaf (line_no, ...) FROM STDIN (FORMAT csv)``.

What it is: ``ReportReader`` reads a file once, front to end, puts the physical line number before every row and
refuses what is structurally broken with the line it is on. Rows stay the bytes they were; memory stays flat.
Belongs here: lines, header, trailer, quotes, encoding. Does not belong here: compression (``delivery``), the number
of columns of a row (PostgreSQL counts them better and says which), what a value means (``normalize``).

Every check looks at a block of some thousand lines at once; only the line numbers are work per line. The order of
the checks inside a block decides which of two problems of one block is reported, nothing else.
"""

import csv
import re
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Final
from zlib import compress, decompress

from market_spine.errors import FileRefused
from market_spine.otc.delivery import Delivery
from market_spine.otc.landing import LandedFile

EXTRA: Final = "extra:"
"""Before the name of a column the feed does not know."""

_BOM: Final = b"\xef\xbb\xbf"
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_NO_QUOTE: Final = b"\b"  # what COPY is told to take for a quote when the feed has none
_BLOCK_BYTES: Final = 393_216  # stays in the cache; no line of a block shorter than the longest line needs measuring
_BUT_QUOTES: Final = bytes(byte for byte in range(256) if byte not in b'"\n')
_QUIRKS: Final = {"blanks": b" ", "underscores": b"_"}
_THOUSAND: Final = 1000
_SHOWN: Final = 200  # characters of a file's text in a message


@dataclass(frozen=True)
class ReadCounts:
    """What a file held. ``lines`` = header + ``rows`` + ``blank`` + ``trailer``; size and hash are as delivered."""

    lines: int
    rows: int
    blank: int
    trailer: int
    bytes: int
    sha256: str
    declared_rows: int | None


class _LineMap:
    """Row of the payload -> line of the file. Costs nothing where no blank line stands between rows."""

    def __init__(self) -> None:
        self._rows = array("Q")
        self._lines: list[int | bytes] = []

    def run(self, row: int, line: int) -> None:
        """From ``row`` on, rows stand on successive lines."""
        if self._lines and isinstance(self._lines[-1], int) and row - self._rows[-1] == line - self._lines[-1]:
            return
        self._rows.append(row)
        self._lines.append(line)

    def scattered(self, row: int, lines: list[int]) -> None:
        """The rows from ``row`` on stand on ``lines``. Packed: a file may be double-spaced from end to end."""
        steps = array("Q", (here - before for before, here in zip([0, *lines], lines, strict=False)))
        self._rows.append(row)
        self._lines.append(compress(steps.tobytes(), 1))

    def line_of(self, row: int) -> int:
        place = bisect_right(self._rows, row) - 1
        if place < 0:
            raise LookupError(f"row {row} was not read")
        start = self._lines[place]
        if isinstance(start, int):
            return start + row - self._rows[place]
        lines = list(accumulate(array("Q", decompress(start))))
        return lines[row - self._rows[place]]


class ReportReader:
    """Reads one landed file once: ``open``, then ``chunks`` to the end, then ``counts``.

    Args:
        file: the file.
        max_line_bytes: longest line it may have.
        block_bytes: about how much is read at a time.
    """

    def __init__(self, file: LandedFile, max_line_bytes: int = 1_048_576, *, block_bytes: int = _BLOCK_BYTES) -> None:
        self._file = file
        self._delimiter = file.feed.delimiter.encode()
        self._quote = file.feed.quote.encode()
        self._trailer = re.compile(file.feed.trailer) if file.feed.trailer else None
        self._max_line_bytes = max_line_bytes
        self._delivery = Delivery(file.path, file.compression, block_bytes)
        self._pieces = self._delivery.pieces()
        self._rest = b""  # the beginning of a line whose end was not read yet
        self._line = 1  # physical number of the first line that was not taken yet
        self._begun: list[bytes] = []  # rows that came with the header's block
        self._columns: tuple[str, ...] = ()
        self._rows = 0
        self._blank = 0
        self._map = _LineMap()
        self._counts: ReadCounts | None = None
        self._quirks: set[str] = set()
        self._blanks = b" \t\n".replace(self._delimiter, b"")  # a tab between columns is no blank
        # Numbers are glued from thousands and these, three times as fast as formatting each.
        self._first_thousand = [b"%d%b" % (number, self._delimiter) for number in range(_THOUSAND)]
        self._last_digits = [b"%03d%b" % (number, self._delimiter) for number in range(_THOUSAND)]

    @property
    def columns(self) -> tuple[str, ...]:
        """Canonical name, ``extra:NAME`` or "" (a nameless last column), in the order of the file; after ``open``."""
        return self._columns

    @property
    def quirks(self) -> list[str]:
        """What stands anywhere in the rows (``_QUIRKS``) and costs time to look for later; after the last chunk."""
        return sorted(self._quirks)

    @property
    def counts(self) -> ReadCounts:
        """What the file held; known when ``chunks`` is exhausted."""
        if self._counts is None:
            raise RuntimeError("counts are known only after the last chunk")
        return self._counts

    def line_of(self, copy_line: int) -> int:
        """Line of the file on which row ``copy_line`` (from 1) of the payload stands."""
        return self._map.line_of(copy_line)

    def open(self) -> None:
        """Read the header.

        Raises:
            FileRefused: there is none, it lacks a required column, or no row follows.
        """
        lines = self._after_blanks("the file is empty; expected a header and rows", [])
        names = self._header(lines.pop(0))
        self._line += 1
        lines = self._after_blanks("the file has a header but no rows", lines)
        self._note_quirks(b"".join(lines))
        self._columns = self._fitted(names, lines[0])
        self._begun = lines

    def chunks(self) -> Iterator[bytes]:
        """The payload: ``line number, delimiter, row, newline`` for every row.

        Raises:
            FileRefused: the file cannot be read to its end; what was given out must not be kept.
        """
        if not self._begun:
            raise RuntimeError("open() comes first, and chunks() only once")
        lines: list[bytes] | None = self._begun
        self._begun = []
        # Only the end of the file tells which line is the last, so where a trailer is expected one line waits.
        waiting, waiting_line = b"", 0
        while lines is not None:
            first = self._line
            self._line += len(lines)
            last = self._last_row(lines) if self._trailer else None
            if last is not None:
                if waiting:
                    yield self._numbered([waiting], waiting_line)
                waiting, waiting_line = lines[last], first + last
                self._blank += len(lines) - last - 1
                lines = lines[:last]
            payload = self._numbered(lines, first)
            if payload:
                yield payload
            lines = self._next_lines()
        declared = self._declared_rows(self._trailer, waiting, waiting_line) if self._trailer else None
        if not self._rows:
            raise self._refused(None, "the file has a header but no rows")
        self._counts = ReadCounts(
            lines=self._line - 1,
            rows=self._rows,
            blank=self._blank,
            trailer=0 if declared is None else 1,
            bytes=self._delivery.size,
            sha256=self._delivery.sha256,
            declared_rows=declared,
        )

    def _refused(self, line: int | None, problem: str) -> FileRefused:
        return FileRefused(self._file.path, line, problem)

    # Bytes to lines.

    def _next_lines(self) -> list[bytes] | None:
        """The next whole lines, checked, each with its newline; None at the end. The first is number ``_line``."""
        block = self._next_block()
        if block is None:
            return None
        if self._line == 1:
            if block.startswith(_UTF16):
                raise self._refused(1, "the file is UTF-16 (it begins with its byte order mark); deliver it as UTF-8")
            block = block.removeprefix(_BOM)
        if b"\r" in block:
            block = block.replace(b"\r\n", b"\n")
            self._refuse_byte(block, b"\r", "a carriage return inside a line; lines must end with \\n or \\r\\n")
        self._refuse_byte(block, b"\0", "a NUL byte; the file is damaged or no UTF-8 text")
        if not block.isascii():
            self._refuse_bad_utf8(block)
        if self._line > 1:
            self._note_quirks(block)
        lines = block.splitlines(keepends=True)
        if self._quote:
            self._refuse_open_quotes(block, lines)
        else:
            self._refuse_byte(block, _NO_QUOTE, "a backspace character (0x08), which no column may hold")
        if len(block) > self._max_line_bytes:
            for number, line in enumerate(lines, self._line):
                if len(line) - 1 > self._max_line_bytes:
                    raise self._too_long(number)
        return lines

    def _note_quirks(self, rows: bytes) -> None:
        self._quirks.update(name for name, byte in _QUIRKS.items() if name not in self._quirks and byte in rows)

    def _next_block(self) -> bytes | None:
        while True:
            try:
                piece = next(self._pieces, None)
            except FileRefused as error:
                raise self._refused(self._line, error.problem) from error
            if piece is None:
                break
            cut = piece.rfind(b"\n") + 1
            if cut:
                block = self._rest + piece[:cut]
                self._rest = piece[cut:]
                return block
            self._rest += piece
            if len(self._rest) > self._max_line_bytes + 1:  # one more for a carriage return
                raise self._too_long(self._line)
        if not self._rest:
            return None
        block, self._rest = self._rest + b"\n", b""  # a last line without an end is a line
        return block

    def _too_long(self, line: int) -> FileRefused:
        return self._refused(
            line, f"the line is longer than {self._max_line_bytes:,} bytes; is a line end or a quote lost?"
        )

    def _refuse_byte(self, block: bytes, byte: bytes, problem: str) -> None:
        if byte in block:
            raise self._refused(self._line + block.count(b"\n", 0, block.index(byte)), f"holds {problem}")

    def _refuse_bad_utf8(self, block: bytes) -> None:
        try:
            block.decode()
        except UnicodeDecodeError as error:
            begin = block.rfind(b"\n", 0, error.start) + 1
            raise self._refused(
                self._line + block.count(b"\n", 0, error.start),
                f"byte {error.start - begin + 1} of the line (0x{block[error.start]:02x}) is no UTF-8; deliver UTF-8",
            ) from error

    def _refuse_open_quotes(self, block: bytes, lines: list[bytes]) -> None:
        """A row ends with its line, so every line closes the quotes it opens: it has an even number of them."""
        if self._quote not in block:
            return
        # Nothing but quotes and line ends, pairs away: a quote that is left is odd. Half the cost of counting lines.
        if self._quote not in block.translate(None, _BUT_QUOTES).replace(self._quote * 2, b""):
            return
        for number, line in enumerate(lines, self._line):
            if line.count(self._quote) % 2:
                raise self._refused(number, "unbalanced quotes; a quoted column must end on the line it begins on")

    # Lines to header, rows and trailer.

    def _after_blanks(self, nothing: str, lines: list[bytes] | None) -> list[bytes]:
        """The lines from the first that is not blank; reads on where ``lines`` has none."""
        while lines is not None:
            for place, line in enumerate(lines):
                if line.strip(self._blanks):
                    self._blank += place
                    self._line += place
                    return lines[place:]
            self._blank += len(lines)
            self._line += len(lines)
            lines = self._next_lines()
        raise self._refused(None, nothing)

    def _last_row(self, lines: list[bytes]) -> int | None:
        """Index of the last line that is not blank."""
        for place in range(len(lines) - 1, -1, -1):
            if lines[place].strip(self._blanks):
                return place
        return None

    def _numbered(self, lines: list[bytes], first: int) -> bytes:
        """The payload of ``lines``, which stand in the file from line ``first`` on, without the blank ones."""
        if not lines:
            return b""
        # The smallest line begins with a blank or a line end if any does.
        if min(lines)[0] <= ord(" "):
            kept = [(number, line) for number, line in enumerate(lines, first) if line.strip(self._blanks)]
            if len(kept) < len(lines):
                self._blank += len(lines) - len(kept)
                if kept:
                    self._map.scattered(self._rows + 1, [number for number, _ in kept])
                self._rows += len(kept)
                return b"".join([b"%d%b%b" % (number, self._delimiter, line) for number, line in kept])
        self._map.run(self._rows + 1, first)
        self._rows += len(lines)
        prefixes: list[bytes] = []
        number, end = first, first + len(lines)
        while number < end:
            thousands, start = divmod(number, _THOUSAND)
            stop = start + end - number  # beyond the thousand where more follow; the slice ends there by itself
            if thousands:
                prefixes += map((b"%d" % thousands).__add__, self._last_digits[start:stop])
            else:
                prefixes += self._first_thousand[start:stop]
            number += _THOUSAND - start
        pairs = [b""] * (2 * len(lines))
        pairs[::2] = prefixes
        pairs[1::2] = lines
        return b"".join(pairs)

    def _fields(self, line: bytes) -> list[str]:
        """The columns of one line."""
        feed = self._file.feed
        text = line.decode().rstrip("\n")
        if not feed.quote:
            return text.split(feed.delimiter)
        return next(csv.reader([text], delimiter=feed.delimiter, quotechar=feed.quote))

    def _header(self, line: bytes) -> list[str]:
        """Names of the columns as ``columns`` gives them."""
        feed = self._file.feed
        try:
            found = [name.strip() for name in self._fields(line)]
        except csv.Error as error:
            raise self._refused(self._line, f"the header cannot be read: {error}") from error
        missing = [feed.columns[name] for name in feed.required if feed.columns[name] not in found]
        if missing:
            shown = line.decode().strip()
            shown = shown if len(shown) <= _SHOWN else shown[:_SHOWN] + " ..."
            raise self._refused(
                self._line,
                f"the header lacks {', '.join(map(repr, missing))}, required by feed {feed.name};"
                f" read with delimiter {feed.delimiter!r} it holds {len(found)} column(s): {shown}",
            )
        names = [name or f"column {place}" for place, name in enumerate(found[:-1], start=1)] + found[-1:]
        for name in names:
            if names.count(name) > 1:
                raise self._refused(self._line, f"the header names {name!r} twice; one of the two must go")
        canonical = {source: name for name, source in feed.columns.items()}
        return [canonical.get(name, EXTRA + name if name else "") for name in names]

    def _fitted(self, names: list[str], row: bytes) -> tuple[str, ...]:
        """The columns, as many as the first row has where the two differ by an empty last one."""
        try:
            fields = self._fields(row)
        except csv.Error:  # a column longer than the csv module takes; COPY takes it
            return tuple(names)
        if len(fields) == len(names) + 1 and not fields[-1].strip():
            return (*names, "")
        if len(fields) == len(names) - 1 and not names[-1]:
            return tuple(names[:-1])
        return tuple(names)

    def _declared_rows(self, trailer: re.Pattern[str], line: bytes, number: int) -> int:
        text = line.decode().strip()
        match = trailer.fullmatch(text)
        if match is None:
            raise self._refused(
                number, f"the last line is no trailer like {trailer.pattern}; the file is cut off: {text[:_SHOWN]}"
            )
        count = match["count"].replace(",", "")
        if not count.isdecimal():
            raise self._refused(number, f"the trailer's count {match['count']!r} is no number: {text[:_SHOWN]}")
        if int(count) != self._rows:
            raise self._refused(
                number, f"the trailer declares {int(count):,} rows, the file has {self._rows:,}; deliver it again"
            )
        return int(count)
