"""Settings come from the environment, and a bad one is named."""

from dataclasses import fields
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from market_spine.errors import SettingsError
from market_spine.settings import Settings, env_example, variable_of


def test_an_empty_environment_gives_the_defaults() -> None:
    assert Settings.from_env({}) == Settings()


def test_a_variable_set_to_nothing_counts_as_not_set() -> None:
    assert Settings.from_env({"MARKET_SPINE_SLICE_ROWS": " ", "DATABASE_URL": ""}) == Settings()


def test_every_kind_of_value_is_read() -> None:
    settings = Settings.from_env(
        {
            "DATABASE_URL": "postgresql://me@db/market",
            "MARKET_SPINE_LANDING": "/srv/landing",
            "MARKET_SPINE_FEEDS": "feeds",
            "MARKET_SPINE_FIRST_SESSION": "2020-01-02",
            "MARKET_SPINE_SLICE_ROWS": "1000",
            "MARKET_SPINE_OUTLIER_FACTOR": "7.5",
        }
    )
    assert settings == Settings(
        database_url="postgresql://me@db/market",
        landing=Path("/srv/landing"),
        feeds_dir=Path("feeds"),
        first_session=date(2020, 1, 2),
        slice_rows=1000,
        outlier_factor=Decimal("7.5"),
    )


def test_a_child_process_reads_the_same_settings() -> None:
    settings = Settings(first_session=date(2020, 1, 2), landing=Path("/srv/x"), outlier_factor=Decimal("7.5"))
    assert Settings.from_env(settings.to_env()) == settings
    assert Settings().to_env() == {}


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("MARKET_SPINE_SLICE_ROWS", "many", "a whole number, 1 or more"),
        ("MARKET_SPINE_BUILD_CONNECTIONS", "0", "a whole number, 1 or more"),
        ("MARKET_SPINE_FIRST_SESSION", "02/01/2026", "a date like 2026-01-02"),
        ("MARKET_SPINE_OUTLIER_FACTOR", "NaN", "a number like 5 or 0.05, 1.01 or more"),
        ("MARKET_SPINE_OUTLIER_FACTOR", "inf", "a number like 5 or 0.05, 1.01 or more"),
        ("DATABASE_URL", "market.db", "an address like postgresql://user@host:5432/database"),
    ],
)
def test_a_bad_value_is_named_with_its_variable_and_what_is_expected(variable: str, value: str, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({variable: value})
    assert str(caught.value) == f"{variable} is {value!r}; expected {expected}"


def test_a_bad_address_does_not_show_its_password() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"DATABASE_URL": "mysql://me:secret@host/db"})
    assert "secret" not in str(caught.value)


def test_every_setting_has_its_own_variable_and_a_meaning() -> None:
    variables = [variable_of(field) for field in fields(Settings)]
    assert len(set(variables)) == len(variables)
    assert all(field.metadata["meaning"] for field in fields(Settings))


def test_the_example_file_is_what_the_settings_say() -> None:
    written = Path(__file__).resolve().parents[1] / ".env.example"
    assert written.read_text(encoding="utf-8") == env_example(), "python -m market_spine.settings > .env.example"
