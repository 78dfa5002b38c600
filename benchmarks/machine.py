"""The machine a figure was measured on, in a few lines.

Belongs here: what another person needs in order to compare their numbers with ours, and nothing that tells whose
machine it is. Does not belong here: measurements.
"""

import platform
import sys
from importlib import metadata
from pathlib import Path

import psutil
import psycopg

SETTINGS = (
    "shared_buffers",
    "max_wal_size",
    "wal_level",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "checkpoint_timeout",
)
LIBRARIES = ("dagster", "psycopg", "pandas", "SQLAlchemy")


def describe(database_url: str) -> list[tuple[str, str]]:
    """Name and value of everything that matters, the server's settings included."""
    with psycopg.connect(database_url) as connection:
        values = {name: connection.execute(f"SHOW {name}".encode()).fetchone() for name in SETTINGS}
        major, minor = divmod(connection.info.server_version, 10_000)
    return [
        ("CPU", f"{_cpu()}, {psutil.cpu_count()} cores"),
        ("memory", f"{psutil.virtual_memory().total / 2**30:.1f} GiB"),
        ("system", f"{platform.system()} {platform.release()} {platform.machine()}"),
        ("Python", f"{platform.python_version()} ({sys.implementation.name})"),
        ("PostgreSQL", f"{major}.{minor}, embedded, on a unix socket"),
        ("settings", ", ".join(f"{name}={value[0] if value else '?'}" for name, value in values.items())),
        ("libraries", ", ".join(f"{name} {metadata.version(name)}" for name in LIBRARIES)),
    ]


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
