"""The verb `health`: whether the server takes calls."""

from __future__ import annotations

from typing import Annotated

import typer

from latens.cli import console
from latens.cli.failures import UNAVAILABLE
from latens.cli.options import JsonOption
from latens.cli.session import connect
from latens.health import Health


def health(
    context: typer.Context,
    service: Annotated[
        str, typer.Option(help="A service of the server; the whole server if not given.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Asks the server whether it takes calls; exits with 4 if it does not.

    Examples:
      latens health
      latens health --service latens.v1.LatentService --address gpu-1:50051
    """
    with connect(context) as client:
        status = client.health(service)
    if as_json:
        console.print_json({"status": status.name, "service": service})
    else:
        console.line(status.name)
    if status is not Health.SERVING:
        raise typer.Exit(UNAVAILABLE)
