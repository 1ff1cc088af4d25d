"""Resuming keeps valid results, removes stale ones, and refuses settings that do not fit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from latens_training import checkpoint
from latens_training.checkpoint import FIGURES, HISTORY_FILE, MODEL_FILE, SCORES_FILE
from latens_training.cli.main import main
from latens_training.figures import PICTURE_FILES
from latens_training.runs import directory as run_directory
from latens_training.runs.resume import load_state

SETTINGS = ["--latent-size", "2", "--hidden", "16", "--batch-size", "1000", "--no-figures"]
VECTOR = {"bold": (0.5, -1.0)}


@pytest.fixture
def begin(mnist_subset: Path, tmp_path: Path) -> Callable[..., Path]:
    def run(*more: str, epochs: int = 2) -> Path:
        out = tmp_path / "run"
        flags = ["--data-dir", str(mnist_subset), "--out", str(out), "--epochs", str(epochs)]
        assert main([*flags, *SETTINGS, *more]) == 0
        return out

    return run


def resume(out: Path, *more: str) -> int:
    return main(["--resume", "--out", str(out), "--no-figures", *more])


def epochs_of(out: Path) -> list[int]:
    lines = (out / HISTORY_FILE).read_text().splitlines()
    return [json.loads(line)["epoch"] for line in lines]


def test_resuming_a_finished_run_keeps_its_attribute_vectors(begin: Callable[..., Path]) -> None:
    out = begin(epochs=1)
    checkpoint.amend(out, attribute_vectors=VECTOR)
    before = (out / MODEL_FILE).read_bytes()
    assert resume(out) == 0
    assert checkpoint.load(out).attribute_vectors == VECTOR
    assert (out / MODEL_FILE).read_bytes() == before


def results_of_old_weights(out: Path) -> list[Path]:
    """Files that earlier weights left behind, beside one of the user's own."""
    (out / FIGURES).mkdir(exist_ok=True)
    paths = [out / SCORES_FILE, *(out / FIGURES / name for name in PICTURE_FILES)]
    for path in [*paths, out / FIGURES / "mine.png"]:
        path.write_text("old")
    return paths


def test_further_training_removes_results_of_the_old_weights(
    begin: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    out = begin(epochs=1)
    checkpoint.amend(out, attribute_vectors=VECTOR)
    old = results_of_old_weights(out)
    assert resume(out, "--epochs", "2") == 0
    assert checkpoint.load(out).attribute_vectors == {}
    assert "removed the attribute vectors of the earlier weights" in capsys.readouterr().err
    assert [path for path in old if path.exists()] == []
    assert (out / FIGURES / "mine.png").exists()


def test_a_new_training_removes_results_of_the_old_weights(
    begin: Callable[..., Path],
) -> None:
    out = begin(epochs=1)
    old = results_of_old_weights(out)
    begin("--overwrite", epochs=1)
    assert [path for path in old if path.exists()] == []


class Killed(BaseException):
    """Stands for kill -9."""


FILES_WRITTEN = 1 + 2 * 5 + 3
"""config.json at the start, five files after each of two epochs, three at the end."""


@pytest.mark.parametrize("files", range(2, FILES_WRITTEN))
def test_a_run_killed_between_any_two_files_gets_its_whole_history_back(
    begin: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int
) -> None:
    written: list[str] = []

    def write_until_killed(path: Path, content: bytes) -> None:
        if len(written) == files:
            raise Killed
        written.append(path.name)
        run_directory.write_whole(path, content)

    with monkeypatch.context() as patch:
        for module in ("runs.run", "checkpoint", "runs.resume"):
            patch.setattr(f"latens_training.{module}.write_whole", write_until_killed)
        with pytest.raises(Killed):
            begin()
    out = tmp_path / "run"
    assert resume(out) == 0
    assert epochs_of(out) == [1, 2]
    assert checkpoint.load(out).record.epoch == 2
    assert len(checkpoint.load(out).latent_dims) == 2


def test_resuming_with_fewer_epochs_than_there_are_is_refused(
    begin: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    out = begin(epochs=2)
    before = (out / checkpoint.CONFIG_FILE).read_bytes()
    assert resume(out, "--epochs", "1") == 2
    assert f"epochs: {out} has 2 epochs already, not 1" in capsys.readouterr().err
    assert (out / checkpoint.CONFIG_FILE).read_bytes() == before


@pytest.mark.parametrize("schedule", ["cosine", "burda"])
def test_a_schedule_over_the_epochs_cannot_be_resumed_with_more_of_them(
    begin: Callable[..., Path], capsys: pytest.CaptureFixture[str], schedule: str
) -> None:
    out = begin("--schedule", schedule, epochs=1)
    assert resume(out, "--epochs", "2") == 2
    error = capsys.readouterr().err
    assert f"epochs: the {schedule} schedule of {out} is spread over 1 epochs; with 2" in error
    assert resume(out, "--epochs", "1") == 0


def test_a_run_continues_with_a_moved_data_set(tmp_path: Path, mnist_subset: Path) -> None:
    first, moved = tmp_path / "first-idx3-ubyte", tmp_path / "moved-idx3-ubyte"
    shutil.copy(mnist_subset / "t10k-images-idx3-ubyte", first)
    out = tmp_path / "run"
    flags = ["--dataset", str(first), "--out", str(out), "--epochs", "1"]
    assert main([*flags, *SETTINGS]) == 0
    first.rename(moved)
    assert resume(out, "--epochs", "2", "--dataset", str(moved)) == 0
    assert checkpoint.load(out).config.data.dataset == str(moved)
    assert load_state(out).progress.epoch == 2
