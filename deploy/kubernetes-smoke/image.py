"""What a container's image would bring, taken from this machine.

What it is: for the project's own image the checkout, its virtual environment and the defaults of the Dockerfile; for
the images of init containers (PostgreSQL, BusyBox) the programs that those containers call.
Belongs here: what stands in for an image. Does not belong here: volumes and anything else a pod adds.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from container import Bind
from dockerfile import read
from kube import Object

PROJECT = Path(__file__).resolve().parents[2]
DOCKERFILE = PROJECT / "Dockerfile"
OURS = "market-spine"
FOREIGN = Path(__file__).resolve().parent / "foreign"
"""Stand-ins for programs that only an init container's image has."""
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Image:
    """What an image brings.

    Args:
        environment: its variables.
        folder: where its command begins.
        entry: its entry point.
        default: its command.
        user: the account it names, as a number; and its group.
        binds: folders of this machine that are its content.
    """

    environment: Mapping[str, str]
    folder: str
    entry: Sequence[str]
    default: Sequence[str]
    user: int
    group: int
    binds: Sequence[Bind]

    @classmethod
    def named(cls, reference: str) -> "Image":
        """The image of a reference like ``registry/market-spine:0.1.0``."""
        name = reference.rpartition("/")[2].partition("@")[0].partition(":")[0]
        return ours() if name == OURS else foreign()

    def arguments(self, wanted: Object) -> Sequence[str]:
        """The image's command, which a pod's own entry point takes the place of."""
        return () if wanted.get("command") else self.default

    def own_files(self, home: Path) -> list[Bind]:
        """The image's account in /etc/passwd, for a program may ask who it is; and no name server.

        Every name stands in /etc/hosts. gRPC asks for an IPv6 address as well, and would wait 13 s for this machine's
        name server, which nothing here can reach; nobody listens at 127.0.0.1, and that is said at once.
        """
        (home / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        (home / "passwd").write_text(
            f"root:x:0:0:root:/root:/bin/sh\napp:x:{self.user}:{self.group}::{self.folder}:/bin/sh\n"
        )
        (home / "group").write_text(f"root:x:0:\napp:x:{self.group}:\n")
        return [Bind(str(home / name), f"/etc/{name}") for name in ("passwd", "group", "resolv.conf")]


@cache
def ours() -> Image:
    """The project's image."""
    said = read(DOCKERFILE.read_text())
    return Image(
        environment={"PATH": SYSTEM_PATH, **said.environment},
        folder=said.folder,
        entry=said.entry,
        default=said.command,
        user=said.user,
        group=said.user,
        binds=[
            # The virtual environment's programs name the checkout and Python by where they are on this machine.
            Bind(str(PROJECT), str(PROJECT)),
            Bind(sys.base_prefix, sys.base_prefix),
            Bind(str(PROJECT), "/opt/market-spine"),
            Bind(sys.prefix, "/opt/venv"),
        ],
    )


@cache
def foreign() -> Image:
    """An image that is not ours: only its programs count."""
    tools = Bind(str(FOREIGN), "/opt/foreign")
    path = f"/opt/foreign:{SYSTEM_PATH}"
    return Image({"PATH": path}, "/", entry=(), default=(), user=65534, group=65534, binds=[tools])
