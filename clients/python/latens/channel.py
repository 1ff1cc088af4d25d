"""The connection to a server: addresses, credentials, channel options."""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

SERVICE = "latens.v1.LatentService"
DEFAULT_PORT = 50051
DEFAULT_ADDRESS = f"127.0.0.1:{DEFAULT_PORT}"
DEFAULT_TIMEOUT = 60.0
MAX_MESSAGE_BYTES = 256 * 2**20
_PASSED_THROUGH = ("dns:", "unix:", "unix-abstract:", "ipv4:", "ipv6:", "xds:")

Options = list[tuple[str, Any]]


@dataclass(frozen=True)
class Tls:
    """How to verify the server, and this client's certificate (mutual TLS). Files are PEM."""

    ca_file: Path | str | None = None
    """The authorities to trust; gRPC's own set if None."""
    certificate_file: Path | str | None = None
    """This client's certificate chain, for mutual TLS."""
    key_file: Path | str | None = None
    """The private key of that certificate."""
    server_name: str | None = None
    """The name to expect in the server's certificate, if it is not that of the address."""

    def credentials(self) -> grpc.ChannelCredentials:
        """Reads the files.

        Raises:
            OSError: one cannot be read.
            ValueError: a certificate without its key, or a key without its certificate.
        """
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("mutual TLS needs both a certificate file and a key file")
        return grpc.ssl_channel_credentials(
            root_certificates=_content(self.ca_file),
            private_key=_content(self.key_file),
            certificate_chain=_content(self.certificate_file),
        )


def _content(path: Path | str | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()


@dataclass(frozen=True)
class Connection:
    """Everything that a channel is made from."""

    address: str = DEFAULT_ADDRESS
    """`host:port`, several joined by commas, a URL (`grpcs://host:port`), or a gRPC target."""
    tls: Tls | None = None
    token: str | Callable[[], str] | None = field(default=None, repr=False)
    """A bearer token, or a function that returns it, called for each call."""
    max_message_bytes: int = MAX_MESSAGE_BYTES
    """The largest message that this client sends or receives."""

    def location(self) -> Location:
        """The address taken apart.

        Raises:
            ValueError: it is no address, or its scheme contradicts `tls`.
        """
        location = locate(self.address)
        if self.tls is not None and location.encrypted is False:
            raise ValueError(f"{self.address}: the scheme means a connection without TLS")
        return location

    def encryption(self) -> Tls | None:
        """How to encrypt: as given, or with the system's authorities where the URL asks for it."""
        if self.tls is not None:
            return self.tls
        return Tls() if self.location().encrypted else None

    def options(self, *, health_checked: bool = True) -> Options:
        """Channel options: retries, balancing, health, limits.

        With `health_checked`, a server that reports NOT_SERVING gets no call as long as there is
        another; so calls survive a server's drain.
        """
        options: Options = [
            ("grpc.service_config", json.dumps(service_config(health_checked=health_checked))),
            ("grpc.enable_retries", 1),
            # Only requests that are kept can be sent again; the default keeps 256 KiB.
            ("grpc.per_rpc_retry_buffer_size", self.max_message_bytes + 2**20),
            ("grpc.max_send_message_length", self.max_message_bytes),
            ("grpc.max_receive_message_length", self.max_message_bytes),
            # Finds a restarted server soon; the default waits up to 2 minutes.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1_000),
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.primary_user_agent", "latens-python"),
        ]
        if self.tls is not None and self.tls.server_name is not None:
            options.append(("grpc.ssl_target_name_override", self.tls.server_name))
        elif len(hosts := self.location().hosts) > 1:
            options.append(("grpc.default_authority", hosts[0][0]))
        return options

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The headers of a call.

        Raises:
            ValueError: the token cannot be part of a header.
        """
        if self.token is None:
            return ()
        token = self.token() if callable(self.token) else self.token
        if not token.isascii() or not token.isprintable():
            raise ValueError("the token is no line of printable ASCII characters")
        return (("authorization", f"Bearer {token}"),)


def service_config(*, health_checked: bool) -> dict[str, Any]:
    """Retries and balancing in the form of gRPC's service config.

    Every call of the contract is pure, so each may be sent again: when no server took it
    (UNAVAILABLE), when one was too busy (RESOURCE_EXHAUSTED, after the pause that it asks for), and
    when the transport dropped it (CANCELLED; calls cancelled by this program are not retried).
    """
    config: dict[str, Any] = {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {
                "name": [{"service": SERVICE}, {"service": "grpc.health.v1.Health"}],
                "retryPolicy": {
                    "maxAttempts": 5,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "5s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED"],
                },
            }
        ],
    }
    if health_checked:
        config["healthCheckConfig"] = {"serviceName": SERVICE}
    return config


_SCHEMES: dict[str, tuple[bool, int]] = {
    "grpc": (False, DEFAULT_PORT),
    "grpcs": (True, DEFAULT_PORT),
    "http": (False, 80),
    "https": (True, 443),
}
"""Schemes of a URL: whether they mean TLS, and the port where the URL names none."""


@dataclass(frozen=True)
class Location:
    """An address taken apart."""

    target: str
    """The gRPC target."""
    encrypted: bool | None
    """Whether the scheme of a URL means TLS; None without a scheme."""
    hosts: tuple[tuple[str, int], ...]
    """Host and port of each server; empty for a gRPC target, which gRPC resolves."""


def locate(address: str) -> Location:
    """Parses an address. One host is resolved by gRPC, again and again; several here, once.

    Raises:
        ValueError: it is no address, or a host of several cannot be resolved.
    """
    if address.startswith(_PASSED_THROUGH):
        return Location(address, None, ())
    parts = [part.strip() for part in address.split(",") if part.strip()]
    if not parts:
        raise ValueError("the address is empty; expected host:port")
    found = [_scheme_host_port(part) for part in parts]
    encrypted = {scheme for scheme, _, _ in found}
    if len(encrypted) > 1:
        raise ValueError(f"{address}: expected the same scheme for all addresses")
    hosts = tuple((host, port) for _, host, port in found)
    return Location(_target(address, hosts), encrypted.pop(), hosts)


def _target(address: str, hosts: tuple[tuple[str, int], ...]) -> str:
    if len(hosts) == 1:
        return f"dns:///{_joined(*hosts[0])}"
    found = [_resolved(host, port) for host, port in hosts]
    families = {family for family, _ in found}
    if len(families) > 1:
        raise ValueError(f"{address}: IPv4 and IPv6 addresses cannot be mixed")
    scheme = "ipv6" if families == {socket.AF_INET6} else "ipv4"
    return f"{scheme}:{','.join(joined for _, joined in found)}"


def _scheme_host_port(part: str) -> tuple[bool | None, str, int]:
    scheme, separator, rest = part.partition("://")
    if not separator:
        return None, *_host_and_port(part, DEFAULT_PORT)
    if scheme.lower() not in _SCHEMES:
        known = ", ".join(f"{name}://" for name in _SCHEMES)
        raise ValueError(f"{part}: expected host:port or a URL with {known}")
    encrypted, port = _SCHEMES[scheme.lower()]
    if "/" in rest.removesuffix("/") or "@" in rest or "?" in rest:
        raise ValueError(f"{part}: expected {scheme}://host:port without a user, path or query")
    return encrypted, *_host_and_port(rest.removesuffix("/"), port)


def _host_and_port(part: str, default_port: int) -> tuple[str, int]:
    host, colon, port = part.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")):
        host, port = part, str(default_port)
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{part!r} is no address; expected host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _resolved(host: str, port: int) -> tuple[int, str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ValueError(f"{host}: {error.strerror or error}") from error
    family, _, _, _, place = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return family, _joined(str(ipaddress.ip_address(place[0])), port)
