"""The connection that a command makes, and what each of its calls says alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import typer

from latens.channel import DEFAULT_ADDRESS, Tls, target
from latens.chunks import Progress
from latens.cli import console
from latens.client import Client
from latens.models import Model

ROWS_PER_CALL = 1024
"""Calls small enough that a progress bar moves, large enough to cost nothing."""


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


class Asked(Named):
    """The arguments that all calls of batches share."""

    progress: Progress | None


class Calls:
    """The client of a command, and the model that it is about."""

    def __init__(self, client: Client, model: str, progress: Progress | None) -> None:
        self.client = client
        self.asked: Asked = {**named(model), "progress": progress}
        self._named = named(model)

    def model(self) -> Model:
        """What the server says of the model."""
        return self.client.model(**self._named)


@contextmanager
def calling(context: typer.Context, address: str | None, model: str, label: str) -> Iterator[Calls]:
    """A connection for the length of a command, with a progress bar of this label."""
    with connect(context, address) as client, console.progress(label) as progress:
        yield Calls(client, model, progress)


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
