"""`latens_bulk.LatentDataset`: the rows of an output, memory-mapped, in workers too."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from bulk_cases import digits, run, write_npz
from command_line import ok
from latens_bulk import LatentDataset
from latens_bulk.errors import BadDataError, NotFoundError
from latens_serving import Encoder

IMAGES = digits(100)


@pytest.fixture
def bundle(model_repository: Path) -> Path:
    return model_repository / "mnist-2d"


@pytest.fixture
def output(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    source = write_npz(tmp_path / "in", IMAGES)
    options = ["--bundle", bundle, "--shard-rows", 32, "--keep", "labels"]
    ok(run(capsys, "encode", source, tmp_path / "out", *options))
    return tmp_path / "out"


def test_rows_come_in_the_order_of_the_input(output: Path, bundle: Path) -> None:
    dataset = LatentDataset(output)
    direct = Encoder(bundle, device="cpu")(IMAGES)
    assert len(dataset) == 100
    np.testing.assert_array_equal(dataset[41]["mean"], direct["mean"][41])
    np.testing.assert_array_equal(dataset[-1]["log_var"], direct["log_var"][-1])
    assert isinstance(dataset.array("mean"), np.memmap)
    np.testing.assert_array_equal(dataset.array("mean"), direct["mean"])
    assert dataset.column("labels") == [number % 10 for number in range(100)]
    assert dataset.column("key")[3] == "set.npz:3"
    with pytest.raises(IndexError):
        dataset[100]


def test_a_loader_of_torch_takes_it_with_workers(output: Path, bundle: Path) -> None:
    direct = Encoder(bundle, device="cpu")(IMAGES)
    dataset: Any = LatentDataset(output)
    loader: Any = DataLoader(dataset, batch_size=32, shuffle=True, num_workers=1)
    batches = list(loader)
    index = torch.cat([batch["index"] for batch in batches])
    mean = torch.cat([batch["mean"] for batch in batches])
    assert sorted(index.tolist()) == list(range(100))
    np.testing.assert_array_equal(mean.numpy(), direct["mean"][index.numpy()])


def test_draws_depend_on_seed_epoch_and_index_alone(output: Path, bundle: Path) -> None:
    direct = Encoder(bundle, device="cpu")(IMAGES)
    dataset = LatentDataset(output, draw=True, seed=3)
    copy = pickle.loads(pickle.dumps(dataset))
    first = np.stack([dataset[row]["latent"] for row in range(100)])
    np.testing.assert_array_equal(np.stack([copy[row]["latent"] for row in range(100)]), first)
    dataset.set_epoch(1)
    second = np.stack([dataset[row]["latent"] for row in range(100)])
    assert (first != second).all()
    scaled = (first - direct["mean"]) / np.exp(direct["log_var"] / 2)
    assert abs(scaled.mean()) < 0.25
    assert abs(scaled.std() - 1) < 0.15


def test_other_folders_are_refused(output: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        LatentDataset(tmp_path / "none")
    (output / "manifest.json").unlink()
    with pytest.raises(BadDataError, match="incomplete"):
        LatentDataset(output)


@pytest.mark.parametrize("name", ["webdataset", "mds"])
def test_every_format_is_read_back(
    name: str, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_npz(tmp_path / "in", IMAGES)
    options = ["--bundle", bundle, "--shard-rows", 32, "--keep", "labels", "--format", name]
    ok(run(capsys, "encode", source, tmp_path / "out", *options))
    ok(run(capsys, "verify", tmp_path / "out"))
    dataset = LatentDataset(tmp_path / "out")
    direct = Encoder(bundle, device="cpu")(IMAGES)
    for head in ("mean", "log_var"):
        np.testing.assert_array_equal(dataset.array(head), direct[head])
    assert isinstance(dataset.array("mean"), np.memmap)
    assert dataset.column("key") == [f"set.npz:{row}" for row in range(100)]
    assert dataset.column("labels") == [number % 10 for number in range(100)]
