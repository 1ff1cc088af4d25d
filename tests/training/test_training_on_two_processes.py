"""Under torchrun the objective stays the same: two processes learn what one does."""

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
from latens_training.trainer import Trainer


def settings(mnist_subset: Path, out: Path) -> list[str]:
    # 6,000 images in batches of 700: the last batch is smaller, and odd shares occur.
    return [
        "--data-dir", str(mnist_subset), "--batch-size", "701", "--epochs", "2", "--beta", "4",
        "--latent-size", "5", "--hidden", "32", "--threads", "1", "--no-figures",
        "--json", "--out", str(out),
    ]  # fmt: skip


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.run(
        [*command, "-m", "latens_training", *arguments],
        capture_output=True, text=True, timeout=250, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_two_processes_learn_what_one_does(
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
    for unit, other in zip(first.latent_units, second.latent_units, strict=True):
        assert unit.kl == pytest.approx(other.kl, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("count", [0, 1, 7, 128])
@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
def test_the_shares_of_a_batch_make_it_up(count: int, world_size: int) -> None:
    import torch

    places = [Placement(torch.device("cpu"), rank, world_size) for rank in range(world_size)]
    shares = [list(range(count))[place.share(count)] for place in places]
    assert [row for share in shares for row in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_the_last_batch_is_not_dropped(mnist_subset: Path) -> None:
    import torch

    from latens_training.config import RunConfig
    from latens_training.data import datasets
    from latens_training.models import autoencoder as models

    images = datasets.load("mnist", mnist_subset).train.images[:300]
    model = models.build(RunConfig().model, (1, 28, 28))
    trainer = Trainer(model, images, RunConfig(), Placement(torch.device("cpu")))
    steps: list[None] = []
    assert trainer.run_epoch(lambda: False, lambda: steps.append(None))
    assert len(steps) == trainer.steps == 3
