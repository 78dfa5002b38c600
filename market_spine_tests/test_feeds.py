"""Feed declarations: what they may say, and that every refusal names the line."""

import re
from pathlib import Path

import pytest

from market_spine.errors import FeedError
from market_spine.otc.feeds import CANONICAL, ESSENTIAL, load_feeds, parse_feed

DOCS = Path(__file__).parents[1] / "docs" / "feeds.md"
GOOD = """\
name: desk
path: desk/{report_date}.csv
columns:
  executed_at: time
  symbol: ticker
  price: px
  size: qty
time_zone: America/New_York
tape: cta
"""


def test_a_short_declaration_is_enough_and_the_rest_has_defaults() -> None:
    feed = parse_feed(GOOD, "desk.yaml")
    assert (feed.delimiter, feed.quote, feed.required) == (",", '"', ESSENTIAL)
    assert (feed.actions, feed.corrections, feed.condition_separator, feed.trailer) == ({}, {}, None, None)


def test_the_shipped_feeds_load() -> None:
    assert list(load_feeds()) == ["otc", "taq", "vendor_pipe"]


def test_the_canonical_feed_has_every_column_under_its_own_name() -> None:
    columns = load_feeds()["otc"].columns
    assert all(name == source for name, source in columns.items())
    assert set(CANONICAL) - set(columns) == {"correction"}


def test_taq_tells_live_from_dead_from_no_trade() -> None:
    meanings = load_feeds()["taq"].corrections
    assert {code for code, meaning in meanings.items() if meaning == "live"} == {"0", "1"}
    assert {code for code, meaning in meanings.items() if meaning == "cancelled"} == {"7", "8"}
    assert {code for code, meaning in meanings.items() if meaning == "not_a_trade"} == {"10", "11", "12"}


def test_the_trailer_of_the_pipe_feed_carries_the_count() -> None:
    trailer = load_feeds()["vendor_pipe"].trailer
    assert trailer is not None
    match = re.fullmatch(trailer, "Trailer|000123")
    assert match is not None
    assert int(match["count"]) == 123


@pytest.mark.parametrize(
    ("wrong", "line", "says"),
    [
        (GOOD.replace("tape: cta", "tapes: cta"), 9, "unknown key 'tapes' in the feed; did you mean 'tape'?"),
        (GOOD.replace("tape: cta\n", ""), 1, "the feed has no 'tape'"),
        (GOOD.replace("tape: cta", "tape: nyse"), 9, "unknown tape 'nyse'; known are cta, utp, finra_tdds"),
        (GOOD.replace("symbol:", "symbl:"), 5, "unknown canonical column 'symbl'; did you mean 'symbol'?"),
        (GOOD.replace("  size: qty\n", ""), 4, "columns has no 'size'"),
        (GOOD.replace("qty", "px"), 7, "the file's column 'px' is mapped twice"),
        (GOOD.replace("size: qty", "price: qty"), 7, "columns has 'price' twice"),
        (GOOD.replace("size: qty", "size:"), 7, "column 'size' has no name in the file"),
        (GOOD.replace("New_York", "New_Yorck"), 8, "no time zone of that name"),
        (GOOD.replace("America/New_York", "../../etc/hosts"), 8, "no time zone of that name"),
        (GOOD.replace("America/New_York", "America"), 8, "no time zone of that name"),
        (GOOD.replace("name: desk", "name: The Desk"), 1, "name 'The Desk' must be small letters"),
        (GOOD.replace("{report_date}", "{date}"), 2, "{date} is no placeholder"),
        (GOOD.replace("{report_date}", "all"), 2, "must hold the report date"),
        (GOOD.replace("{report_date}", "{report_date:%y}"), 2, "not %y"),
        (GOOD.replace("{report_date}", "[{report_date}]"), 2, "may not stand in square brackets"),
        (GOOD.replace(".csv", "[_{part}.csv"), 2, "square brackets must be closed"),
        (GOOD.replace(".csv", "_{part}_{part}.csv"), 2, "{part} may stand only once"),
        (GOOD.replace(".csv", ".csv.gz"), 2, "leave .gz and .zst away"),
        (GOOD.replace("desk/", "../desk/"), 2, "must be a relative path"),
        (GOOD + "delimiter: '||'\n", 10, "delimiter '||' must be one character"),
        (GOOD + "delimiter: '5'\n", 10, "delimiter '5' must be one character"),
        (GOOD + 'quote: "\'"\n', 10, "unknown quote"),
        (GOOD + "required: [venue]\n", 10, "required column 'venue' is not among columns"),
        (GOOD + "required: symbol\n", 10, "required must be a list"),
        (GOOD + "defaults: {symbol: ACME}\n", 10, "'symbol' is both a column and a constant"),
        (GOOD + "actions: {N: new}\n", 10, "actions needs a column 'action'"),
        (GOOD.replace("size: qty\n", "size: qty\n  action: type\n"), 8, "actions does not say what its codes mean"),
        (GOOD + "actions: [N, C]\n", 10, "actions needs a column 'action'"),
        (GOOD + "conditions: separate\n", 10, "unknown conditions 'separate'; known are packed"),
        (GOOD + "conditions: {separator: ''}\n", 10, "separator is empty"),
        (GOOD + "trailer: {pattern: '('}\n", 10, "no regular expression"),
        (GOOD + "trailer: {pattern: 'T.*'}\n", 10, "must have a group for the number of rows"),
        (GOOD + "trailer: {}\n", 10, "trailer has no 'pattern'"),
        (GOOD + "quote: [\n", 11, "no YAML"),
        (GOOD + "---\nname: other\n", 10, "no YAML"),
        ("", 1, "the file is empty"),
        ("- a\n- b\n", 1, "the feed must be a mapping"),
        ("name: [desk]\n" + GOOD.partition("\n")[2], 1, "name must be one value"),
    ],
)
def test_a_wrong_declaration_is_refused_with_its_line(wrong: str, line: int, says: str) -> None:
    with pytest.raises(FeedError) as refusal:
        parse_feed(wrong, "desk.yaml")
    message = str(refusal.value)
    assert message.startswith(f"desk.yaml line {line}: ")
    assert says in message
    assert "\n" not in message


def test_an_unknown_meaning_of_a_code_is_refused_with_its_line() -> None:
    wrong = GOOD.replace("columns:\n", "columns:\n  action: type\n") + "actions:\n  N: new\n  X: cancelled\n"
    with pytest.raises(FeedError, match=r"line 13: unknown meaning of a code: 'cancelled'; did you mean 'cancel'\?"):
        parse_feed(wrong, "desk.yaml")


def test_codes_yaml_would_take_for_booleans_and_numbers_stay_text() -> None:
    feed = parse_feed(
        GOOD.replace("columns:\n", "columns:\n  correction: corr\n")
        + "corrections: {N: live, no: cancelled, 01: live}\n",
        "desk.yaml",
    )
    assert list(feed.corrections) == ["N", "no", "01"]


def test_a_folder_of_ones_own_adds_feeds(tmp_path: Path) -> None:
    (tmp_path / "desk.yaml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "notes.txt").write_text("no feed", encoding="utf-8")
    assert list(load_feeds(str(tmp_path))) == ["desk", "otc", "taq", "vendor_pipe"]


def test_a_name_or_a_path_that_is_taken_is_refused_with_both_files(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(GOOD.replace("name: desk", "name: taq"), encoding="utf-8")
    with pytest.raises(FeedError, match=r"(?s)the name 'taq' is taken.*") as name_taken:
        load_feeds(str(tmp_path))
    assert "mine.yaml" in str(name_taken.value)
    assert "taq.yaml" in str(name_taken.value)
    mine.write_text(GOOD, encoding="utf-8")
    (tmp_path / "other.yaml").write_text(GOOD.replace("name: desk", "name: other"), encoding="utf-8")
    with pytest.raises(FeedError, match=re.escape("the path 'desk/{report_date}.csv' is taken")):
        load_feeds(str(tmp_path))


def test_a_folder_that_is_not_there_is_an_error_that_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match="no such folder; MARKET_SPINE_FEEDS"):
        load_feeds(str(tmp_path / "nowhere"))


def test_a_feed_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(FeedError, match=r"bad\.yaml: cannot be read"):
        load_feeds(str(tmp_path))


def test_the_fourth_feed_of_the_documentation_loads_and_has_ten_lines(tmp_path: Path) -> None:
    block = re.search(r"```yaml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    assert len(block[1].splitlines()) == 10
    (tmp_path / "ats.yaml").write_text(block[1], encoding="utf-8")
    feed = load_feeds(str(tmp_path))["ats_tab"]
    assert (feed.delimiter, feed.condition_separator, feed.actions["CXL"]) == ("\t", ";", "cancel")


def test_the_documentation_names_every_canonical_column_and_every_shipped_path() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert [name for name in CANONICAL if f"`{name}`" not in text] == []
    assert [feed.path for feed in load_feeds().values() if f"`{feed.path}`" not in text] == []
