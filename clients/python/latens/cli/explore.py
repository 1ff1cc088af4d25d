"""The verb `explore`: the server's explorer page in the browser."""

from __future__ import annotations

import http.client
import socket
import ssl
import webbrowser
from typing import Annotated
from urllib.parse import urlsplit

import typer

from latens.channel import Tls, locate
from latens.cli import console
from latens.cli.failures import NOT_FOUND, TLS_ADVICE, UNAVAILABLE, CommandError
from latens.cli.session import Session
from latens.tls_diagnosis import context_of, diagnose

_HTTP_PORT = 8080
_SECONDS = 10.0
_PORTS = {"http": 80, "https": 443}

HttpOption = Annotated[
    str | None,
    typer.Option(
        envvar="LATENS_HTTP_ADDRESS",
        metavar="HOST:PORT",
        help=f"The server's HTTP port, or a URL; by default {_HTTP_PORT} on the server's host.",
    ),
]
BrowserOption = Annotated[bool, typer.Option(help="Open the browser after printing the address.")]


def explore(context: typer.Context, http: HttpOption = None, browser: BrowserOption = True) -> None:
    """Opens the explorer, the server's page for walking through the latent space.

    With the TLS options the page is checked as a gRPC server is. The browser has its own
    authorities: add yours to it, too.

    Examples:
      latens explore
      latens explore --http gpu-node:8080
      latens explore --ca-file authority.pem --http latens.example.org:8443
    """
    session: Session = context.obj
    connection = session.connection()
    tls = connection.encryption()
    url = page_url(session.address, http, encrypted=tls is not None)
    _require_page(url, tls or Tls())
    console.line(url)
    if browser and not webbrowser.open(url):
        console.note("no browser could be opened; open the address in one")


def page_url(address: str, http: str | None, *, encrypted: bool) -> str:
    """The page's address: as given, or on the host of the first gRPC address."""
    if http is None:
        http = f"{_host(address)}:{_HTTP_PORT}"
    if "://" in http:
        return http.rstrip("/") + "/"
    return f"{'https' if encrypted else 'http'}://{http}/"


def _host(address: str) -> str:
    hosts = locate(address).hosts
    if hosts:
        host = hosts[0][0]
        return f"[{host}]" if ":" in host else host
    first = address.split(",")[0].rpartition("/")[2]  # a gRPC target such as dns:///host:port
    return first.rpartition(":")[0] or first


def _require_page(url: str, tls: Tls) -> None:
    """Fetches the page.

    Raises:
        CommandError: there is none, or no server, or it cannot be verified.
    """
    host, port, path, encrypted = _parts(url)
    try:
        status = _status(host, port, path, tls if encrypted else None)
    except (OSError, http.client.HTTPException) as error:
        found = diagnose(host, port, tls if encrypted else None)
        if found is not None:
            problem, message = found
            raise CommandError(f"{message}\n{TLS_ADVICE[problem]}", UNAVAILABLE) from error
        raise CommandError(
            f"nothing answers at {url} ({error}); is --http the server's HTTP port?", UNAVAILABLE
        ) from error
    if status != http.client.OK:
        raise CommandError(f"the server at {url} has no explorer (HTTP {status})", NOT_FOUND)


def _parts(url: str) -> tuple[str, int, str, bool]:
    """Host, port, path, and whether the page is encrypted.

    Raises:
        typer.BadParameter: it is no URL.
    """
    try:
        parts = urlsplit(url)
        if parts.hostname:
            port = parts.port or _PORTS[parts.scheme]
            return parts.hostname, port, parts.path, parts.scheme == "https"
    except (KeyError, ValueError):
        pass
    raise typer.BadParameter(f"{url}: expected host:port or a URL", param_hint="--http")


def _status(host: str, port: int, path: str, tls: Tls | None) -> int:
    connection = http.client.HTTPConnection(host, port, timeout=_SECONDS)
    connection.sock = socket.create_connection((host, port), _SECONDS)
    try:
        if tls is not None:
            connection.sock = _encrypted(connection.sock, tls, host)
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def _encrypted(plain: socket.socket, tls: Tls, host: str) -> ssl.SSLSocket:
    context = context_of(tls)
    context.set_alpn_protocols(["http/1.1"])
    return context.wrap_socket(plain, server_hostname=tls.server_name or host)
