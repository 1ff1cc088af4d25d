"""Finds out why no TLS connection could be made: gRPC reports all reasons as UNAVAILABLE.

A second connection is made with the standard library's TLS, which names the reason. It is made only
after gRPC has failed with signs of a handshake, so a server that is away costs nothing more.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import Any

from latens.channel import Connection, Tls
from latens.errors import LatensError, TlsError, TlsProblem, UnavailableError

_SIGNS = ("handshake failed", "Verification Check failed")
_SIGNS_AT_FIRST = ("Socket closed", "Connection reset")  # later they mean a server that went away
_SECONDS = 3.0
_ALERT_SECONDS = 1.0
_EXPIRED, _NOT_YET_VALID, _OTHER_HOST, _OTHER_ADDRESS = 10, 9, 62, 64  # X509_V_ERR_...
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, which the ssl module does not name


def explained(error: LatensError, connection: Connection, *, answered: bool) -> LatensError:
    """The error itself, or a TlsError that says why no TLS connection could be made.

    Args:
        error: of a call.
        connection: of the client.
        answered: whether a server has answered before: then its settings fit the client's.
    """
    if not isinstance(error, UnavailableError) or error.reason:
        return error
    signs = _SIGNS if answered else _SIGNS + _SIGNS_AT_FIRST
    if not any(sign in error.message for sign in signs):
        return error
    hosts = connection.location().hosts
    for host, port in hosts:
        found = diagnose(host, port, connection.encryption(), expected_name=hosts[0][0])
        if found is not None:
            problem, message = found
            return TlsError(message, error.code, problem=problem)
    return error


def diagnose(
    host: str, port: int, tls: Tls | None, expected_name: str | None = None
) -> tuple[TlsProblem, str] | None:
    """Why a TLS connection to a server fails, and a sentence that says so; None if it does not.

    Args:
        host: of the server.
        port: of the server.
        tls: the client's settings; None for a client without TLS.
        expected_name: the name to expect in the certificate; `host` if None.
    """
    place = f"{host}:{port}"
    try:
        if tls is None:
            return _wants_tls(host, port, place)
        return _verify(host, port, tls, tls.server_name or expected_name or host)
    except (OSError, ValueError):
        return None  # not reachable, or files that gRPC has refused already


def context_of(tls: Tls) -> ssl.SSLContext:
    """The settings for the standard library's TLS.

    Raises:
        OSError: a file cannot be read or is no PEM file.
    """
    context = ssl.create_default_context(cafile=None if tls.ca_file is None else str(tls.ca_file))
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # which gRPC does not ask for
    if tls.certificate_file is not None:
        context.load_cert_chain(tls.certificate_file, tls.key_file)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


def _wants_tls(host: str, port: int, place: str) -> tuple[TlsProblem, str] | None:
    with contextlib.suppress(OSError):
        _certificate(host, port)
        problem = TlsProblem.SERVER_WANTS_TLS
        return problem, f"{place} expects TLS, and this client connects without TLS"
    return None


def _verify(host: str, port: int, tls: Tls, name: str) -> tuple[TlsProblem, str] | None:
    place = f"{host}:{port}"
    try:
        with _handshake(host, port, context_of(tls), name) as connection:
            if _is_closed(connection):
                return TlsProblem.CLIENT_CERTIFICATE, _certificate_refused(place, tls)
    except ssl.SSLCertVerificationError as error:
        return _unverified(error, host, port, tls, name)
    except ssl.SSLError as error:
        if "ALERT" in (error.reason or ""):
            return TlsProblem.CLIENT_CERTIFICATE, _certificate_refused(place, tls)
        said = f"{place} answers without TLS, and this client expects TLS"
        return TlsProblem.SERVER_IS_PLAIN, said
    return None


def _is_closed(connection: ssl.SSLSocket) -> bool:
    """Whether the server closes the connection: TLS 1.3 refuses a client after the handshake."""
    connection.settimeout(_ALERT_SECONDS)
    try:
        return not connection.recv(1)
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True


def _certificate_refused(place: str, tls: Tls) -> str:
    if tls.certificate_file is None:
        return f"{place} asks for a client certificate, and this client has none"
    return f"{place} does not accept the certificate of this client"


def _unverified(
    error: ssl.SSLCertVerificationError, host: str, port: int, tls: Tls, name: str
) -> tuple[TlsProblem, str]:
    certificate = _certificate(host, port)
    subject = f"the certificate of {host}:{port}"
    if error.verify_code in (_EXPIRED, _NOT_YET_VALID):
        span = f"{certificate.get('notBefore', '?')} to {certificate.get('notAfter', '?')}"
        return TlsProblem.EXPIRED, f"{subject} is valid only from {span}"
    if error.verify_code in (_OTHER_HOST, _OTHER_ADDRESS):
        names = ", ".join(value for _, value in certificate.get("subjectAltName", ()))
        return TlsProblem.NAME_MISMATCH, f"{subject} is for {names or 'no name'}, not for {name}"
    trusted = "the system's authorities" if tls.ca_file is None else f"those of {tls.ca_file}"
    return TlsProblem.UNTRUSTED, (
        f"{subject} is not trusted: its authority {_common_name(certificate)!r} is not among"
        f" {trusted}"
    )


def _common_name(certificate: dict[str, Any]) -> str:
    parts = {key: value for part in certificate.get("issuer", ()) for key, value in part}
    return str(parts.get("commonName") or parts.get("organizationName") or "without a name")


def _certificate(host: str, port: int) -> dict[str, Any]:
    """The fields of a server's certificate; its issuer and dates are not checked.

    The standard library parses verified certificates only, so this one is made its own authority.

    Raises:
        OSError: the server cannot be reached, or does not use TLS.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with _handshake(host, port, context, host) as connection:
        encoded = connection.getpeercert(binary_form=True)
    context = ssl.create_default_context(cadata=encoded)
    context.check_hostname = False
    context.verify_flags = ssl.VerifyFlags(ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME)
    with contextlib.suppress(ssl.SSLError), _handshake(host, port, context, host) as connection:
        return dict(connection.getpeercert() or {})
    return {}


@contextlib.contextmanager
def _handshake(host: str, port: int, context: ssl.SSLContext, name: str) -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection((host, port), _SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=name) as encrypted,
    ):
        yield encrypted
