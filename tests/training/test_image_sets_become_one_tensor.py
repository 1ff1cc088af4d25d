"""From every source, training gets one uint8 tensor [n, c, h, w] and the labels, if any."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from latens_training.config import DataConfig
from latens_training.data import binarization, datasets
from latens_training.data.types import Dataset, Split
from latens_training.errors import DataError, TrainingError

RANDOM = np.random.default_rng(11)


def pixels(*shape: int) -> np.ndarray:
    return RANDOM.integers(0, 256, shape, dtype=np.uint8)


def whole(dataset: Dataset) -> int:
    return len(dataset.train) + len(dataset.test)


@pytest.fixture(scope="module")
def mnist() -> Dataset:
    return datasets.load("mnist")


def test_mnist_comes_with_the_package(mnist: Dataset) -> None:
    assert mnist.train.images.shape == (60_000, 1, 28, 28)
    assert mnist.test.images.shape == (10_000, 1, 28, 28)
    assert mnist.train.images.dtype == torch.uint8
    assert mnist.train.labels is not None
    assert torch.bincount(mnist.train.labels).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    # The mean and deviation that everyone normalises by.
    assert float(mnist.train.images.float().mean() / 255) == pytest.approx(0.1307, abs=1e-4)
    assert float(mnist.train.images.float().std() / 255) == pytest.approx(0.3081, abs=1e-4)


def test_a_damaged_embedded_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from latens_training.data import mnist

    for path in mnist._EMBEDDED.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes()[:-1] + b"?")
    monkeypatch.setattr(mnist, "_EMBEDDED", tmp_path)
    with pytest.raises(DataError, match="SHA-256 digest is not the official file's"):
        datasets.load("mnist")


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return header + array.tobytes()


def test_a_named_set_is_found_where_torchvision_puts_it(tmp_path: Path) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    train, test = pixels(12, 28, 28), pixels(4, 28, 28)
    for stem, images in (("train", train), ("t10k", test)):
        (raw / f"{stem}-images-idx3-ubyte").write_bytes(idx(images))
        (raw / f"{stem}-labels-idx1-ubyte").write_bytes(idx(pixels(len(images)) % 10))
    dataset = datasets.load("fashion-mnist", tmp_path)
    assert torch.equal(dataset.train.images[:, 0], torch.from_numpy(train))
    assert dataset.test.labels is not None
    assert dataset.test.labels.dtype == torch.int64


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "kmnist", "emnist"])
def test_a_named_set_is_found_as_four_files_of_a_folder(
    name: str, mnist_subset: Path, mnist: Dataset
) -> None:
    dataset = datasets.load(name, mnist_subset)
    assert dataset.name == name
    assert torch.equal(dataset.train.images, mnist.train.images[:6000])


def test_a_set_that_cannot_be_downloaded_says_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import KMNIST

    monkeypatch.setattr(KMNIST, "mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(DataError, match=r"kmnist: not found in .*--data-dir"):
        datasets.load("kmnist", tmp_path)


def test_a_folder_of_pictures_with_its_classes_and_splits(tmp_path: Path) -> None:
    expected = {}
    for part, count in (("train", 6), ("test", 2)):
        for label, name in enumerate(("cat", "dog")):
            folder = tmp_path / "animals" / part / name
            folder.mkdir(parents=True)
            for index in range(count):
                expected[part, label, index] = pixels(5, 7, 3)
                Image.fromarray(expected[part, label, index]).save(folder / f"{index}.png")
    dataset = datasets.load(str(tmp_path / "animals"))
    assert dataset.name == "animals"
    assert dataset.train.images.shape == (12, 3, 5, 7)
    assert dataset.test.labels is not None
    assert dataset.test.labels.tolist() == [0, 0, 1, 1]
    last = torch.from_numpy(expected["test", 1, 1]).permute(2, 0, 1)
    assert torch.equal(dataset.test.images[-1], last)


def test_a_flat_folder_gives_every_tenth_picture_to_the_test_set(tmp_path: Path) -> None:
    for index in range(25):
        Image.fromarray(pixels(4, 4)).save(tmp_path / f"{index:02}.png")
    dataset = datasets.load(str(tmp_path))
    assert (len(dataset.train), len(dataset.test)) == (23, 2)
    assert dataset.train.labels is None
    assert dataset.image_shape == (1, 4, 4)


def test_grey_and_coloured_pictures_become_colours(tmp_path: Path) -> None:
    Image.fromarray(pixels(4, 4)).save(tmp_path / "a.png")
    Image.fromarray(pixels(4, 4, 3)).save(tmp_path / "b.png")
    dataset = datasets.load(str(tmp_path))
    grey = dataset.train.images[0]
    assert dataset.image_shape == (3, 4, 4)
    assert torch.equal(grey[0], grey[2])


def test_an_npz_with_labels_and_attributes(tmp_path: Path) -> None:
    images = pixels(30, 3, 4, 5)
    weight = np.arange(30) * 100
    np.savez(tmp_path / "set.npz", images=images, labels=np.arange(30), attribute_weight=weight)
    dataset = datasets.load(str(tmp_path / "set.npz"))
    assert whole(dataset) == 30
    assert dataset.test.labels is not None
    assert dataset.test.labels.tolist() == [9, 19, 29]
    assert dataset.test.attributes["weight"].tolist() == [900, 1900, 2900]
    assert torch.equal(dataset.test.images, torch.from_numpy(images[9::10]))


def test_an_npz_of_floats_and_keras_names(tmp_path: Path) -> None:
    floats = np.linspace(0, 1, 256, dtype=np.float64).reshape(4, 8, 8)
    np.savez(tmp_path / "k.npz", x_train=floats, y_train=np.arange(4), x_test=floats[:2])
    dataset = datasets.load(str(tmp_path / "k.npz"))
    assert dataset.train.images.flatten().tolist() == list(range(256))
    assert dataset.train.labels is not None
    assert dataset.test.labels is None


@pytest.mark.parametrize("zipped", [False, True])
def test_an_idx_file_with_its_labels(tmp_path: Path, zipped: bool) -> None:
    images, labels = pixels(20, 6, 6), np.arange(20, dtype=np.uint8)
    suffix = ".gz" if zipped else ""
    for name, array in (("my-images-idx3", images), ("my-labels-idx1", labels)):
        content = gzip.compress(idx(array)) if zipped else idx(array)
        (tmp_path / f"{name}-ubyte{suffix}").write_bytes(content)
    dataset = datasets.load(str(tmp_path / f"my-images-idx3-ubyte{suffix}"))
    assert dataset.image_shape == (1, 6, 6)
    assert dataset.test.labels is not None
    assert dataset.test.labels.tolist() == [9, 19]


def test_a_data_dir_is_for_named_sets(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="data-dir: only for named data sets"):
        datasets.load(str(tmp_path), tmp_path)


def test_different_sets_have_different_digests(mnist_subset: Path, mnist: Dataset) -> None:
    subset = datasets.load("mnist", mnist_subset)
    assert subset.digest() == datasets.load("mnist", mnist_subset).digest()
    assert subset.digest() != mnist.digest()


GREY = torch.arange(256, dtype=torch.uint8).repeat(2000).view(2000, 1, 16, 16)


def test_static_binarisation_is_drawn_once_with_grey_as_its_probability() -> None:
    drawn = [binarization.binarized_once(GREY, seed=1) for _ in range(2)]
    assert torch.equal(*drawn)
    assert drawn[0].unique().tolist() == [0, 255]
    shares = drawn[0].float().mean(0).flatten()
    assert (shares - torch.arange(256)).abs().max() < 255 * 5 * 0.5 / 2000**0.5
    assert not torch.equal(drawn[0], binarization.binarized_once(GREY, seed=2))


def test_dynamic_binarisation_trains_on_grey_and_is_judged_by_a_fixed_draw() -> None:
    dataset = Dataset("grey", Split(GREY[:10]), Split(GREY[10:20]))
    config = DataConfig(binarize="dynamic")
    judged = binarization.for_evaluation(dataset, config)
    assert judged.test.images.unique().tolist() == [0, 255]
    images = binarization.images_to_train_on(dataset, judged, config)
    assert torch.equal(images, GREY[:10])
    generator = torch.Generator().manual_seed(0)
    first, second = (binarization.draw_binary(images / 255, generator) for _ in range(2))
    assert not torch.equal(first, second)
    static = DataConfig(binarize="static")
    kept = binarization.images_to_train_on(dataset, judged, static)
    assert torch.equal(kept, judged.train.images)


@pytest.mark.parametrize("how", ["static", "dynamic"])
def test_images_that_are_made_when_asked_for_can_be_binarised(how: str) -> None:
    sprites = datasets.load("sprites-small")
    config = DataConfig(dataset="sprites-small", binarize=how)
    evaluated = binarization.for_evaluation(sprites, config)
    trained_on = binarization.images_to_train_on(sprites, evaluated, config)
    first = torch.arange(5)
    # Their pixels are black or white, so the draws are what they are drawn of.
    assert torch.equal(evaluated.test.images[first], sprites.test.images[first])
    assert torch.equal(trained_on[first], sprites.train.images[first])
