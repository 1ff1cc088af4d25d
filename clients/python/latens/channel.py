"""Where the server is and how to talk to it: addresses, credentials, channel options."""

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
    """How to know the server, and how to be known to it (mutual TLS). Files are PEM."""

    ca_file: Path | str | None = None
    """The authorities that may vouch for the server; those of the system if None."""
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
            ValueError: a certificate without its key, or the other way round.
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
    """`host:port`, or several joined by commas, or a gRPC target such as `dns:///host:port`."""
    tls: Tls | None = None
    token: str | Callable[[], str] | None = field(default=None, repr=False)
    """A bearer token, or what gives the present one; asked for each call."""
    max_message_bytes: int = MAX_MESSAGE_BYTES
    """The largest message that this client sends or takes."""

    def target(self) -> str:
        """The gRPC target of the address. See `target`."""
        return target(self.address)

    def options(self, *, health_checked: bool = True) -> Options:
        """Channel options: retries, balancing, health, limits.

        With `health_checked`, a server that says it is NOT_SERVING gets no call, as long as there
        is another; that is how a call survives a server's drain.
        """
        options: Options = [
            ("grpc.service_config", json.dumps(service_config(health_checked=health_checked))),
            ("grpc.enable_retries", 1),
            # A request that is not kept whole cannot be sent again; the default keeps 256 KiB.
            ("grpc.per_rpc_retry_buffer_size", self.max_message_bytes + 2**20),
            ("grpc.max_send_message_length", self.max_message_bytes),
            ("grpc.max_receive_message_length", self.max_message_bytes),
            # A server that was started anew is found again soon; the default waits up to 2 minutes.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1_000),
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.primary_user_agent", "latens-python"),
        ]
        if self.tls is not None and self.tls.server_name is not None:
            options.append(("grpc.ssl_target_name_override", self.tls.server_name))
        elif "," in self.address:
            host, _ = _host_and_port(self.address.split(",")[0].strip())
            options.append(("grpc.default_authority", host))
        return options

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with each call."""
        if self.token is None:
            return ()
        token = self.token() if callable(self.token) else self.token
        return (("authorization", f"Bearer {token}"),)


def service_config(*, health_checked: bool) -> dict[str, Any]:
    """Retries and balancing, as gRPC's service config says them.

    Every call of the contract is pure, so each may be sent again: when no server took it
    (UNAVAILABLE), when one was too busy (RESOURCE_EXHAUSTED, after the pause that it asks for), and
    when the transport dropped it (CANCELLED; what this program cancels itself never gets here).
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


def target(address: str) -> str:
    """The gRPC target of an address.

    One host is resolved by gRPC, again and again; several are resolved here, once.

    Raises:
        ValueError: it is no address, or a host of several is not known.
    """
    if address.startswith(_PASSED_THROUGH):
        return address
    parts = [part.strip() for part in address.split(",") if part.strip()]
    if not parts:
        raise ValueError("the address is empty; expected host:port")
    pairs = [_host_and_port(part) for part in parts]
    if len(pairs) == 1:
        return f"dns:///{_joined(*pairs[0])}"
    found = [_resolved(host, port) for host, port in pairs]
    families = {family for family, _ in found}
    if len(families) > 1:
        raise ValueError(f"{address}: IPv4 and IPv6 addresses cannot be mixed")
    scheme = "ipv6" if families == {socket.AF_INET6} else "ipv4"
    return f"{scheme}:{','.join(joined for _, joined in found)}"


def _host_and_port(part: str) -> tuple[str, int]:
    host, colon, port = part.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")):
        host, port = part, str(DEFAULT_PORT)
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
