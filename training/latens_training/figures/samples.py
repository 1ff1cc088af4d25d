"""Images decoded from random latents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latens_training.figures import canvas, tiles
from latens_training.figures.subject import Subject

_SIDE = 12
_TILE = 84


def draw(subject: Subject, path: Path, seed: int = 0) -> Path:
    """A square of samples from the prior; without a prior, from a Gaussian fitted to the codes."""
    noise = np.random.default_rng(seed).standard_normal((_SIDE * _SIDE, subject.size))
    if subject.log_vars is None:
        latents = subject.centre + noise @ _factor(subject.means).T
        source = "a deterministic posterior has no prior: drawn from a Gaussian fitted to the codes"
    else:
        latents, source = noise, "z drawn from the prior N(0, I), images as the decoder's means"
    classes = None
    if subject.model.label_count:
        classes = np.arange(_SIDE * _SIDE) % _SIDE % subject.model.label_count
        source = source.replace("images as the decoder's means", "a class a column")
    pixels = tiles.scaled(tiles.to_pixels(subject.decode(latents, classes)), _TILE)
    sheet = tiles.sheet(pixels, _SIDE, gap=4)
    figure, _ = canvas.image_page(sheet, "Samples", f"{subject.caption} · {source}")
    return canvas.save(figure, path)


def _factor(means: NDArray[np.float32]) -> NDArray[np.float64]:
    """A matrix whose square is the covariance of the codes, whatever its rank."""
    covariance = np.atleast_2d(np.cov(means.astype(np.float64), rowvar=False, ddof=0))
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.clip(values, 0, None)))
