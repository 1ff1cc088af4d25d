"""Folders, WebDataset tars and Parquet files train from disk exactly as from memory."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from latens_training import checkpoint
from latens_training.cli.main import main
from latens_training.config import DataConfig
from latens_training.data import datasets
from latens_training.data.stored.images import StoredImages
from latens_training.data.types import Dataset, Split
from latens_training.errors import DataError
from latens_training.runs.selection import split_off

COUNT, SIDE = 60, 16


def picture(row: int) -> Image.Image:
    pixels = np.random.default_rng(row).integers(0, 256, (SIDE + row % 3, SIDE, 3), np.uint8)
    return Image.fromarray(pixels)


def content(row: int) -> bytes:
    buffer = io.BytesIO()
    picture(row).save(buffer, "png")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures") / "photos"
    for row in range(COUNT):
        kind = folder / ("even" if row % 2 == 0 else "odd")
        kind.mkdir(parents=True, exist_ok=True)
        (kind / f"{row:03}.png").write_bytes(content(row))
    return folder


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tars")
    for shard in range(2):
        with tarfile.open(folder / f"{shard}.tar", "w") as archive:
            for row in range(shard * COUNT // 2, (shard + 1) * COUNT // 2):
                for name, data in ((f"{row:03}.png", content(row)), (f"{row:03}.cls", b"%d" % row)):
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
    return folder


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parquet")
    for part in range(2):
        rows = range(part * COUNT // 2, (part + 1) * COUNT // 2)
        images = [{"bytes": content(row), "path": None} for row in rows]
        table = pa.table({"image": images, "label": list(rows)})
        pq.write_table(table, folder / f"{part}.parquet", row_group_size=7)
    return folder


def load(path: Path, *, stream: bool = False) -> Dataset:
    config = DataConfig(dataset=str(path), image_size=(8, 8), fit="crop", stream=stream)
    return datasets.load_configured(config)


def pixels_of(split: Split) -> torch.Tensor:
    return split.images[torch.arange(len(split.images))]


def test_a_streamed_folder_equals_one_in_memory(folder: Path) -> None:
    kept, streamed = load(folder), load(folder, stream=True)
    assert isinstance(streamed.train.images, StoredImages)
    assert streamed.class_names == kept.class_names == ("even", "odd")
    for one, other in ((kept.train, streamed.train), (kept.test, streamed.test)):
        assert torch.equal(one.images, pixels_of(other))
        assert one.labels is not None
        assert other.labels is not None
        assert torch.equal(one.labels, other.labels)


def test_tar_and_parquet_files_give_the_same_pictures(tars: Path, parquet: Path) -> None:
    from_tars, from_parquet = load(tars), load(parquet)
    for one, other in (
        (from_tars.train, from_parquet.train),
        (from_tars.test, from_parquet.test),
    ):
        assert torch.equal(pixels_of(one), pixels_of(other))
        assert one.labels is not None
        assert other.labels is not None
        assert torch.equal(one.labels, other.labels)
    assert len(from_tars.test) == COUNT // 10


def test_held_out_pictures_stay_on_disk_too(folder: Path) -> None:
    split = load(folder, stream=True).train
    train_part, held_out = split_off(split, 0.25)
    assert held_out is not None
    assert isinstance(train_part.images, StoredImages)
    assert isinstance(held_out.images, StoredImages)
    assert len(train_part) + len(held_out) == len(split)


def test_the_digest_follows_the_pictures_and_the_rules(folder: Path, tmp_path: Path) -> None:
    digest = load(folder, stream=True).digest()
    assert load(folder, stream=True).digest() == digest
    config = DataConfig(dataset=str(folder), image_size=(8, 8), fit="pad", stream=True)
    assert datasets.load_configured(config).digest() != digest


@pytest.mark.parametrize("kind", ["folder", "tars", "parquet"])
def test_a_run_trains_from_disk_as_from_memory(
    kind: str, folder: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source: Path = request.getfixturevalue(kind)
    flags = ["--image-size", "8", "--hidden", "8", "--epochs", "2", "--batch-size", "8"]
    out = tmp_path / "streamed"
    stream = ["--stream"] if kind == "folder" else []
    assert main(["--dataset", str(source), *flags, *stream, "--out", str(out)]) == 0
    assert (out / "figures" / "reconstructions.png").exists()
    if kind != "folder":
        return
    whole = tmp_path / "whole"
    assert main(["--dataset", str(source), *flags, "--out", str(whole), "--no-figures"]) == 0
    one, other = (checkpoint.load(run).model.state_dict() for run in (out, whole))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_next_batch_is_read_while_a_step_runs(folder: Path) -> None:
    images = load(folder, stream=True).train.images
    assert isinstance(images, StoredImages)
    first, second = torch.arange(4), torch.arange(4, 8)
    images.prefetch(first)
    images.prefetch(second)
    assert len(images._ahead) == 2
    expected = torch.cat([images[first], images[second]])
    assert images._ahead == []
    assert torch.equal(expected, images[torch.arange(8)])


def test_bad_pictures_and_settings_are_one_clear_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "run")]
    assert main(["--dataset", "mnist", "--stream", *out]) == 2
    assert "stream: expected pictures on disk, got mnist" in capsys.readouterr().err
    stream = ["--dataset", str(folder), "--stream", *out]
    assert main([*stream, "--image-size", "8", "--binarize", "static"]) == 2
    assert "pictures that stay on disk cannot be binarised" in capsys.readouterr().err
    assert main([*stream, "--hidden", "8"]) == 5
    assert "--image-size fits all pictures to one size" in capsys.readouterr().err
    (tmp_path / "cut.tar").write_bytes(b"no tar file")
    assert main(["--dataset", str(tmp_path / "cut.tar"), *out]) == 5
    assert "not a readable tar file" in capsys.readouterr().err
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "text.parquet")
    with pytest.raises(DataError, match="no column of pictures"):
        datasets.load(str(tmp_path / "text.parquet"))
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "a.png").write_bytes(content(0))
    (bad / "b.png").write_bytes(b"not a picture")
    assert main(["--dataset", str(bad), "--stream", *out]) == 5
    assert "b.png: not a readable picture" in capsys.readouterr().err
