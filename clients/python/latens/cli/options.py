"""The options that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latens.pictures import Fit

SERVER = "Server"
PICTURE = "Picture"

AddressOption = Annotated[
    str,
    typer.Option(
        "--address",
        "-a",
        envvar="LATENS_ADDRESS",
        metavar="HOST:PORT[,...]",
        help="The server, or several to share the calls; also a URL such as grpcs://HOST:PORT.",
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
    bool, typer.Option("--tls", envvar="LATENS_TLS", help="Use TLS.", rich_help_panel=SERVER)
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
        help="The client's certificate, PEM; implies --tls.",
        rich_help_panel=SERVER,
    ),
]
KeyFileOption = Annotated[
    Path | None,
    typer.Option(
        envvar="LATENS_KEY_FILE", help="The certificate's key, PEM.", rich_help_panel=SERVER
    ),
]
ServerNameOption = Annotated[
    str | None,
    typer.Option(
        envvar="LATENS_SERVER_NAME",
        help="The name to expect in the server's certificate; implies --tls.",
        rich_help_panel=SERVER,
    ),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        envvar="LATENS_TOKEN_FILE",
        help="A file with a bearer token; LATENS_TOKEN holds the token itself.",
        rich_help_panel=SERVER,
    ),
]
TokenOption = Annotated[str | None, typer.Option(envvar="LATENS_TOKEN", hidden=True)]

ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME[/VERSION]",
        help="The model; the server's default one if not given.",
        show_default=False,
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
        "--scale",
        min=1,
        max=64,
        help="Enlarge each pixel of a PNG or GIF to a square of so many.",
        rich_help_panel=PICTURE,
    ),
]
ColumnsOption = Annotated[
    int | None,
    typer.Option(
        "--columns", min=1, help="Images per row of a contact sheet.", rich_help_panel=PICTURE
    ),
]
FitOption = Annotated[
    Fit | None,
    typer.Option(
        help="How pictures of other sizes become the model's: `pad` adds a margin, `crop` cuts "
        "what exceeds, `resize` changes the aspect.",
        show_default=False,
    ),
]
SizeOption = Annotated[
    str | None,
    typer.Option(
        "--size",
        metavar="WIDTHxHEIGHT",
        help="The size of the images, for a model that leaves it free.",
        show_default=False,
    ),
]
InvertOption = Annotated[
    bool,
    typer.Option("--invert", help="Turn dark ink on white paper into light on black, as in MNIST."),
]
GreyOption = Annotated[
    bool,
    typer.Option("--grey", help="Take colour pictures for a model of grey ones, without colour."),
]

ImagesArgument = Annotated[
    list[Path],
    typer.Argument(help="Pictures, folders of them, .npy or .npz.", show_default=False),
]
ImagesOutput = Annotated[
    Path, typer.Option("--output", "-o", help=".png (a sheet), .npy, .npz, or a folder/ of PNGs.")
]
LabelOption = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        "-l",
        metavar="CLASS",
        help="Of a conditional model: the class of all rows, by number or name; repeated, that of "
        "each.",
        show_default=False,
    ),
]
AttributesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--attribute",
        metavar="NAME=STRENGTH",
        help="Add an attribute of the model, as in bold=1.5; may be repeated.",
    ),
]


def strengths(attributes: list[str] | None) -> dict[str, float]:
    """Parses `NAME=STRENGTH` for the client.

    Raises:
        typer.BadParameter: another form.
    """
    found: dict[str, float] = {}
    for text in attributes or ():
        name, _, strength = text.partition("=")
        try:
            found[name] = float(strength)
        except ValueError as error:
            raise typer.BadParameter(f"--attribute: {text!r} is not NAME=STRENGTH") from error
    return found


def height_and_width(text: str | None) -> tuple[int, int] | None:
    """Parses `WIDTHxHEIGHT`.

    Raises:
        typer.BadParameter: another form.
    """
    if text is None:
        return None
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise typer.BadParameter(f"{text!r}: expected a size as 512x384", param_hint="--size")
    return int(height), int(width)
