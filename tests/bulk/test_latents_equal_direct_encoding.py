"""Whatever the input and the output are, each row's latents are those of direct encoding."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bulk_cases import (
    array_of,
    digits,
    rows_of,
    run,
    write_folder,
    write_npz,
    write_parquet,
    write_tars,
)
from command_line import ok
from latens_bulk.outputs.rows import draws_of
from latens_serving import Encoder
from server_process import Server

ROWS = 200
IMAGES = digits(ROWS)
INPUTS: dict[str, Callable[[Path, np.ndarray], Path]] = {
    "folder": write_folder,
    "npz": write_npz,
    "parquet of files": lambda root, images: write_parquet(root, images, as_lists=False),
    "parquet of lists": lambda root, images: write_parquet(root, images, as_lists=True),
    "tars": write_tars,
}


@pytest.fixture(scope="module")
def bundle(model_repository: Path) -> Path:
    return model_repository / "mnist-2d"


@pytest.fixture(scope="module")
def direct(bundle: Path) -> dict[str, np.ndarray]:
    return Encoder(bundle, device="cpu")(IMAGES)


@pytest.mark.parametrize(
    ("kind", "decoders"), [*((kind, 0) for kind in INPUTS), ("folder", 2), ("tars", 1)]
)
def test_every_input_gives_the_same_rows(
    kind: str,
    decoders: int,
    bundle: Path,
    direct: dict[str, np.ndarray],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = INPUTS[kind](tmp_path / "in", IMAGES)
    output = tmp_path / "out"
    options = ["--bundle", bundle, "--shard-rows", 64, "--decoders", decoders]
    ok(run(capsys, "encode", source, output, *options))
    table = rows_of(output)
    order = list(range(ROWS))
    if kind == "folder":  # by name: 0/0000.png, 0/0003.png, ...
        order = sorted(order, key=lambda number: (number % 3, number))
        assert table.column("key")[1].as_py() == "0/0003.png"
    for head in ("mean", "log_var"):
        np.testing.assert_array_equal(array_of(table, head), direct[head][order])
    assert len(set(table.column("key").to_pylist())) == ROWS
    assert json.loads(ok(run(capsys, "verify", output, "--json")).out)["rows"] == ROWS


def test_columns_are_kept_and_the_description_travels_with_each_part(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_parquet(tmp_path / "in", IMAGES, as_lists=False)
    ok(run(capsys, "encode", source, tmp_path / "out", "--bundle", bundle, "--keep", "label"))
    table = rows_of(tmp_path / "out")
    assert table.column("label").to_pylist() == [number % 10 for number in range(ROWS)]
    assert table.column("key")[7].as_py() == "digit 7"
    description = json.loads(table.schema.metadata[b"latens"])
    manifest = json.loads((bundle / "1" / "bundle.json").read_text())
    assert description["model"]["name"] == "mnist-2d"
    assert description["model"]["version"] == "1"
    assert description["model"]["encoder_sha256"] == manifest["encoder"]["sha256"]
    assert description["model"]["precision"] == "float32"
    assert description["preprocessing"]["fit"] == "exact"
    assert json.loads(table.schema.field("mean").metadata[b"shape"]) == [2]


def test_mirrored_images_halves_and_draws(
    bundle: Path,
    direct: dict[str, np.ndarray],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = write_npz(tmp_path / "in", IMAGES)
    mirrored = Encoder(bundle, device="cpu")(IMAGES[..., ::-1])
    options = ["--bundle", bundle, "--mirror", "--dtype", "float16"]
    ok(run(capsys, "encode", source, tmp_path / "half", *options))
    table = rows_of(tmp_path / "half")
    for head in ("mean", "log_var"):
        stored = array_of(table, f"{head}_mirrored")
        assert stored.dtype == np.float16
        np.testing.assert_array_equal(stored, mirrored[head].astype(np.float16))
    for rows in (64, 30):
        options = ["--bundle", bundle, "--draws", 3, "--seed", 7, "--shard-rows", rows]
        ok(run(capsys, "encode", source, tmp_path / f"{rows}", *options))
    table, other = rows_of(tmp_path / "64"), rows_of(tmp_path / "30")
    keys = table.column("key").to_pylist()
    expected = draws_of(keys, direct["mean"], direct["log_var"], 3, 7)
    np.testing.assert_array_equal(array_of(table, "draws").reshape(ROWS, 3, 2), expected)
    np.testing.assert_array_equal(array_of(other, "draws"), array_of(table, "draws"))
    assert "mean" not in table.schema.names
    spread = (expected - direct["mean"][:, None]) / np.exp(direct["log_var"] / 2)[:, None]
    assert abs(spread.mean()) < 0.15
    assert abs(spread.std() - 1) < 0.1


def member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None
    return file.read()


def test_webdataset_parts_hold_the_same_rows(
    bundle: Path,
    direct: dict[str, np.ndarray],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = write_tars(tmp_path / "in", IMAGES)
    options = ["--bundle", bundle, "--format", "webdataset", "--keep", "cls"]
    ok(run(capsys, "encode", source, tmp_path / "out", *options))
    number = 0
    for path in sorted((tmp_path / "out").glob("part-*.tar")):
        with tarfile.open(path) as archive:
            names = [name for name in archive.getnames() if name.endswith(".json")]
            for name in sorted(name for name in names if name[0] != "_"):
                stem = name.removesuffix(".json")
                facts = json.loads(member(archive, name))
                mean = np.load(io.BytesIO(member(archive, f"{stem}.mean.npy")))
                np.testing.assert_array_equal(mean, direct["mean"][number])
                assert facts == {"key": f"{number:06d}", "cls": str(number % 10)}
                number += 1
    assert number == ROWS
    ok(run(capsys, "verify", tmp_path / "out"))


@pytest.mark.parametrize("kind", ["npz", "tars"])
def test_a_server_gives_the_same_rows(
    kind: str,
    server: Server,
    direct: dict[str, np.ndarray],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = INPUTS[kind](tmp_path / "in", IMAGES)
    options = ["--address", server.address, "--model", "mnist-2d", "--shard-rows", 64]
    ok(run(capsys, "encode", source, tmp_path / "out", *options))
    for head in ("mean", "log_var"):
        stored = array_of(rows_of(tmp_path / "out"), head)
        np.testing.assert_allclose(stored, direct[head], atol=1e-5)


def test_a_url_is_read_as_a_folder_is(
    bundle: Path,
    direct: dict[str, np.ndarray],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import fsspec

    path = write_npz(tmp_path / "in", IMAGES)
    memory = fsspec.filesystem("memory")
    memory.pipe("/bulk-test/set.npz", path.read_bytes())
    for encoded in (ROWS, 0):
        arguments = ["memory://bulk-test", tmp_path / "out", "--bundle", bundle, "--json"]
        assert json.loads(ok(run(capsys, "encode", *arguments)).out)["encoded"] == encoded
    stored = array_of(rows_of(tmp_path / "out"), "mean")
    np.testing.assert_array_equal(stored, direct["mean"])
