"""The verb `explore`: the server's explorer page in the browser."""

from __future__ import annotations

import urllib.error
import urllib.request
import webbrowser
from typing import Annotated

import typer

from latens.cli import console
from latens.cli.failures import NOT_FOUND, UNAVAILABLE, CommandError
from latens.cli.options import AddressOption
from latens.cli.session import Session

_HTTP_PORT = 8080
_SECONDS = 10.0


def explore(
    context: typer.Context,
    address: AddressOption = None,
    http: Annotated[
        str | None,
        typer.Option(
            envvar="LATENS_HTTP_ADDRESS", metavar="HOST:PORT",
            help=f"The server's HTTP port; by default {_HTTP_PORT} beside the gRPC port.",
        ),
    ] = None,
    browser: Annotated[
        bool, typer.Option(help="Open the browser, and not only print the address.")
    ] = True,
) -> None:  # fmt: skip
    """Opens the explorer: the server's own page to roam the latent space by hand.

    Examples:
      latens explore
      latens explore --http gpu-node:8080
    """
    session: Session = context.obj
    url = page_url(session.at(address), http, encrypted=session.tls is not None)
    _require_page(url)
    console.line(url)
    if browser and not webbrowser.open(url):
        console.note("no browser could be opened here; open the address in one")


def page_url(address: str, http: str | None, *, encrypted: bool) -> str:
    """The page's address: as given, or on the same host as the (first) gRPC address."""
    if http is None:
        first = address.split(",")[0].rpartition("/")[2]
        host = first.rpartition(":")[0] or first
        http = f"{host}:{_HTTP_PORT}"
    if "://" in http:
        return http.rstrip("/") + "/"
    return f"{'https' if encrypted else 'http'}://{http}/"


def _require_page(url: str) -> None:
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS):  # noqa: S310 - the user's own address
            return
    except urllib.error.HTTPError as error:
        raise CommandError(
            f"the server at {url} serves no explorer (HTTP {error.code})", NOT_FOUND
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise CommandError(
            f"nothing answers at {url} ({reason}); is --http the server's HTTP port?", UNAVAILABLE
        ) from error


COMMANDS = (explore,)
