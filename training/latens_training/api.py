"""The Python API: `train` and `Run`, which the command line uses too."""

from __future__ import annotations

import tempfile
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from latens_training import checkpoint as checkpoints
from latens_training.checkpoint import HISTORY_FILE
from latens_training.config import RunConfig
from latens_training.data.types import Dataset
from latens_training.effects import completed, without_effect
from latens_training.errors import NotFoundError, UsageError
from latens_training.metrics.evaluation import evaluate, known_labels
from latens_training.metrics.iwae_bound import iwae_bound
from latens_training.progress import Reporter, Tracker
from latens_training.registry import reference
from latens_training.runs.data import dataset_of
from latens_training.runs.directory import Interrupted, stop_on_signals
from latens_training.runs.starting import state_to_resume, train_run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from PIL.Image import Image
    from torch import Tensor

    from latens_training.checkpoint import Checkpoint
    from latens_training.models.autoencoder import Autoencoder

EXPORTERS = "latens_training.exporters"
"""The group of entry points under which latens-export says how a run becomes a bundle."""


class Run:
    """A trained model with its record and its data set."""

    def __init__(self, trained: Checkpoint, dataset: Dataset | None = None) -> None:
        self.checkpoint = trained
        self._dataset = dataset

    @classmethod
    def load(cls, path: Path | str, *, dataset: Dataset | None = None) -> Run:
        """Reads a run directory.

        Args:
            path: the directory.
            dataset: the images as the model is evaluated on them, if the run cannot find its own.

        Raises:
            CheckpointError: it is missing, damaged or of another schema.
        """
        return cls(checkpoints.load(path), dataset)

    @property
    def path(self) -> Path:
        return self.checkpoint.path

    @property
    def model(self) -> Autoencoder:
        """The network in eval mode on the CPU."""
        return self.checkpoint.model

    @property
    def config(self) -> RunConfig:
        return self.checkpoint.config

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics of the test set by name, nats per image."""
        return self.checkpoint.metrics

    @property
    def history(self) -> Sequence[Mapping[str, Any]]:
        """One record per epoch: the objective's terms, the test set's, seconds."""
        from latens_training.figures.album import read_history

        return read_history(self.path / HISTORY_FILE)

    @cached_property
    def dataset(self) -> Dataset:
        """The images as the model was evaluated on them.

        Raises:
            TrainingError: they cannot be found or read.
        """
        return self._dataset or dataset_of(self.checkpoint, print)

    @torch.inference_mode()
    def encode(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Images [n, c, h, w], uint8 or floats in [0, 1], to `(mean, log_var)`.

        A conditional model also takes the class of each, int64 [n].
        """
        floats = images.float() / 255 if images.dtype == torch.uint8 else images
        return self.model.encode(floats, known_labels(self.model, labels))

    @torch.inference_mode()
    def decode(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Latents [n, *latent_shape] to images [n, c, h, w] in [0, 1].

        A conditional model also takes the class of each, int64 [n].
        """
        return self.model.images(latents, known_labels(self.model, labels))

    def evaluate(self, *, draws: int = 5, bound_samples: int = 0) -> dict[str, float]:
        """Metrics of the whole test set by name, nats per image.

        Args:
            draws: latents per image for the ELBO.
            bound_samples: draws per image for the importance-weighted bound; 0 for no bound.
        """
        images, labels = self.dataset.test.images, self.dataset.test.labels
        terms = evaluate(self.model, images, labels, draws=draws)
        metrics = terms.metrics(self.model.posterior)
        if bound_samples and self.model.posterior != "deterministic":
            bound = iwae_bound(self.model, images, terms, labels, samples=bound_samples, subset=500)
            metrics |= bound.metrics()
        return metrics

    def figures(self, directory: Path | None = None) -> list[Path]:
        """Draws every figure that suits the model; returns the paths of the files."""
        from latens_training.figures import write_all

        return write_all(self.checkpoint, self.dataset, directory or self.path / "figures")

    def figure(self, name: str) -> Image:
        """One figure as a picture, which a notebook shows.

        Args:
            name: as `scatter`, `manifold`, `traversals` or `reconstructions`.

        Raises:
            NotFoundError: there is no such figure of this model.
        """
        from PIL import Image

        from latens_training.figures.album import draw_one

        with tempfile.TemporaryDirectory() as folder:
            with Image.open(draw_one(name, self.checkpoint, self.dataset, Path(folder))) as drawn:
                drawn.load()
            return drawn

    def export(self, repository: Path | str, name: str, **options: Any) -> Path:
        """Writes the next version of a model to a repository; needs latens-export.

        Args:
            repository: the model repository to add to.
            name: the model's name.
            **options: those of `latens_export.sources.run.export_trained`, as `precision`.

        Returns:
            The directory of the bundle.

        Raises:
            NotFoundError: latens-export is not installed.
        """
        for point in entry_points(group=EXPORTERS):
            written: Path = point.load()(
                self.checkpoint, self.dataset, Path(repository), name, **options
            )
            return written
        raise NotFoundError("export: latens-export is not installed; pip install latens-export")

    def __repr__(self) -> str:
        shown = [f"{name}={self.metrics[name]:.2f}" for name in ("elbo",) if name in self.metrics]
        words = [
            repr(str(self.path)),
            self.config.model.architecture,
            f"{self.checkpoint.record.epoch} epochs",
        ]
        return f"<Run {' '.join([*words, *shown])}>"


def train(
    config: RunConfig | None = None,
    *,
    dataset: Dataset | Callable[..., Dataset] | str | None = None,
    model: Callable[..., Any] | str | None = None,
    objective: Callable[..., Any] | str | None = None,
    out: Path | str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    tracker: Tracker | None = None,
) -> Run:
    """Trains an autoencoder; the files are those of `latens-train`.

    Args:
        config: the settings; the defaults if not given.
        dataset: images, a function that makes them, or a name; None: as the settings say.
        model: a network's class or function (see `latens_training.models.registry`), or a name.
        objective: a loss (see `latens_training.objectives.registry`), or a name.
        out: the run directory; default `runs/DATASET-MODEL`.
        resume: whether to continue the run in `out`.
        overwrite: whether to replace the run in `out`.
        quiet: whether to report nothing on standard error.
        tracker: receives the settings and the record of each epoch.

    Raises:
        UsageError: a setting is invalid or without effect, or `out` contains a run.
        TrainingError: the data or the run directory cannot be used.
        Interrupted: SIGINT or SIGTERM arrived; the run is saved and can be resumed.
    """
    config = _named(config or RunConfig(), dataset, model, objective)
    config = completed(config)
    for name, reason in without_effect(config).items():
        raise UsageError(f"{name}: has no effect here: {reason}")
    default = f"{Path(config.data.dataset).stem}-{config.model.architecture}".replace(":", "-")
    directory = Path(out or Path("runs") / default)
    state = state_to_resume(directory, resume=resume, overwrite=overwrite)
    images = dataset if isinstance(dataset, Dataset) else None
    with stop_on_signals() as stop:
        reporter = Reporter(config.train.epochs, json_lines=False, silent=quiet, tracker=tracker)
        trained, evaluated = train_run(config, directory, state, reporter, stop, images)
    return Run(trained, evaluated)


def _named(
    config: RunConfig,
    dataset: Dataset | Callable[..., Dataset] | str | None,
    model: Callable[..., Any] | str | None,
    objective: Callable[..., Any] | str | None,
) -> RunConfig:
    """The settings with the names of what was given as an object."""
    changes: dict[str, dict[str, str]] = {"data": {}, "model": {}, "loss": {}}
    if dataset is not None:
        named = dataset.name if isinstance(dataset, Dataset) else _name(dataset)
        changes["data"]["dataset"] = named
    if model is not None:
        changes["model"]["architecture"] = _name(model)
    if objective is not None:
        changes["loss"]["objective"] = _name(objective)
    sections = {
        name: getattr(config, name).model_copy(update=values) for name, values in changes.items()
    }
    return config.model_copy(update=sections)


def _name(thing: Callable[..., Any] | str) -> str:
    return thing if isinstance(thing, str) else reference(thing)


__all__ = ["Interrupted", "Run", "train"]
