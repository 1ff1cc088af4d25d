"""Fixtures of several test folders; each is made once per test session, over all workers."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

from server_process import Server, running_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


# Several workers share the processors; torch's threads would wait for each other, spinning.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No test depends on the machine's speed, nor on examples that another run cannot repeat: a longer
# search at random is `make chaos`.
UNTIMED = [HealthCheck.too_slow]
settings.register_profile("latens", deadline=None, derandomize=True, suppress_health_check=UNTIMED)
settings.load_profile("latens")


def pytest_configure() -> None:
    """A shell's background jobs ignore Ctrl-C, and so would every process that a test starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A directory that the first worker to ask for it makes, and the others find."""
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    path = root / name
    with FileLock(f"{path}.lock"):
        if not path.exists():
            unfinished = root / f"{name}.unfinished"
            make(unfinished)
            unfinished.rename(path)
    return path


@pytest.fixture(scope="session")
def mnist_subset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with MNIST's four IDX files, cut to the first 6,000 and 1,000 real images.

    For `--dataset mnist --data-dir`, where a test trains.
    """

    def make(folder: Path) -> None:
        from latens_training.data import datasets

        mnist = datasets.load("mnist")
        folder.mkdir()
        for stem, split, count in (("train", mnist.train, 6000), ("t10k", mnist.test, 1000)):
            assert split.labels is not None
            images, labels = split.images[:count, 0], split.labels[:count].byte()
            for name, values in (("images-idx3", images), ("labels-idx1", labels)):
                header = bytes([0, 0, 8, values.dim()])
                sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
                content = header + sizes + values.numpy().tobytes()
                (folder / f"{stem}-{name}-ubyte").write_bytes(content)

    return made_once(tmp_path_factory, "mnist-subset", make)


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory, mnist_subset: Path) -> Path:
    """The run directory of the article's VAE (vae-mlp, L = 2), five epochs on `mnist_subset`."""

    def make(run: Path) -> None:
        from latens_training.cli.main import main

        arguments = ["--latent-size", "2", "--epochs", "5", "--no-figures", "--out", str(run)]
        assert main(["--dataset", "mnist", "--data-dir", str(mnist_subset), *arguments]) == 0

    return made_once(tmp_path_factory, "trained-run", make)


@pytest.fixture(scope="session")
def point_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a small deterministic autoencoder (ae-mlp, latent size 3), untrained."""

    def make(run: Path) -> None:
        import torch

        from latens_training.checkpoint import save
        from latens_training.config import ModelConfig, RunConfig
        from latens_training.models.build import build
        from latens_training.runs.record import RunRecord

        config = ModelConfig(architecture="ae-mlp", latent_size=3, hidden=(16,))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            model = build(config, (1, 28, 28))
        save(run, model, RunRecord(config=RunConfig(model=config), image_shape=(1, 28, 28)))

    return made_once(tmp_path_factory, "point-run", make)


@pytest.fixture(scope="session")
def model_repository(
    tmp_path_factory: pytest.TempPathFactory, trained_run: Path, point_run: Path
) -> Path:
    """A repository with `mnist-2d` (vae-mlp, L = 2, trained) and `point` (ae-mlp, L = 3).

    Not to be changed: copy it first.
    """

    def make(repository: Path) -> None:
        from latens_export.cli import main

        for run, name in ((trained_run, "mnist-2d"), (point_run, "point")):
            assert main([str(run), "--repository", str(repository), "--name", name]) == 0

    return made_once(tmp_path_factory, "model-repository", make)


@pytest.fixture(scope="session")
def server(model_repository: Path) -> Iterator[Server]:
    """A server process of this worker's over `model_repository`; not to be stopped or loaded."""
    # Tests count what runs: nothing but their calls does.
    with running_server(model_repository, "--canary-seconds=0", "--drift-seconds=0") as running:
        yield running
