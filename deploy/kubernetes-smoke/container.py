"""A container without an image: a root folder with what a pod would see of its image and volumes, and no more.

What it is: ``Container`` becomes the command of a process that has mounts and processes of its own (``unshare``), lays
out its root folder (this file run as a program), gives up root as the pod's security context says, and is the pod's
command from then on, as process 1.
Belongs here: namespaces, mounts, accounts. Does not belong here: what a pod's fields mean (pod.py).
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc", "dev", "sys")

LAY_OUT_THEN_BECOME = '"$1" "$2" "$3" && shift 3 && exec "$@"'


@dataclass(frozen=True)
class Bind:
    """A folder or a file of this machine, and where the container sees it."""

    source: str
    target: str
    readonly: bool = True


@dataclass(frozen=True)
class Container:
    """What a container is started with.

    Args:
        root: an empty folder to lay out the root folder in; nobody else sees what is mounted there.
        binds: what is shown in it besides the system's programs, in this order.
        command: the program and its arguments.
        environment: all of it.
        folder: where the command begins.
        user: user and group, as numbers.
        read_only: whether the root folder can be written to.
        drop_capabilities: whether it loses every capability.
        no_new_privileges: whether it can never get back what it gave up.
    """

    root: str
    binds: Sequence[Bind]
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: str
    user: tuple[int, int]
    read_only: bool
    drop_capabilities: bool
    no_new_privileges: bool

    def program(self, note: Path) -> list[str]:
        """The command that makes the container and becomes it; ``note`` is a file to tell the second step by."""
        note.write_text(json.dumps(asdict(self)))
        user, group = self.user
        drop = [f"--reuid={user}", f"--regid={group}", "--clear-groups"]
        if self.no_new_privileges:
            drop.append("--no-new-privs")
        if self.drop_capabilities:
            drop += ["--bounding-set=-all", "--inh-caps=-all"]
        return [
            *(_found("unshare"), "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--"),
            *(_found("sh"), "-c", LAY_OUT_THEN_BECOME, "sh", sys.executable, __file__, str(note)),
            *(_found("chroot"), self.root, _found("setpriv"), *drop, "--"),
            *(_found("env"), f"--chdir={self.folder}", "--", *self.command),
        ]


def first_process(outer: "subprocess.Popen[bytes]") -> int | None:
    """Process 1 of the container that ``outer`` made, as this machine counts; None when it has none."""
    try:
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(children[0]) if children else None


def send(outer: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    """Send a signal to the container's process 1; with it, everything in the container ends.

    Not to ``outer``: the kernel forgets who is to die with whom when a process gives up root.
    """
    first = first_process(outer)
    with suppress(ProcessLookupError):
        if first is not None:
            os.kill(first, number)
        elif outer.poll() is None:
            outer.kill()


def _found(program: str) -> str:
    # In full: the container's PATH is not ours.
    return shutil.which(program) or program


def mount(*arguments: object) -> None:
    """One mount.

    Raises:
        SystemExit: it cannot be made; what mount(8) said goes to the container's log.
    """
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"container: {done.stderr.strip()}")


def bind(source: Path, target: Path, *, readonly: bool) -> None:
    """Show ``source``, a folder or a file, at ``target``."""
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            target.touch()
    mount("--rbind", source, target)
    if readonly:
        mount("-o", "remount,bind,ro", target)


def lay_out(root: Path, binds: Sequence[Bind], *, read_only: bool) -> None:
    """The root folder: the system's programs, the image's folders, the pod's volumes."""
    mount("--make-rprivate", "/")
    root.mkdir(parents=True, exist_ok=True)
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", root)
    for name in SYSTEM:
        source = Path("/", name)
        if source.is_symlink():
            (root / name).symlink_to(source.readlink())
        elif source.is_dir():
            bind(source, root / name, readonly=name not in ("dev", "sys"))
    for name in ("proc", "tmp", "run", "var"):
        (root / name).mkdir()
    (root / "tmp").chmod(0o1777)
    (root / "var" / "run").symlink_to("/run")
    mount("-t", "proc", "proc", root / "proc")
    for one in binds:
        # A link in the new root folder would lead into the old one.
        inside = one.target.lstrip("/").replace("var/run/", "run/", 1)
        bind(Path(one.source), root / inside, readonly=one.readonly)
    if read_only:
        mount("-o", "remount,ro", root)


def main() -> None:
    """Lay out the root folder that the file named by the one argument describes."""
    note = json.loads(Path(sys.argv[1]).read_text())
    lay_out(Path(note["root"]), [Bind(**one) for one in note["binds"]], read_only=note["read_only"])


if __name__ == "__main__":
    main()
