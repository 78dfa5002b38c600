"""Files into the log on real PostgreSQL: what counts, what is refused, and that nothing is left half-written.

Belongs here: versions, places, refusals with file and line, and odd values, which load as they came and are sorted out
by the day's pass. Does not belong here: how the reader reads (test_reader.py), how names are matched (test_landing.py).
"""

import gzip
import hashlib
from datetime import date
from pathlib import Path

import pytest
import zstandard

from market_spine.errors import CalendarError, FileRefused, NoFile, SpineError
from market_spine_tests.driving import Platform
from market_spine_tests.small_reports import HEADER, row

MON, TUE = date(2026, 2, 2), date(2026, 2, 3)
ROW = "1,new,2026-02-02T15:00:00Z,ACME,10,100\n"
GOOD = HEADER + ROW
PIPE_HEADER = "RecordId|Action|TradeTime|Symbol|Price|Quantity\n"


def deliver(platform: Platform, content: bytes | str, name: str = "", day: date = MON) -> None:
    platform.deliver("otc", f"otc_{day}{name or '.csv'}", content)


def statuses(platform: Platform, day: date = MON) -> list[tuple[str, str]]:
    return [(Path(file["path"]).name.removeprefix(f"otc_{day}"), file["status"]) for file in platform.files(day)]


def live_ids(platform: Platform, day: date = MON) -> list[str]:
    return [one["report_id"] for one in platform.raw(day) if one["status"] == "live"]


def leaves(platform: Platform) -> list[str]:
    """Every table of rows, attached or under construction."""
    text = "SELECT tablename FROM pg_tables WHERE schemaname IN ('otc_leaf', 'otc_build') ORDER BY tablename"
    return [one["tablename"] for one in platform.query(text)]


def refusal(platform: Platform, day: date = MON) -> SpineError:
    """Loading the day fails with one line."""
    with pytest.raises(SpineError) as error:
        platform.load(day)
    assert "\n" not in str(error.value)
    return error.value


# --- what is kept


def test_a_row_is_kept_as_it_came_with_its_file_and_line(platform: Platform) -> None:
    content = (HEADER + "\n" + row(1, symbol=" ACME ", price="1_0", size='1,"000"'.replace('"', "")) + row("")).encode()
    deliver(platform, content)
    result = platform.load(MON)
    assert (result.rows, result.loaded_rows) == (2, 2)
    first, second = platform.raw(MON)
    assert (first["symbol"], first["price"], first["size"], first["line_no"]) == (" ACME ", "1_0", "1,000", 3)
    assert (second["report_id"], second["trade_id"], second["line_no"]) == ("", None, 4)
    (file,) = platform.files(MON)
    assert (file["path"], file["sha256"]) == (f"otc/otc_{MON}.csv", hashlib.sha256(content).hexdigest())
    assert (file["rows"], file["lines"], file["blank_lines"], file["bytes"]) == (2, 4, 1, len(content))
    assert file["known_at"] is not None


def test_columns_the_feed_does_not_know_are_kept_by_their_name(platform: Platform) -> None:
    deliver(platform, HEADER.strip() + ",desk note,Größe\n" + ROW.strip() + ',"a, ""b""",\n')
    platform.load(MON)
    (found,) = platform.raw(MON)
    assert found["extra"] == {"desk note": 'a, "b"', "Größe": ""}
    assert (found["symbol"], found["size"]) == ("ACME", "100")


@pytest.mark.parametrize("count", [50, 51, 1_400])
def test_a_file_may_have_many_columns_the_feed_does_not_know(platform: Platform, count: int) -> None:
    names = [f"x{number}" for number in range(count)]
    deliver(platform, ",".join([HEADER.strip(), *names]) + "\n" + ",".join([ROW.strip(), *names]) + "\n")
    platform.load(MON)
    assert platform.raw(MON)[0]["extra"] == {name: name for name in names}


def test_a_nameless_last_column_is_left_out(platform: Platform) -> None:
    deliver(platform, HEADER.strip() + ",\n" + ROW.strip() + ",\n")
    platform.load(MON)
    (found,) = platform.raw(MON)
    assert (found["size"], found["extra"]) == ("100", None)


def test_the_report_date_of_a_row_does_not_take_the_place_of_the_files(platform: Platform) -> None:
    deliver(platform, "report_date," + HEADER + "2026-01-30," + ROW)
    platform.load(MON)
    (found,) = platform.raw(MON)
    assert (found["report_date"], found["stated_report_date"]) == (MON, "2026-01-30")


def test_several_sources_and_parts_share_a_report_date(platform: Platform) -> None:
    deliver(platform, HEADER + row(1), "_a.csv")
    deliver(platform, gzip.compress((HEADER + row(2)).encode()), "_b.csv.gz")
    platform.deliver(
        "taq", f"taq_{MON}.csv", "ts_utc,EX,SYMBOL,COND,SIZE,PRICE,CORR\n2026-02-02 15:00:00,D,ACME,,1,1,0\n"
    )
    pipe = PIPE_HEADER + "7|N|2026-02-02 10:00:00|ACME|10|100\nTrailer|1\n"
    platform.deliver("vendor_pipe", "trades_20260202.v1.txt.zst", zstandard.compress(pipe.encode()))
    assert platform.load(MON).rows == 4
    assert [(one["source"], one["part"], one["report_id"]) for one in platform.raw(MON)] == [
        ("otc", "a", "1"),
        ("otc", "b", "2"),
        ("taq", "", None),
        ("vendor_pipe", "", "7"),
    ]
    assert [file["declared_rows"] for file in platform.files(MON)] == [None, None, None, 1]


# --- the same again, and something newer


@pytest.mark.parametrize("name", [".csv", ".v2.csv", "_a.csv"])
def test_the_same_file_again_is_a_no_op(platform: Platform, name: str) -> None:
    deliver(platform, GOOD, name)
    platform.run(MON)
    before = (platform.files(MON), platform.raw(MON), leaves(platform))
    again = platform.load(MON)
    assert (again.rows, again.loaded_rows, [file.loaded for file in again.files]) == (1, 0, [False])
    assert (platform.files(MON), platform.raw(MON), leaves(platform)) == before
    assert platform.dirty() == []


def test_other_content_of_the_same_size_is_noticed(platform: Platform) -> None:
    deliver(platform, HEADER + row(1))
    platform.load(MON)
    deliver(platform, HEADER + row(2))
    assert platform.load(MON).loaded_rows == 1
    assert live_ids(platform) == ["2"]


def test_a_new_version_supersedes_the_old_one_whole_and_marks_the_day_it_changes(platform: Platform) -> None:
    deliver(platform, HEADER + row(1) + row(2), ".v1.csv")
    platform.load(MON)
    assert platform.dirty() == []  # nothing was computed yet
    platform.run(MON)
    deliver(platform, HEADER + row(3), ".v2.csv")
    platform.load(MON)
    assert statuses(platform) == [(".v1.csv", "superseded"), (".v2.csv", "live")]
    old, new = platform.files(MON)
    assert (old["superseded_by"], old["superseded_at"] is not None, new["superseded_at"]) == (
        new["file_id"],
        True,
        None,
    )
    assert [one["report_id"] for one in platform.raw(MON)] == ["1", "2", "3"]  # the log forgets nothing
    assert platform.dirty() == [MON]
    platform.settle(MON)
    assert [one["report_id"] for one in platform.trades(MON)] == ["3"]


def test_a_lower_version_that_arrives_later_is_kept_and_never_counts(platform: Platform) -> None:
    deliver(platform, HEADER + row(2), ".v2.csv")
    platform.run(MON)
    deliver(platform, HEADER + row(1), ".v1.csv")
    deliver(platform, HEADER + row(0), ".csv")
    platform.load(MON)
    assert sorted(statuses(platform)) == [(".csv", "superseded"), (".v1.csv", "superseded"), (".v2.csv", "live")]
    assert len({file["superseded_by"] for file in platform.files(MON)} - {None}) == 1
    assert (live_ids(platform), len(platform.raw(MON)), platform.dirty()) == (["2"], 3, [])


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1), (1, 3, 2)])
def test_the_highest_version_counts_in_any_order_also_when_it_repeats_an_earlier_one(
    platform: Platform, order: tuple[int, ...]
) -> None:
    contents = {1: HEADER + row(1), 2: HEADER + row(2), 3: HEADER + row(1)}
    for version in order:
        deliver(platform, contents[version], f".v{version}.csv")
        platform.load(MON)
    assert live_ids(platform) == ["1"]


def test_a_version_cannot_be_delivered_with_other_content(platform: Platform) -> None:
    deliver(platform, HEADER + row(1), ".v1.csv")
    platform.run(MON)
    deliver(platform, HEADER + row(2), ".v1.csv")
    assert "version 1 was loaded before with other content" in str(refusal(platform))
    assert (live_ids(platform), platform.dirty()) == (["1"], [])


def test_two_paths_that_claim_one_place_are_refused_with_both_names(platform: Platform) -> None:
    deliver(platform, GOOD, ".csv")
    deliver(platform, gzip.compress(GOOD.encode()), ".csv.gz")
    message = str(refusal(platform))
    assert f"otc_{MON}.csv.gz: claims the same" in message
    assert f"otc_{MON}.csv; take one of them away" in message
    assert (platform.files(MON), leaves(platform)) == ([], [])


# --- what is refused


CUT = HEADER + row(1) + "2,new,2026-02-02T15"
WIDE = HEADER.strip() + "".join(f",x{number}" for number in range(1_600))
BAD_FILES: dict[str, tuple[str, bytes | str, int | None, str]] = {
    "empty file": (".csv", b"", None, "the file is empty"),
    "header only": (".csv", HEADER, None, "a header but no rows"),
    "wrong delimiter": (".csv", GOOD.replace(",", ";"), 1, "lacks 'action'"),
    "missing required column": (".csv", GOOD.replace("symbol", "ticker"), 1, "lacks 'symbol'"),
    "NUL byte": (".csv", HEADER + row(1) + row("\0"), 3, "NUL byte"),
    "invalid UTF-8": (".csv", HEADER.encode() + b"\n" + ROW.encode().replace(b"ACME", b"AC\xffE"), 3, "no UTF-8"),
    "unbalanced quotes": (".csv", HEADER + row(1) + ROW.replace("ACME", '"ACME') + ROW, 3, "unbalanced quotes"),
    "field of 10 MB": (".csv", HEADER + row(1) + row(2, symbol="A" * 10_000_000), 3, "longer than 1,048,576 bytes"),
    "row cut off": (".csv", CUT, 3, 'missing data for column "symbol"'),
    "row too long": (".csv", HEADER + "\n" + row(1) + ROW.strip() + ",1\n", 4, "extra data after last expected column"),
    "cut among extras": (".csv", HEADER.replace("size", "size,desk") + ROW, 2, 'missing data for column "desk"'),
    "absurdly wide": (".csv", WIDE + "\n" + ROW, 1, "names 1,606 columns"),
    "truncated gzip": (".csv.gz", gzip.compress((HEADER + ROW * 9).encode())[:-12], None, "gzip data stop before"),
    "truncated zstd": (".csv.zst", zstandard.compress((HEADER + ROW * 9).encode())[:-5], None, "zstd data stop before"),
    "no gzip": (".csv.gz", GOOD, 1, "is no gzip file"),
    "hidden gzip": (".csv", gzip.compress(GOOD.encode()), 1, "holds gzip data"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_file_that_cannot_be_read_loads_nothing_and_says_where(platform: Platform, case: str) -> None:
    name, content, line, says = BAD_FILES[case]
    deliver(platform, content, name)
    error = refusal(platform)
    assert isinstance(error, FileRefused)
    assert (Path(error.path).name, says in error.problem) == (f"otc_{MON}{name}", True), str(error)
    if line is not None:
        assert error.line == line
        assert f"{error.path} line {line}: " in str(error)
    assert (leaves(platform), platform.raw(MON)) == ([], [])
    (file,) = platform.files(MON)
    assert (file["status"], file["rows"], file["sha256"]) == ("rejected", 0, None)
    assert file["problem"] == str(error)


@pytest.mark.parametrize(
    ("ending", "line", "says"),
    [
        ("Trailer|2\n", 3, "declares 2 rows, the file has 1"),
        ("", 2, "no trailer"),
        ("Trailer|\n", 3, "no trailer"),
        ("Trailer|1\n7|N|2026-02-02 10:00:00|ACME|10|100\n", 4, "no trailer"),
    ],
)
def test_a_trailer_must_be_the_last_line_and_count_right(platform: Platform, ending: str, line: int, says: str) -> None:
    content = PIPE_HEADER + "7|N|2026-02-02 10:00:00|ACME|10|100\n" + ending
    platform.deliver("vendor_pipe", "trades_20260202.v1.txt", content)
    error = refusal(platform)
    assert isinstance(error, FileRefused)
    assert (error.line, says in error.problem) == (line, True), str(error)
    assert leaves(platform) == []


def test_a_refusal_is_remembered_once_and_a_good_delivery_mends_it(platform: Platform) -> None:
    deliver(platform, CUT)
    refusal(platform)
    refusal(platform)
    deliver(platform, GOOD)
    assert platform.load(MON).rows == 1
    assert statuses(platform) == [(".csv", "rejected"), (".csv", "live")]


def test_a_refused_new_version_leaves_the_old_one_in_its_place(platform: Platform) -> None:
    deliver(platform, GOOD, ".v1.csv")
    platform.run(MON)
    before = platform.trades(MON)
    deliver(platform, CUT, ".v2.csv")
    refusal(platform)
    assert statuses(platform) == [(".v1.csv", "live"), (".v2.csv", "rejected")]
    assert (live_ids(platform), platform.trades(MON), platform.dirty()) == (["1"], before, [])


def test_the_good_files_of_a_day_are_loaded_beside_the_refused_ones(platform: Platform) -> None:
    deliver(platform, CUT, "_a.csv")
    deliver(platform, GOOD, "_b.csv")
    deliver(platform, "", "_c.csv")
    error = refusal(platform)
    assert isinstance(error, FileRefused)
    assert (Path(error.path).name, error.line) == (f"otc_{MON}_a.csv", 3)
    assert str(error).endswith("(and 1 more refused files)")
    assert statuses(platform) == [("_a.csv", "rejected"), ("_b.csv", "live"), ("_c.csv", "rejected")]


@pytest.mark.parametrize("day", [date(2026, 2, 7), date(2026, 1, 30)])
def test_a_report_date_that_is_no_session_is_refused_with_the_file_that_claims_it(
    platform: Platform, day: date
) -> None:
    deliver(platform, GOOD, day=day)
    error = refusal(platform, day)
    assert isinstance(error, CalendarError)
    assert f"report date {day} is no session of XNYS" in str(error)
    assert f"otc/otc_{day}.csv" in str(error)
    assert platform.files(day) == []


def test_a_session_without_a_file_says_where_it_looked_and_which_name_may_be_wrong(platform: Platform) -> None:
    error = refusal(platform)
    assert isinstance(error, NoFile)
    assert f"no file for {MON} under" in str(error)
    assert "otc/otc_{report_date}" in str(error)
    platform.deliver("otc", "otc_2026-02-32.csv", GOOD)
    platform.deliver("otc", "otc_2025-02-32.csv", GOOD)
    assert "perhaps " in str(refusal(platform))
    assert "otc_2026-02-32.csv: 2026-02-32 is no date" in str(refusal(platform))
    deliver(platform, GOOD, day=TUE)
    assert platform.load(TUE).rows == 1


# --- what is read all the same


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + GOOD.encode(),
        GOOD.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode().rstrip(),
        (HEADER + row(1)).encode(),
        ("\n" + GOOD + "\n   \n").encode(),
    ],
    ids=["byte order mark", "CRLF", "both, no last line end", "quoted", "blank lines"],
)
def test_marks_line_ends_quotes_and_blank_lines_do_no_harm(platform: Platform, content: bytes) -> None:
    deliver(platform, content)
    platform.load(MON)
    (found,) = platform.raw(MON)
    assert (found["report_id"], found["size"]) == ("1", "100")
