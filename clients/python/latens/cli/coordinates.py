"""Latent coordinates on the command line."""

from __future__ import annotations

import typer

from latens.cli.failures import bad_data
from latens.models import Model


def indices(text: str) -> list[int]:
    """Parses coordinate numbers: `0,3`.

    Raises:
        typer.BadParameter: another form.
    """
    parts = text.split(",")
    if not all(part.strip().isascii() and part.strip().isdigit() for part in parts):
        raise typer.BadParameter(f"{text!r}: expected coordinate numbers as 0,1")
    return [int(part) for part in parts]


def check_indices(chosen: list[int], model: Model) -> None:
    """Refuses coordinates that a model lacks.

    Raises:
        CommandError: it lacks one.
    """
    beyond = [index for index in chosen if index >= model.latent_size]
    if beyond:
        raise bad_data(f"no coordinate {beyond[0]}: expected 0 to {model.latent_size - 1}")
