"""The names that an image set carries for people, beside its pixels and labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from latens_training.errors import DataError, NotFoundError


def index_of(dataset: Path, split: str, wanted: str) -> int:
    """The place in a split of the first image of this name, whatever the case of its letters.

    Args:
        dataset: an .npz file with `train_names` and `test_names`, as `data fonts` writes it.
        split: `train` or `test`.
        wanted: a name, or the beginning of one.

    Raises:
        NotFoundError: there is no such name; the message lists near ones.
        DataError: the set has no names.
    """
    names = _names(dataset, split)
    lowered = [name.casefold() for name in names]
    target = wanted.casefold()
    if target in lowered:
        return lowered.index(target)
    begun = [index for index, name in enumerate(lowered) if name.startswith(target)]
    if begun:
        return begun[0]
    near = [name for name in names if target.split()[0] in name.casefold()][:5] or names[:5]
    raise NotFoundError(f"image: no {wanted!r} in {dataset}; there are {', '.join(near)} ...")


def _names(dataset: Path, split: str) -> list[str]:
    if dataset.suffix != ".npz" or not dataset.is_file():
        raise DataError(f"{dataset}: its images have no names; give an index")
    with np.load(dataset, allow_pickle=False) as arrays:
        key = f"{split}_names"
        if key not in arrays.files:
            raise DataError(f"{dataset}: its images have no names ({key}); give an index")
        return [str(name) for name in arrays[key]]
