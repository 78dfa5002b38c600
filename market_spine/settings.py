"""Every setting of Market Spine: its variable, default and meaning, in one place.

What it is: ``Settings`` is read once, from the environment, by whoever starts something, and handed on as a value.
Belongs here: what an operator may set. Does not belong here: reading files, opening connections, constants of the
domain that nobody should change.

``python -m market_spine.settings`` prints ``.env.example``; a test holds the two together.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Self

from market_spine.errors import SettingsError

POSTGRES_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2")


def _setting(variable: str, default: Any, meaning: str, *, least: Any = None) -> Any:
    """A dataclass field that carries its variable and meaning; ``least`` is the smallest value allowed."""
    return field(default=default, metadata={"variable": variable, "meaning": meaning, "least": least})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What can be set from outside; every field has a default that works on a bare machine."""

    database_url: str = _setting(
        "DATABASE_URL", "", "PostgreSQL 16 or newer that holds the market tables; empty: the embedded server"
    )
    dagster_database_url: str = _setting(
        "DAGSTER_DATABASE_URL",
        "",
        "PostgreSQL database of Dagster's own storage; empty: database `dagster` of the embedded server",
    )
    landing: Path = _setting("MARKET_SPINE_LANDING", Path("data/landing"), "folder in which files arrive")
    feeds_dir: Path | None = _setting(
        "MARKET_SPINE_FEEDS",
        None,
        "folder of feed declarations of your own; empty: only those that come with the package",
    )
    state_dir: Path = _setting(
        "MARKET_SPINE_STATE", Path(".spine"), "folder for what this machine keeps: embedded server, Dagster home, logs"
    )
    first_session: date = _setting(
        "MARKET_SPINE_FIRST_SESSION",
        date(2026, 1, 2),
        "first trading day there are partitions for; a later change of it changes the partitions' identity",
    )
    build_connections: int = _setting(
        "MARKET_SPINE_BUILD_CONNECTIONS", 2, "database connections that build one day at the same time", least=1
    )
    slice_rows: int = _setting(
        "MARKET_SPINE_SLICE_ROWS", 250_000, "reports that one connection types in one statement", least=1
    )
    work_mem_mb: int = _setting(
        "MARKET_SPINE_WORK_MEM_MB", 256, "server memory in MB for each sort or hash of a build", least=1
    )
    lock_timeout_ms: int = _setting(
        "MARKET_SPINE_LOCK_TIMEOUT_MS",
        2000,
        "how long replacing a day waits for readers before it steps back and tries again",
        least=1,
    )
    outlier_factor: Decimal = _setting(
        "MARKET_SPINE_OUTLIER_FACTOR",
        Decimal(5),
        "a print is an outlier above this many times, or under this fraction of, the day's median",
        least=Decimal("1.01"),
    )
    outlier_min_prints: int = _setting(
        "MARKET_SPINE_OUTLIER_MIN_PRINTS", 5, "fewer prints than this have no outliers", least=1
    )
    late_share_warn: Decimal = _setting(
        "MARKET_SPINE_LATE_SHARE_WARN",
        Decimal("0.05"),
        "share of late reports in a day above which the check warns",
        least=Decimal(0),
    )
    max_line_bytes: int = _setting(
        "MARKET_SPINE_MAX_LINE_BYTES", 1_048_576, "a longer line refuses its file", least=1024
    )
    backfill_chunk: int = _setting(
        "MARKET_SPINE_BACKFILL_CHUNK", 21, "sessions that one run of a backfill takes", least=1
    )

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Self:
        """Read the settings from ``env`` (the process environment by default).

        A variable that is set to nothing counts as not set.

        Raises:
            SettingsError: a value cannot be used; names the variable, the value and what is expected.
        """
        source = os.environ if env is None else env
        values: dict[str, Any] = {}
        for setting in fields(cls):
            text = source.get(variable_of(setting), "").strip()
            if text:
                values[setting.name] = _read(setting, text)
        return cls(**values)

    def to_env(self) -> dict[str, str]:
        """The same settings as variables, for a child process; what has its default is left out."""
        return {
            variable_of(setting): str(getattr(self, setting.name))
            for setting in fields(self)
            if getattr(self, setting.name) != setting.default
        }


def variable_of(setting: "Field[Any]") -> str:
    """The environment variable of a field."""
    return str(setting.metadata["variable"])


def _database_url(text: str) -> str:
    scheme, separator, _ = text.partition("://")
    if not separator or scheme not in POSTGRES_SCHEMES:
        raise ValueError
    return text


_READERS: Mapping[object, tuple[Callable[[str], Any], str]] = {
    str: (_database_url, "an address like postgresql://user@host:5432/database"),
    Path: (Path, "a folder"),
    Path | None: (Path, "a folder"),
    date: (date.fromisoformat, "a date like 2026-01-02"),
    int: (int, "a whole number"),
    Decimal: (Decimal, "a number like 5 or 0.05"),
}


def _read(setting: "Field[Any]", text: str) -> Any:
    read, expected = _READERS[setting.type]
    least = setting.metadata["least"]
    if least is not None:
        expected = f"{expected}, {least} or more"
    variable = variable_of(setting)
    try:
        value = read(text)
        usable = least is None or value >= least
    except (ValueError, InvalidOperation):
        usable = False
    if not usable or (isinstance(value, Decimal) and not value.is_finite()):
        # An address may carry a password, which has no place in a log.
        shown = repr(text.partition("://")[0] + "://...") if setting.type is str and "://" in text else repr(text)
        raise SettingsError(f"{variable} is {shown}; expected {expected}")
    return value


def env_example() -> str:
    """The text of ``.env.example``: every setting with its meaning, at its default."""
    lines = [
        "# Every setting of Market Spine, at its default. Written by: python -m market_spine.settings > .env.example"
    ]
    for setting in fields(Settings):
        default = "" if setting.default is None else str(setting.default)
        lines += ["", f"# {setting.metadata['meaning']}", f"#{variable_of(setting)}={default}"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(env_example(), end="")
