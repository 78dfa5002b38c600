"""Writes the bundled sessions: `data/landing/` and the table of what is in them, `data/README.md`.

What it is: `python -m benchmarks.samples` makes the files anew; a test proves that the committed ones are its output.
What belongs here: which file has which format (compression, byte order mark, line ends, quotes, empty last column).
What does not: the rows (`sample_market.py`, `sample_story.py`, `sample_feeds.py`).

Compressed bytes may differ between builds of zlib and zstd while the content is the same, so a compressed file is left
alone when it already unpacks to what would be written.
"""

import gzip
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import zstandard

from benchmarks.sample_feeds import TAQ_HEADER, VENDOR_HEADER, Row, taq_files, vendor_files
from benchmarks.sample_market import in_order, ordinary_trades
from benchmarks.sample_reports import D1, D2, D3, D4, D5, D6, D7
from benchmarks.sample_story import STORY

ROOT = Path(__file__).resolve().parent.parent / "data"
OTC_HEADER = (
    *("facility", "report_id", "report_date", "reported_at", "action", "original_report_id", "original_report_date"),
    *("symbol", "venue", "side", "capacity", "executed_at", "price", "size", "conditions"),
)
ORDINARY_REPORTS = 420


@dataclass(frozen=True)
class Format:
    """How the rows of one file are written."""

    delimiter: str = ","
    newline: str = "\n"
    byte_order_mark: bool = False
    quote_all: bool = False
    empty_last_column: bool = False
    blank_lines: bool = False
    more_columns: tuple[str, ...] = ()
    trailer: bool = False
    remark: str = "plain"


@dataclass
class Sample:
    """A file to be: its path under `data/`, its bytes, and what its README table says."""

    path: str
    content: bytes
    rows: int
    remark: str
    notes: list[tuple[int, str]] = field(default_factory=list)

    @property
    def stored(self) -> bytes:
        """The bytes on disk: compressed as the name says, without a time inside."""
        if self.path.endswith(".gz"):
            return gzip.compress(self.content, compresslevel=9, mtime=0)
        if self.path.endswith(".zst"):
            return zstandard.ZstdCompressor(level=19).compress(self.content)
        return self.content


OTC_FILES: dict[tuple[date, str], tuple[str, Format]] = {
    (D1, ""): (".csv", Format()),
    (D2, ""): (".csv.gz", Format(newline="\r\n", byte_order_mark=True, remark="gzip, byte order mark, CRLF")),
    (D3, ""): (".csv.zst", Format(quote_all=True, remark="zstd, every field quoted")),
    (D4, ""): (".csv", Format(newline="\r\n", blank_lines=True, remark="CRLF, three blank lines")),
    (D5, "a"): (".csv", Format(empty_last_column=True, remark="first part of the day, empty last column")),
    (D5, "b"): (".csv.gz", Format(byte_order_mark=True, remark="gzip, second part of the day, byte order mark")),
    (D6, ""): (".csv", Format(more_columns=("trade_date", "memo"), remark="a declared trade date, an unknown column")),
    (D7, ""): (".csv.gz", Format(remark="gzip")),
}  # fmt: skip
VENDOR_ENDINGS = {(D2, 1): ".txt", (D2, 2): ".txt.gz", (D4, 1): ".txt", (D7, 1): ".txt.zst", (D7, 2): ".txt"}
TAQ_ENDINGS = {D1: ".csv.gz", D5: ".csv"}


def samples() -> list[Sample]:
    """Every file under `data/` but the README, in the order of its table."""
    made = [*_otc(), *_vendor(), *_taq()]
    return [*made, *_refused(made)]


def write(root: Path = ROOT) -> list[Path]:
    """Writes what differs from what is there, removes what is no longer made, and returns the paths written."""
    wanted = {sample.path: sample for sample in samples()}
    written = []
    for folder in ("landing", "refused"):
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and path.relative_to(root).as_posix() not in wanted:
                path.unlink()
    for name, sample in wanted.items():
        path = root / name
        if not path.exists() or unpacked(path) != sample.content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(sample.stored)
            written.append(path)
    (root / "README.md").write_text(readme(list(wanted.values())), encoding="utf-8", newline="\n")
    return written


def unpacked(path: Path) -> bytes:
    """The content of a file whatever its compression; a file that is cut off on purpose as it is."""
    stored = path.read_bytes()
    if "refused" in path.parts:
        return stored
    if path.suffix == ".gz":
        return gzip.decompress(stored)
    return zstandard.ZstdDecompressor().decompress(stored) if path.suffix == ".zst" else stored


def readme(made: Sequence[Sample]) -> str:
    """The table of what is where."""
    lines = [
        "# Bundled sample sessions",
        "",
        "Synthetic: no symbol, firm or price in here is real. Seven sessions around the change of the clocks on",
        "2026-03-08, shaped on real trade reports and holding every trait of theirs that has to be dealt with. Made by",
        "`python -m benchmarks.samples`, together with this page; do not edit either by hand. A line number is the",
        "physical line of the unpacked file, the header being line 1. Dates in a remark are of 2026. What becomes of a",
        "report is told as of the end, when all the files have arrived.",
        "",
        "`landing/` is what `make demo` loads. `refused/` holds files that must be refused as a whole: copy one into",
        "`landing/` to see the error.",
        "",
        "| file | data rows | format |",
        "|---|---:|---|",
        *(f"| `{sample.path}` | {sample.rows:,} | {sample.remark} |" for sample in made),
    ]
    for sample in made:
        if sample.notes:
            lines += ["", f"## {sample.path}", "", "| line | what it is |", "|---:|---|"]
            lines += [f"| {line} | {note} |" for line, note in sample.notes]
    return "\n".join(lines) + "\n"


def _otc() -> list[Sample]:
    made = []
    for (day, part), (ending, form) in OTC_FILES.items():
        # The second part of a day brings its own numbers, or its reports would be those of the first.
        ordinary = ordinary_trades(day, ORDINARY_REPORTS, seed=day.toordinal())
        if day == D5:
            ordinary = ordinary[::2] if part == "a" else ordinary[1::2]
        header = [*OTC_HEADER, *form.more_columns]
        reports = in_order([*ordinary, *STORY[day, part]()])
        rows = [([report[name] for name in header], report.note) for report in reports]
        name = f"otc_{day}{f'_{part}' if part else ''}{ending}"
        made.append(_render(f"landing/otc/{name}", header, rows, form))
    return made


def _vendor() -> list[Sample]:
    made = []
    for (day, version), rows in vendor_files().items():
        packed = {".gz": "gzip, ", ".zst": "zstd, "}.get(VENDOR_ENDINGS[day, version][4:], "")
        form = Format(
            delimiter="|",
            trailer=True,
            remark=f"{packed}pipes, New York clock, trailer with the count, version {version}",
        )
        name = f"trades_{day:%Y%m%d}.v{version}{VENDOR_ENDINGS[day, version]}"
        made.append(_render(f"landing/vendor_pipe/{name}", VENDOR_HEADER, rows, form))
    return made


def _taq() -> list[Sample]:
    made = []
    for day, rows in taq_files().items():
        form = Format(
            remark="gzip, NYSE TAQ columns, no ids" if TAQ_ENDINGS[day] == ".csv.gz" else "NYSE TAQ columns, no ids"
        )
        made.append(_render(f"landing/taq/taq_{day}{TAQ_ENDINGS[day]}", TAQ_HEADER, rows, form))
    return made


def _refused(made: Sequence[Sample]) -> list[Sample]:
    by_path = {sample.path: sample for sample in made}
    cut = by_path["landing/otc/otc_2026-03-12.csv.gz"]
    vendor = by_path["landing/vendor_pipe/trades_20260312.v2.txt"]
    lines = cut.content.splitlines(keepends=True)[:32]
    row_cut_off = b"".join(lines[:31]) + lines[31][:70]
    wrong_count = vendor.content.replace(b"Trailer|%06d" % vendor.rows, b"Trailer|%06d" % (vendor.rows + 5))
    return [
        Sample("refused/otc_2026-03-12_cut.csv", row_cut_off, 30, "the last row is cut off in the middle"),
        Sample(
            "refused/trades_20260312.v3.txt", wrong_count, vendor.rows, "the trailer says five rows more than there are"
        ),
    ]


def _render(path: str, header: Sequence[str], rows: Sequence[Row], form: Format) -> Sample:
    lines = [_line(header, form)]
    notes = []
    for number, (row, note) in enumerate(rows):
        if form.blank_lines and number in (100, 200):
            lines.append("")
        lines.append(_line(row, form))
        if note:
            notes.append((len(lines), note))
    if form.trailer:
        lines.append(f"Trailer|{len(rows):06d}")
        notes.append((len(lines), "the trailer: a record count, no report"))
    if form.blank_lines:
        lines.append("")
    text = form.newline.join(lines) + form.newline
    mark = "\ufeff" if form.byte_order_mark else ""
    return Sample(path, (mark + text).encode(), len(rows), form.remark, notes)


def _line(fields: Sequence[str], form: Format) -> str:
    cells = [*fields, ""] if form.empty_last_column else fields
    return form.delimiter.join(_cell(cell, form) for cell in cells)


def _cell(text: str, form: Format) -> str:
    if form.quote_all or (form.delimiter == "," and ("," in text or '"' in text)):
        return '"' + text.replace('"', '""') + '"'
    return text


def main() -> int:
    """Writes the samples beside this repository's `data/README.md`."""
    for path in write():
        print(f"wrote {path.relative_to(ROOT.parent)}")
    total = sum(path.stat().st_size for path in (ROOT / "landing").rglob("*") if path.is_file())
    print(f"{total:,} bytes in data/landing")
    return 0


if __name__ == "__main__":
    sys.exit(main())
