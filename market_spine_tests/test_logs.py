"""Log lines: one format for everybody who logs, each line says what it is about, and none shows a secret."""

import io
import json
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from market_spine.errors import SettingsError
from market_spine.observability import logs, traces
from market_spine.observability.logs_format import SUBJECTS, configure_structlog, formatter
from market_spine.observability.logs_redaction import SECRET_VARIABLES, Redactor
from market_spine.observability.logs_setup import configure, configure_dagster, read_line
from market_spine.observability.traces_run import REQUEST_TAG
from market_spine.settings import LogFormat, LogLevel, Settings, Tokens, WebAddress
from market_spine.warehouse.engine import in_parallel
from market_spine_tests.orchestrated import DAYS, PROJECT
from market_spine_tests.serving import assert_problem, serving, settings_for

PASSWORD, TOKEN = "hunter-two-20", "operate-0123456789abcdef"
URL = f"postgresql://spine:{PASSWORD}@db.example:5432/market"
SECRETS = Settings(database_url=URL, api_operate_tokens=Tokens(TOKEN))
DAY = DAYS[0]


@contextmanager
def written(redactor: Redactor | None = None, *, as_json: bool = True) -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A logger that writes into a text."""
    logger, text = logging.Logger("market_spine.test"), io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(formatter(redactor or Redactor(), as_json=as_json))
    logger.addHandler(handler)
    yield logger, text


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    """What a process does once is undone: handlers, levels, the class of loggers."""
    root, ours = logging.getLogger(), logging.getLogger("market_spine")
    before = root.handlers[:], root.level, ours.level, logging.getLoggerClass()
    yield
    root.handlers[:], root.level, ours.level = before[0], before[1], before[2]
    logging.setLoggerClass(before[3])


# --- a line


def test_a_line_is_one_object_with_the_fields_in_one_order() -> None:
    with written() as (logger, text), logs.bound(partition="2026-03-04", run_id="r", asset="otc_trades"):
        logger.warning("took %d s", 3, extra={"rows": 10, "request_id": "q"})
    line = json.loads(text.getvalue())
    assert list(line) == ["timestamp", "level", "logger", "event", "request_id", "run_id", "asset", "partition", "rows"]
    assert (line["level"], line["event"], line["rows"]) == ("warning", "took 3 s", 10)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["timestamp"])


def test_a_line_of_several_lines_stays_one_object_a_line() -> None:
    with written() as (logger, text):
        logger.error("first\nsecond", extra={"why": {"a": [1, None, DAY]}})
    (line,) = text.getvalue().splitlines()
    assert json.loads(line)["event"] == "first\nsecond"
    assert json.loads(line)["why"] == {"a": [1, None, str(DAY)]}


def test_for_a_person_a_line_has_the_same_fields_and_nothing_that_paints_over_the_terminal() -> None:
    with written(as_json=False) as (logger, text), logs.bound(run_id="r1"):
        logger.warning("from outside: \x1b[2J", extra={"path": "/a\x07"})
    assert "\x1b" not in text.getvalue()
    assert "\x07" not in text.getvalue()
    for part in ("warning", "from outside", "[market_spine.test]", "run_id=r1"):
        assert part in text.getvalue()


def test_lines_of_structlog_of_peoples_own_code_come_out_the_same(
    logging_as_before: None, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(replace(SECRETS, log_format=LogFormat.json, log_level=LogLevel.info))
    configure_structlog()
    with logs.bound(run_id="r1"):
        structlog.stdlib.get_logger("market_spine.mine").info("weighed", grams=5, url=URL)
    structlog.reset_defaults()
    captured = capsys.readouterr()
    line = json.loads(captured.err)
    assert (line["event"], line["grams"], line["run_id"], captured.out) == ("weighed", 5, "r1", "")
    assert line["url"] == "postgresql://spine:***@db.example:5432/market"


def test_fields_are_bound_for_a_block_and_reach_the_threads_of_a_build() -> None:
    seen: list[str] = []
    with logs.bound(run_id="r1"), logs.bound(asset="otc_trades", job=""):
        assert dict(logs.fields()) == {"run_id": "r1", "asset": "otc_trades"}
        in_parallel([lambda: seen.append(logs.fields()["run_id"])] * 2)
        bare = threading.Thread(target=lambda: seen.append(str(dict(logs.fields()))))
        bare.start()
        bare.join()
    assert (seen, dict(logs.fields())) == (["r1", "r1", "{}"], {})


def test_the_sessions_of_a_run_are_read_from_its_tags() -> None:
    start, end = logs.RANGE
    assert logs.partition_of({logs.PARTITION: "2026-03-04"}) == "2026-03-04"
    assert logs.partition_of({start: "2026-03-04", end: "2026-03-06"}) == "2026-03-04..2026-03-06"
    assert logs.partition_of({start: "2026-03-04", end: "2026-03-04"}) == "2026-03-04"
    assert logs.partition_of({}) == ""


# --- no secret


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("to postgresql://me:s3cret@db:5432/x now", "to postgresql://me:***@db:5432/x now"),
        ("postgresql+psycopg2://me:p@ss'w@db/x", "postgresql+psycopg2://me:***@db/x"),
        ("sftp://:pw@host/folder", "sftp://:***@host/folder"),
        ("host=db password=s3cret user=me", "host=db password=*** user=me"),
        ("password='a b' and PGPASSWORD=x y", "password=*** and PGPASSWORD=*** y"),
        ("https://x/y?token=abc&page=2", "https://x/y?token=***&page=2"),
        ("Authorization: Bearer abc.def", "Authorization: ***"),
        ("{'authorization': 'Basic bWU6cHc='}", "{'authorization': 'Basic ***'}"),
        ("(b'authorization', b'Bearer abc')", "(b'authorization', b'Bearer ***')"),
        (f"sent Bearer {'a1' * 10} along", "sent Bearer *** along"),
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str, expected: str) -> None:
    hidden = Redactor().text(text)
    assert hidden.replace("Authorization: Bearer ***", "Authorization: ***") == expected


@pytest.mark.parametrize(
    "text",
    [
        "GET http://host:3000/graphql took 3 s",
        "postgresql://me@db:5432/market does not answer",
        "the request carries no token that is known; a bearer token is needed",
        "s3://bucket/prefix/2026@noon",
        "10 reports, 10 trades: 3 symbols",
        "mail to: somebody@example.org",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert Redactor.of(SECRETS, {}).text(text) == text


def test_what_the_settings_hold_is_hidden_wherever_it_stands() -> None:
    settings = replace(
        SECRETS,
        dagster_database_url="postgresql://d:p%2Fw%40-rest@db/dagster",
        api_read_tokens=Tokens("reader-aaaaaaaaaaaa,reader-bbbbbbbbbbbb"),
        webserver_url=WebAddress("http://ui:web-secret@host:3000"),
    )
    environment = {
        "PGPASSWORD": "from-libpq",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-key=tempo-secret,authorization=b%20c-secret",
    }
    redactor = Redactor.of(settings, environment)
    said = (
        f"{PASSWORD} {TOKEN} reader-bbbbbbbbbbbb p%2Fw%40-rest p/w@-rest web-secret from-libpq tempo-secret b c-secret"
    )
    assert redactor.text(said) == " ".join(["***"] * 9)
    assert PASSWORD not in repr(redactor)


def test_a_password_that_is_also_a_name_hides_no_name_but_is_hidden_in_addresses() -> None:
    redactor = Redactor.of(Settings(database_url="postgresql://spine_owner:spine_owner@db/market"), {})
    assert redactor.text("table of spine_owner") == "table of spine_owner"
    assert redactor.text("postgresql://spine_owner:spine_owner@db/market") == "postgresql://spine_owner:***@db/market"


@pytest.mark.parametrize("as_json", [True, False])
def test_no_secret_stands_in_a_message_a_field_an_error_or_its_traceback(as_json: bool) -> None:
    def fail() -> None:
        try:
            raise ValueError(f"cannot connect to {URL}")
        except ValueError as error:
            raise RuntimeError(f"invalid percent-encoded token: {PASSWORD!r}") from error

    with written(Redactor.of(SECRETS, {}), as_json=as_json) as (logger, text):
        try:
            fail()
        except RuntimeError:
            logger.exception(
                "no connection to %s",
                URL,
                extra={
                    "headers": {"Authorization": f"Bearer {TOKEN}", "accept": "text/csv"},
                    "password": "short",
                    "settings": SECRETS,
                    "tries": [URL, (URL, 1)],
                },
            )
    said = text.getvalue()
    assert PASSWORD not in said
    assert TOKEN not in said
    assert "short" not in said
    for part in ("cannot connect to postgresql://spine:***@db.example", "RuntimeError", "line ", "text/csv"):
        assert part in said, said


# --- a process


@pytest.mark.parametrize(
    ("wanted", "level", "command", "expected"),
    [
        (LogFormat.auto, LogLevel.auto, False, ["info", "warning"]),
        (LogFormat.auto, LogLevel.auto, True, ["warning"]),
        (LogFormat.json, LogLevel.debug, True, ["debug", "info", "warning"]),
        (LogFormat.json, LogLevel.error, False, []),
    ],
)
def test_the_level_of_the_settings_holds_and_commands_only_warn(
    logging_as_before: None,
    capsys: pytest.CaptureFixture[str],
    wanted: LogFormat,
    level: LogLevel,
    command: bool,
    expected: list[str],
) -> None:
    configure(Settings(log_format=wanted, log_level=level), command=command)
    configure(Settings(log_format=wanted, log_level=level), command=command)
    for name in ("debug", "info", "warning"):
        logging.getLogger("market_spine.anything").log(logging.getLevelNamesMapping()[name.upper()], name)
    logging.getLogger("somebody.else").info("chatter")
    captured = capsys.readouterr()
    assert ([json.loads(line)["event"] for line in captured.err.splitlines()], captured.out) == (expected, "")


def test_on_a_terminal_a_line_is_for_a_person_and_with_json_asked_for_it_is_not() -> None:
    code = (
        "from market_spine.observability.logs_setup import configure; from market_spine.settings import Settings;"
        "import logging; configure(Settings.from_env()); logging.getLogger('market_spine.x').info('hello')"
    )
    assert "\x1b[" in on_terminal(code)
    assert read_line(on_terminal(code, MARKET_SPINE_LOG_FORMAT="json")) is not None


def on_terminal(code: str, **env: str) -> str:
    """What a program writes to stderr when that is a terminal."""
    ours, theirs = os.openpty()
    subprocess.run([sys.executable, "-c", code], env={**os.environ, **env}, cwd=PROJECT, stderr=theirs, timeout=60)
    os.close(theirs)
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        return terminal.read(10_000).decode()


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        ("MARKET_SPINE_LOG_FORMAT", "json, console or auto"),
        ("MARKET_SPINE_LOG_LEVEL", "debug, info, warning, error or auto"),
    ],
)
def test_a_setting_that_cannot_be_is_named(variable: str, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({variable: "loud"})
    assert str(caught.value) == f"{variable} is 'loud'; expected {expected}"


def test_an_error_that_nobody_expected_ends_a_command_without_a_secret_in_its_traceback() -> None:
    code = (
        "import sys; from market_spine.cli import doctor, main\n"
        "import market_spine.cli.services as services\n"
        f"def fail(*args, **more): raise ZeroDivisionError('{URL}')\n"
        "services.known_databases = fail; services.databases = fail; services.deployment = fail\n"
        "sys.argv = ['spine', 'execution', 'list']; main.app()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "MARKET_SPINE_LOG_FORMAT": "json", "DATABASE_URL": URL},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    line = json.loads(done.stderr)
    assert (done.returncode, line["level"], line["event"]) == (1, "critical", "ended by an error that nobody expected")
    assert "ZeroDivisionError: postgresql://spine:***@db.example" in line["exception"]


@pytest.mark.parametrize("command", ["inventory", "doctor"])
def test_what_a_command_says_of_an_address_that_cannot_be_read_shows_no_password(tmp_path: Path, command: str) -> None:
    bad = "postgresql://spine:word-of-mine@[::1/market"
    done = subprocess.run(
        [sys.executable, "-m", "market_spine.cli.main", command],
        env={**os.environ, "DATABASE_URL": bad, "DAGSTER_DATABASE_URL": bad, "MARKET_SPINE_STATE": str(tmp_path)},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    said = done.stdout + done.stderr
    assert (done.returncode, "postgresql://spine:***@[::1/market" in said) == (1, True), "libpq quotes what it is given"
    assert "word-of-mine" not in said


def test_dagsters_own_console_loggers_write_in_the_one_format(
    logging_as_before: None, capsys: pytest.CaptureFixture[str]
) -> None:
    from dagster._core.definitions.instigation_logger import InstigationLogger

    configure_dagster(replace(SECRETS, log_format=LogFormat.json))
    with InstigationLogger(None, None, repository_name="market_spine", instigator_name="landing_files") as log:
        log.info("2 files of %s", URL)
        log.debug("nobody asked for this")
    structlog.reset_defaults()
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["instigator"]) == (
        "2 files of postgresql://spine:***@db.example:5432/market",
        "landing_files",
    )


# --- the API


def test_each_request_has_a_line_with_the_id_of_its_answer(
    logging_as_before: None, capsys: pytest.CaptureFixture[str], database_url: str, tmp_path: Path
) -> None:
    settings = settings_for(database_url, tmp_path, log_format=LogFormat.json)
    configure(settings)
    with serving(settings) as api:
        found = api.get("/api/v1/otc/symbols?start=2026-02-02", x_request_id="mine-1")
        missing = api.get("/api/v1/nothing?secret=x")
        api.get("/health/live")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    told = [(line["request_id"], line["method"], line["path"], line["status"]) for line in lines]
    assert told == [
        ("mine-1", "GET", "/api/v1/otc/symbols", found.status_code),
        (missing.headers["x-request-id"], "GET", "/api/v1/nothing", 404),
    ]
    assert all(line["event"] == "request" and line["ms"] > 0 for line in lines)


def test_an_error_of_a_request_is_found_in_the_log_by_the_id_of_the_answer(
    logging_as_before: None, capsys: pytest.CaptureFixture[str], database_url: str, tmp_path: Path
) -> None:
    settings = settings_for(database_url, tmp_path, log_format=LogFormat.json, api_operate_tokens=Tokens(TOKEN))
    configure(settings)
    with serving(settings) as api:

        def broken() -> None:
            raise ZeroDivisionError(f"with {TOKEN}")

        api.app.get("/broken")(broken)
        answer = api.get("/broken")
    assert_problem(answer, "internal_error")
    failed, request = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert {failed["request_id"], request["request_id"]} == {answer.headers["x-request-id"]}
    assert (failed["level"], failed["path"], request["status"]) == ("error", "/broken", 500)
    assert "ZeroDivisionError: with ***" in failed["exception"]


# --- docs/logging-and-tracing.md


def test_the_page_names_every_setting_and_field_and_its_lines_are_real_ones() -> None:
    page = (PROJECT / "docs" / "logging-and-tracing.md").read_text()
    named = set(re.findall(r"`([^`\n]+)`", page))
    assert named >= {"MARKET_SPINE_LOG_FORMAT", "MARKET_SPINE_LOG_LEVEL", *LogFormat, *LogLevel, *SUBJECTS}
    assert named >= {*SECRET_VARIABLES, *traces.ENDPOINTS, traces.API, traces.RUN, traces.COMMAND, REQUEST_TAG}
    assert named >= {f"{traces.PREFIX}{name}" for name in traces.W3C}
    lines = [json.loads(text) for text in page.splitlines() if text.startswith('{"')]
    assert {"request", "execution queued", "run started", "built"} <= {line["event"] for line in lines}
    for line in lines:
        assert list(line)[:4] == ["timestamp", "level", "logger", "event"]
        about = [name for name in line if name in SUBJECTS]
        assert about == [name for name in SUBJECTS if name in line], "in the order in which they are written"
