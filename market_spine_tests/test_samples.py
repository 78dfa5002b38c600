"""The bundled sessions and the generated days are what they claim to be.

What belongs here: that `data/` is what `benchmarks.samples` makes, that it holds every trait it should, and the shape
of generated days.
What does not: what the product makes of them (the end-to-end tests).
"""

import csv
import gzip
import io
import re
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from benchmarks import samples
from benchmarks.generate import write_day, write_history
from benchmarks.sample_market import SESSIONS
from market_spine.calendar import TradingCalendar

DATA = samples.ROOT
LANDING = DATA / "landing"


def content(name: str) -> str:
    return samples.unpacked(LANDING / name).decode("utf-8-sig")


def rows(name: str, delimiter: str = ",") -> list[dict[str, str]]:
    return [row for row in csv.DictReader(io.StringIO(content(name)), delimiter=delimiter) if row]


def otc_rows() -> list[dict[str, str]]:
    return [row for path in sorted((LANDING / "otc").iterdir()) for row in rows(f"otc/{path.name}")]


def test_making_the_samples_again_gives_the_committed_content() -> None:
    made = samples.samples()
    for sample in made:
        assert samples.unpacked(DATA / sample.path) == sample.content, (
            f"{sample.path}: run python -m benchmarks.samples"
        )
    kept = {path.relative_to(DATA).as_posix() for path in DATA.rglob("*") if path.is_file()}
    assert kept == {sample.path for sample in made} | {"README.md"}
    assert (DATA / "README.md").read_text(encoding="utf-8") == samples.readme(made)


def test_two_writings_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        samples.write(tmp_path / name)
    files = {path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()}
    assert all((tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes() for file in files)
    assert samples.write(tmp_path / "one") == []


def test_the_samples_are_small_and_cover_seven_sessions() -> None:
    files = [path for path in LANDING.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 700_000
    assert {path.suffix for path in files} == {".csv", ".txt", ".gz", ".zst"}
    assert TradingCalendar(date(2026, 1, 2)).sessions(SESSIONS[0], SESSIONS[-1]) == list(SESSIONS)
    for session in SESSIONS:
        assert list((LANDING / "otc").glob(f"otc_{session}*"))


def test_acme_and_fifteen_others_trade_in_every_session() -> None:
    symbols: dict[str, set[str]] = {}
    for row in otc_rows():
        if row["action"] == "new" and re.fullmatch(r"[\d.]+", row["price"]) and float(row["price"]) > 0:
            symbols.setdefault(row["executed_at"][:10], set()).add(row["symbol"])
    for session in SESSIONS:
        assert "ACME" in symbols[session.isoformat()]
        assert len(symbols[session.isoformat()]) >= 16


def test_the_notes_of_the_readme_stand_at_the_lines_they_name() -> None:
    for sample in samples.samples():
        lines = sample.content.decode("utf-8-sig").splitlines()
        for line, note in sample.notes:
            assert lines[line - 1].strip(), f"{sample.path} line {line}: {note}"
    day = next(sample for sample in samples.samples() if sample.path.endswith("otc_2026-03-04.csv"))
    at = {note: day.content.decode().splitlines()[line - 1] for line, note in day.notes}
    assert ",-49903.25," in at["an absurd print: quarantined, non_positive_price"]
    assert '"1,176,262,090+"' in at["a capped size: a lower bound, flagged: live"]


@pytest.mark.parametrize(
    "text",
    ["-49903.25", "1,176,262,090+", "250MM+", "750K+", "1,002.5000", "NaN", "inf", "1e400", "0.0313333333", "0.000001"],
)
def test_the_canonical_files_hold_the_odd_number(text: str) -> None:
    assert any(text in (row["price"], row["size"]) for row in otc_rows())


def test_ids_have_19_digits_and_a_float_could_not_tell_them_apart() -> None:
    ids = {row["report_id"] for row in otc_rows()}
    assert {len(one) for one in ids} == {19}
    assert len({float(one) for one in ids}) < len(ids) / 100


def test_every_action_and_every_kind_of_link_is_there() -> None:
    reports = otc_rows()
    actions = Counter(row["action"] for row in reports)
    assert set(actions) == {"new", "cancel", "break", "correct", "reversal", "as-of", "amend"}
    place = {(row["report_date"], row["report_id"]): n for n, row in enumerate(reports)}
    targets = {row["report_id"]: row["report_date"] for row in reports}
    linked = [row for row in reports if row["original_report_id"]]
    assert any(targets.get(row["original_report_id"], "") > row["report_date"] for row in linked), "a cancel too early"
    assert any(row["original_report_id"] not in targets for row in linked), "a target that never comes"
    assert any(not row["original_report_id"] and row["action"] in ("correct", "reversal") for row in reports), (
        "an event without a link"
    )
    assert max(Counter((row["action"], row["original_report_id"]) for row in linked).values()) > 1, "cancelled twice"
    moved = [
        (row, reports[place[row["original_report_date"], row["original_report_id"]]])
        for row in linked
        if row["action"] == "correct" and (row["original_report_date"], row["original_report_id"]) in place
    ]
    assert any(row["symbol"] != target["symbol"] for row, target in moved)
    assert any(row["executed_at"][:10] != target["executed_at"][:10] for row, target in moved)


def test_a_report_is_replayed_and_an_id_is_used_for_two_reports() -> None:
    same_day = rows("otc/otc_2026-03-04.csv")
    contents: dict[str, list[tuple[str, ...]]] = {}
    for row in same_day:
        contents.setdefault(row["report_id"], []).append(tuple(row.values()))
    repeated = [found for found in contents.values() if len(found) > 1]
    assert sorted(len(set(found)) for found in repeated) == [1, 2]


def test_the_formats_have_their_marks_line_ends_quotes_and_blank_lines() -> None:
    assert samples.unpacked(LANDING / "otc/otc_2026-03-05.csv.gz").startswith(b"\xef\xbb\xbffacility")
    assert "\r\n" in content("otc/otc_2026-03-09.csv")
    assert content("otc/otc_2026-03-09.csv").count("\r\n\r\n") == 3
    assert all(line.startswith('"') for line in content("otc/otc_2026-03-06.csv.zst").splitlines())
    assert all(line.endswith(",") for line in content("otc/otc_2026-03-10_a.csv").splitlines())
    assert '"said ""done"", twice"' in content("otc/otc_2026-03-11.csv")


def test_gzip_files_carry_no_time() -> None:
    for path in LANDING.rglob("*.gz"):
        assert path.read_bytes()[4:8] == b"\0\0\0\0"
        assert gzip.decompress(path.read_bytes())


def test_vendor_trailers_count_their_rows_and_a_time_was_skipped_by_the_clock() -> None:
    for path in (LANDING / "vendor_pipe").iterdir():
        lines = content(f"vendor_pipe/{path.name}").splitlines()
        assert lines[-1] == f"Trailer|{len(lines) - 2:06d}"
    assert "|2026-03-08 02:30:00.000000|" in content("vendor_pipe/trades_20260309.v1.txt")
    assert content("vendor_pipe/trades_20260305.v1.txt") != content("vendor_pipe/trades_20260305.v2.txt.gz")


def test_equal_taq_rows_and_every_correction_code_are_there() -> None:
    lines = content("taq/taq_2026-03-04.csv.gz").splitlines()
    assert sum(count - 1 for count in Counter(lines).values()) >= 10
    codes = {row["CORR"] for row in rows("taq/taq_2026-03-04.csv.gz")}
    assert codes == {"0", "1", "7", "8", "10", "11", "12", "99"}


def test_a_generated_day_has_unique_ids_in_time_order_and_corrections_of_earlier_reports(tmp_path: Path) -> None:
    path = write_day(tmp_path / "day.csv", date(2026, 11, 27), 20_000, 300, cancels=0.02, corrections=0.02)
    reports = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    assert len(reports) == len({row["report_id"] for row in reports}) == 20_000
    assert len({row["symbol"] for row in reports}) == 300
    assert [row["reported_at"] for row in reports] == sorted(row["reported_at"] for row in reports)
    first, last = (pick(row["executed_at"] for row in reports) for pick in (min, max))
    assert datetime.fromisoformat(first) >= datetime(2026, 11, 27, 13, tzinfo=UTC)
    assert datetime.fromisoformat(last) < datetime(2026, 11, 28, 1, tzinfo=UTC)
    events = [row for row in reports if row["action"] != "new"]
    assert 0.03 < len(events) / len(reports) < 0.05
    seen: dict[str, dict[str, str]] = {}
    for row in reports:
        if row["action"] == "new":
            seen[row["report_id"]] = row
            continue
        target = seen[row["original_report_id"]]
        kept = ("symbol", "venue", "side", "capacity", "executed_at", "conditions")
        assert [row[name] for name in kept] == [target[name] for name in kept]
        same = (row["price"], row["size"]) == (target["price"], target["size"])
        assert same == (row["action"] == "cancel")


def test_generating_again_gives_the_same_bytes_and_another_seed_gives_others(tmp_path: Path) -> None:
    days = [
        write_day(tmp_path / f"{name}.csv", date(2026, 3, 2), 2_000, 50, seed=seed).read_bytes()
        for name, seed in (("one", 1), ("again", 1), ("other", 2))
    ]
    assert days[0] == days[1] != days[2]


def test_a_history_is_one_file_a_session(tmp_path: Path) -> None:
    sessions = TradingCalendar(date(2026, 1, 2)).sessions()[:3]
    paths = write_history(tmp_path, sessions, 100, symbols=20)
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [f"otc/otc_{day}.csv" for day in sessions]
    assert [len(path.read_text(encoding="utf-8").splitlines()) for path in paths] == [101] * 3
