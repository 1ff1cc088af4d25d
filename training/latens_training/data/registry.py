"""The data sets by the name that `--dataset` takes.

A data set of one's own is a function `module:function` `(*, options...)` that returns a
`latens_training.data.types.Dataset`. It may also take `data_dir`, `image_size` and `fit`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from latens_training.registry import Registry

if TYPE_CHECKING:
    from pathlib import Path

    from latens_training.data.types import Dataset

DATASETS = Registry("dataset", shared=("data_dir", "image_size", "fit"))


@DATASETS.register("mnist")
def _mnist(*, data_dir: Path | None) -> Dataset:
    from latens_training.data.mnist import load_mnist

    return load_mnist(data_dir)


@DATASETS.register("fashion-mnist")
def _fashion_mnist(*, data_dir: Path | None) -> Dataset:
    from latens_training.data.mnist import load_fashion_mnist

    return load_fashion_mnist(data_dir)


@DATASETS.register("kmnist")
def _kmnist(*, data_dir: Path | None) -> Dataset:
    from latens_training.data.mnist import load_kmnist

    return load_kmnist(data_dir)


@DATASETS.register("emnist")
def _emnist(*, data_dir: Path | None) -> Dataset:
    from latens_training.data.mnist import load_emnist

    return load_emnist(data_dir)


@DATASETS.register("sprites")
def _sprites() -> Dataset:
    from latens_training.data.sprite_sets import load_full

    return load_full()


@DATASETS.register("sprites-small")
def _sprites_small() -> Dataset:
    from latens_training.data.sprite_sets import load_reduced

    return load_reduced()


@DATASETS.register("dsprites")
def _dsprites(*, data_dir: Path | None) -> Dataset:
    from latens_training.data.dsprites import load_dsprites

    return load_dsprites(data_dir)
