"""A picture has the same pixels in training and for a caller of the trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from latens import pictures
from latens.cli.inputs import read_images
from latens.models import from_message
from latens.v1 import latens_pb2 as pb
from latens_training.data import datasets

HEIGHT, WIDTH = 12, 18
RANDOM = np.random.default_rng(24)
GREY = RANDOM.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
COLOUR = RANDOM.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
ALPHA = RANDOM.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
DEEP = GREY.astype(np.uint16) * 257 + 60

L, RGB = Image.fromarray(GREY), Image.fromarray(COLOUR)
RGBA = Image.fromarray(np.dstack([COLOUR, ALPHA]))


def turned(orientation: int) -> dict[str, Any]:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return {"exif": exif}


ODD_FILES: dict[str, tuple[Image.Image, dict[str, Any]]] = {
    "grey.png": (L, {}),
    "grey.bmp": (L, {}),
    "grey.gif": (L, {}),
    "grey.tif": (L, {}),
    "grey.jpg": (L, {"quality": 90}),
    "grey-with-hole.png": (L, {"transparency": int(GREY[0, 0])}),
    "grey-alpha.png": (Image.merge("LA", [L, Image.fromarray(ALPHA)]), {}),
    "bits.png": (L.convert("1"), {}),
    "deep.png": (Image.fromarray(DEEP), {}),
    "deep.tif": (Image.fromarray(DEEP), {}),
    "integers.tif": (Image.fromarray(DEEP.astype(np.int32)), {}),
    "colour.png": (RGB, {}),
    "colour.jpg": (RGB, {"quality": 90}),
    "colour.webp": (RGB, {"lossless": True}),
    "colour-with-hole.png": (RGB, {"transparency": tuple(COLOUR[0, 0].tolist())}),
    "alpha.png": (RGBA, {}),
    "alpha.webp": (RGBA, {"lossless": True, "exact": True}),
    "palette.png": (RGB.quantize(16), {}),
    "palette-with-hole.png": (RGB.quantize(16), {"transparency": 3}),
    "palette-of-greys.png": (L.convert("P"), {}),
    "palette.gif": (RGB.quantize(16), {}),
    "cmyk.jpg": (RGB.convert("CMYK"), {"quality": 90}),
    "upside-down.jpg": (RGB, {"quality": 90, **turned(3)}),
    "on-its-side.jpg": (RGB, {"quality": 90, **turned(6)}),
    "mirrored.png": (L, turned(2)),
    "two-frames.gif": (L, {"save_all": True, "append_images": [L.point(lambda v: 255 - v)]}),
}


def folder_of(tmp_path: Path, name: str) -> Path:
    """A folder with the same picture twice: a data set needs one to train on and one to test."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    picture, options = ODD_FILES[name]
    for copy in ("first", "second"):
        picture.save(folder / f"{copy}-{name}", **options)
    return folder


@pytest.mark.parametrize("name", ODD_FILES)
def test_training_and_client_read_the_same_pixels(tmp_path: Path, name: str) -> None:
    folder = folder_of(tmp_path, name)
    dataset = datasets.load(str(folder))
    path = folder / f"first-{name}"
    np.testing.assert_array_equal(dataset.train.images[0].numpy(), pictures.read(path))
    model = from_message(pb.Model(image_shape=dataset.image_shape))
    sent = read_images([path], model)
    assert sent.dtype == np.uint8
    np.testing.assert_array_equal(dataset.train.images.numpy(), sent)


@pytest.mark.parametrize("name", ["grey.png", "alpha.png", "on-its-side.jpg"])
def test_fitted_pictures_are_the_same_pixels_too(tmp_path: Path, name: str) -> None:
    folder = folder_of(tmp_path, name)
    dataset = datasets.load(str(folder), image_size=(16, 16))
    model = from_message(pb.Model(image_shape=dataset.image_shape))
    sent = read_images([folder / f"first-{name}"], model)
    np.testing.assert_array_equal(dataset.train.images.numpy(), sent)


def test_a_crop_fills_the_image_and_a_resize_keeps_nothing_of_the_aspect(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    wide = np.zeros((10, 30), np.uint8)
    wide[:, 10:20] = 255
    for name in ("a", "b"):
        Image.fromarray(wide).save(folder / f"{name}.png")
    crop, resize, pad = (
        datasets.load(str(folder), image_size=(10, 10), fit=fit).train.images[0, 0].numpy()
        for fit in ("crop", "resize", "pad")
    )
    assert (crop == 255).all()
    assert resize[:, 0].max() < 30 < 225 < resize[:, 5].min()
    assert (pad[0] == 0).all()
    assert pad[5, 5] > 225


def test_classes_are_the_union_of_both_splits_and_keep_their_names(tmp_path: Path) -> None:
    for place in ("train/cat", "train/dog", "train/owl", "test/dog", "test/owl"):
        folder = tmp_path / "animals" / place
        folder.mkdir(parents=True)
        L.save(folder / "one.png")
    dataset = datasets.load(str(tmp_path / "animals"))
    assert dataset.class_names == ("cat", "dog", "owl")
    assert dataset.train.labels is not None
    assert dataset.test.labels is not None
    assert dataset.train.labels.tolist() == [0, 1, 2]
    assert dataset.test.labels.tolist() == [1, 2]
