"""Binarisation: grey pixels are the probabilities of binary ones."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from latens_training.errors import UsageError

if TYPE_CHECKING:
    from latens_training.config import DataConfig
    from latens_training.data.types import Dataset, Images

_BLOCK = 4096
_TRAIN_SEED = 2015
_TEST_SEED = 2016


def draw_binary(images: Tensor, generator: torch.Generator) -> Tensor:
    """Independent Bernoulli draws of images in [0, 1]; same shape and type."""
    draws = torch.rand(images.shape, generator=generator, device=images.device)
    return (draws < images).to(images.dtype)


def binarized_once(images: Images, seed: int) -> Tensor:
    """One draw of uint8 images, which depends only on the seed; uint8, values 0 and 255."""
    generator = torch.Generator().manual_seed(seed)
    blocks = [
        draw_binary(images[index].float() / 255, generator).mul(255).to(torch.uint8)
        for index in torch.arange(len(images)).split(_BLOCK)  # type: ignore[no-untyped-call]
    ]
    return torch.cat(blocks)


def for_evaluation(dataset: Dataset, config: DataConfig) -> Dataset:
    """The data set with the pixels that the model is evaluated on, which never change."""
    if config.binarize == "none":
        return dataset
    if hasattr(dataset.train.images, "identity"):
        raise UsageError("binarize: pictures that stay on disk cannot be binarised")
    return replace(
        dataset,
        train=replace(dataset.train, images=binarized_once(dataset.train.images, _TRAIN_SEED)),
        test=replace(dataset.test, images=binarized_once(dataset.test.images, _TEST_SEED)),
    )


def images_to_train_on(dataset: Dataset, evaluated: Dataset, config: DataConfig) -> Tensor:
    """Grey images if each step binarises them anew, else those of evaluation."""
    return (dataset if config.binarize == "dynamic" else evaluated).train.images
