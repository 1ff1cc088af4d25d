"""The host names under which the HTTP port answers.

A page of another site can have its own name point to this server's address (DNS rebinding), and its
calls then count as calls to that site. Such requests carry the foreign name in their Host header.
"""

from __future__ import annotations

import ipaddress

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from latens_serving.settings import Settings
from latens_serving.transports.http.connections import PROBES


def own_hosts(settings: Settings) -> tuple[str, ...] | None:
    """The names that requests may carry; None for any.

    By default a server at a loopback address answers to loopback names alone, and any other server
    to every name, since it cannot know the names of its services and ingresses.
    """
    named = tuple(name.lower() for name in settings.http_hosts)
    if "*" in named or (not named and not _is_loopback(settings.host)):
        return None
    return ("localhost", "*.localhost", settings.host.lower(), *named)


class OwnHosts:
    """ASGI middleware that refuses requests for other hosts; probes are always answered.

    IP addresses pass: a page cannot have an address of ours as its own name.
    """

    def __init__(self, app: ASGIApp, names: tuple[str, ...] | None) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http" and scope["path"] not in PROBES:
            host = _host_of(scope)
            if not self._is_own(host):
                app = _refusal(host)
        await app(scope, receive, send)

    def _is_own(self, host: str) -> bool:
        if self._names is None or not host or _is_address(host):
            return True
        return any(
            host == name or (name.startswith("*.") and host.endswith(name[1:]))
            for name in self._names
        )


def _refusal(host: str) -> ASGIApp:
    text = f"expected a host name of this server, not {host[:100]!r}; --http-hosts adds names\n"
    return PlainTextResponse(text, 421)


def _host_of(scope: Scope) -> str:
    """The name without the port, in lower case; empty if there is none (HTTP/1.0)."""
    for name, value in scope["headers"]:
        if name == b"host":
            text: str = value.decode("latin-1").strip().lower()
            if text.startswith("["):
                return text[1:].partition("]")[0]
            return text.partition(":")[0].removesuffix(".")
    return ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    if not _is_address(host):
        return host.lower() == "localhost"
    return ipaddress.ip_address(host).is_loopback
