"""The Dockerfile carried out without a container engine: its own steps, in mount namespaces of this machine.

What it is: ``Build`` reads the Dockerfile and does what FROM, ARG, ENV, WORKDIR, COPY and RUN say, each stage in a root
of its own; ``Image.run`` runs a command in the result as the Dockerfile's user, with a read-only root. It stands in for
`docker build` and `docker run --read-only` where there is no daemon, and needs Linux and root.
What it cannot stand in for: the base image. Every stage begins with this machine's /usr and /etc and, in /usr/local,
the Python that runs the tests; compilers are taken away. Layers, labels, limits and the network are no part of it.
Belongs here: carrying out. Does not belong here: expectations (``test_image``).
"""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
USR_MERGED = ("bin", "sbin", "lib", "lib32", "lib64")
COMPILERS = ("gcc", "g++", "cc", "c++", "clang", "make", "ld", "as", "go", "rustc", "cargo")
OWN_NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-euc")
PIP = ("PIP_CERT", "PIP_INDEX_URL", "PIP_DEFAULT_TIMEOUT", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "SSL_CERT_FILE")
BUILD_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile: its word, and what follows with lines joined and comments left out."""

    word: str
    rest: str


def instructions(text: str) -> list[Instruction]:
    """Every instruction, in order."""
    kept = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = "\n".join(kept).replace("\\\n", " ")
    return [Instruction(*line.split(None, 1)) for line in joined.splitlines()]


def can_build() -> bool:
    """Whether this machine lets us mount in a namespace of our own."""
    if sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("setpriv"):
        return False
    return subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True).returncode == 0


@dataclass
class Stage:
    """What a stage has come to.

    Args:
        folder: with its root and what its mounts have changed.
        python: installed there on this machine; the stage has it in /usr/local.
        environment: of its steps.
        args: values of ARG.
        where: its WORKDIR.
        user: its USER.
        command: its CMD.
    """

    folder: Path
    python: Path
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": BUILD_PATH})
    args: dict[str, str] = field(default_factory=dict)
    where: str = "/"
    user: str = "0:0"
    command: Sequence[str] = ()

    @property
    def root(self) -> Path:
        """The stage's root as this machine sees it, outside of /usr and /etc, which are only mounted for a step."""
        return self.folder / "root"

    def prepare(self) -> None:
        """Make the root: empty but for the links to /usr, and with Python in /usr/local."""
        for name in ("usr", "etc", "dev", "proc", "tmp", "root", "opt", "var/tmp"):
            (self.root / name).mkdir(parents=True)
        (self.root / "tmp").chmod(0o1777)
        for name in USR_MERGED:
            if Path("/", name).is_symlink():
                (self.root / name).symlink_to(Path("/", name).readlink())
        for name in ("usr", "usr-work", "etc", "etc-work"):
            (self.folder / name).mkdir()
        local = self.folder / "usr" / "local"
        local.mkdir()
        os.setxattr(local, "trusted.overlay.opaque", b"y")  # nothing of this machine's own /usr/local
        ignore = shutil.ignore_patterns("site-packages", "__pycache__", "test", "*.a")
        shutil.copytree(self.python, local, symlinks=True, ignore=ignore, dirs_exist_ok=True)
        self.enter(
            [
                ["rm", "-f", *(f"/usr/bin/{name}" for name in COMPILERS)],
                ["ldconfig"],  # libpython, where Python was built with a shared one
                ["python3", "-m", "ensurepip"],
                ["ln", "-sf", "python3", "/usr/local/bin/python"],
            ]
        )

    def enter(self, commands: Sequence[Sequence[str]]) -> None:
        """Carry out commands in the root, as root; pip finds its index where this machine's pip does.

        Raises:
            AssertionError: one of them failed.
        """
        pip = {name: value for name, value in os.environ.items() if name in PIP}
        steps = [f"chroot {self.root} {self._env({**pip, **self.environment})} {shlex.join(one)}" for one in commands]
        done = subprocess.run(
            [*OWN_NAMESPACES, "\n".join([*self._mounts(), *steps])],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"

    def container(
        self, command: Sequence[str], environment: Mapping[str, str], volumes: Mapping[Path, str] | None = None
    ) -> list[str]:
        """A command as `docker run --read-only --cap-drop ALL --tmpfs /tmp` would run it: as process 1, to be started.

        Args:
            command: instead of the image's.
            environment: added to the image's.
            volumes: folders of this machine, and where they are mounted to be written.
        """
        places = {place: folder for folder, place in (volumes or {}).items()}
        inside = f"{self.root}.ro"
        mounts = [
            *self._mounts(throwaway=True),
            *(
                f"mkdir -p {self.root}{place}"
                if folder.is_dir()
                else f"mkdir -p {self.root}{Path(place).parent}; touch {self.root}{place}"
                for place, folder in places.items()
            ),
            f"mount --bind {self.root} {inside}",
            f"for one in usr etc dev proc; do mount --rbind {self.root}/$one {inside}/$one; done",
            f"mount -t tmpfs -o mode=1777 tmpfs {inside}/tmp",
            *(f"mount --bind {folder} {inside}{place}" for place, folder in places.items()),
            f"for one in / /usr /etc; do mount -o remount,bind,ro {inside}$one; done",
        ]
        user, group = self.user.split(":")
        rights = f"--reuid {user} --regid {group} --clear-groups --no-new-privs --bounding-set -all --inh-caps -all"
        for name in ("root.ro", "scratch"):
            (self.folder / name).mkdir(exist_ok=True)
        last = f"exec chroot {inside} setpriv {rights} {self._env({**self.environment, **environment})}"
        return [*OWN_NAMESPACES, "\n".join([*mounts, f"{last} {shlex.join(command)}"])]

    def _env(self, environment: Mapping[str, str]) -> str:
        variables = " ".join(shlex.quote(f"{name}={value}") for name, value in environment.items())
        return f"env -i -C {self.where} {variables}"

    def _mounts(self, *, throwaway: bool = False) -> list[str]:
        overlays = []
        for one in ("usr", "etc"):
            layers = f"lowerdir=/{one},upperdir={self.folder}/{one},workdir={self.folder}/{one}-work"
            if throwaway:  # several at once must not share the folder that an overlay writes to
                below, above = f"{self.folder}/{one}:/{one}", f"{self.folder}/scratch/{one}"
                overlays.append(f"mkdir -p {above} {above}-work")
                layers = f"lowerdir={below},upperdir={above},workdir={above}-work"
            overlays.append(f"mount -t overlay overlay -o {layers} {self.root}/{one}")
        if throwaway:
            overlays = [f"mount -t tmpfs tmpfs {self.folder}/scratch", *overlays]
        return [*overlays, f"mount --rbind /dev {self.root}/dev", f"mount -t proc proc {self.root}/proc"]


class Build:
    """A Dockerfile carried out.

    Args:
        folder: for the stages; about 2 GB.
        dockerfile: the file; its context is the folder it stands in.
        python: instead of the Python that runs the tests.
    """

    def __init__(
        self,
        folder: Path,
        dockerfile: Path = ROOT / "Dockerfile",
        python: Path = Path(sys.base_prefix),
    ) -> None:
        self.folder = folder
        self.context = dockerfile.parent
        self.python = python
        self.before: dict[str, str] = {}
        self.stages: dict[str, Stage] = {}
        self.names: list[str] = []
        for instruction in instructions(dockerfile.read_text()):
            self._carry_out(instruction)

    @property
    def image(self) -> Stage:
        """The last stage."""
        return self.stages[self.names[-1]]

    def _carry_out(self, instruction: Instruction) -> None:
        word, rest = instruction.word, instruction.rest
        if word == "FROM":
            name = rest.split(" AS ")[1] if " AS " in rest else f"stage {len(self.names)}"
            self.names.append(name)
            self.stages[name] = Stage(self.folder / name.replace(" ", "-"), self.python)
            self.stages[name].prepare()
        elif not self.names:
            assert word == "ARG", f"{word} before the first FROM"
            self.before.update([rest.split("=", 1)])
        elif word == "RUN":
            self.image.enter([["/bin/sh", "-c", rest]])
        elif word == "COPY":
            self._copy(rest)
        elif word in ("ARG", "ENV", "WORKDIR", "USER", "CMD"):
            self._set(word, rest)
        else:
            assert word in ("LABEL", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK"), f"{word} is not known here"

    def _set(self, word: str, rest: str) -> None:
        stage = self.image
        if word == "ARG":
            name, _, default = rest.partition("=")
            stage.args[name] = default or self.before[name]
        elif word == "ENV":
            stage.environment.update(part.split("=", 1) for part in shlex.split(rest))
        elif word == "WORKDIR":
            stage.where = rest
            (stage.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif word == "USER":
            stage.user = rest
        else:
            stage.command = [part.strip(' "') for part in rest.strip("[]").split(",")]

    def _copy(self, rest: str) -> None:
        words = rest.split()
        options = dict(word[2:].split("=", 1) for word in words if word.startswith("--"))
        *sources, target = [word for word in words if not word.startswith("--")]
        stage = self.image
        base = self.stages[options["from"]].root if "from" in options else self.context
        into = stage.root / (target if target.startswith("/") else f"{stage.where}/{target}").lstrip("/")
        for source in (base / one.lstrip("/") for one in sources):
            place = into / source.name if target.endswith("/") else into
            place.parent.mkdir(parents=True, exist_ok=True)
            if "from" in options:
                subprocess.run(["cp", "-al", source, place], check=True)  # the stages share what none of them changes
            elif source.is_dir():
                ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
                shutil.copytree(source, place, symlinks=True, ignore=ignore)
            else:
                shutil.copyfile(source, place)
            owner = options.get("chown", "0:0")
            subprocess.run(["chown", "-R", owner, place], check=True)
