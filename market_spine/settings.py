"""Every setting of Market Spine: its variable, default and meaning, in one place.

What it is: ``Settings`` is read once, from the environment, by whoever starts something, and handed on as a value.
Belongs here: what an operator may set. Does not belong here: reading files, opening connections, constants of the
domain that nobody should change.

``python -m market_spine.settings`` prints ``.env.example``; a test holds the two together.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from datetime import date
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NewType, Self

from market_spine.errors import SettingsError

WebAddress = NewType("WebAddress", str)


class Tokens(str):
    """Secrets with commas between; printed as how many there are."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self.each)} tokens>"

    @property
    def each(self) -> tuple[str, ...]:
        """One by one."""
        return tuple(token for part in self.split(",") if (token := part.strip()))


class LogFormat(StrEnum):
    """What log lines look like."""

    auto = "auto"
    console = "console"
    json = "json"


class LogLevel(StrEnum):
    """From which level on lines are written."""

    auto = "auto"
    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


LandingAddress = NewType("LandingAddress", str)
"""``scheme://...`` of a filesystem that fsspec knows; a local one is a Path."""
EXTRAS = ("s3",)
"""Schemes for which the package has an extra of that name."""
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
    landing: Path | LandingAddress = _setting(
        "MARKET_SPINE_LANDING",
        Path("data/landing"),
        "folder in which files arrive, or its address (s3://bucket/prefix, sftp://host/folder, ...)",
    )
    landing_seconds: int = _setting(
        "MARKET_SPINE_LANDING_SECONDS", 15, "how often the landing folder is looked at", least=1
    )
    landing_quiet_seconds: int = _setting(
        "MARKET_SPINE_LANDING_QUIET_SECONDS",
        10,
        "a file that changed less than so many seconds ago may still be written and is left alone",
        least=0,
    )
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
        "MARKET_SPINE_BUILD_CONNECTIONS",
        2,
        "database connections that build one day at the same time; with 1, no run begins the next session early",
        least=1,
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
    webserver_url: WebAddress = _setting(
        "MARKET_SPINE_WEBSERVER",
        WebAddress(""),
        "address of the Dagster webserver, through which runs are started and ended; empty: that of `spine up` here",
    )
    ui_url: WebAddress = _setting(
        "MARKET_SPINE_UI_URL",
        WebAddress(""),
        "address at which browsers find the Dagster UI, for links to it; empty: that of MARKET_SPINE_WEBSERVER",
    )
    queue_limit: int = _setting(
        "MARKET_SPINE_QUEUE_LIMIT", 1100, "queued runs at which nothing more is accepted", least=1
    )
    queue_limit_normal: int = _setting(
        "MARKET_SPINE_QUEUE_LIMIT_NORMAL",
        1100,
        "queued runs of lane normal at which that lane accepts no more",
        least=1,
    )
    queue_limit_backfill: int = _setting(
        "MARKET_SPINE_QUEUE_LIMIT_BACKFILL",
        1000,
        "queued runs of lane backfill at which that lane accepts no more; less than the total: a day's run must fit",
        least=1,
    )
    max_tries: int = _setting(
        "MARKET_SPINE_MAX_TRIES",
        3,
        "how often a session is tried in a run when what failed can pass (lost connection, lock timeout)",
        least=1,
    )
    retry_seconds: int = _setting(
        "MARKET_SPINE_RETRY_SECONDS",
        10,
        "wait before the second try of a session; doubles with each further one",
        least=1,
    )
    dead_letter_retries: int = _setting(
        "MARKET_SPINE_DEAD_LETTER_RETRIES",
        3,
        "how often a dead letter may be retried; after that its cause is worth a look, or `--force`",
        least=1,
    )
    catch_up_sessions: int = _setting(
        "MARKET_SPINE_CATCH_UP_SESSIONS",
        10,
        "latest sessions among which the schedule looks for ones it missed while the daemon was down",
        least=1,
    )
    due_hour: int = _setting(
        "MARKET_SPINE_DUE_HOUR",
        6,
        "hour of the morning after a session, New York, from which on a session without metrics counts as missing",
        least=0,
    )
    keep_runs_days: int = _setting(
        "MARKET_SPINE_KEEP_RUNS_DAYS", 30, "days for which finished runs and their logs are kept", least=1
    )
    keep_ticks_days: int = _setting(
        "MARKET_SPINE_KEEP_TICKS_DAYS", 30, "days for which ticks of schedules and sensors are kept", least=1
    )
    keep_dead_letters_days: int = _setting(
        "MARKET_SPINE_KEEP_DEAD_LETTERS_DAYS", 90, "days for which resolved dead letters are kept", least=1
    )
    keep_raw_days: int = _setting(
        "MARKET_SPINE_KEEP_RAW_DAYS",
        180,
        "days for which reports as they came are kept; what is older can no longer be normalized again",
        least=1,
    )
    stuck_seconds: int = _setting(
        "MARKET_SPINE_STUCK_SECONDS",
        40,
        "how long a run may show no sign of a living process before it is ended as failed",
        least=10,
    )
    max_connections: int = _setting(
        "MARKET_SPINE_MAX_CONNECTIONS", 90, "database connections that all processes together may open", least=10
    )
    log_format: LogFormat = _setting(
        "MARKET_SPINE_LOG_FORMAT",
        LogFormat.auto,
        "log lines on stderr: json, console (for people), or auto: console on a terminal, json anywhere else",
    )
    log_level: LogLevel = _setting(
        "MARKET_SPINE_LOG_LEVEL",
        LogLevel.auto,
        "lines from this level on: debug, info, warning, error, or auto: info, in commands warning",
    )

    api_database_url: str = _setting(
        "MARKET_SPINE_API_DATABASE_URL",
        "",
        "the market database for the REST API, with a login that may do no more than role market_spine_reader; empty: "
        "DATABASE_URL, whose login takes that role on",
    )
    api_connections: int = _setting(
        "MARKET_SPINE_API_CONNECTIONS",
        8,
        "database connections that one API process may open: half for pages, half for downloads (CSV, Arrow)",
        least=2,
    )
    api_query_seconds: int = _setting(
        "MARKET_SPINE_API_QUERY_SECONDS", 10, "how long one JSON answer of the API may keep the database busy", least=1
    )
    api_stream_seconds: int = _setting(
        "MARKET_SPINE_API_STREAM_SECONDS", 900, "how long one CSV or Arrow answer of the API may last", least=1
    )
    api_read_tokens: Tokens = _setting(
        "MARKET_SPINE_API_READ_TOKENS",
        Tokens(),
        "secrets of 16 or more characters, with commas between; a read of the API then needs one of them or of those "
        "that may operate; empty: anybody who reaches the API may read",
    )
    api_operate_tokens: Tokens = _setting(
        "MARKET_SPINE_API_OPERATE_TOKENS",
        Tokens(),
        "secrets of 16 or more characters, with commas between, one of which every write needs; empty: the API refuses "
        "all writes",
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


def _landing(text: str) -> Path | LandingAddress:
    """A folder, or an address whose filesystem can be used here."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        return Path(text)
    if scheme in ("file", "local"):
        return Path(rest)  # mapped and listed as any folder: nothing between us and the files
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme) or not rest.strip("/"):
        raise ValueError
    from fsspec.registry import known_implementations  # 0.1 s, which nobody pays who has a folder

    if scheme not in known_implementations:
        raise ValueError
    package = known_implementations[scheme]["class"].partition(".")[0]
    if find_spec(package) is None:
        extra = f"; install market-spine[{scheme}]" if scheme in EXTRAS else ""
        raise SettingsError(f"MARKET_SPINE_LANDING is at {scheme}://, which needs the package {package}{extra}")
    return LandingAddress(text.rstrip("/"))


def _web_address(text: str) -> WebAddress:
    if not text.startswith(("http://", "https://")):
        raise ValueError
    return WebAddress(text.rstrip("/"))


def _tokens(text: str) -> Tokens:
    tokens = Tokens(text)
    if not tokens.each or not all(re.fullmatch(r"[A-Za-z0-9._~+/=-]{16,}", token) for token in tokens.each):
        raise ValueError
    return tokens


_READERS: Mapping[object, tuple[Callable[[str], Any], str]] = {
    str: (_database_url, "an address like postgresql://user@host:5432/database"),
    Tokens: (_tokens, "secrets of 16 or more of A-Z a-z 0-9 . _ ~ + / = -, with commas between"),
    WebAddress: (_web_address, "an address like http://host:3000"),
    LogFormat: (LogFormat, "json, console or auto"),
    LogLevel: (LogLevel, "debug, info, warning, error or auto"),
    Path: (Path, "a folder"),
    Path | LandingAddress: (_landing, "a folder, or an address like s3://bucket/prefix of a kind that fsspec knows"),
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
        shown = repr(text.partition("://")[0] + "://...") if "://" in text else repr(text)
        if setting.type is Tokens:
            shown = "not what it has to be"
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
