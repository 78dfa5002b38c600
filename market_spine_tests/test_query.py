"""``spine query``: exact values in a stable order, as published now or then, and errors that say what there is."""

import csv
import io
import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from market_spine.errors import SpineError
from market_spine.otc import reading
from market_spine_tests.driving import Platform
from market_spine_tests.small_reports import MON, TUE, deliver, report


@pytest.fixture
def told(platform: Platform) -> Platform:
    """ACME and BETA on Monday, ACME twice: 110 shares became 107."""
    deliver(platform, MON, report(1), report(2, size="10.5"), report(3, symbol="BETA", price="0.0000000001"))
    platform.settle()
    deliver(platform, MON, report(1), report(2, size="7"), report(3, symbol="BETA", price="0.0000000001"))
    platform.settle()
    return platform


def ask(platform: Platform, *symbols: str, as_of: datetime | None = None, fields: str = "") -> list[reading.Row]:
    with platform.warehouse.connect() as connection:
        wanted = reading.fields_of(fields.split(",") if fields else [])
        return reading.metrics(connection, symbols, MON, TUE, fields=wanted, as_of=as_of)


def test_the_current_rows_come_by_symbol_and_day_and_exact(told: Platform) -> None:
    rows = ask(told, "BETA", "ACME", fields="total_volume,vwap")
    assert [(row["symbol"], row["trade_date"], row["revision"]) for row in rows] == [("ACME", MON, 2), ("BETA", MON, 1)]
    assert [row["total_volume"] for row in rows] == [Decimal(107), Decimal(100)]
    assert list(rows[0]) == ["symbol", "trade_date", "revision", "total_volume", "vwap"]


def test_what_was_published_then_is_told_as_it_was(told: Platform) -> None:
    first, second = told.revisions("ACME", MON)
    then = first["known_from"]
    assert [row["total_volume"] for row in ask(told, "ACME", as_of=then)] == [Decimal("110.5")]
    assert [row["total_volume"] for row in ask(told, "ACME", as_of=second["known_from"])] == [Decimal(107)]
    assert ask(told, "ACME", as_of=datetime(2020, 1, 1, tzinfo=UTC)) == []


def test_an_unknown_field_is_answered_with_those_there_are() -> None:
    with pytest.raises(SpineError, match=r"no field is named vwpa; there are all, .*vwap.*"):
        reading.fields_of(["vwpa"])
    assert set(reading.fields_of(["all"])) >= {"vwap", "known_from", "run_id"}


def test_trades_come_in_the_order_of_the_metrics_and_say_when_they_are_cut(told: Platform) -> None:
    with told.warehouse.connect() as connection:
        found = reading.trades(connection, "ACME", MON, limit=1)
        assert ([row["report_id"] for row in found.rows], found.is_cut) == (["1"], True)
        assert not reading.trades(connection, "ACME", MON, limit=2).is_cut
        assert reading.trades(connection, "ACME", MON, status="cancelled", limit=9).rows == []
        with pytest.raises(SpineError, match="live, cancelled, superseded"):
            reading.trades(connection, "ACME", MON, status="dead", limit=9)


def test_eligible_trades_are_those_that_high_and_low_are_made_of(platform: Platform) -> None:
    far = [report(number, price="10") for number in range(1, 7)]
    deliver(platform, MON, *far, report(9, price="1000"))
    platform.settle()
    with platform.warehouse.connect() as connection:
        every = reading.trades(connection, "ACME", MON, limit=99).rows
        eligible = reading.trades(connection, "ACME", MON, eligible=True, limit=99).rows
    assert (len(every), len(eligible)) == (7, 6)


# --- the command


@pytest.fixture
def spine(told: Platform, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> "Spine":
    monkeypatch.setenv("DATABASE_URL", told.database_url)
    monkeypatch.setenv("DAGSTER_DATABASE_URL", told.database_url)
    return Spine(capsys)


class Spine:
    """Runs the command in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        from market_spine.cli.main import app

        with pytest.raises(SystemExit) as ended:
            app([str(one) for one in arguments])
        said = self._capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err


def test_json_and_csv_carry_every_digit_and_the_table_the_ones_that_count(spine: Spine) -> None:
    wanted = (
        "query",
        "metrics",
        "--symbol",
        "BETA,ACME",
        "--start",
        MON,
        "--end",
        TUE,
        "--fields",
        "vwap,total_volume",
    )
    code, out, _ = spine(*wanted, "--json")
    assert (code, [row["vwap"] for row in json.loads(out)]) == (0, ["10.0000000000", "0.0000000001"])
    _, out, _ = spine(*wanted, "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(row["symbol"], row["trade_date"], row["vwap"]) for row in rows] == [
        ("ACME", str(MON), "10.0000000000"),
        ("BETA", str(MON), "0.0000000001"),
    ]
    _, out, _ = spine(*wanted)
    assert "0.0000000001" in out
    assert "10.0000" not in out


def test_a_symbol_without_rows_is_named_on_stderr(spine: Spine) -> None:
    code, out, err = spine("query", "metrics", "--symbol", "ACME,NOPE", "--start", MON, "--json")
    assert (code, len(json.loads(out)), "no metrics of NOPE" in err) == (0, 1, True)


def test_trades_are_told_with_their_moments(spine: Spine) -> None:
    _, out, err = spine("query", "trades", "--symbol", "ACME", "--date", MON, "--limit", 1, "--csv")
    (row,) = csv.DictReader(io.StringIO(out))
    assert (row["price"], row["executed_at"], row["is_late"]) == ("10.0000000000", "2026-02-02T15:00:00+00:00", "false")
    assert "only the first 1" in err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("metrics", "--symbol", "ACME", "--start", "yesterday"), 2, "2026-03-04"),
        (("metrics", "--symbol", "ACME", "--start", "2026-02-03", "--end", "2026-02-02"), 2, "is before"),
        (("metrics", "--symbol", "ACME", "--start", "2026-02-03", "--as-of", "then"), 2, "2026-03-10T12:00Z"),
        (("metrics", "--symbol", " , ", "--start", "2026-02-03"), 2, "no symbol"),
        (("metrics", "--symbol", "ACME", "--start", "2026-02-03", "--fields", "nope"), 2, "no field is named nope"),
        (("trades", "--symbol", "ACME", "--date", "2026-02-03", "--status", "nope"), 2, "no status is named nope"),
    ],
)
def test_what_cannot_be_asked_is_answered_with_what_can(
    spine: Spine, arguments: tuple[str, ...], code: int, says: str
) -> None:
    got, out, err = spine("query", *arguments)
    assert (got, out) == (code, "")
    assert says in " ".join(err.replace("│", " ").split())
