"""The protocol that all scores share: how many points, which codes, which random numbers.

The numbers follow Locatello et al. (2019, arXiv:1811.12359, appendix C; disentanglement_lib) except
where a module says otherwise. Codes are posterior means. The scores are functions of arrays: codes
float `[n, units]` and factors int `[n, factors]`, one row per image, from any model and any data
set with known factors. A unit whose code varies by no more than 0.01 is inactive.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from latens_training.metrics.evaluation import ACTIVE_VARIANCE, known_labels

if TYPE_CHECKING:
    from latens_training.data.sprites import Sprites
    from latens_training.data.types import Images
    from latens_training.models.autoencoder import Autoencoder

Codes = NDArray[np.float64]
Factors = NDArray[np.int64]
Classifier = Literal["boosted-trees", "random-forest"]

_BLOCK = 512


@dataclass(frozen=True)
class Protocol:
    """The sizes of the samples that the scores are computed from, and DCI's classifier."""

    points: int = 10_000
    """Images that a score is fitted on; drawn without replacement if there are enough."""
    test_points: int = 5_000
    """Further images that fitted classifiers are judged on."""
    votes: int = 10_000
    """Votes that the FactorVAE score's classifier learns from."""
    test_votes: int = 5_000
    vote_images: int = 64
    """Images per vote, alike in one factor."""
    bins: int = 20
    """Bins per code for its mutual information with a factor."""
    dci_classifier: Classifier = "boosted-trees"
    """Boosted trees are disentanglement_lib's choice; a random forest is faster and gives other
    figures."""
    dci_trees: int | None = None
    """Trees per class (boosted) or per factor (forest); None for the classifier's default."""
    seed: int = 0


def active_units(codes: Codes) -> NDArray[np.bool_]:
    """Which units vary over the images, `[units]`."""
    return np.asarray(codes.var(axis=0) > ACTIVE_VARIANCE)


def sample(
    codes: Codes, factors: Factors, count: int, generator: np.random.Generator
) -> tuple[Codes, Factors]:
    """The codes and factors of `count` random images."""
    index = generator.choice(len(codes), count, replace=count > len(codes))
    return codes[index], factors[index]


def two_samples(
    codes: Codes, factors: Factors, first: int, second: int, generator: np.random.Generator
) -> tuple[Codes, Factors, Codes, Factors]:
    """Two samples that share no image; each is smaller where there are not enough images."""
    size = len(codes)
    share = min(1.0, size / (first + second))
    order = generator.permutation(size)
    cut, end = int(first * share), int(first * share) + int(second * share)
    fit, test = order[:cut], order[cut:end]
    return codes[fit], factors[fit], codes[test], factors[test]


@torch.inference_mode()
def encode_all(model: Autoencoder, images: Images, labels: torch.Tensor | None = None) -> Codes:
    """The codes of images, `[n, units]`; the model and the images on one device.

    Labels, int64 `[n]`, are read for a conditional model alone.
    """
    device = next(model.parameters()).device
    classes, parts = known_labels(model, labels), []
    for block in torch.arange(len(images)).split(_BLOCK):  # type: ignore[no-untyped-call]
        index = block.to(device)
        some = None if classes is None else classes[index]
        mean, _ = model.encode(images[index].float().div_(255), some)
        parts.append(mean.flatten(1).cpu())
    return np.asarray(torch.cat(parts).double().numpy())


def encode_grid(model: Autoencoder, sprites: Sprites) -> tuple[Codes, Factors]:
    """The codes and factors of all images of a grid; the model and the images on one device."""
    return encode_all(model, sprites), sprites.grid.factors(np.arange(len(sprites)))


def gap(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The best unit's lead over the second, by factor: `[units, factors]` to `[factors]`."""
    if len(scores) < 2:
        return np.asarray(scores[0])
    ranked = np.sort(scores, axis=0)
    return np.asarray(ranked[-1] - ranked[-2])
