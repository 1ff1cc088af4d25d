"""dSprites from its published file.

Matthey et al. 2017, github.com/google-deepmind/dsprites-dataset.
The file is not in any package: `--data-dir` names the folder that has it. `sprites` are images of
the same factors, drawn by us.
"""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import numpy as np
import torch

from latens_training import memory
from latens_training.data.sprites import FACTORS, FULL
from latens_training.data.types import Dataset, Split
from latens_training.errors import DataError, NotFoundError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FILE = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
_TEST_SHARE = 10
_SEED = 2017
_COPIES = 3
"""Of the images in memory at once: as read, scaled to 255, and split."""


def load_dsprites(data_dir: Path | None) -> Dataset:
    """The 737,280 images of the file, whose labels are the shapes.

    One image in ten is for testing; the choice is fixed. The attributes are the indices of all
    factor values.

    Raises:
        NotFoundError: there is no such file.
        DataError: it is not the published file.
    """
    if data_dir is None:
        raise NotFoundError(
            f"dataset: dsprites needs --data-dir, the folder of {FILE}; --dataset sprites draws "
            "images of the same factors"
        )
    path = data_dir / FILE
    if not path.is_file():
        raise NotFoundError(f"{path}: no such file")
    memory.require(
        _COPIES * len(FULL) * FULL.side**2, f"{path}: {len(FULL):,} images", "use --dataset sprites"
    )
    images, factors = _checked(path, *_read(path))
    order = np.random.default_rng(_SEED).permutation(len(images))
    cut = len(images) // _TEST_SHARE
    test, train = np.sort(order[:cut]), np.sort(order[cut:])
    return Dataset(
        "dsprites",
        _split(images, factors, train),
        _split(images, factors, test),
        class_names=FULL.shapes,
    )


def _read(path: Path) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    try:
        # The file has a pickled array of notes too, which is not read.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return arrays["imgs"], arrays["latents_classes"]
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not the dSprites file ({error})") from error


def _checked(
    path: Path, images: NDArray[np.generic], classes: NDArray[np.generic]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The images and the factors' indices, refused unless all factor values are there in order."""
    expected = FULL.factors(np.arange(len(FULL)))
    if images.shape != (len(FULL), FULL.side, FULL.side) or images.dtype != np.uint8:
        raise DataError(f"{path}: images {images.shape} {images.dtype}, not those of dSprites")
    if classes.shape != (len(FULL), 1 + len(FACTORS)) or (classes[:, 1:] != expected).any():
        raise DataError(f"{path}: its factors are not those of dSprites, all combinations in order")
    if images.max() > 1:
        raise DataError(f"{path}: pixels up to {images.max()}, expected 0 and 1")
    return images.astype(np.uint8), expected


def _split(
    images: NDArray[np.uint8], factors: NDArray[np.int64], index: NDArray[np.int64]
) -> Split:
    pixels = torch.from_numpy(images[index][:, None]).mul_(255)
    values = torch.from_numpy(factors[index])
    attributes = {name: values[:, place] for place, name in enumerate(FACTORS)}
    return Split(pixels, attributes["shape"], attributes)
