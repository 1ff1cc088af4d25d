"""TLS for the gRPC ports: certificates that are read again when they change."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, cast

import grpc

from latens_serving.settings import TlsFiles

log = logging.getLogger(__name__)


class CertificateError(Exception):
    """A certificate, key or authority that cannot be read; the text says which."""


def _read(files: TlsFiles) -> tuple[bytes, bytes, bytes | None]:
    """The certificate chain, the key, and the clients' authority, as PEM.

    Raises:
        CertificateError: one of them cannot be read, or is not PEM.
    """
    authority = None if files.client_ca is None else _pem(files.client_ca, b"CERTIFICATE")
    return _pem(files.certificate, b"CERTIFICATE"), _pem(files.key, b"PRIVATE KEY"), authority


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Credentials that follow the files: each new handshake uses what lies there then.

    Raises:
        CertificateError: as things stand, they cannot be used.
    """
    source = _Source(files)
    return grpc.dynamic_ssl_server_credentials(
        source.first,
        # None means: as before. The type stubs do not know it.
        cast("Callable[[], grpc.ServerCertificateConfiguration]", source.newer),
        require_client_authentication=files.client_ca is not None,
    )


def ssl_context(files: TlsFiles, protocol: str = "h2") -> ssl.SSLContext:
    """The same for a server that speaks one protocol through Python's ssl module.

    Raises:
        CertificateError: as things stand, they cannot be used.
    """
    return _FollowingContext(files, protocol)


class _FollowingContext(ssl.SSLContext):
    """Gives each handshake to a context made of the files as they are then.

    A session can be resumed only on the context that began it. So once the clients' authority was
    replaced, a client must show a certificate of the new one, even if it holds a session ticket.
    """

    def __new__(cls, files: TlsFiles, protocol: str) -> Self:
        del files, protocol
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, files: TlsFiles, protocol: str) -> None:
        self._files = files
        self._protocol = protocol
        self._content = _read(files)
        self._newest = _context(files, protocol)

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """As of `ssl.SSLContext`; the event loops call it for each connection."""
        return self._present().wrap_bio(*args, **kwargs)

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        """As of `ssl.SSLContext`."""
        return self._present().wrap_socket(*args, **kwargs)

    def _present(self) -> ssl.SSLContext:
        try:
            if (content := _read(self._files)) != self._content:
                self._newest, self._content = _context(self._files, self._protocol), content
                log.info("certificate read again")
        except CertificateError as error:
            log.error("certificate not read again", extra={"facts": {"reason": str(error)}})  # noqa: TRY400
        return self._newest


def _context(files: TlsFiles, protocol: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols([protocol])
    try:
        context.load_cert_chain(files.certificate, files.key)
        if files.client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(files.client_ca)
    except (OSError, ssl.SSLError) as error:
        raise CertificateError(f"{files.certificate}: {error}") from error
    return context


class _Source:
    """Tells the C core of certificates; asked at each handshake, from a thread of the core's."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._content = _read(files)
        self.first = _configuration(self._content)

    def newer(self) -> grpc.ServerCertificateConfiguration | None:
        # Nothing may be raised here: the core would fail the handshake. What was good stays.
        try:
            content = _read(self._files)
        except CertificateError as error:
            log.error("certificate not read again", extra={"facts": {"reason": str(error)}})  # noqa: TRY400
            return None
        if content == self._content:
            return None
        log.info("certificate read again")
        self._content = content
        return _configuration(content)


def _configuration(
    content: tuple[bytes, bytes, bytes | None],
) -> grpc.ServerCertificateConfiguration:
    certificate, key, authority = content
    return grpc.ssl_server_certificate_configuration([(key, certificate)], authority)


def _pem(path: Path, kind: bytes) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CertificateError(f"{path}: {error.strerror or error}") from error
    if b"-----BEGIN" not in content or kind not in content:
        raise CertificateError(f"{path}: holds no PEM {kind.decode().lower()}")
    return content
