"""Files at an address (``s3://bucket/landing``) as far as the landing folder needs them, and one name for both kinds.

What it is: ``Location`` is a local ``Path`` or a ``RemotePath``; the functions here do for either what the landing
folder and the reader ask. A local file takes the way it always took.
Belongs here: everything that knows fsspec. Does not belong here: patterns of names (``path_pattern``), what a file is
(``landing``).

Not universal_pathlib: one listing of fsspec says size, time and ETag of every file in a folder, and ``RemotePath``
keeps them; a UPath asks the store once more for each file, at ten years of sessions 2,500 requests a look.

A remote file is read as a stream with a bounded read-ahead, never loaded as a whole. Listings are never cached: a file
that lands is there at the next look. Credentials and endpoints are the filesystem's own business: its usual variables
(``AWS_ENDPOINT_URL``, ...), or fsspec's (``FSSPEC_<PROTOCOL>_<OPTION>``).
"""

import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from market_spine.errors import LandingError, SpineError

READ_AHEAD_BYTES: Final = 8 * 1024 * 1024
"""What one request to a remote store fetches; s3fs takes 50 MB by itself, which two runs at once would feel."""
_TAGS: Final = ("ETag", "etag", "md5", "generation")
_TIMES: Final = ("LastModified", "last_modified", "mtime", "modified", "updated", "modify", "created")
_FTP_TIME: Final = "%Y%m%d%H%M%S"


@dataclass(frozen=True)
class Stamp:
    """What tells a file from the same file after a change, without reading it.

    Args:
        size: bytes; None where a listing does not say.
        modified: seconds since 1970; None where a listing does not say.
        tag: what an object store calls the content (ETag), or "". Where there is one, the time says nothing more: the
            same bytes put again are no change.
        touched: as ``modified``, but never set by a writer (``cp -p`` keeps an old time): the time of the last change
            of anything about a local file, or of the last write to an object store; else None.
    """

    size: int | None
    modified: float | None
    tag: str = ""
    touched: float | None = None

    @property
    def latest(self) -> float | None:
        """The later of both times."""
        return max((moment for moment in (self.modified, self.touched) if moment is not None), default=None)

    @property
    def text(self) -> str:
        """The same text for the same version of a file."""
        return f"{self.size}:{self.tag or self.modified}"


@dataclass(frozen=True, order=True)
class RemotePath:
    """A file or folder of a remote filesystem.

    Args:
        path: as the filesystem names it.
        shown: as people name it: the address, without a password.
        filesystem: fsspec's.
        info: what a listing said of it.
    """

    path: str
    shown: str
    filesystem: Any = field(compare=False, repr=False)
    info: Mapping[str, Any] = field(compare=False, repr=False, default_factory=dict)

    def __str__(self) -> str:
        return self.shown

    def __truediv__(self, name: str) -> "RemotePath":
        return RemotePath(f"{self.path.rstrip('/')}/{name}", f"{self.shown.rstrip('/')}/{name}", self.filesystem)

    @property
    def name(self) -> str:
        """The last part."""
        return self.path.rstrip("/").rpartition("/")[2]

    def is_file(self) -> bool:
        """Whether the listing it came from calls it one."""
        return self.info.get("type") == "file"

    def children(self) -> list["RemotePath"]:
        """What is in this folder; nothing where there is no such folder.

        Raises:
            LandingError: the filesystem does not answer, or refuses.
        """
        with remote_errors(self):
            try:
                listed = self.filesystem.ls(self.path, detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return []
        found = []
        for info in listed:
            child = self / str(info["name"]).rstrip("/").rpartition("/")[2]
            found.append(RemotePath(child.path, child.shown, self.filesystem, info))
        return found


Location = Path | RemotePath


def location(landing: Path | str) -> Location:
    """The landing folder of the settings.

    Raises:
        LandingError: its filesystem needs a package that is not installed, or does not take the address.
    """
    if isinstance(landing, Path):
        return landing
    import fsspec  # 0.1 s, and with s3fs 0.4 s, which nobody pays who has a folder

    shown = without_credentials(landing).rstrip("/")
    try:
        filesystem, path = fsspec.core.url_to_fs(landing, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise LandingError(f"MARKET_SPINE_LANDING is {shown}: {_one_line(error)}") from error
    except Exception as error:
        raise _failed(shown, error) from error
    return RemotePath(path, shown, filesystem)


def entries(folder: Location, needles: Sequence[str], fits: re.Pattern[str]) -> Iterator[tuple[str, Location]]:
    """Names in a folder that hold every needle and fit, each with its place; one listing. No folder, no names.

    Raises:
        LandingError: a remote filesystem does not answer.
    """
    children = {child.name: child for child in folder.children()} if isinstance(folder, RemotePath) else {}
    names = _listing(folder) if isinstance(folder, Path) else list(children)
    # The text of the date is looked for first: it spares 2,499 of 2,500 regular expressions.
    for needle in needles:
        names = [name for name in names if needle in name]
    for name in names:
        if fits.fullmatch(name):
            # Not before: a Path for each of 2,500 days costs more than matching.
            yield name, children.get(name) or folder / name


def relative(path: Location, landing: Location) -> str:
    """The place below the landing folder, as messages and the file log name it."""
    if isinstance(path, RemotePath):
        return path.shown.removeprefix(f"{landing}/")
    try:
        return path.relative_to(landing).as_posix() if isinstance(landing, Path) else path.as_posix()
    except ValueError:
        return path.as_posix()


def open_binary(path: Location) -> io.RawIOBase:
    """The file's bytes as a stream, unbuffered where it is local."""
    if isinstance(path, RemotePath):
        stream: io.RawIOBase = path.filesystem.open(
            path.path, "rb", block_size=READ_AHEAD_BYTES, cache_type="readahead", cache_options={}
        )
        return stream
    return path.open("rb", buffering=0)


def size_of(path: Location) -> int | None:
    """Bytes of the file now; None where the filesystem does not know before it was read.

    Raises:
        LandingError: a remote filesystem does not answer.
        OSError: there is no such file.
    """
    if isinstance(path, RemotePath):
        with remote_errors(path):
            size = path.filesystem.info(path.path).get("size")
        return None if size is None else int(size)
    return path.stat().st_size


def stamp_of(path: Location) -> Stamp:
    """What tells this version of the file; of a remote file what its listing said.

    Raises:
        OSError: there is no such local file any more.
    """
    if isinstance(path, RemotePath):
        tag = next((str(path.info[key]) for key in _TAGS if path.info.get(key)), "")
        times = (_seconds(path.info[key]) for key in _TIMES if path.info.get(key))
        size = path.info.get("size")
        modified = next(times, None)
        return Stamp(None if size is None else int(size), modified, tag, modified if tag else None)
    status = path.stat()
    return Stamp(status.st_size, status.st_mtime_ns / 1e9, touched=max(status.st_mtime, status.st_ctime))


@contextmanager
def remote_errors(path: Location) -> Iterator[None]:
    """Whatever a remote filesystem raises in the block becomes a LandingError; a local one's errors stay what they are.

    Every filesystem has errors of its own (botocore's are not even OSErrors), and all of them mean: not now.

    Raises:
        LandingError: names the place and what the filesystem said.
    """
    if isinstance(path, Path):
        yield
        return
    try:
        yield
    except (SpineError, FileNotFoundError):
        raise
    except Exception as error:
        raise _failed(str(path), error) from error


def without_credentials(address: str) -> str:
    """An address as it may be printed."""
    scheme, separator, rest = address.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"


def _listing(folder: Path) -> list[str]:
    try:
        # Names only: a Path for each of 2,500 days costs more than matching them.
        with os.scandir(folder) as found:
            return [entry.name for entry in found]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _failed(place: str, error: Exception) -> LandingError:
    return LandingError(f"{place} cannot be read: {_one_line(error)}; is the store up, may this account read it?")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _seconds(value: object) -> float | None:
    """A listing's time as seconds since 1970."""
    if isinstance(value, int | float):
        return float(value)
    try:
        moment = value if isinstance(value, datetime) else _moment(str(value))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _moment(text: str) -> datetime:
    return datetime.strptime(text, _FTP_TIME).replace(tzinfo=UTC) if text.isdigit() else datetime.fromisoformat(text)
