"""The page at ``/``: its files, the chart library, and where the Dagster UI is.

What it is: the files of the folder ``page`` as they are, and ``plotly.min.js`` from the installed package ``plotly``,
which nothing imports. The page asks the same routes as everybody else; nothing here reads the database.
Belongs here: what is served, how it may be cached, what the browser may load. Does not belong here: what it shows.
"""

import asyncio
import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from market_spine.api.auth import Keys
from market_spine.api.context import context_of
from market_spine.api.problems import Problem
from market_spine.errors import LedgerError

INDEX, LIBRARY = "index.html", "plotly.min.js"
MEDIA = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    # No 'unsafe-inline': plotly writes styles of its own unless it finds elements that tell it not to, which index.html
    # has; page.css holds those few rules the chart needs. Styles that a script sets one by one are allowed anyway.
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
SAFE = {
    "Content-Security-Policy": "; ".join(f"{name} {sources}" for name, sources in POLICY.items()),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
ASK_AGAIN = "no-cache"
"""Keep it, but ask with its ETag each time: names of the page's own files do not change with their content."""
FOR_GOOD = "public, max-age=31536000, immutable"
"""Of the chart library under an address that names its version: 1.5 MB that are fetched once."""
LEVEL = 6
"""Of gzip: 0.2 s for the chart library; level 9 takes twice as long to make it 0.2 % smaller."""
router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Asset:
    """A file as it is sent.

    Args:
        zipped: its content, compressed.
        digest: of the content.
        media: its media type.
    """

    zipped: bytes
    digest: str
    media: str

    @classmethod
    def of(cls, content: bytes, suffix: str) -> "Asset":
        """That of a content."""
        digest = blake2b(content, digest_size=12).hexdigest()
        return cls(gzip.compress(content, LEVEL, mtime=0), digest, MEDIA[suffix])

    def answer(self, request: Request, *, keep: str) -> Response:
        """The response; 304 where the caller has it."""
        is_zipped = "gzip" in request.headers.get("accept-encoding", "")
        tag = f'"{self.digest}{"-gz" if is_zipped else ""}"'
        headers = {"ETag": tag, "Cache-Control": keep, "Vary": "Accept-Encoding", **SAFE}
        known = [part.strip().removeprefix("W/") for part in request.headers.get("if-none-match", "").split(",")]
        if tag in known:
            return Response(status_code=304, headers=headers)
        if is_zipped:
            headers["Content-Encoding"] = "gzip"
        content = self.zipped if is_zipped else gzip.decompress(self.zipped)
        return Response(content, media_type=self.media, headers=headers)


@router.get("/")
async def index(request: Request) -> Response:
    """The page. What it shows stands in its query string, which only its script reads."""
    return (await asyncio.to_thread(_own_files))[INDEX].answer(request, keep=ASK_AGAIN)


@router.get("/page/links.json")
async def links(request: Request) -> Response:
    """Where the Dagster UI is, or null. For those who may read: it may name a host that is nobody else's business."""
    keys: Keys = request.app.state.keys
    given = request.headers.get("authorization")
    keys.check_read(None if given is None else given.encode("latin-1"))
    access = context_of(request).ledger
    try:
        address = str(access.settings.ui_url) or access.find_webserver().url
    except LedgerError:
        address = None
    return JSONResponse({"dagster": address}, headers={"Cache-Control": "no-store"})


@router.get("/page/{name}")
async def asset(request: Request, name: str) -> Response:
    """A file of the page, or the chart library."""
    if name == LIBRARY:
        is_named = request.query_params.get("v") == library_version()
        return (await asyncio.to_thread(_library)).answer(request, keep=FOR_GOOD if is_named else ASK_AGAIN)
    own = await asyncio.to_thread(_own_files)
    if name not in own or name == INDEX:
        raise Problem("not_found", f"there is nothing at {request.url.path}; the page is at /")
    return own[name].answer(request, keep=ASK_AGAIN)


@cache
def library_version() -> str:
    """Of the package that carries the chart library."""
    return distribution("plotly").version


@cache
def _own_files() -> Mapping[str, Asset]:
    found = {}
    for path in files("market_spine.api").joinpath("page").iterdir():
        content, suffix = path.read_bytes(), Path(path.name).suffix
        if path.name == INDEX:
            content = content.replace(LIBRARY.encode(), f"{LIBRARY}?v={library_version()}".encode())
        if suffix in MEDIA:
            found[path.name] = Asset.of(content, suffix)
    return found


@cache
def _library() -> Asset:
    place = distribution("plotly").locate_file(f"plotly/package_data/{LIBRARY}")
    return Asset.of(Path(str(place)).read_bytes(), Path(LIBRARY).suffix)
