"""The connection of a command, and the arguments that its calls share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import typer

from latens.channel import DEFAULT_ADDRESS, Connection, Tls
from latens.chunks import Progress
from latens.cli import console
from latens.client import Client
from latens.labels import Labels
from latens.models import Model

ROWS_PER_CALL = 1024
"""Small enough that a progress bar moves, large enough to be as fast as larger calls."""


@dataclass(frozen=True)
class Session:
    """The server options."""

    address: str = DEFAULT_ADDRESS
    tls: Tls | None = None
    token: str | None = None
    timeout: float = 60.0

    def connection(self) -> Connection:
        """The connection.

        Raises:
            typer.BadParameter: the address is invalid, or contradicts the TLS options.
        """
        connection = Connection(self.address, self.tls, self.token)
        try:
            connection.location()
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--address") from error
        return connection


def connect(context: typer.Context) -> Client:
    """The client of a command.

    Raises:
        typer.BadParameter: a server option is invalid.
    """
    session: Session = context.obj
    session.connection()
    try:
        return Client(
            session.address,
            tls=session.tls,
            token=session.token,
            timeout=session.timeout,
            rows_per_call=ROWS_PER_CALL,
        )
    except (OSError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error


class ModelArguments(TypedDict):
    """The client's arguments that name a model."""

    model: str
    version: str


def named(model: str) -> ModelArguments:
    """Parses `NAME[/VERSION]`."""
    name, _, version = model.partition("/")
    return {"model": name, "version": version}


class BatchArguments(ModelArguments):
    """The client's arguments that all calls of batches share."""

    progress: Progress | None
    labels: Labels | None


class Calls:
    """The client of a command, and the model that it asks."""

    def __init__(
        self, client: Client, model: str, progress: Progress | None, labels: Labels | None
    ) -> None:
        self.client = client
        self.shared: BatchArguments = {**named(model), "progress": progress, "labels": labels}
        self._named = named(model)

    def model(self) -> Model:
        """The server's description of the model."""
        return self.client.model(**self._named)


@contextmanager
def calling(
    context: typer.Context, model: str, verb: str, labels: list[str] | None = None
) -> Iterator[Calls]:
    """A connection for the length of a command, with a progress bar of its verb.

    Args:
        context: of the command.
        model: as the option --model has it.
        verb: of the command.
        labels: as the option --label has them: one for all rows, or one for each.
    """
    classes = labels[0] if labels and len(labels) == 1 else labels
    with connect(context) as client, console.progress(verb) as progress:
        yield Calls(client, model, progress, classes)


def token_from(text: str | None, path: Path | None) -> str | None:
    """The bearer token of the environment or of a file.

    Raises:
        typer.BadParameter: the file cannot be read.
    """
    if path is None:
        return text
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{path}: {error}", param_hint="--token-file") from error
