"""Every check passes on a sound day, fails on a tampered one, and a failed blocking check closes the gate."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from market_spine.errors import UpstreamBlocked
from market_spine.otc.quality import CHECKS, METRICS, RAW, TRADES, CheckResult
from market_spine.otc.steps import STEPS, Steps
from market_spine.settings import Settings
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine.warehouse.engine import Connection, plain_url
from market_spine.warehouse.sql import statements
from market_spine_tests.conftest import DatabaseFactory
from market_spine_tests.orchestrated import DAYS, cancel, deliver, report

DAY, NEXT, _ = DAYS
CARRY = """INSERT INTO otc_carried (day, origin_day, file_id, line_no, role, hop, report_date)
SELECT '2026-03-04', '2026-03-05', file_id, 2, 'trade', 'trade', '2026-03-05' FROM otc_files"""
PAST = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def prepared(new_database: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """One session done, the files of the next one landed: made once, copied for each test."""
    with new_database() as url:
        settings = Settings(database_url=url, landing=tmp_path_factory.mktemp("landing"))
        deliver(settings, DAY, cancel(DAY, 11, 3, DAY), report(DAY, 12, price="-1"))
        deliver(settings, NEXT)
        list(Steps(settings).run_session(DAY, STEPS))
        yield settings


@pytest.fixture
def settings(prepared: Settings, server: EmbeddedServer, tmp_path: Path) -> Iterator[Settings]:
    named = statements("market_spine.warehouse", "embedded.sql")
    original = prepared.database_url.partition("?")[0].rpartition("/")[2]
    shutil.copytree(prepared.landing, tmp_path / "landing")
    with psycopg.connect(server.url("postgres"), autocommit=True) as admin:
        admin.execute(named("create_database_from", database="quality_copy", template=original))
        yield replace(prepared, database_url=server.url("quality_copy"), landing=tmp_path / "landing")
        admin.execute(named("drop_database", database="quality_copy"))


@pytest.fixture
def steps(settings: Settings) -> Steps:
    return Steps(settings)


@dataclass(frozen=True)
class Tampered:
    """A transaction on the prepared tables that is never committed."""

    steps: Steps
    connection: Connection

    def do(self, statement: str) -> None:
        self.connection.execute(statement.encode())

    def check(self, asset: str, day: date = DAY, steps: Steps | None = None) -> dict[str, CheckResult]:
        quality = (steps or self.steps).quality
        return {one.check.name: one for one in quality.count_day(asset, day, self.connection)}

    def failed(self, asset: str, day: date = DAY) -> set[str]:
        return {name for name, one in self.check(asset, day).items() if not one.passed}


@pytest.fixture
def tampered(prepared: Settings) -> Iterator[Tampered]:
    steps = Steps(prepared)
    with steps.warehouse.connect() as connection:
        yield Tampered(steps, connection)
        connection.rollback()


@pytest.fixture
def tables(settings: Settings) -> Iterator["psycopg.Connection[tuple[object, ...]]"]:
    with psycopg.connect(plain_url(settings.database_url), autocommit=True) as connection:
        yield connection


def check(steps: Steps, asset: str, day: date = DAY) -> dict[str, CheckResult]:
    with steps.warehouse.connect() as connection:
        return {one.check.name: one for one in steps.quality.check_day(asset, day, connection)}


def require(steps: Steps, asset: str, day: date = DAY) -> None:
    with steps.warehouse.connect() as connection:
        steps.quality.require_passed(asset, day, connection)


def failed(steps: Steps, asset: str, day: date = DAY) -> set[str]:
    return {name for name, one in check(steps, asset, day).items() if not one.passed}


def test_a_sound_day_passes_every_check_that_its_reports_do_not_ask_to_fail(tampered: Tampered) -> None:
    # One report of twelve is refused on purpose: more than one in a hundred.
    assert [tampered.failed(asset) for asset in STEPS] == [set(), {"few_quarantined"}, set()]


def test_every_check_is_kept_with_its_last_result(steps: Steps, tables: psycopg.Connection) -> None:
    kept = tables.execute("SELECT asset, check_name, blocking FROM otc_quality WHERE day = %s", (DAY,)).fetchall()
    assert set(kept) == {(one.asset, one.name, one.blocking) for one in CHECKS}
    before = tables.execute("SELECT min(checked_at) FROM otc_quality WHERE asset = %s", (TRADES,)).fetchone()
    check(steps, TRADES)
    after = tables.execute("SELECT min(checked_at), count(*) FROM otc_quality WHERE asset = %s", (TRADES,)).fetchone()
    assert before is not None
    assert after is not None
    assert after[0] > before[0]
    assert after[1] == 5


@pytest.mark.parametrize(
    ("tampering", "problem"),
    [
        ("DELETE FROM otc_trades_raw WHERE line_no = 5", "12 rows were read, 11 are in the table"),
        ("UPDATE otc_files SET lines = lines + 1", "14 lines are not header + 12 rows + 0 blank + 0 trailer"),
        ("UPDATE otc_files SET declared_rows = 13", "the trailer declares 13 rows, 12 were read"),
    ],
)
def test_rows_of_a_file_that_are_not_all_there_are_found(tampered: Tampered, tampering: str, problem: str) -> None:
    tampered.do(tampering)
    found = tampered.check(RAW)["file_rows_conserved"]
    assert not found.passed
    assert found.stops
    assert found.details["problems"] == [f"otc/otc_{DAY}.csv: {problem}"]


def test_a_session_without_a_live_file_is_found(tampered: Tampered) -> None:
    assert tampered.failed(RAW, NEXT) == {"session_has_file"}
    tampered.do("UPDATE otc_files SET status = 'voided'")
    assert tampered.failed(RAW) == {"session_has_file"}


def test_a_refused_file_is_told_until_it_is_delivered_again(steps: Steps, settings: Settings) -> None:
    path = deliver(settings, NEXT)
    whole = path.read_text()
    path.write_text(whole[:-20])
    with pytest.raises(Exception, match=r"otc_2026-03-05\.csv line 11"):
        list(steps.run_session(NEXT, [RAW]))
    assert failed(steps, RAW, NEXT) == {"session_has_file", "no_refused_files"}
    path.write_text(whole)
    list(steps.run_session(NEXT, [RAW]))
    assert failed(steps, RAW, NEXT) == set()


@pytest.mark.parametrize(
    "tampering",
    [
        "DELETE FROM otc_trades WHERE report_id = '5'",
        "DELETE FROM otc_exceptions WHERE disposition = 'quarantined'",
        "UPDATE otc_files SET rows = rows + 1",
        "UPDATE otc_trades SET status = 'lost' WHERE report_id = '5'",
        CARRY,
    ],
)
def test_a_report_that_is_nowhere_breaks_the_conservation_law(tampered: Tampered, tampering: str) -> None:
    tampered.do(tampering)
    assert tampered.check(TRADES)["reports_conserved"].stops


def test_the_conservation_law_names_every_term(tampered: Tampered) -> None:
    assert tampered.check(TRADES)["reports_conserved"].details == {
        "file_rows": 12,
        "carried_in": 0,
        "trades": {"live": 9, "cancelled": 1, "superseded": 0},
        "exceptions": {"applied": 1, "quarantined": 1},
        "difference": 0,
    }


def test_a_day_that_waits_for_its_next_pass_is_held_against_its_last_one(steps: Steps, settings: Settings) -> None:
    deliver(settings, NEXT, cancel(NEXT, 11, 4, DAY))
    list(steps.run_session(NEXT, STEPS))
    waiting = check(steps, TRADES)["reports_conserved"]
    assert waiting.passed
    assert "marked" in str(waiting.details["waits"])
    list(steps.run_session(DAY, [TRADES]))
    assert check(steps, TRADES)["reports_conserved"].details["carried_in"] == 1


def test_a_day_that_waits_and_lost_a_trade_still_breaks_the_law(
    steps: Steps, settings: Settings, tables: psycopg.Connection
) -> None:
    deliver(settings, NEXT, cancel(NEXT, 11, 4, DAY))
    list(steps.run_session(NEXT, STEPS))
    tables.execute("DELETE FROM otc_trades WHERE trade_date = %s AND report_id IN ('5', '6')", (DAY,))
    assert check(steps, TRADES)["reports_conserved"].stops


def test_unknown_condition_codes_are_named_with_their_trades(steps: Steps, settings: Settings) -> None:
    deliver(settings, NEXT, report(NEXT, 11, conditions="T%"), report(NEXT, 12, conditions="% "))
    list(steps.run_session(NEXT, STEPS))
    found = check(steps, TRADES, NEXT)["known_conditions"]
    assert not found.passed
    assert not found.stops
    assert found.details == {
        "trades": 2,
        "codes": [{"source": "otc", "code": "%", "trades": 2, "example": "ACME"}],
    }


@pytest.mark.parametrize(("name", "column"), [("few_outliers", "is_outlier"), ("few_late_reports", "is_late")])
def test_a_share_over_its_limit_warns_and_stops_nothing(tampered: Tampered, name: str, column: str) -> None:
    assert tampered.check(TRADES)[name].passed
    tampered.do(f"UPDATE otc_trades SET {column} = true WHERE report_id = '5'")
    found = tampered.check(TRADES)[name]
    assert not found.passed
    assert not found.stops
    assert found.details["share"] == pytest.approx(1 / 9, abs=1e-6)


def test_the_limit_of_late_reports_is_a_setting(tampered: Tampered) -> None:
    tampered.do("UPDATE otc_trades SET is_late = true WHERE report_id = '5'")
    tolerant = Steps(replace(tampered.steps.settings, late_share_warn=Decimal("0.2")))
    assert tampered.check(TRADES, steps=tolerant)["few_late_reports"].passed


def test_few_quarantined_reports_pass(steps: Steps) -> None:
    list(steps.run_session(NEXT, STEPS))
    assert failed(steps, TRADES, NEXT) == set()


@pytest.mark.parametrize(
    "tampering", ["vwap = low_price - 0.0000000001", "vwap = high_price + 0.0000000001", "vwap = NULL"]
)
def test_a_vwap_outside_of_low_and_high_is_found(tampered: Tampered, tampering: str) -> None:
    tampered.do(f"UPDATE otc_metrics_daily SET {tampering} WHERE symbol = 'ACME'")
    found = tampered.check(METRICS)
    assert found["vwap_within_range"].stops
    assert found["vwap_within_range"].details == {"symbols": 3, "outside": 1, "examples": ["ACME"]}
    assert found["volume_is_sum_of_venues"].passed


@pytest.mark.parametrize(
    ("tampering", "kind"),
    [
        ("UPDATE otc_metrics_daily SET total_volume = total_volume + 0.000001 WHERE symbol = 'ACME'", "differing"),
        ("UPDATE otc_trades SET size = size + 1 WHERE report_id = '6'", "differing"),
        ("DELETE FROM otc_metrics_daily WHERE symbol = 'ACME'", "missing"),
        ("DELETE FROM otc_trades WHERE symbol = 'ACME'", "surplus"),
    ],
)
def test_a_volume_that_is_not_the_sum_of_its_venues_is_found(tampered: Tampered, tampering: str, kind: str) -> None:
    tampered.do(tampering)
    found = tampered.check(METRICS)["volume_is_sum_of_venues"]
    assert found.stops
    assert found.details[kind] == 1
    assert found.details["examples"] == ["ACME"]


def test_old_revisions_are_not_checked(tampered: Tampered) -> None:
    tampered.do("UPDATE otc_metrics_daily SET known_to = now(), vwap = 0 WHERE symbol = 'ACME'")
    assert tampered.failed(METRICS) == {"volume_is_sum_of_venues"}


def test_the_gate_says_which_check_failed_and_what_to_do(steps: Steps, tables: psycopg.Connection) -> None:
    require(steps, TRADES)
    tables.execute("DELETE FROM otc_trades WHERE report_id = '5'")
    check(steps, TRADES)
    with pytest.raises(UpstreamBlocked) as caught:
        require(steps, TRADES)
    assert str(caught.value).startswith("otc_trades 2026-03-04: blocking check reports_conserved failed (")
    assert '"difference": 1' in str(caught.value)
    assert "has been materialized again" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_gate_believes_the_last_result_and_does_not_count_again(steps: Steps, tables: psycopg.Connection) -> None:
    tables.execute("DELETE FROM otc_trades WHERE report_id = '5'")
    require(steps, TRADES)


def test_the_gate_counts_itself_when_a_killed_run_left_no_result_or_an_old_one(
    steps: Steps, tables: psycopg.Connection
) -> None:
    tables.execute("DELETE FROM otc_trades WHERE report_id = '5'")
    tables.execute("UPDATE otc_quality SET checked_at = %s WHERE asset = %s", (PAST, TRADES))
    with pytest.raises(UpstreamBlocked, match="reports_conserved"):
        require(steps, TRADES)
    tables.execute("DELETE FROM otc_quality")
    with pytest.raises(UpstreamBlocked, match="reports_conserved"):
        require(steps, TRADES)


def test_a_check_that_only_warns_closes_no_gate(steps: Steps) -> None:
    assert "few_quarantined" in failed(steps, TRADES)
    require(steps, TRADES)


def test_a_later_step_does_not_start_on_a_blocked_day(steps: Steps, tables: psycopg.Connection) -> None:
    tables.execute("DELETE FROM otc_trades_raw WHERE line_no = 5")
    check(steps, RAW)
    with pytest.raises(UpstreamBlocked, match="file_rows_conserved"):
        list(steps.run_session(DAY, [TRADES, METRICS]))
