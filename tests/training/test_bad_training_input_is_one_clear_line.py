"""Invalid input is refused in one line that names it, and nothing is overwritten."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from latens_training import checkpoint
from latens_training.cli.main import main

RANDOM = np.random.default_rng(3)


def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, code: int, *arguments: str) -> str:
    """The one line with which the arguments are refused; no run is left."""
    out = tmp_path / "run"
    assert main(["--no-figures", "--epochs", "1", "--out", str(out), *arguments]) == code
    captured = capsys.readouterr()
    assert not captured.out
    lines = captured.err.splitlines()
    assert len(lines) == 1, lines
    assert not out.exists()
    return lines[0]


Refused = Callable[..., str]


@pytest.fixture
def refuse(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Refused:
    def refuse(code: int, *arguments: str) -> str:
        return refused(capsys, tmp_path, code, *arguments)

    return refuse


def pictures(folder: Path, *sizes: tuple[int, int]) -> Path:
    folder.mkdir()
    for index, (width, height) in enumerate(sizes):
        pixels = RANDOM.integers(0, 256, (height, width), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def idx(*sizes: int, kind: int = 8) -> bytes:
    header = bytes([0, 0, kind, len(sizes)]) + b"".join(n.to_bytes(4, "big") for n in sizes)
    return header + bytes(int(np.prod(sizes)))


def test_a_folder_without_images(refuse: Refused, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "readme.txt").write_text("none")
    line = refuse(5, "--dataset", str(tmp_path / "empty"))
    assert line.startswith(f"latens-train: {tmp_path / 'empty'}: no images")


def test_images_of_mixed_sizes(refuse: Refused, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "mixed", (8, 8), (8, 8), (9, 8))
    line = refuse(5, "--dataset", str(folder))
    assert line.endswith(
        "2.png: 8 x 9 pixels (height x width), but 0.png is 8 x 8; "
        "--image-size fits all pictures to one size"
    )


def test_a_file_that_is_no_picture(refuse: Refused, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "pictures", (8, 8), (8, 8))
    (folder / "1.png").write_bytes(b"not a picture")
    assert "1.png: not a readable picture" in refuse(5, "--dataset", str(folder))


DAMAGED = [
    (idx(5, 4, 4)[:-1], "79 bytes of data, but its header says 5 x 4 x 4"),
    (idx(5, 4, 4) + b"0", "81 bytes of data, but its header says 5 x 4 x 4"),
    (idx(5, 4, 4)[:9], "0 bytes of data, but its header says"),
    (b"\x00\x01" + idx(5, 4, 4)[2:], "not an IDX file (magic 00010803)"),
    (b"", "not an IDX file (magic missing)"),
    (idx(5, 4, 4, kind=13), "IDX type 0x0d of rank 3"),
    (idx(5), "rank 1; images have rank 3 or 4"),
    (gzip.compress(idx(5, 4, 4))[:-12], "damaged gzip"),
    (idx(1, 4, 4), "1 images; at least 2 are needed"),
]


@pytest.mark.parametrize(("content", "message"), DAMAGED, ids=[message for _, message in DAMAGED])
def test_a_damaged_idx_file(refuse: Refused, tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "images-idx3-ubyte"
    path.write_bytes(content)
    line = refuse(5, "--dataset", str(path))
    assert "images" in line
    assert message in line


def test_idx_labels_of_another_length(refuse: Refused, tmp_path: Path) -> None:
    (tmp_path / "images-idx3-ubyte").write_bytes(idx(20, 4, 4))
    (tmp_path / "labels-idx1-ubyte").write_bytes(idx(19))
    line = refuse(5, "--dataset", str(tmp_path / "images-idx3-ubyte"))
    assert "labels-idx1-ubyte: 19 labels for the 20 images" in line


def test_mnist_files_whose_labels_are_of_another_length(
    refuse: Refused, tmp_path: Path, mnist_subset: Path
) -> None:
    folder = tmp_path / "mnist"
    folder.mkdir()
    for path in mnist_subset.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(10))
    line = refuse(5, "--dataset", "mnist", "--data-dir", str(folder))
    assert line == "latens-train: mnist: 10 labels for 6000 training images"


def images(*shape: int) -> np.ndarray:
    return RANDOM.random(shape, dtype=np.float32)


NOT_A_NUMBER = images(20, 4, 4)
NOT_A_NUMBER[3, 2, 1] = np.nan


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": NOT_A_NUMBER}, "images: has values that are not finite (NaN or infinity)"),
        ({"images": 255 * images(20, 4, 4)}, "not in [0, 1]"),
        ({"images": images(20, 16)}, "images: shape (20, 16); expected [n, h, w] or [n, c, h, w]"),
        ({"images": np.zeros((20, 4, 4), dtype=np.int64)}, "int64; expected uint8, or floats"),
        ({"pictures": images(20, 4, 4)}, "no array 'images'"),
        ({"images": images(20, 4, 4), "labels": np.zeros(19, int)}, "labels: shape (19,) for 20"),
        ({"images": images(20, 4, 4), "labels": np.zeros(20)}, "expected whole numbers"),
        ({"train_images": images(20, 4, 4), "test_images": images(9, 4, 5)}, "test images (1, 4,"),
        ({"images": images(0, 4, 4)}, "0 images"),
        ({"images": np.array([[["a"]]])}, "expected uint8, or floats in [0, 1]"),
    ],
)
def test_an_npz_that_cannot_be_used(
    refuse: Refused, tmp_path: Path, arrays: dict[str, Any], message: str
) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, **arrays)
    line = refuse(5, "--dataset", str(path))
    assert "set" in line
    assert message in line


def test_an_npz_with_pickled_objects_is_never_unpickled(refuse: Refused, tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, images=np.array([object()], dtype=object), allow_pickle=True)
    assert "set.npz: not a whole .npz file" in refuse(5, "--dataset", str(path))


def test_a_truncated_npz(refuse: Refused, tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, images=images(20, 4, 4))
    path.write_bytes(path.read_bytes()[:-30])
    assert "set.npz: not a whole .npz file" in refuse(5, "--dataset", str(path))


def test_images_too_small_for_the_convolutional_net(refuse: Refused, tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", images=images(20, 12, 12))
    line = refuse(2, "--dataset", str(tmp_path / "set.npz"), "--model", "vae-conv")
    assert "vae-conv takes 28 x 28 images, these are 12 x 12" in line


def test_a_data_set_that_does_not_exist(refuse: Refused) -> None:
    line = refuse(3, "--dataset", "minst")
    assert "no such file or data set: minst; there are mnist, fashion-mnist" in line


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--beta", "-1"], "beta: input should be greater than or equal to 0 (got '-1')"),
        (["--beta", "nan"], "beta: input should be a finite number"),
        (["--latent-size", "0"], "latent-size: input should be greater than or equal to 1"),
        (["--epochs", "0"], "epochs: "),
        (["--batch-size", "0"], "batch-size: "),
        (["--learning-rate", "0"], "learning-rate: "),
        (["--hidden", "40,0"], "hidden: "),
        (["--sigma", "0"], "sigma: "),
        (["--seed", "-1"], "seed: "),
        (["--device", "tpu"], "device: "),
        (["--device", "cuda:99"], "device: "),
        (["--resume", "--overwrite"], "overwrite: contradicts --resume"),
    ],
)
def test_an_invalid_setting(refuse: Refused, flags: list[str], message: str) -> None:
    assert message in refuse(2, *flags)


def test_a_preset_that_does_not_exist(refuse: Refused) -> None:
    assert "preset: no such preset: burda; there are mnist-2d," in refuse(3, "--preset", "burda")


def test_resuming_a_missing_run(refuse: Refused, tmp_path: Path) -> None:
    assert refuse(3, "--resume") == f"latens-train: resume: {tmp_path / 'run'} contains no run"


def test_a_run_is_not_overwritten_by_default(
    trained_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (trained_run / checkpoint.MODEL_FILE).read_bytes()
    assert main(["--epochs", "1", "--out", str(trained_run)]) == 2
    assert "--resume continues it, --overwrite replaces it" in capsys.readouterr().err
    assert (trained_run / checkpoint.MODEL_FILE).read_bytes() == before


def test_an_environment_variable_that_names_no_setting(
    refuse: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATENS_TRAIN_BETTA", "4")
    assert "LATENS_TRAIN_BETTA" in refuse(2)


def test_a_loss_that_is_no_number_ends_the_run(
    mnist_subset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--data-dir", str(mnist_subset), "--learning-rate", "1e30", "--no-figures"]
    assert main([*flags, "--epochs", "1", "--out", str(tmp_path / "run")]) == 1
    assert "the loss is not a finite number; try a smaller" in capsys.readouterr().err
    assert not (tmp_path / "run" / checkpoint.MODEL_FILE).exists()
