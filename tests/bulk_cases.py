"""Inputs of `latens-bulk` for its tests, and the command run in this process."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from command_line import Outcome
from latens_bulk import cli


def digits(count: int) -> np.ndarray:
    """Real test images, uint8 `[count, 1, 28, 28]`."""
    from latens_training.data import datasets

    return (datasets.load("mnist").test.images[:count].numpy() * 255).round().astype(np.uint8)


def png(image: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image[0]).save(content, "png")
    return content.getvalue()


def run(capture: pytest.CaptureFixture[str], *arguments: object) -> Outcome:
    capture.readouterr()
    code = cli.run([str(argument) for argument in arguments])
    out, err = capture.readouterr()
    assert "Traceback" not in out + err
    return Outcome(code, out, err)


def write_folder(root: Path, images: np.ndarray) -> Path:
    for number, image in enumerate(images):
        path = root / f"{number % 3}" / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(image))
    return root


def write_npz(root: Path, images: np.ndarray) -> Path:
    root.mkdir(exist_ok=True)
    np.savez(root / "set.npz", images=images, labels=np.arange(len(images)) % 10)
    return root / "set.npz"


def write_parquet(root: Path, images: np.ndarray, *, as_lists: bool) -> Path:
    root.mkdir(exist_ok=True)
    keys = [f"digit {number}" for number in range(len(images))]
    if as_lists:
        flat = pa.array(images.reshape(-1))
        column = pa.FixedSizeListArray.from_arrays(flat, images[0].size)
    else:
        column = pa.array([png(image) for image in images], pa.binary())
    table = pa.table({"id": keys, "image": column, "label": np.arange(len(images)) % 10})
    pq.write_table(table, root / "set.parquet", row_group_size=37)
    return root / "set.parquet"


def write_tars(root: Path, images: np.ndarray, per_file: int = 60) -> Path:
    root.mkdir(exist_ok=True)
    for start in range(0, len(images), per_file):
        with tarfile.open(root / f"{start:06d}.tar", "w") as archive:
            for number, image in enumerate(images[start : start + per_file], start):
                for extension, content in (("png", png(image)), ("cls", b"%d" % (number % 10))):
                    member = tarfile.TarInfo(f"{number:06d}.{extension}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    return root


def rows_of(output: Path) -> pa.Table:
    """All rows of a Parquet output, in the order of its parts."""
    return pa.concat_tables([pq.read_table(path) for path in sorted(output.glob("part-*.parquet"))])


def array_of(table: pa.Table, name: str) -> np.ndarray:
    column = table.column(name).combine_chunks()
    return np.array(column.to_pylist(), column.type.value_type.to_pandas_dtype())
