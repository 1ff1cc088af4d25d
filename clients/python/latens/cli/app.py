"""The command line: its options before the verb, its verbs, and how it ends."""

from __future__ import annotations

import re
import signal
import sys
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from latens import __version__
from latens.channel import DEFAULT_ADDRESS, Tls
from latens.cli import (
    console,
    exploring,
    inspecting,
    judging,
    mapping,
    options,
    scanning,
    walking,
)
from latens.cli.failures import (
    EXIT_CODES,
    INTERRUPTED,
    TERMINATED,
    CommandError,
    exit_code_of,
    sentence_of,
)
from latens.cli.session import Session, token_from
from latens.errors import LatensError

EXAMPLES = f"""\
Walk through the latent space of a variational autoencoder, from the shell.

[bold]Examples[/bold]

  latens sample -o digits.png                    a sheet of sampled images
  latens interpolate 3.png 8.png -o morph.gif    one image becomes the other
  latens grid -o map.png                         the latent plane, 21 x 21 images
  latens encode scans/ -o codes.npz              a folder of images to latents
  latens models --json                           what the server has

{EXIT_CODES}
"""


_NEGATIVE = re.compile(r"-\.?\d")


class Commands(TyperGroup):
    """The verbs. Whatever is expected to fail ends here, in one line and with its exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except LatensError as error:
            address = ctx.meta.get("latens.address", DEFAULT_ADDRESS)
            console.note(sentence_of(error, address))
            raise typer.Exit(exit_code_of(error)) from error
        except CommandError as error:
            console.note(str(error))
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(INTERRUPTED) from error


class Verb(TyperCommand):
    """A verb whose arguments may be numbers below 0: `-1,0.5` is no option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        shielded = [f" {arg}" if _NEGATIVE.match(arg) else arg for arg in args]
        return super().parse_args(ctx, shielded)


app = typer.Typer(
    name="latens",
    cls=Commands,
    help=EXAMPLES,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        console.line(f"latens {__version__}")
        raise typer.Exit


VersionOption = Annotated[
    bool, typer.Option("--version", callback=_show_version, is_eager=True, help="The version.")
]


@app.callback()
def before_the_verb(
    context: typer.Context,
    address: options.AddressBeforeOption = DEFAULT_ADDRESS,
    timeout: options.TimeoutOption = 60.0,
    tls: options.TlsOption = False,
    ca_file: options.CaFileOption = None,
    cert_file: options.CertFileOption = None,
    key_file: options.KeyFileOption = None,
    server_name: options.ServerNameOption = None,
    token_file: options.TokenFileOption = None,
    token: options.TokenOption = None,
    version: VersionOption = False,
) -> None:
    """Shown by `EXAMPLES`."""
    del version
    encrypted = tls or ca_file or cert_file or key_file or server_name
    context.obj = Session(
        address=address,
        tls=Tls(ca_file, cert_file, key_file, server_name) if encrypted else None,
        token=token_from(token, token_file),
        timeout=timeout,
    )


for _module in (mapping, walking, scanning, judging, inspecting, exploring):
    for _command in _module.COMMANDS:
        app.command(cls=Verb, no_args_is_help=False)(_command)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    """Leaves by an exception, so that half-written files are removed on the way."""
    sys.exit(TERMINATED)


def run() -> None:
    signal.signal(signal.SIGTERM, _terminate)
    app()
