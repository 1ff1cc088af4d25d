"""The command line: its shared options, its verbs, and how failures end it."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from latens import __version__
from latens.channel import DEFAULT_ADDRESS, Tls
from latens.cli import console, options
from latens.cli.decode import decode
from latens.cli.encode import encode
from latens.cli.explore import explore
from latens.cli.failures import (
    EXIT_CODES,
    INTERRUPTED,
    TERMINATED,
    CommandError,
    exit_code_of,
    sentence_of,
)
from latens.cli.grid import grid
from latens.cli.health import health
from latens.cli.inpaint import inpaint
from latens.cli.interpolate import interpolate
from latens.cli.models import models
from latens.cli.placement import NEGATIVE, options_of, placed
from latens.cli.reconstruct import reconstruct
from latens.cli.sample import sample
from latens.cli.score import score
from latens.cli.session import Session, token_from
from latens.cli.traverse import traverse
from latens.errors import LatensError

COMMANDS = (
    *(encode, decode, sample, interpolate, reconstruct, traverse, grid, inpaint, score),
    *(models, health, explore),
)

EXAMPLES = f"""\
Walk through the latent space of a variational autoencoder, from the shell.

[bold]Examples[/bold]

  latens sample -o digits.png                    a sheet of sampled images
  latens interpolate 3.png 8.png -o morph.gif    one image becomes the other
  latens grid -o map.png                         the latent plane, 21 x 21 images
  latens encode scans/ -o codes.npz              a folder of images to latents
  latens models --json                           the server's models

Options may stand before or after the verb.

{EXIT_CODES}
"""


class Commands(TyperGroup):
    """The verbs. Expected failures end here, in one line and with their exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        verbs = {
            name: options_of(command.params)  # without the server options that its help shows
            for name, command in self.commands.items()
        }
        return super().parse_args(ctx, placed(args, options_of(self.params), verbs))

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except LatensError as error:
            console.note(sentence_of(error, ctx.obj.address if ctx.obj else DEFAULT_ADDRESS))
            raise typer.Exit(exit_code_of(error)) from error
        except CommandError as error:
            console.note(str(error))
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(INTERRUPTED) from error


class Verb(TyperCommand):
    """A verb: its help shows the server options, and its arguments may be negative numbers."""

    def get_params(self, ctx: Any) -> list[Any]:
        above = ctx.parent.command.params if ctx.parent else []
        server = [p for p in above if getattr(p, "rich_help_panel", None) == options.SERVER]
        return [*super().get_params(ctx), *server]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        shielded = [f" {arg}" if NEGATIVE.match(arg) else arg for arg in args]
        rest = super().parse_args(ctx, shielded)
        own = {parameter.name for parameter in self.params}
        ctx.params = {name: value for name, value in ctx.params.items() if name in own}
        return rest


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
def session(
    context: typer.Context,
    address: options.AddressOption = DEFAULT_ADDRESS,
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
    """Makes the session; `EXAMPLES` is the help."""
    del version
    encrypted = tls or ca_file or cert_file or key_file or server_name
    context.obj = Session(
        address=address,
        tls=Tls(ca_file, cert_file, key_file, server_name) if encrypted else None,
        token=token_from(token, token_file),
        timeout=timeout,
    )


for _command in COMMANDS:
    app.command(cls=Verb, no_args_is_help=False)(_command)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    """Ends by an exception, so that half-written files are removed on the way."""
    sys.exit(TERMINATED)


def run() -> None:
    signal.signal(signal.SIGTERM, _terminate)
    app()
