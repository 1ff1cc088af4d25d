"""`latens.pictures`: what each row of its table promises, on files written for it."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from latens import pictures

GREY = np.arange(6, dtype=np.uint8).reshape(2, 3) * 50
COLOUR = np.stack([GREY, GREY[::-1], 255 - GREY], axis=2)
ALPHA = np.array([[255, 0, 128], [255, 255, 0]], np.uint8)
ON_BLACK = np.rint(COLOUR * (ALPHA[:, :, None] / 255)).astype(np.uint8)
DEEP = GREY.astype(np.uint16) * 257 + 100  # of 16 bits: less than half a step above GREY

Write = Callable[[Path], None]


def _saved(picture: Image.Image, **options: Any) -> Write:
    return lambda path: picture.save(path, **options)


def _turned(orientation: int) -> Write:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return _saved(Image.fromarray(COLOUR), exif=exif)


def _palette(colours: NDArray[np.uint8], indices: NDArray[np.uint8]) -> Image.Image:
    picture = Image.new("P", indices.shape[::-1])
    picture.putdata(indices.ravel().tolist())
    picture.putpalette(colours.ravel().tolist())
    return picture


def _deep_colour_png(path: Path) -> None:
    """16 bits a channel, which Pillow reads and does not write."""
    rows = b"".join(b"\0" + (row.astype(int) * 256 + 37).astype(">u2").tobytes() for row in COLOUR)
    header = struct.pack(">IIBBBBB", 3, 2, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in chunks
        )
    )


def _rgb(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.moveaxis(array, 2, 0)


INDICES = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
RAINBOW = np.array([[255, 0, 0], [0, 255, 0], [10, 20, 30]], np.uint8)
GREYS = np.array([[0] * 3, [90] * 3, [255] * 3], np.uint8)
_L = Image.fromarray(GREY)
_RGB = Image.fromarray(COLOUR)
_RGBA = Image.fromarray(np.dstack([COLOUR, ALPHA]))
_LA = Image.merge("LA", [_L, Image.fromarray(ALPHA)])

FILES: dict[str, tuple[Write, NDArray[np.uint8]]] = {
    "grey.png": (_saved(_L), GREY[None]),
    "grey.bmp": (_saved(_L), GREY[None]),
    "grey.gif": (_saved(_L), GREY[None]),
    "grey.tif": (_saved(_L), GREY[None]),
    "bits.png": (
        _saved(_L.point(lambda v: 255 * (v > 99)).convert("1")),
        np.uint8(255) * (GREY > 99)[None],
    ),
    "colour.png": (_saved(_RGB), _rgb(COLOUR)),
    "colour.webp": (_saved(_RGB, lossless=True), _rgb(COLOUR)),
    "colour.tiff": (_saved(_RGB), _rgb(COLOUR)),
    "deep.png": (_saved(Image.fromarray(DEEP)), GREY[None]),
    "deep.tif": (_saved(Image.fromarray(DEEP)), GREY[None]),
    "deep-with-hole.png": (
        _saved(Image.fromarray(DEEP), transparency=int(DEEP[1, 2])),
        np.where(GREY[1, 2] == GREY, 0, GREY)[None],
    ),
    "deep-colour.png": (_deep_colour_png, _rgb(COLOUR)),
    "integers.tif": (_saved(Image.fromarray(DEEP.astype(np.int32))), GREY[None]),
    "floats.tif": (_saved(Image.fromarray(GREY / np.float32(255))), GREY[None]),
    "palette.png": (_saved(_palette(RAINBOW, INDICES)), _rgb(RAINBOW[INDICES])),
    "palette.gif": (_saved(_palette(RAINBOW, INDICES)), _rgb(RAINBOW[INDICES])),
    "palette-of-greys.png": (_saved(_palette(GREYS, INDICES)), GREYS[INDICES][None, :, :, 0]),
    "palette-with-hole.png": (
        _saved(_palette(RAINBOW, INDICES), transparency=1),
        _rgb(RAINBOW[INDICES] * (INDICES != 1)[:, :, None]),
    ),
    "alpha.png": (_saved(_RGBA), _rgb(ON_BLACK)),
    "alpha.webp": (_saved(_RGBA, lossless=True, exact=True), _rgb(ON_BLACK)),
    "grey-alpha.png": (_saved(_LA), np.rint(GREY * (ALPHA / 255)).astype(np.uint8)[None]),
    "grey-with-hole.png": (
        _saved(_L, transparency=100),
        np.where(GREY == 100, 0, GREY)[None],
    ),
    "cmyk.tif": (_saved(_RGB.convert("CMYK")), _rgb(COLOUR)),
    "upside-down.png": (_turned(3), _rgb(COLOUR[::-1, ::-1])),
    "turned.png": (_turned(6), _rgb(np.rot90(COLOUR, -1))),
    "mirrored.tif": (_turned(2), _rgb(COLOUR[:, ::-1])),
    "two-frames.gif": (
        _saved(_L, save_all=True, append_images=[Image.new("L", (3, 2), 7)]),
        GREY[None],
    ),
    "two-pages.tif": (
        _saved(_L, save_all=True, append_images=[Image.new("L", (9, 9), 7)]),
        GREY[None],
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_each_kind_of_file_is_read_as_the_table_says(tmp_path: Path, name: str) -> None:
    write, expected = FILES[name]
    write(tmp_path / name)
    found = pictures.read(tmp_path / name)
    assert found.dtype == np.uint8
    assert found.shape == expected.shape
    # Pillow composites in 8 bits: one grey level at a half-transparent pixel.
    assert np.abs(found.astype(int) - expected).max() <= (1 if "alpha" in name else 0)
    assert pictures.size(tmp_path / name) == found.shape[1:]


def test_paths_open_files_and_pillows_pictures_are_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "turned.png"
    _turned(6)(path)
    expected = pictures.read(path)
    np.testing.assert_array_equal(pictures.read(str(path)), expected)
    np.testing.assert_array_equal(pictures.read(io.BytesIO(path.read_bytes())), expected)
    with Image.open(path) as opened:
        np.testing.assert_array_equal(pictures.read(opened), expected)


def test_a_photograph_is_read_within_the_loss_of_its_format(tmp_path: Path) -> None:
    smooth = np.linspace(40, 200, 64, dtype=np.uint8)[:, None].repeat(48, axis=1)
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=95)
    found = pictures.read(tmp_path / "a.jpg")
    assert np.abs(found[0].astype(int) - smooth).max() <= 3


def test_colour_becomes_grey_by_bt601_and_grey_colour_by_repetition() -> None:
    colour = _rgb(COLOUR)
    grey = pictures.with_channels(colour, 1)
    weights = np.array([0.299, 0.587, 0.114])
    assert np.abs(grey[0] - COLOUR @ weights).max() <= 0.51
    np.testing.assert_array_equal(pictures.with_channels(grey, 3), grey.repeat(3, axis=0))
    assert pictures.with_channels(grey, 1) is grey
    with pytest.raises(ValueError, match="1 or 3 channels, not 4"):
        pictures.with_channels(grey, 4)


def test_sizes_are_fitted_by_padding_cropping_or_resizing() -> None:
    wide = np.full((1, 10, 20), 80, np.uint8)
    wide[:, :, :4] = 200
    padded = pictures.fitted(wide, 20, 20)
    assert (padded[:, :5] == 200).all()  # the corner's colour
    assert (padded[:, 5:15, 6:] < 100).all()
    cropped = pictures.fitted(wide, 10, 10, "crop")
    assert (cropped == 80).all()
    resized = pictures.fitted(wide, 5, 5, "resize")
    assert resized[0, 2, 0] > 150
    assert pictures.fitted(wide, 10, 20) is wide
    assert pictures.fitted(_rgb(COLOUR), 7, 5).shape == (3, 7, 5)


def test_a_folder_is_listed_with_its_subfolders_and_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b.PNG", "a/x.jpg", ".hidden.png", ".cache/y.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert pictures.files_in(tmp_path) == [tmp_path / "a/x.jpg", tmp_path / "b.PNG"]


def test_other_files_are_refused_with_name_and_reason(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with pytest.raises(pictures.PictureError, match=r"a\.png: no such file"):
        pictures.read(path)
    path.write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    with pytest.raises(pictures.PictureError, match=r"a\.png: not a readable picture"):
        pictures.read(path)
    _L.resize((64, 64)).save(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(pictures.PictureError, match=r"a\.png"):
        pictures.read(path)
    Image.fromarray(np.full((2, 2), 1.5, np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(pictures.PictureError, match=r"expected floats in 0..1, got 1.5 to 1.5"):
        pictures.read(tmp_path / "f.tif")
    Image.fromarray(np.full((2, 2), -1, np.int32)).save(tmp_path / "i.tif")
    with pytest.raises(pictures.PictureError, match=r"expected values in 0..65535, got -1 to -1"):
        pictures.read(tmp_path / "i.tif")


@pytest.mark.parametrize("side", [8200, 20000])
def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path: Path, side: int) -> None:
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = b"IHDR" + header
    content = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    data = b"IDAT" + zlib.compress(b"")
    content += struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    (tmp_path / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    for read in (pictures.read, pictures.size):
        with pytest.raises(pictures.PictureError, match=r"huge.png: expected at most \d+ pixels"):
            read(tmp_path / "huge.png")


def test_the_docs_have_the_table_of_the_reader() -> None:
    page = (Path(__file__).parents[2] / "docs" / "pictures.md").read_text()
    rows = [line for line in (pictures.__doc__ or "").splitlines() if line.startswith("|")]
    assert len(rows) == 14
    assert "\n".join(rows) in page


def test_the_reader_imports_neither_grpc_nor_protobuf() -> None:
    program = (
        "import sys, latens.pictures;"
        "print([name for name in ('grpc', 'google.protobuf') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.strip() == b"[]"
