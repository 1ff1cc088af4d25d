"""Under torchrun the objective does not change: two processes train as one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from latens_training import checkpoint
from latens_training.cli.main import main
from latens_training.devices import Placement
from latens_training.runs.resume import load_state
from latens_training.trainer import Trainer


def settings(mnist_subset: Path, out: Path) -> list[str]:
    # 6,000 images in batches of 700: the last batch is smaller, and odd shares occur.
    return [
        "--data-dir", str(mnist_subset), "--batch-size", "701", "--epochs", "2", "--beta", "4",
        "--latent-size", "5", "--hidden", "32", "--threads", "1", "--no-figures",
        "--json", "--out", str(out),
    ]  # fmt: skip


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs `latens-train` with the arguments, or a script given by its path, on two processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    program = [] if arguments[0].endswith(".py") else ["-m", "latens_training"]
    return subprocess.run(
        [*command, *program, *arguments],
        capture_output=True, text=True, timeout=250, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_two_processes_train_as_one_does(
    mnist_subset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished = torchrun(*settings(mnist_subset, tmp_path / "two"))
    assert finished.returncode == 0, finished.stderr
    two = [json.loads(line) for line in finished.stdout.splitlines()]
    assert main(settings(mnist_subset, tmp_path / "one")) == 0
    one = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(one) == len(two) == 3, "one process speaks: two epochs and a result"
    for ours, theirs in zip(two[:2], one[:2], strict=True):
        for term in ("train_loss", "train_reconstruction", "train_kl", "test_elbo", "test_kl"):
            assert ours[term] == pytest.approx(theirs[term], rel=1e-4), term
    first, second = (checkpoint.load(tmp_path / name) for name in ("two", "one"))
    assert first.record.environment["world_size"] == 2
    for dim, other in zip(first.latent_dims, second.latent_dims, strict=True):
        assert dim.kl == pytest.approx(other.kl, rel=1e-3, abs=1e-3)


STOPS_IN_MID_EPOCH = """
import signal, sys
from pathlib import Path
from latens_training.runs import run as runs
from latens_training.config import RunConfig
from latens_training.devices import leave, placed
from latens_training.progress import Reporter
from latens_training.runs.directory import Interrupted, StopSignal

class StopsAtOnce(Reporter):
    def step(self):
        stop.signal = signal.SIGINT  # agreed upon at step 16

config = RunConfig.model_validate_json(sys.argv[2])
stop = StopSignal()
with placed(config.machine) as placement:
    run = runs.prepare(config, Path(sys.argv[1]), placement, None)
    try:
        runs.train(run, StopsAtOnce(1, json_lines=False, silent=True), stop)
    except Interrupted:
        pass
leave(0)
"""


def train_terms(run: Path) -> dict[str, float]:
    (record,) = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return {name: record[name] for name in ("train_loss", "train_reconstruction", "train_kl")}


@pytest.mark.parametrize(("stopped_on", "resumed_on"), [(1, 2), (2, 1)])
def test_a_run_stopped_in_mid_epoch_reports_the_same_loss_on_any_number_of_processes(
    mnist_subset: Path, tmp_path: Path, stopped_on: int, resumed_on: int
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "stopped"
    flags = [
        "--data-dir", str(mnist_subset), "--batch-size", "200", "--epochs", "1", "--beta", "4",
        "--latent-size", "5", "--hidden", "32", "--threads", "1", "--no-figures",
    ]  # fmt: skip
    assert main([*flags, "--out", str(whole)]) == 0
    script = tmp_path / "stops.py"
    script.write_text(STOPS_IN_MID_EPOCH)
    arguments = [str(script), str(out), load_state(whole).config.model_dump_json()]
    if stopped_on == 2:
        finished = torchrun(*arguments)
    else:
        finished = subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, check=False
        )
    assert finished.returncode == 0, finished.stderr
    state = load_state(out)
    assert 0 < state.progress.step < 30
    resume = ["--resume", "--no-figures", "--out", str(out)]
    assert (torchrun(*resume).returncode if resumed_on == 2 else main(resume)) == 0
    assert train_terms(out) == pytest.approx(train_terms(whole), rel=1e-4)


@pytest.mark.parametrize("count", [0, 1, 7, 128])
@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
def test_the_shares_of_a_batch_sum_to_the_batch(count: int, world_size: int) -> None:
    import torch

    places = [Placement(torch.device("cpu"), rank, world_size) for rank in range(world_size)]
    shares = [list(range(count))[place.share(count)] for place in places]
    assert [row for share in shares for row in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_the_last_batch_is_not_dropped(mnist_subset: Path) -> None:
    import torch

    from latens_training.config import RunConfig
    from latens_training.data import datasets
    from latens_training.models.build import build

    images = datasets.load("mnist", mnist_subset).train.images[:300]
    model = build(RunConfig().model, (1, 28, 28))
    trainer = Trainer(model, images, RunConfig(), Placement(torch.device("cpu")))
    steps: list[None] = []
    assert trainer.run_epoch(lambda: False, lambda: steps.append(None))
    assert len(steps) == trainer.steps == 3
