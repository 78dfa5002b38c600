"""The assets as Dagster sees them, and real runs of them on a PostgreSQL-backed instance."""

import json
from typing import Any

import pytest
from dagster import (
    AssetCheckEvaluation,
    AssetKey,
    AssetRecordsFilter,
    Definitions,
    ExecuteInProcessResult,
    MetadataValue,
)
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus as Status

from market_spine.definitions import build_defs
from market_spine.otc import session_run
from market_spine.otc.metadata import markdown_table
from market_spine.otc.quality import CHECKS
from market_spine.settings import Settings
from market_spine.warehouse import schema
from market_spine_tests.orchestrated import (
    TABLES,
    Orchestra,
    break_file,
    cancel,
    deliver,
    report,
)

RAW, TRADES, METRICS = TABLES
FULL = "otc_full_refresh"


def failure_of(result: ExecuteInProcessResult) -> str:
    """The one line of a run that failed."""
    assert not result.success
    event = next(one for one in result.all_events if one.event_type_value == "STEP_FAILURE")
    data = event.step_failure_data.user_failure_data
    assert data is not None
    return str(data.description)


def evaluation_in(record: AssetCheckExecutionRecord) -> AssetCheckEvaluation:
    """What a check that was evaluated has said."""
    assert record.event is not None
    assert record.event.dagster_event is not None
    said = record.event.dagster_event.event_specific_data
    assert isinstance(said, AssetCheckEvaluation)
    return said


def test_the_definitions_can_be_loaded() -> None:
    Definitions.validate_loadable(build_defs(Settings()))


def test_the_assets_are_what_they_were_when_this_was_last_looked_at() -> None:
    seen = [
        {
            "key": spec.key.to_user_string(),
            "deps": [dep.asset_key.to_user_string() for dep in spec.deps],
            "group": spec.group_name,
            "owners": list(spec.owners),
            "kinds": sorted(spec.kinds),
            "partitions": type(spec.partitions_def).__name__,
            "skippable": spec.skippable,
            "metadata": sorted(spec.metadata),
        }
        for spec in build_defs(Settings()).resolve_all_asset_specs()
        if spec.key.to_user_string() in TABLES
    ]
    shared = {
        "group": "otc",
        "owners": ["team:market-data"],
        "kinds": ["postgres", "python"],
        "partitions": "DailyPartitionsDefinition",
        "skippable": True,
    }
    table = ["dagster/column_lineage", "dagster/column_schema", "dagster/storage_kind", "dagster/table_name"]
    assert sorted(seen, key=lambda one: TABLES.index(str(one["key"]))) == [
        {"key": RAW, "deps": [], "metadata": table[1:], **shared},
        {"key": TRADES, "deps": [RAW], "metadata": table, **shared},
        {"key": METRICS, "deps": [TRADES], "metadata": table, **shared},
    ]


def test_one_op_makes_all_three_in_chunks_of_the_setting() -> None:
    definition = build_defs(Settings(backfill_chunk=7)).resolve_assets_def(RAW)
    assert definition.op.name == "otc_sessions"
    assert definition.can_subset
    assert definition.backfill_policy is not None
    assert definition.backfill_policy.max_partitions_per_run == 7
    assert definition.partitions_def is not None
    assert list(definition.partitions_def.get_partition_keys()[:3]) == ["2026-01-02", "2026-01-05", "2026-01-06"]


def test_the_checks_of_the_assets_are_those_of_quality() -> None:
    specs = build_defs(Settings()).resolve_assets_def(RAW).check_specs
    assert {(one.asset_key.to_user_string(), one.name, one.blocking) for one in specs} == {
        (one.asset, one.name, one.blocking) for one in CHECKS
    }


@pytest.mark.parametrize("asset", TABLES)
def test_the_column_schema_is_that_of_the_tables(asset: str) -> None:
    spec = build_defs(Settings()).resolve_assets_def(asset).specs_by_key[AssetKey(asset)]
    shown = spec.metadata["dagster/column_schema"].schema.columns
    declared = schema.metadata.tables[asset].columns
    assert [(one.name, one.description) for one in shown] == [(one.name, one.comment) for one in declared]
    types = {one.name: one.type for one in shown}
    assert types.get("price", "numeric(20, 10)") in ("numeric(20, 10)", "text")
    assert {one.name: one.constraints.nullable for one in shown} == {one.name: one.nullable for one in declared}


@pytest.mark.parametrize(("asset", "above"), [(TRADES, RAW), (METRICS, TRADES)])
def test_the_lineage_names_columns_that_exist(asset: str, above: str) -> None:
    spec = build_defs(Settings()).resolve_assets_def(asset).specs_by_key[AssetKey(asset)]
    lineage = spec.metadata["dagster/column_lineage"].column_lineage.deps_by_column
    assert set(lineage) <= set(schema.metadata.tables[asset].columns.keys())
    deps = [dep for found in lineage.values() for dep in found]
    assert {dep.asset_key for dep in deps} == {AssetKey(above)}
    assert {dep.column_name for dep in deps} <= set(schema.metadata.tables[above].columns.keys())


def test_a_preview_is_a_table_whatever_stands_in_it() -> None:
    rows = [("A|B", "1.5000000000", None), ("line\nbreak", "x" * 60, 100)]
    assert markdown_table(("one", "two", "three"), rows) == "\n".join(
        ["|one|two|three|", "|---|---|---|", "|A\\|B|1.5||", f"|line break|{'x' * 37}...|100|"]
    )


def test_a_full_refresh_of_a_range_materializes_every_session_of_every_table(world: Orchestra) -> None:
    first, _, third = world.days
    for day in world.days:
        deliver(world.settings, day, report(day, 11, price="-1"))
    assert world.run(FULL, first, third).success
    for asset in TABLES:
        assert set(world.materialized(asset)) >= {str(day) for day in world.days}
        assert world.statuses(asset, world.days) == ["MATERIALIZED"] * 3
    assert world.rows("SELECT trade_date, count(*) FROM otc_metrics_daily GROUP BY 1 ORDER BY 1")[-3:] == [
        (day, 3) for day in world.days
    ]


def test_a_materialization_tells_what_is_in_the_partition_and_stays_small(world: Orchestra) -> None:
    first, *_ = world.days
    deliver(world.settings, first, report(first, 11, price="-1"))
    assert world.run(FULL, first).success
    told: dict[str, Any] = {}
    for asset in TABLES:
        filtered = AssetRecordsFilter(asset_key=AssetKey(asset), asset_partitions=[str(first)])
        record = world.instance.fetch_materializations(filtered, limit=1).records[0]
        assert record.asset_materialization is not None
        told[asset] = record.asset_materialization.metadata
    assert [told[asset]["dagster/partition_row_count"] for asset in TABLES] == [
        MetadataValue.int(count) for count in (11, 10, 3)
    ]
    assert told[RAW]["counts"].value["files"] == {f"otc/otc_{first}.csv": 11}
    assert told[TRADES]["counts"].value["trades"]["live"] == 10
    quarantined = told[TRADES]["counts"].value["exceptions"]["quarantined"]
    assert quarantined == {"non_positive_price": 1}
    assert "|ACME|" in str(told[METRICS]["preview"].value)
    sizes = [len(json.dumps({name: str(value) for name, value in one.items()})) for one in told.values()]
    assert sum(sizes) < 3_000


def test_a_session_that_fails_costs_only_itself(world: Orchestra) -> None:
    first, second, third = world.days
    for day in world.days:
        path = deliver(world.settings, day)
        if day == second:
            break_file(path)
    result = world.run(FULL, first, third)
    line = failure_of(result)
    assert line.startswith(f"1 of 3 sessions failed; first: otc/otc_{second}.csv line 11: ")
    assert "\n" not in line
    for asset in TABLES:
        assert world.statuses(asset, world.days) == ["MATERIALIZED", "FAILED", "MATERIALIZED"]
    deliver(world.settings, second)
    assert world.run(FULL, second).success
    assert world.statuses(METRICS, world.days) == ["MATERIALIZED"] * 3


def test_a_single_session_fails_with_the_errors_own_line(world: Orchestra) -> None:
    first, *_ = world.days
    result = world.run(FULL, first)
    assert failure_of(result).startswith(f"no file for {first} under {world.settings.landing}; looked for ")
    assert "\n" not in failure_of(result)
    assert world.statuses(RAW, [first]) == ["FAILED"]
    query = "SELECT passed FROM otc_quality WHERE check_name = 'session_has_file' AND day = %s"
    assert world.rows(query, first) == [(False,)]


def test_the_result_of_a_check_names_the_sessions_that_fail_it(world: Orchestra) -> None:
    first, second, third = world.days
    deliver(world.settings, first)
    deliver(world.settings, third, report(third, 11, conditions="%"))
    world.run(FULL, first, third)
    checks = {
        key.name: record
        for key, record in world.instance.event_log_storage.get_latest_asset_check_execution_by_key(
            list(world.defs.resolve_assets_def(RAW).check_keys)
        ).items()
    }
    assert {name for name, one in checks.items() if one.status == Status.FAILED} == {
        "session_has_file",
        "known_conditions",
    }
    codes = evaluation_in(checks["known_conditions"])
    assert codes.severity.value == "WARN"
    assert codes.metadata["failed_sessions"].value == [str(third)]
    missing = evaluation_in(checks["session_has_file"])
    assert missing.severity.value == "ERROR"
    assert missing.description == f"failed on 1 of 3 sessions, first {second}"


@pytest.mark.parametrize("is_range", [False, True])
def test_no_check_stays_planned_for_ever(world: Orchestra, is_range: bool) -> None:
    first, second, _ = world.days
    deliver(world.settings, first)
    deliver(world.settings, second)
    result = world.run(FULL, first, second if is_range else None)
    assert result.success
    for key in world.defs.resolve_assets_def(RAW).check_keys:
        history = world.instance.event_log_storage.get_asset_check_execution_history(key, limit=10)
        assert [one.status for one in history if one.run_id == result.run_id] == [Status.SUCCEEDED]


def test_a_failed_blocking_check_stops_the_rest_of_its_session_and_every_later_run(world: Orchestra) -> None:
    first, second, _ = world.days
    deliver(world.settings, first)
    deliver(world.settings, second)
    assert world.run("otc_ingest", first, second).success
    world.tamper("DELETE FROM otc_trades_raw WHERE report_date = %s AND line_no = 5", first)
    result = world.run(FULL, first, second)
    assert f"1 of 2 sessions failed; first: otc_trades_raw {first}: blocking check file_rows_conserved" in failure_of(
        result
    )
    assert world.statuses(RAW, world.days[:2]) == ["MATERIALIZED"] * 2
    assert world.statuses(METRICS, world.days[:2]) == ["FAILED", "MATERIALIZED"]
    for job in ("otc_normalize", "otc_redo_dirty_days"):
        later = failure_of(world.run(job, first))
        assert later.startswith(f"otc_trades_raw {first}: blocking check file_rows_conserved failed (")
    assert world.rows("SELECT day FROM otc_days WHERE day IN (%s, %s)", first, second) == [(second,)]


def test_metrics_do_not_start_on_trades_that_failed_their_check(world: Orchestra) -> None:
    first, *_ = world.days
    deliver(world.settings, first)
    assert world.run(FULL, first).success
    world.tamper("UPDATE otc_quality SET passed = false WHERE check_name = 'reports_conserved'")
    result = world.run("otc_compute_daily_metrics", first)
    assert failure_of(result).startswith(f"otc_trades {first}: blocking check reports_conserved failed (")
    assert world.run(FULL, first).success
    assert world.run("otc_compute_daily_metrics", first).success


def test_metrics_of_a_session_whose_trades_were_never_built_say_so(world: Orchestra) -> None:
    first, *_ = world.days
    assert "otc_trades of that day was never built" in failure_of(world.run("otc_compute_daily_metrics", first))


def test_a_session_that_a_later_one_of_the_same_run_changes_is_done_again(world: Orchestra) -> None:
    first, second, _ = world.days
    deliver(world.settings, first)
    deliver(world.settings, second, cancel(second, 11, 3, first))
    assert world.run(FULL, first, second).success
    assert world.rows("SELECT status, count(*) FROM otc_trades WHERE trade_date = %s GROUP BY 1 ORDER BY 1", first) == [
        ("cancelled", 1),
        ("live", 9),
    ]
    assert world.rows("SELECT * FROM otc_dirty_days WHERE day = %s", first) == []
    cancelled = "SELECT sum(cancelled_count) FROM otc_metrics_daily WHERE trade_date = %s AND known_to IS NULL"
    assert world.rows(cancelled, first) == [(1,)]


def test_a_session_outside_of_the_run_stays_marked(world: Orchestra) -> None:
    first, second, _ = world.days
    deliver(world.settings, first)
    deliver(world.settings, second, cancel(second, 11, 3, first))
    assert world.run(FULL, first).success
    assert world.run(FULL, second).success
    assert world.rows("SELECT DISTINCT day FROM otc_dirty_days WHERE day IN (%s, %s)", first, second) == [(first,)]


def test_a_file_no_session_asks_for_is_named_in_the_log(world: Orchestra) -> None:
    first, *_ = world.days
    deliver(world.settings, first)
    deliver(world.settings, first, name="otc_2026-02-31.csv")
    result = world.run(FULL, first)
    assert result.success
    logged = [one.user_message for one in world.instance.all_logs(result.run_id)]
    assert any("otc_2026-02-31.csv" in message and "is no date" in message for message in logged)


def test_progress_is_told_session_by_session(world: Orchestra) -> None:
    first, second, _ = world.days
    for day in world.days[:2]:
        deliver(world.settings, day)
    result = world.run(FULL, first, second)
    logged = [one.user_message for one in world.instance.all_logs(result.run_id)]
    assert any(one.startswith(f"2 of 2 sessions, {second}: 10 reports, 10 trades, 3 symbols, ") for one in logged)


def test_a_run_without_a_session_says_what_to_do(world: Orchestra) -> None:
    job = world.defs.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(instance=world.instance, raise_on_error=False)
    assert failure_of(result).startswith("no session was chosen: give the run a partition")


def test_checks_alone_can_be_run_again(world: Orchestra) -> None:
    first, *_ = world.days
    deliver(world.settings, first)
    assert world.run(FULL, first).success
    world.tamper("DELETE FROM otc_trades WHERE report_id = '5'")
    keys = [key for key in world.defs.resolve_assets_def(RAW).check_keys if key.name == "reports_conserved"]
    job = world.defs.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection=set(), asset_check_selection=set(keys)
    )
    result = job.execute_in_process(
        instance=world.instance, tags={"dagster/partition": str(first)}, raise_on_error=False
    )
    assert [one.passed for one in result.get_asset_check_evaluations()] == [False]
    assert str(first) in world.materialized(METRICS)


def test_each_failed_session_shows_its_own_reason_however_many_fail(
    world: Orchestra, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_run, "NAMED_SESSIONS", 1)
    first, second, third = world.days
    break_file(deliver(world.settings, first))
    deliver(world.settings, second)
    result = world.run(FULL, first, third)
    assert failure_of(result).startswith(f"2 of 3 sessions failed; first: otc/otc_{first}.csv line 11: ")
    records = world.instance.fetch_observations(
        AssetRecordsFilter(asset_key=AssetKey(RAW), asset_partitions=[str(day) for day in world.days]), limit=10
    ).records
    told = {str(one.partition_key): one.asset_observation.description for one in records if one.asset_observation}
    assert sorted(told) == [str(first), str(third)]
    assert str(told[str(first)]).startswith(f"otc/otc_{first}.csv line 11: ")
    assert str(told[str(third)]).startswith(f"no file for {third} under ")
