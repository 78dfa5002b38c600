"""The reader: rows stay the bytes they were, numbered by their line; what is broken is refused with its line."""

import gc
import gzip
import hashlib
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from market_spine.errors import FileRefused
from market_spine.otc.feeds import Feed
from market_spine.otc.landing import LandedFile
from market_spine.otc.reader import ReportReader

COLUMNS = {"executed_at": "time", "symbol": "ticker", "price": "px", "size": "qty"}
HEADER = b"time,ticker,px,qty\n"
ROW = b"10:00,ACME,1.5,100\n"
BIG = 1_048_576


def feed(*, delimiter: str = ",", quote: str = '"', trailer: str | None = None) -> Feed:
    return Feed(
        name="desk",
        path="desk/{report_date}.csv",
        columns=COLUMNS,
        time_zone="UTC",
        tape="cta",
        delimiter=delimiter,
        quote=quote,
        trailer=trailer,
    )


PLAIN = feed()
PIPE = feed(delimiter="|", quote="", trailer=r"Trailer\|(?P<count>[0-9,]+)")
PIPE_HEADER = b"time|ticker|px|qty\n"
PIPE_ROW = b'10:00|AC"ME|1.5|100\n'


@contextmanager
def landed(content: bytes, of: Feed = PLAIN, compression: str = "") -> Iterator[LandedFile]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "file.csv"
        path.write_bytes(content)
        yield LandedFile(of, path, date(2026, 3, 2), "", None, compression)


def read(
    content: bytes, of: Feed = PLAIN, *, compression: str = "", max_line: int = BIG, block: int = 1 << 16
) -> tuple[ReportReader, bytes]:
    with landed(content, of, compression) as file:
        reader = ReportReader(file, max_line, block_bytes=block)
        reader.open()
        return reader, b"".join(reader.chunks())


def refusal(content: bytes, of: Feed = PLAIN, *, compression: str = "", max_line: int = BIG) -> FileRefused:
    """The refusal of ``content``: the same whatever is read at a time."""
    seen = []
    for block in (1 << 16, 7):
        with pytest.raises(FileRefused) as error:
            read(content, of, compression=compression, max_line=max_line, block=block)
        seen.append((error.value.line, error.value.problem))
    assert "\n" not in seen[0][1]
    assert seen[0][0] == seen[1][0]
    return error.value


# What is read.


def test_rows_get_the_number_of_their_line_and_stay_as_they_are() -> None:
    reader, payload = read(HEADER + b'10:00,"AC""ME, Inc",1.5,100\n,,,\n')
    assert payload == b'2,10:00,"AC""ME, Inc",1.5,100\n3,,,,\n'
    assert reader.columns == ("executed_at", "symbol", "price", "size")


def test_the_counts_add_up_and_the_hash_is_that_of_the_file_as_delivered() -> None:
    content = gzip.compress(b"\n" + HEADER + ROW + b"\n  \n" + ROW + b"\t\n")
    reader, _ = read(content, compression="gzip")
    counts = reader.counts
    assert (counts.lines, counts.rows, counts.blank, counts.trailer) == (7, 2, 4, 0)
    assert counts.lines == 1 + counts.rows + counts.blank + counts.trailer
    assert (counts.bytes, counts.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert counts.declared_rows is None


def test_counts_are_not_given_before_the_end() -> None:
    with landed(HEADER + ROW) as file:
        reader = ReportReader(file, BIG)
        reader.open()
        with pytest.raises(RuntimeError):
            _ = reader.counts


def test_unknown_columns_are_kept_under_their_name() -> None:
    reader, _ = read(b"desk note,time,ticker,px,qty\n,10:00,ACME,1,1\n")
    assert reader.columns == ("extra:desk note", "executed_at", "symbol", "price", "size")


@pytest.mark.parametrize(
    ("header", "row", "last"),
    [
        (b"time,ticker,px,qty,\n", b"10:00,ACME,1,1,\n", ("size", "")),
        (b"time,ticker,px,qty\n", b"10:00,ACME,1,1,\n", ("size", "")),
        (b"time,ticker,px,qty,\n", b"10:00,ACME,1,1\n", ("price", "size")),
        (b"time,ticker,px,qty\n", b"10:00,ACME,1,1,x\n", ("price", "size")),
    ],
)
def test_an_empty_last_column_is_accepted_in_header_or_rows(header: bytes, row: bytes, last: tuple[str, str]) -> None:
    reader, payload = read(header + row)
    assert reader.columns[-2:] == last
    assert payload == b"2," + row


def test_a_nameless_column_in_the_middle_is_kept_by_its_place() -> None:
    reader, _ = read(b"time,,ticker,px,qty\n10:00,x,ACME,1,1\n")
    assert reader.columns[1] == "extra:column 2"


def test_byte_order_mark_carriage_returns_and_a_missing_last_line_end_are_accepted() -> None:
    reader, payload = read(b"\xef\xbb\xbf" + HEADER.replace(b"\n", b"\r\n") + b"1,A,1,1\r\n2,B,2,2\n\r\n3,C,3,3")
    assert payload == b"2,1,A,1,1\n3,2,B,2,2\n5,3,C,3,3\n"
    assert reader.counts.blank == 1


def test_names_in_the_header_may_be_quoted_and_padded() -> None:
    reader, _ = read(b'"time", ticker ,"px",qty\n' + ROW)
    assert reader.columns == ("executed_at", "symbol", "price", "size")


def test_text_outside_ascii_is_kept() -> None:
    _, payload = read(HEADER + "10:00,Á,1,1\n".encode())
    assert payload == "2,10:00,Á,1,1\n".encode()


def test_quotes_are_ordinary_text_where_the_feed_has_none() -> None:
    reader, payload = read(PIPE_HEADER + PIPE_ROW + b"Trailer|0001\n", PIPE)
    assert payload == b"2|" + PIPE_ROW
    assert (reader.counts.trailer, reader.counts.declared_rows) == (1, 1)


def test_only_the_last_line_that_is_not_blank_is_the_trailer() -> None:
    reader, payload = read(PIPE_HEADER + b"Trailer|7\n\n" + PIPE_ROW + b"Trailer|2\r\n\n\n", PIPE)
    assert payload == b"2|Trailer|7\n4|" + PIPE_ROW
    assert (reader.counts.lines, reader.counts.blank) == (7, 3)


def test_a_line_of_tabs_is_a_row_where_tabs_stand_between_columns() -> None:
    header, row = HEADER.replace(b",", b"\t"), ROW.replace(b",", b"\t")
    reader, payload = read(header + b"\t\t\t\n" + row, feed(delimiter="\t"))
    assert payload == b"2\t\t\t\t\n3\t" + row
    assert reader.counts.blank == 0


@pytest.mark.parametrize("blanks", [0, 1, 3])
def test_a_row_of_the_payload_is_found_in_the_file(blanks: int) -> None:
    content = HEADER + b"".join(ROW + b"\n" * (blanks * (number % 2)) for number in range(50))
    for block in (1 << 16, 100):
        reader, payload = read(content, block=block)
        lines = [int(line.split(b",")[0]) for line in payload.splitlines()]
        assert [reader.line_of(row) for row in range(1, 51)] == lines


@given(
    rows=st.lists(st.sampled_from([ROW[:-1], b'"a,"",b",,1', b"", b"  ", "é,,,".encode(), b",,,"]), max_size=40),
    ends=st.lists(st.sampled_from([b"\n", b"\r\n"]), min_size=1, max_size=5),
    last_end=st.booleans(),
    first=st.integers(0, 3),
    block=st.integers(1, 90),
    compression=st.sampled_from(["", "gzip", "zstd"]),
    trailer=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_whatever_the_blanks_line_ends_and_blocks_the_rows_come_with_their_lines(
    rows: list[bytes], ends: list[bytes], last_end: bool, first: int, block: int, compression: str, trailer: bool
) -> None:
    lines = [b""] * first + [HEADER[:-1], *rows, ROW[:-1]]
    wanted = [(number, line) for number, line in enumerate(lines, 1) if line.strip()][1:]
    if trailer:
        lines.append(b"END %d" % len(wanted))
    content = b"".join(line + ends[number % len(ends)] for number, line in enumerate(lines))
    content = content if last_end else content.rstrip(b"\r\n")
    packed = {"": bytes, "gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress}[compression](content)
    of = feed(trailer="END (?P<count>[0-9]+)" if trailer else None)
    reader, payload = read(packed, of, compression=compression, block=block)
    assert payload == b"".join(b"%d,%b\n" % pair for pair in wanted)
    assert [reader.line_of(row) for row in range(1, len(wanted) + 1)] == [number for number, _ in wanted]
    counts = reader.counts
    assert counts.lines == len(lines) == 1 + counts.rows + counts.blank + counts.trailer
    assert (counts.rows, counts.sha256) == (len(wanted), hashlib.sha256(packed).hexdigest())


def test_line_numbers_are_right_across_thousands() -> None:
    _, payload = read(HEADER + ROW * 12_345, block=5_000)
    assert [int(line.split(b",")[0]) for line in payload.splitlines()] == list(range(2, 12_347))


# What is refused.


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\n\n", b"  \r\n"])
def test_an_empty_file_is_refused(content: bytes) -> None:
    assert "the file is empty" in refusal(content).problem


@pytest.mark.parametrize("content", [HEADER, HEADER[:-1], HEADER + b"\n \n"])
def test_a_header_without_rows_is_refused(content: bytes) -> None:
    assert refusal(content).problem == "the file has a header but no rows"


def test_a_header_and_a_trailer_without_rows_are_refused() -> None:
    assert refusal(PIPE_HEADER + b"Trailer|0\n", PIPE).problem == "the file has a header but no rows"


def test_missing_required_columns_are_named() -> None:
    error = refusal(b"time,px,qty\n1,1,1\n")
    assert (error.line, "lacks 'ticker', required by feed desk" in error.problem) == (1, True)


def test_a_wrong_delimiter_can_be_seen_in_the_message() -> None:
    problem = refusal(PIPE_HEADER + PIPE_ROW.replace(b'"', b"")).problem
    assert "read with delimiter ',' it holds 1 column(s): time|ticker|px|qty" in problem


def test_a_header_that_names_a_column_twice_is_refused() -> None:
    assert "names 'px' twice" in refusal(b"time,ticker,px,qty,px\n1,A,1,1,1\n").problem


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (b"10:00,AC\0ME,1,1\n", "a NUL byte"),
        (b"10:00,AC\xe9ME,1,1\n", "byte 9 of the line (0xe9) is no UTF-8"),
        (b'10:00,"ACME,1,1\n', "unbalanced quotes"),
        (b'10:00,AC"ME,1,1\n', "unbalanced quotes"),
        (b'10:00,"""ACME"",1,1\n', "unbalanced quotes"),
        (b'10:00,"AC\nME",1,1\n', "unbalanced quotes"),
        (b"10:00,AC\rME,1,1\n", "a carriage return inside a line"),
    ],
)
def test_a_broken_line_is_refused_with_its_number(row: bytes, says: str) -> None:
    error = refusal(HEADER + ROW + b"\n" + ROW + row + ROW)
    assert (error.line, says in error.problem) == (5, True)


def test_two_lines_with_odd_quotes_do_not_make_each_other_even() -> None:
    assert refusal(HEADER + b'1,"A,1,1\n' + b'1,"A,1,1\n').line == 2


def test_a_backspace_is_refused_where_quotes_are_ordinary_text_and_only_there() -> None:
    assert refusal(PIPE_HEADER + b"1|\b|1|1\nTrailer|1\n", PIPE).line == 2
    assert read(HEADER + b"1,\b,1,1\n")[1] == b"2,1,\b,1,1\n"


def test_old_mac_line_ends_are_refused_with_clear_words() -> None:
    assert "lines must end with" in refusal((HEADER + ROW).replace(b"\n", b"\r")).problem


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16_is_refused(encoding: str) -> None:
    error = refusal((HEADER + ROW).decode().encode(encoding))
    assert (error.line, "UTF" in error.problem) == (1, True)


def test_a_line_that_is_too_long_is_refused_and_one_that_just_fits_is_not() -> None:
    row = b"10:00,ACME,1.5," + b"1" * 85
    for end in (b"\n", b"\r\n", b""):
        assert read(HEADER + ROW + row + end, max_line=100)[0].counts.rows == 2
        error = refusal(HEADER + ROW + row + b"1" + end, max_line=100)
        assert (error.line, "longer than 100 bytes" in error.problem) == (3, True)


def test_a_field_of_ten_megabytes_is_refused_before_it_is_read_to_its_end() -> None:
    with pytest.raises(FileRefused, match="line 3: the line is longer than 1,048,576 bytes"):
        read(HEADER + ROW + b"1,A,1," + b"9" * 10_000_000 + b"\n")


def test_a_trailer_that_is_missing_refuses_the_file() -> None:
    error = refusal(PIPE_HEADER + PIPE_ROW * 3, PIPE)
    assert (error.line, "the last line is no trailer" in error.problem) == (4, True)


def test_a_trailer_with_another_count_refuses_the_file_with_both_numbers() -> None:
    error = refusal(PIPE_HEADER + PIPE_ROW * 3 + b"Trailer|1,004\n", PIPE)
    assert error.line == 5
    assert error.problem == "the trailer declares 1,004 rows, the file has 3; deliver it again"


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_compressed_data_that_stop_early_are_refused_with_the_line_reached(compression: str) -> None:
    plain = HEADER + b"".join(b"10:00,ACME,%d,%d\n" % (number, number * 7919) for number in range(20_000))
    pack = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress}[compression]
    whole = pack(plain)
    error = refusal(whole[: len(whole) // 2], compression=compression)
    assert error.line is not None
    assert 2 < error.line < 20_000
    assert f"the {compression} data stop before their end" in error.problem
    if compression == "gzip":  # zstd decodes blocks of 128 KB: of the last one nothing is seen
        assert refusal(whole[:-1], compression=compression).line == 20_002


def test_damaged_gzip_data_are_refused() -> None:
    whole = bytearray(gzip.compress(HEADER + ROW * 100))
    whole[-6] ^= 1  # a bit of the checksum
    with pytest.raises(FileRefused, match="the gzip data are damaged"):
        read(bytes(whole), compression="gzip")


def test_damaged_zstd_data_are_refused() -> None:
    whole = bytearray(zstandard.ZstdCompressor(write_checksum=True).compress(HEADER + ROW * 100))
    whole[-1] ^= 1
    with pytest.raises(FileRefused, match="the zstd data are damaged"):
        read(bytes(whole), compression="zstd")


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_compressed_data_may_come_in_several_members(compression: str) -> None:
    pack = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress}[compression]
    for block in (1 << 16, 3):
        reader, _ = read(pack(HEADER + ROW[:5]) + pack(ROW[5:] + ROW), compression=compression, block=block)
        assert reader.counts.rows == 2
    problem = refusal(pack(HEADER + ROW) + b"more", compression=compression).problem
    assert f"holds more than {compression} data" in problem


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_name_that_promises_compression_the_content_lacks_is_refused_and_the_other_way_round(
    compression: str,
) -> None:
    assert f"is no {compression} file" in refusal(HEADER + ROW, compression=compression).problem
    pack = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress}[compression]
    with pytest.raises(FileRefused, match=f"holds {compression} data, but its name does not end in"):
        read(pack(HEADER + ROW))


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    reader = ReportReader(LandedFile(PLAIN, tmp_path / "gone.csv", date(2026, 3, 2)), BIG)
    with pytest.raises(FileRefused, match="cannot be read: No such file"):
        reader.open()


# How it behaves.


@pytest.mark.parametrize("compression", ["", "zstd"])
def test_memory_does_not_grow_with_the_file(compression: str) -> None:
    def peak(rows: int) -> int:
        content = HEADER + b"".join(b"10:00,ACME,%d,%d\n\n" % (row, row * 7919) for row in range(rows))
        packed = zstandard.ZstdCompressor().compress(content) if compression else content
        with landed(packed, PLAIN, compression) as file:
            del content, packed
            tracemalloc.start()
            reader = ReportReader(file, BIG, block_bytes=1 << 14)
            reader.open()
            for _ in reader.chunks():
                pass
            size = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return size

    assert peak(40_000) < 1.2 * peak(10_000)


def test_a_reader_that_is_dropped_half_way_leaves_no_file_open() -> None:
    with landed(HEADER + ROW * 10_000) as file:
        reader = ReportReader(file, BIG, block_bytes=100)
        reader.open()
        next(reader.chunks())
        del reader
        gc.collect()  # an open file would be a ResourceWarning here, and warnings are errors
