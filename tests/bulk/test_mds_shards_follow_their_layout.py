"""The MDS shards are those that mosaicml-streaming reads: offsets, columns, index."""

from __future__ import annotations

import importlib.util
import itertools
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bulk_cases import digits, run, write_npz
from command_line import ok
from latens_serving import Encoder

IMAGES = digits(50)


@pytest.fixture
def output(model_repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    source = write_npz(tmp_path / "in", IMAGES)
    options = ["--shard-rows", 20, "--keep", "labels", "--format", "mds", "--dtype", "float16"]
    bundle = model_repository / "mnist-2d"
    ok(run(capsys, "encode", source, tmp_path / "out", "--bundle", bundle, *options))
    return tmp_path / "out"


def samples_of(root: Path) -> list[dict[str, Any]]:
    """The samples by the index, read by the layout that the library documents."""
    index = json.loads((root / "index.json").read_text())
    assert index["version"] == 2
    found = []
    for shard in index["shards"]:
        content = (root / shard["raw_data"]["basename"]).read_bytes()
        assert len(content) == shard["raw_data"]["bytes"]
        (count,) = struct.unpack_from("<I", content)
        assert count == shard["samples"]
        offsets = struct.unpack_from(f"<{count + 1}I", content, 4)
        for start, stop in itertools.pairwise(offsets):
            found.append(_sample(content[start:stop], shard))
    return found


def _sample(content: bytes, shard: dict[str, Any]) -> dict[str, Any]:
    free = shard["column_sizes"].count(None)
    sizes = iter(struct.unpack_from(f"<{free}I", content))
    place, values = 4 * free, {}
    for name, encoding, size in zip(
        shard["column_names"], shard["column_encodings"], shard["column_sizes"], strict=True
    ):
        end = place + (next(sizes) if size is None else size)
        values[name] = (encoding, content[place:end])
        place = end
    assert place == len(content)
    return values


def test_samples_are_the_rows(output: Path, model_repository: Path) -> None:
    direct = Encoder(model_repository / "mnist-2d", device="cpu")(IMAGES)
    samples = samples_of(output)
    assert len(samples) == 50
    for row, sample in enumerate(samples):
        assert sample["key"] == ("str", f"set.npz:{row}".encode())
        assert sample["labels"] == ("json", str(row % 10).encode())
        encoding, content = sample["mean"]
        assert encoding == "ndarray:float16:2"
        expected = direct["mean"][row].astype(np.float16)
        np.testing.assert_array_equal(np.frombuffer(content, np.float16), expected)


@pytest.mark.skipif(
    importlib.util.find_spec("streaming") is None, reason="mosaicml-streaming is not installed"
)
def test_the_library_reads_them(output: Path, model_repository: Path) -> None:
    from streaming import StreamingDataset

    direct = Encoder(model_repository / "mnist-2d", device="cpu")(IMAGES)
    dataset = StreamingDataset(local=str(output), batch_size=1)
    assert len(dataset) == 50
    for row in (0, 19, 20, 49):
        np.testing.assert_array_equal(
            dataset[row]["log_var"], direct["log_var"][row].astype(np.float16)
        )
        assert dataset[row]["labels"] == row % 10
