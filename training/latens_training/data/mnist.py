"""MNIST, which comes with the package, and the sets of its form that torchvision knows."""

from __future__ import annotations

import hashlib
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latens_training.data.idx import parse_idx, read_bytes, read_idx
from latens_training.data.types import Dataset, Split
from latens_training.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

_EMBEDDED = Path(__file__).parent / "files" / "mnist"
_CACHE = Path("~/.cache/latens/datasets")

# SHA-256 of the embedded files, which are gzips of the official bytes.
_DIGESTS = {
    "train-images": "0b367032e93c5d0cea0925647cfdb18614af8ee15f83e6f2fc2ad904a6835971",
    "train-labels": "1787548bbe0bff1ec2ecdc0ef292b02df999e2d1a6002d27500982c652b17203",
    "t10k-images": "1a1a05eab793c14bb050b398624a11b0ffd1a2953baed553b1b9bd079e2a20be",
    "t10k-labels": "b91679a0acfe4ba0e50a2437a903084cba1f5f92592b016a25a7dfd00455798b",
}


def load_mnist(data_dir: Path | None) -> Dataset:
    """The 60,000 and 10,000 handwritten digits; embedded unless a folder is given.

    Raises:
        DataError: a file is missing, damaged or (of the embedded ones) not the official one.
    """
    if data_dir is not None:
        return _load_named("mnist", "MNIST", data_dir)
    train = _split(_embedded("train-images"), _embedded("train-labels"))
    test = _split(_embedded("t10k-images"), _embedded("t10k-labels"))
    return Dataset("mnist", train, test)


def load_fashion_mnist(data_dir: Path | None) -> Dataset:
    """Zalando's 28 x 28 pictures of clothes."""
    return _load_named("fashion-mnist", "FashionMNIST", data_dir)


def load_kmnist(data_dir: Path | None) -> Dataset:
    """Kuzushiji: cursive Japanese characters."""
    return _load_named("kmnist", "KMNIST", data_dir)


def load_emnist(data_dir: Path | None) -> Dataset:
    """The 47 balanced classes of handwritten digits and letters."""
    return _load_named("emnist", "EMNIST", data_dir, split="balanced")


def _embedded(stem: str) -> Tensor:
    path = _EMBEDDED / f"{stem}-idx{3 if stem.endswith('images') else 1}-ubyte.gz"
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    if digest != _DIGESTS[stem]:
        raise DataError(f"{path}: damaged (its SHA-256 digest is not the official file's)")
    return parse_idx(read_bytes(path), path)


def _split(images: Tensor, labels: Tensor | None) -> Split:
    return Split(images.unsqueeze(1), None if labels is None else labels.long())


def _load_named(
    name: str, torchvision_class: str, data_dir: Path | None, **options: Any
) -> Dataset:
    """Reads the four files of a folder; without them, torchvision finds or downloads them."""
    if data_dir is not None and (found := _four_files(data_dir)):
        train_images, train_labels, test_images, test_labels = map(read_idx, found)
        return Dataset(name, _split(train_images, train_labels), _split(test_images, test_labels))
    return _from_torchvision(name, torchvision_class, data_dir or _CACHE.expanduser(), options)


def _four_files(folder: Path) -> list[Path]:
    stems = ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"]
    found = [
        path
        for stem in stems
        for path in (folder / f"{stem}-ubyte", folder / f"{stem}-ubyte.gz")
        if path.is_file()
    ]
    return found if len(found) == len(stems) else []


def _from_torchvision(name: str, class_name: str, root: Path, options: dict[str, Any]) -> Dataset:
    from torchvision import datasets

    source = getattr(datasets, class_name)
    try:
        with redirect_stdout(sys.stderr):  # torchvision reports its downloads there
            train, test = (source(root, train=p, download=True, **options) for p in (True, False))
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{name}: not found in {root}, and the download failed ({reason}); "
            "put its files there, or name their folder with --data-dir"
        ) from error
    transpose = name == "emnist"  # EMNIST's files hold their pictures mirrored about the diagonal
    return Dataset(
        name,
        *(_split(part.data.mT if transpose else part.data, part.targets) for part in (train, test)),
    )
