"""Bearer tokens: who may call, and what.

A token file has a line for each token, `<scopes> <token>`: the scopes, `infer` or `admin` or
`infer,admin`; then the token itself or, better, `sha256:` and its digest in hexadecimal. Empty
lines and those that begin with # are ignored. The file is read again when it changes; if it
cannot be read then, the tokens known before stay valid, and the log says so.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import time
from pathlib import Path
from typing import Final, Literal

from latens_serving.errors import PermissionDeniedError, UnauthenticatedError

log = logging.getLogger(__name__)

Scope = Literal["infer", "admin"]
SCOPES: Final[frozenset[str]] = frozenset(("infer", "admin"))

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})\Z")
_SHORTEST_TOKEN = 16
_LOOK_SECONDS = 1.0


class TokenFileError(Exception):
    """A token file that cannot be used; the text says where and why, without any token."""


class Tokens:
    """The tokens of a file; without a file, everyone may do everything."""

    def __init__(self, path: Path | None) -> None:
        """Reads the file.

        Raises:
            TokenFileError: it cannot be read.
        """
        self._path = path
        self._known: dict[bytes, frozenset[str]] = {}
        self._seen: tuple[int, int, int] | None = None
        self._look_at = 0.0
        if path is not None:
            self._seen = _stamp(path)
            self._known = _read(path)

    @property
    def are_required(self) -> bool:
        """Whether calls need a token."""
        return self._path is not None

    def authorize(self, authorization: str, scope: Scope) -> None:
        """Checks the `authorization` header of a call.

        Raises:
            UnauthenticatedError: no token, or one that is not known.
            PermissionDeniedError: a token without the scope.
        """
        if self._path is None:
            return
        self._look(self._path)
        kind, _, token = authorization.partition(" ")
        if kind.lower() != "bearer" or not token:
            raise UnauthenticatedError("this server asks for a bearer token")
        scopes = self._scopes_of(token.strip())
        if scopes is None:
            raise UnauthenticatedError("the bearer token is not known")
        if scope not in scopes:
            raise PermissionDeniedError(f"the bearer token does not have the scope {scope!r}")

    def _scopes_of(self, token: str) -> frozenset[str] | None:
        digest = hashlib.sha256(token.encode()).digest()
        found = None
        for known, scopes in self._known.items():  # all of them, so that time tells nothing
            if hmac.compare_digest(known, digest):
                found = scopes
        return found

    def _look(self, path: Path) -> None:
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_SECONDS
        try:
            seen = _stamp(path)
            if seen == self._seen:
                return
            self._known = _read(path)
        except TokenFileError as error:
            log.error("tokens not read again", extra={"facts": {"reason": str(error)}})  # noqa: TRY400
            return
        self._seen = seen
        log.info("tokens read again", extra={"facts": {"tokens": len(self._known)}})


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        stat = path.stat()
    except OSError as error:
        raise TokenFileError(f"{path}: {error.strerror or error}") from error
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _read(path: Path) -> dict[bytes, frozenset[str]]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TokenFileError(f"{path}: cannot be read as text") from error
    tokens: dict[bytes, frozenset[str]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        scopes, _, token = line.strip().partition(" ")
        wanted = frozenset(scopes.split(","))
        if not wanted <= SCOPES:
            raise TokenFileError(f"{path}:{number}: scopes are infer and admin, joined by commas")
        tokens[_digest_of(token.strip(), f"{path}:{number}")] = wanted
    if not tokens:
        raise TokenFileError(f"{path}: holds no token")
    return tokens


def _digest_of(token: str, where: str) -> bytes:
    if match := _DIGEST.match(token):
        return bytes.fromhex(match[1])
    if len(token) < _SHORTEST_TOKEN or " " in token:
        raise TokenFileError(
            f"{where}: a token has at least {_SHORTEST_TOKEN} characters, no space"
        )
    return hashlib.sha256(token.encode()).digest()
