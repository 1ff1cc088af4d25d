"""`--cache`: what was encoded before, in whatever data set, is not encoded again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bulk_cases import array_of, digits, rows_of, run, write_folder, write_npz
from command_line import ok
from latens_serving import Encoder

IMAGES = digits(150)


@pytest.fixture(scope="module")
def bundle(model_repository: Path) -> Path:
    return model_repository / "mnist-2d"


def figures(
    capture: pytest.CaptureFixture[str], tmp_path: Path, *arguments: object
) -> tuple[int, int]:
    outcome = ok(run(capture, *arguments, "--cache", tmp_path / "cache", "--json"))
    facts = json.loads(outcome.out)
    return facts["encoded"], facts["cached"]


@pytest.mark.parametrize("write", [write_folder, write_npz])
def test_a_second_set_encodes_the_images_that_it_does_not_share(
    write: Callable[[Path, np.ndarray], Path],
    bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, second = write(tmp_path / "a", IMAGES[:100]), write(tmp_path / "b", IMAGES[40:])
    options = ["--bundle", bundle, "--shard-rows", 64]
    assert figures(capsys, tmp_path, "encode", first, tmp_path / "1", *options) == (100, 0)
    assert figures(capsys, tmp_path, "encode", second, tmp_path / "2", *options) == (50, 60)
    assert figures(capsys, tmp_path, "encode", second, tmp_path / "3", *options) == (0, 110)
    ok(run(capsys, "encode", second, tmp_path / "4", *options))
    for head in ("mean", "log_var"):
        direct = array_of(rows_of(tmp_path / "4"), head)
        for output in ("2", "3"):
            np.testing.assert_array_equal(array_of(rows_of(tmp_path / output), head), direct)


def test_another_model_or_preprocessing_finds_nothing(
    model_repository: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_folder(tmp_path / "a", IMAGES[:50])
    runs = {
        "first": (["--bundle", bundle], (50, 0)),
        "preprocessing": (["--bundle", bundle, "--fit", "pad"], (50, 0)),
        "model": (["--bundle", model_repository / "point"], (50, 0)),
        "half precision on disk alone": (["--bundle", bundle, "--dtype", "float16"], (0, 50)),
        "mirrored": (["--bundle", bundle, "--mirror"], (50, 0)),
        "mirrored again": (["--bundle", bundle, "--mirror"], (0, 50)),
    }
    for name, (options, expected) in runs.items():
        found = figures(capsys, tmp_path, "encode", source, tmp_path / name, *options)
        assert found == expected, name
    table = rows_of(tmp_path / "mirrored again")
    direct = Encoder(bundle, device="cpu")
    order = sorted(range(50), key=lambda number: (number % 3, number))
    for suffix, images in (("", IMAGES[order]), ("_mirrored", IMAGES[order][..., ::-1])):
        np.testing.assert_array_equal(array_of(table, f"mean{suffix}"), direct(images)["mean"])


def test_a_cache_that_is_no_database_is_one_line(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_npz(tmp_path / "a", IMAGES[:50])
    (tmp_path / "cache").write_text("a file")
    options = ["--bundle", bundle, "--cache", tmp_path / "cache"]
    outcome = run(capsys, "encode", source, tmp_path / "out", *options)
    assert (outcome.code, outcome.err.count("\n")) == (1, 1)
    assert "latens-bulk: cache" in outcome.err
