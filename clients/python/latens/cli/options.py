"""The options that commands share, and the connection that they make."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypedDict

import typer

from latens.channel import DEFAULT_ADDRESS, Tls, target
from latens.client import Client

ROWS_PER_CALL = 1024
"""Calls small enough that a progress bar moves, large enough to cost nothing."""

SERVER = "Server"
PICTURE = "Picture"

AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        "-a",
        metavar="HOST:PORT[,...]",
        help=f"The server, or several. Also LATENS_ADDRESS. [default: {DEFAULT_ADDRESS}]",
        show_default=False,
        rich_help_panel=SERVER,
    ),
]
ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME[/VERSION]",
        help="The model; the server's default one if not given.",
        show_default=False,
        rich_help_panel=SERVER,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
SeedOption = Annotated[
    int | None,
    typer.Option(
        "--seed", "-s", min=0, max=2**64 - 1, help="The same seed gives the same result again."
    ),
]
ScaleOption = Annotated[
    int | None,
    typer.Option(
        "--scale", min=1, max=64, help="Pixels a pixel in a PNG or GIF.", rich_help_panel=PICTURE
    ),
]
ColumnsOption = Annotated[
    int | None,
    typer.Option(
        "--columns", min=1, help="Images a line in a contact sheet.", rich_help_panel=PICTURE
    ),
]
InvertOption = Annotated[
    bool,
    typer.Option(
        "--invert", help="Turn dark ink on white paper into light on black, as MNIST has it."
    ),
]

AttributesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--attribute",
        metavar="NAME=STRENGTH",
        help="An attribute of the model's to add, as bold=1.5; may be repeated.",
    ),
]


@dataclass(frozen=True)
class Session:
    """What was said before the verb."""

    address: str = DEFAULT_ADDRESS
    tls: Tls | None = None
    token: str | None = None
    timeout: float = 60.0

    def at(self, address: str | None) -> str:
        """The address to use: the one after the verb wins.

        Raises:
            typer.BadParameter: it is none.
        """
        chosen = address or self.address
        try:
            target(chosen)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--address") from error
        return chosen


def connect(context: typer.Context, address: str | None) -> Client:
    """The client of a command; the address is kept for what an error has to say."""
    session: Session = context.obj
    chosen = session.at(address)
    context.meta["latens.address"] = chosen
    try:
        return Client(
            chosen,
            tls=session.tls,
            token=session.token,
            timeout=session.timeout,
            rows_per_call=ROWS_PER_CALL,
        )
    except (OSError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error


class Named(TypedDict):
    """The arguments that say which model."""

    model: str
    version: str


def named(model: str) -> Named:
    """`NAME[/VERSION]` as the client's arguments."""
    name, _, version = model.partition("/")
    return {"model": name, "version": version}


def strengths(attributes: list[str] | None) -> dict[str, float]:
    """`NAME=STRENGTH` as the client's argument.

    Raises:
        typer.BadParameter: something else.
    """
    found: dict[str, float] = {}
    for text in attributes or ():
        name, _, strength = text.partition("=")
        try:
            found[name] = float(strength)
        except ValueError as error:
            raise typer.BadParameter(f"--attribute: {text!r} is not NAME=STRENGTH") from error
    return found


def token_from(text: str | None, path: Path | None) -> str | None:
    """The bearer token from the environment or a file.

    Raises:
        typer.BadParameter: the file cannot be read.
    """
    if path is None:
        return text
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{path}: {error}", param_hint="--token-file") from error
