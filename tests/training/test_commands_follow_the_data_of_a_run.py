"""A run's data set may have been moved since the training."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from latens_training.cli.main import main


@pytest.fixture
def moved_run(mnist_subset: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A run whose data set was moved, and the new place."""
    first, moved = tmp_path / "first-idx3-ubyte", tmp_path / "moved-idx3-ubyte"
    shutil.copy(mnist_subset / "t10k-images-idx3-ubyte", first)
    flags = ["--dataset", str(first), "--hidden", "16", "--epochs", "1", "--no-figures"]
    assert main([*flags, "--out", str(tmp_path / "run")]) == 0
    first.rename(moved)
    return tmp_path / "run", moved


@pytest.mark.parametrize("command", ["evaluate", "figures"])
def test_a_command_follows_a_data_set_that_moved(
    command: str, moved_run: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run, moved = moved_run
    capsys.readouterr()
    assert main([command, str(run)]) == 3
    assert "if it was moved, give its place with --dataset" in capsys.readouterr().err
    flags = ["--bound-samples", "0"] if command == "evaluate" else []
    assert main([command, str(run), "--dataset", str(moved), *flags]) == 0
    assert capsys.readouterr().err == ""


def test_other_images_than_the_runs_are_measured_with_a_note(
    moved_run: tuple[Path, Path], mnist_subset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = moved_run
    other = mnist_subset / "train-images-idx3-ubyte"
    capsys.readouterr()
    assert main(["evaluate", str(run), "--dataset", str(other), "--bound-samples", "0"]) == 0
    assert f"note: the images of {other} differ from those of {run}" in capsys.readouterr().err
