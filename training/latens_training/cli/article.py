"""The command `article`: the figures of the article, each with the command that makes ours."""

from __future__ import annotations

import json
from typing import Annotated, NamedTuple

from pydantic import Field

from latens_training.cli.settings import CommandSettings


class Figure(NamedTuple):
    """A figure or a claim of the article, and how ours is made."""

    shows: str
    commands: tuple[str, ...]
    file: str


FIGURES = (
    Figure(
        "digits and their reconstructions by the plain autoencoder, ReLU on its code as listed",
        ("latens-train --preset article-ae",),
        "runs/article-ae/figures/reconstructions.png",
    ),
    Figure(
        "the plane of two coordinates at beta 0, 1 and 4, test digits coloured by label",
        ("latens-train compare --preset article-2d --betas 0,1,4",),
        "runs/compare-mnist/comparison.png",
    ),
    Figure(
        "the same plane decoded on a grid of 21 x 21",
        ("latens-train --preset article-2d",),
        "runs/article-2d/figures/manifold.png",
    ),
    Figure(
        "the plane of the convolutional VAE",
        ("latens-train --preset article-conv-2d",),
        "runs/article-conv-2d/figures/scatter.png",
    ),
    Figure(
        "ten coordinates of the convolutional VAE scanned at beta 1 and beta 4",
        ("latens-train compare --preset article-conv-beta1 --betas 1,4 --out runs/article-conv",),
        "runs/article-conv/comparison.png",
    ),
    Figure(
        "how far the coordinates follow factors, measured (the article has pictures alone)",
        ("latens-train compare --dataset sprites-small --latent-size 10 --betas 1,4 --seeds 5",),
        "runs/compare-sprites-small/scores.png",
    ),
    Figure(
        "walks between digits",
        ("latens-train --preset article-conv-beta1",),
        "runs/article-conv-beta1/figures/interpolations.png",
    ),
    Figure(
        "missing pixels filled in",
        (
            "latens-export runs/article-conv-beta1 --name conv",
            "latens-serve",
            "latens inpaint digit.png --mask mask.png --model conv -o filled.png",
        ),
        "filled.png",
    ),
    Figure(
        "letters of many fonts, bolder and more slanted by their attribute vectors",
        (
            "latens-train data fonts",
            "latens-train --preset fonts",
            "latens-train attributes runs/fonts",
        ),
        "runs/fonts/figures/weight-and-slant.png",
    ),
    Figure(
        "fashion: a mix of two garments, and a walk from one to the other",
        ("latens-train --preset fashion",),
        "runs/fashion/figures/interpolations.png",
    ),
)


class ArticleSettings(CommandSettings):
    """Lists the figures of "Roaming The Latent Space", each with the commands that make ours."""

    json_lines: Annotated[bool, Field(description="one JSON document on standard output")] = False


def run(settings: ArticleSettings) -> int:
    """Lists the figures; the exit code."""
    if settings.json_lines:
        print(json.dumps([figure._asdict() for figure in FIGURES]))
        return 0
    for figure in FIGURES:
        print(figure.shows)
        for command in figure.commands:
            print(f"    {command}")
        print(f"    -> {figure.file}\n")
    return 0
