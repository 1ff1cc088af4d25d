"""The same seed gives the same run, bit for bit; so does an interrupted and resumed run."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from latens_training.cli.main import main
from latens_training.config import RunConfig
from latens_training.devices import Placement
from latens_training.errors import UsageError
from latens_training.progress import Reporter
from latens_training.runs import run as runs
from latens_training.runs.directory import Interrupted, StopSignal
from latens_training.runs.resume import STATE_FILE, load_state, restore

SETTINGS = ["--latent-size", "3", "--hidden", "32", "--batch-size", "500", "--no-figures"]
VARIANTS = {
    "elbo": [],
    "dynamic-iwae": ["--binarize", "dynamic", "--objective", "iwae", "--samples", "3"],
    "bfloat16": ["--precision", "bfloat16"],
    "ae": ["--model", "ae-mlp"],
}
TIMES = {"seconds", "images_per_second"}


@pytest.fixture
def train(mnist_subset: Path, tmp_path: Path) -> Callable[..., Path]:
    def run(name: str, epochs: int, *more: str) -> Path:
        out = tmp_path / name
        flags = ["--data-dir", str(mnist_subset), "--out", str(out), "--epochs", str(epochs)]
        assert main([*flags, *more]) == 0
        return out

    return run


def history(run: Path) -> list[dict[str, Any]]:
    """The run's record without its times."""
    lines = (run / "history.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]


def assert_same_run(first: Path, second: Path) -> None:
    assert history(first) == history(second)
    assert (first / "metrics.json").read_bytes() == (second / "metrics.json").read_bytes()
    ours, theirs = load_state(first), load_state(second)
    assert ours.tensors.keys() == theirs.tensors.keys()
    for name, tensor in ours.tensors.items():
        assert torch.equal(tensor, theirs.tensors[name]), name


@pytest.mark.parametrize("variant", VARIANTS)
def test_two_epochs_and_two_resumed_ones_equal_four(
    train: Callable[..., Path], variant: str
) -> None:
    settings = [*SETTINGS, *VARIANTS[variant]]
    whole = train("whole", 4, *settings)
    train("parts", 2, *settings)
    parts = train("parts", 4, "--resume", "--no-figures")
    assert_same_run(whole, parts)
    names = {line["epoch"] for line in history(parts)}
    assert names == {1, 2, 3, 4}


def test_the_same_seed_gives_the_same_files(train: Callable[..., Path]) -> None:
    first, second = (train(name, 1, *SETTINGS) for name in ("first", "second"))
    for name in ("model.safetensors", "config.json", "metrics.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    assert_same_run(first, second)


def test_another_seed_gives_another_run(train: Callable[..., Path]) -> None:
    first = train("first", 1, *SETTINGS)
    second = train("second", 1, *SETTINGS, "--seed", "1")
    assert history(first) != history(second)


class StoppedAfter(Reporter):
    """Stands for a person who presses Ctrl-C after some steps."""

    def __init__(self, steps: int, stop: StopSignal) -> None:
        super().__init__(2, json_lines=False)
        self.left, self.stop = steps, stop

    def step(self) -> None:
        super().step()
        self.left -= 1
        if self.left == 0:
            self.stop.signal = signal.SIGINT


@pytest.mark.parametrize("steps", [1, 5, 12, 17])
def test_a_run_stopped_within_an_epoch_continues_exactly(
    train: Callable[..., Path], steps: int
) -> None:
    whole = train("whole", 2, *SETTINGS)
    config = load_state(whole).config
    out = whole.with_name("stopped")
    stop = StopSignal()
    run = runs.prepare(config, out, Placement(torch.device("cpu")), None)
    with pytest.raises(Interrupted) as interrupted, StoppedAfter(steps, stop) as reporter:
        runs.train(run, reporter, stop)
    assert interrupted.value.exit_code == 130
    state = load_state(out)
    assert (state.progress.epoch, state.progress.step) == divmod(steps, 12)
    assert main(["--resume", "--out", str(out), "--no-figures"]) == 0
    assert_same_run(whole, out)


def test_resuming_a_finished_run_changes_nothing(train: Callable[..., Path]) -> None:
    run = train("run", 1, *SETTINGS)
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    train("run", 1, "--resume", "--no-figures")
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


def test_the_environment_of_a_run_is_recorded(train: Callable[..., Path]) -> None:
    from latens_training import checkpoint

    environment = checkpoint.load(train("run", 1, *SETTINGS)).record.environment
    assert environment["torch"] == torch.__version__
    assert environment["threads"] == torch.get_num_threads()
    assert environment["device"] == "cpu"


def test_resuming_with_other_data_is_refused(
    train: Callable[..., Path], capsys: pytest.CaptureFixture[str], mnist_subset: Path
) -> None:
    out = train("run", 1, *SETTINGS)
    other = out.with_name("other")
    other.mkdir()
    for path in mnist_subset.iterdir():
        content = bytearray(path.read_bytes())
        content[-1] ^= 255
        (other / path.name).write_bytes(content)
    flags = ["--resume", "--out", str(out), "--epochs", "2", "--data-dir", str(other)]
    assert main(flags) == 5
    assert "differs from the images of" in capsys.readouterr().err


def test_resuming_as_another_model_is_refused(
    train: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    out = train("run", 1, *SETTINGS)
    before = (out / "model.safetensors").read_bytes()
    assert main(["--resume", "--out", str(out), "--model", "vae-conv"]) == 2
    assert "architecture: " in capsys.readouterr().err
    assert (out / "model.safetensors").read_bytes() == before


def test_resuming_on_another_kind_of_device_is_refused(train: Callable[..., Path]) -> None:
    state = load_state(train("run", 1, *SETTINGS))
    run = runs.prepare(state.config, Path("unused"), Placement(torch.device("cpu")), state)
    elsewhere = dataclasses.replace(state, device="cuda")
    with pytest.raises(UsageError, match="was begun on cuda, not cpu"):
        restore(run.trainer, elsewhere)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-100], "damaged"),
        (lambda content: content[:5], "damaged"),
        (lambda content: content.replace(b'schema_version\\": 1', b'schema_version\\": 7'), "7"),
        (lambda content: content.replace(b'\\"step\\"', b'\\"stop\\"'), "it has no 'step'"),
    ],
)
def test_a_damaged_state_is_refused_and_nothing_overwritten(
    trained_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[bytes], bytes],
    message: str,
) -> None:
    run = Path(shutil.copytree(trained_run, tmp_path / "run"))
    state = run / STATE_FILE
    state.write_bytes(damage(state.read_bytes()))
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    assert main(["--resume", "--out", str(run), "--epochs", "9"]) == 5
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"latens-train: {state}: ")
    assert message in line
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_defaults_are_the_articles_recipe() -> None:
    train = RunConfig().train
    assert (train.epochs, train.batch_size, train.learning_rate) == (20, 128, 1e-3)
