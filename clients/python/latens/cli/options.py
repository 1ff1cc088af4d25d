"""The options that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latens.channel import DEFAULT_ADDRESS

SERVER = "Server"
PICTURE = "Picture"

AddressBeforeOption = Annotated[
    str,
    typer.Option(
        "--address",
        "-a",
        envvar="LATENS_ADDRESS",
        metavar="HOST:PORT[,...]",
        help="The server, or several; may also come after the verb.",
        rich_help_panel=SERVER,
    ),
]
TimeoutOption = Annotated[
    float,
    typer.Option(
        envvar="LATENS_TIMEOUT",
        min=0.001,
        help="Seconds that one call may take.",
        rich_help_panel=SERVER,
    ),
]
TlsOption = Annotated[
    bool, typer.Option("--tls", envvar="LATENS_TLS", help="Connect by TLS.", rich_help_panel=SERVER)
]
CaFileOption = Annotated[
    Path | None,
    typer.Option(
        envvar="LATENS_CA_FILE",
        help="The authorities to trust, PEM; implies --tls.",
        rich_help_panel=SERVER,
    ),
]
CertFileOption = Annotated[
    Path | None,
    typer.Option(
        envvar="LATENS_CERT_FILE",
        help="Our certificate, PEM; implies --tls.",
        rich_help_panel=SERVER,
    ),
]
KeyFileOption = Annotated[
    Path | None,
    typer.Option(envvar="LATENS_KEY_FILE", help="Its key, PEM.", rich_help_panel=SERVER),
]
ServerNameOption = Annotated[
    str | None,
    typer.Option(
        envvar="LATENS_SERVER_NAME",
        help="The name in the server's certificate.",
        rich_help_panel=SERVER,
    ),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        envvar="LATENS_TOKEN_FILE",
        help="A bearer token; also LATENS_TOKEN, the token itself.",
        rich_help_panel=SERVER,
    ),
]
TokenOption = Annotated[str | None, typer.Option(envvar="LATENS_TOKEN", hidden=True)]

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

ImagesArgument = Annotated[
    list[Path], typer.Argument(help="Pictures, folders of them, .npy or .npz.", show_default=False)
]
AttributesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--attribute",
        metavar="NAME=STRENGTH",
        help="An attribute of the model's to add, as bold=1.5; may be repeated.",
    ),
]


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
