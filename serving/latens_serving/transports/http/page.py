"""The explorer's files, from the wheel or from the checkout, read once and served from memory."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

_IN_WHEEL = Path(__file__).parent / "page"
_IN_CHECKOUT = Path(__file__).parents[4] / "clients" / "web"
_MODULES = b"<!-- modules -->"
_NOT_PRELOADED = ("first.js", "main.js")
# Declared here, since the system's table of types differs between machines.
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file of the page, compressed."""

    media_type: str
    etag: str
    packed: bytes
    """The content with gzip, which every browser accepts; decompressed for other clients."""

    @classmethod
    def of(cls, path: Path, content: bytes) -> PageFile:
        """A file by its path, which says its type, and its content."""
        digest = hashlib.sha256(content).hexdigest()[:20]
        media_type = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or ""
        return cls(media_type, f'"{digest}"', gzip.compress(content, 9, mtime=0))

    def response(self, request: Request) -> Response:
        """The file, or 304 if the caller has it already."""
        headers = {"ETag": self.etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        if self.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            return Response(self.packed, media_type=self.media_type, headers=headers)
        content = gzip.decompress(self.packed)
        return Response(content, media_type=self.media_type, headers=headers)


def _content(root: Path, path: Path) -> bytes:
    """A file's content; the page names all modules, so that a browser fetches them at once."""
    content = path.read_bytes()
    if path != root / "index.html":
        return content
    links = "\n".join(
        f'<link rel="modulepreload" href="js/{module.name}">'
        for module in sorted((root / "js").glob("*.js"))
        if module.name not in _NOT_PRELOADED
    )
    return content.replace(_MODULES, links.encode())


class Page:
    """The files of the page; no path leads to any other file."""

    def __init__(self, root: Path | None = None) -> None:
        """Reads all files into memory.

        Args:
            root: the folder of the page; by default in this package, or in the checkout.
        """
        root = root or (_IN_WHEEL if _IN_WHEEL.is_dir() else _IN_CHECKOUT)
        self.files = {
            "/" + path.relative_to(root).as_posix(): PageFile.of(path, _content(root, path))
            for path in sorted(root.rglob("*"))
            if path.suffix in _TYPES and path.is_file()
        }

    async def respond(self, request: Request) -> Response:
        """The file at the request's path."""
        path = request.scope["path"]
        found = self.files.get("/index.html" if path == "/" else path)
        if found is None:
            return PlainTextResponse("no such page; the explorer is at /\n", 404)
        return found.response(request)
