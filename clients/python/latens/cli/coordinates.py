"""Latent coordinates on the command line: z1 is the first, as in papers and in every figure."""

from __future__ import annotations

import re

import typer

from latens.cli.failures import bad_data
from latens.models import Model

_NUMBER = re.compile(r"\s*z?([0-9]+)\s*", re.ASCII)


def indices(text: str) -> list[int]:
    """Parses coordinates, `1,4` or `z1,z4`, to indices from 0.

    Raises:
        typer.BadParameter: another form.
    """
    found = [_NUMBER.fullmatch(part) for part in text.split(",")]
    numbers = [int(match[1]) for match in found if match is not None]
    if len(numbers) < len(found) or 0 in numbers:
        raise typer.BadParameter(f"{text!r}: expected coordinates from 1, as 1,2 or z1,z2")
    return [number - 1 for number in numbers]


def name_of(axis: int | str) -> str:
    """The name of a coordinate by its index from 0; an attribute's name stays."""
    return axis if isinstance(axis, str) else f"z{axis + 1}"


def check_indices(chosen: list[int], model: Model) -> None:
    """Refuses coordinates that a model lacks.

    Raises:
        CommandError: it lacks one.
    """
    beyond = [index for index in chosen if index >= model.latent_size]
    if beyond:
        raise bad_data(f"no coordinate {name_of(beyond[0])}: expected z1 to z{model.latent_size}")
