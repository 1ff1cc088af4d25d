"""A training run as the source of a bundle: the one module that knows `latens_training`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from latens_export.bundling import BundleOptions, write_bundle
from latens_export.errors import SourceError, UsageError
from latens_export.graphs.precision import DEFAULT_TOLERANCE, Precision
from latens_export.sources.labelled import LabelledDecoder, LabelledEncoder, with_labels
from latens_export.sources.run_graphs import (
    CodeDecoder,
    CodeEncoder,
    MeanDecoder,
)
from latens_serving.bundle.conditional import MOST_LABELS
from latens_serving.bundle.spec import (
    LatentAxis,
    LatentDim,
    Likelihood,
    ModelSpec,
    Posterior,
    Prior,
    fixed_image_axes,
    fixed_latent_axes,
)
from latens_training import checkpoint
from latens_training.errors import TrainingError
from latens_training.runs.data import dataset_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from latens_export.bundling import WrittenBundle
    from latens_training.checkpoint import Checkpoint
    from latens_training.data.types import Dataset, Split
    from latens_training.models.autoencoder import Autoencoder

_MOST_LABELLED = 20_000
"""Images that are joined with their labels: those that the checks, the prior and integers need."""
_POSTERIORS = {
    "diagonal-gaussian": Posterior.DIAGONAL_GAUSSIAN,
    "deterministic": Posterior.DETERMINISTIC,
}


def export_run(
    run: Path,
    repository: Path,
    name: str,
    *,
    precision: Precision,
    tolerance: float,
    data_dir: Path | None,
    fit_prior: bool,
    options: BundleOptions,
    step: Callable[[str], None],
) -> WrittenBundle:
    """Writes the bundle of a run directory; the arguments are those of `write_bundle`.

    Args:
        run: the run directory.
        repository: the model repository to add to.
        name: the model's name.
        precision: what the graphs compute in.
        tolerance: the largest accepted difference from torch.
        data_dir: a folder with the files of the run's data set; None for where the run found them.
        fit_prior: whether the prior is a Gaussian of the encoded training images; always so of
            deterministic autoencoders, which were not trained towards any.
        options: see `BundleOptions`.
        step: receives a line of text when a part of the work begins.

    Raises:
        SourceError: the run or its data set cannot be read.
        ExportError: the bundle cannot be written; see `write_bundle`.
    """
    step(f"reading {run}")
    with _reading():
        trained = checkpoint.load(run)
        # As the model was evaluated: binary pixels, if it was trained on binary ones.
        dataset = dataset_of(trained, step, data_dir=data_dir)
    return _write(
        trained, dataset, repository, name, precision, tolerance, options, step, fit_prior=fit_prior
    )


def export_trained(
    trained: Checkpoint,
    dataset: Dataset,
    repository: Path,
    name: str,
    *,
    precision: str = Precision.FLOAT32,
    tolerance: float | None = None,
    fit_prior: bool = False,
    atlas_images: int = 2000,
) -> Path:
    """Writes the bundle of a model in memory; `latens_training.Run.export` calls it.

    Args:
        trained: the model and its record.
        dataset: its images, as it was evaluated on them.
        repository: the model repository to add to.
        name: the model's name.
        precision: float32, tf32, float16 or int8.
        tolerance: the largest accepted difference from torch; None for that of the precision.
        fit_prior: see `export_run`.
        atlas_images: test images that go into the bundle for the explorer's map.

    Returns:
        The directory of the bundle.

    Raises:
        ExportError: the bundle cannot be written; see `write_bundle`.
    """
    chosen = Precision(precision)
    written = _write(
        trained,
        dataset,
        repository,
        name,
        chosen,
        DEFAULT_TOLERANCE[chosen] if tolerance is None else tolerance,
        BundleOptions(atlas_images),
        lambda _: None,
        fit_prior=fit_prior,
    )
    return written.path


def _write(
    trained: Checkpoint,
    dataset: Dataset,
    repository: Path,
    name: str,
    precision: Precision,
    tolerance: float,
    options: BundleOptions,
    step: Callable[[str], None],
    *,
    fit_prior: bool,
) -> WrittenBundle:
    model = trained.model
    has_logits = model.likelihood.has_logits
    encoder, decoder = _parts(model)
    train = _with_labels(model, dataset.train)
    return write_bundle(
        encoder,
        decoder if has_logits else MeanDecoder(decoder, model),
        _spec(trained, dataset, precision, tolerance, fit_prior=fit_prior),
        _with_labels(model, dataset.test),
        repository,
        name,
        logits=has_logits,
        labels=_labels_of(model, dataset.test),
        calibration=train,
        prior_data=train,
        provenance=(trained.metrics, trained.config.model_dump(mode="json")),
        options=options,
        step=step,
    )


def _with_labels(model: Autoencoder, split: Split) -> Tensor:
    """The images as the graphs take them."""
    if not model.label_count:
        return split.images
    some = torch.arange(min(len(split), _MOST_LABELLED))  # a tensor, also of images on disk
    images, labels = split.images[some], split.labels
    if labels is None or not 0 <= int(labels.min()) <= int(labels.max()) < model.label_count:
        raise UsageError(
            "the data set has no labels, or others than the classes that the model knows"
        )
    return with_labels(images, labels[some])


def _labels_of(model: Autoencoder, split: Split) -> Tensor | None:
    """The labels of the rows that `_with_labels` gives."""
    return (
        split.labels[:_MOST_LABELLED]
        if model.label_count and split.labels is not None
        else split.labels
    )


def _parts(model: Autoencoder) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder; of a model with a codebook, those of codes."""
    if model.label_count:
        return LabelledEncoder(model), LabelledDecoder(model)
    if model.codebook_size is None:
        return model.encoder, model.decoder
    return CodeEncoder(model), CodeDecoder(model)


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except TrainingError as error:
        raise SourceError(str(error), error.exit_code) from error


def _spec(
    trained: Checkpoint,
    dataset: Dataset,
    precision: Precision,
    tolerance: float,
    *,
    fit_prior: bool,
) -> ModelSpec:
    config, model = trained.config, trained.model
    posterior = _POSTERIORS[model.posterior]
    fitted = fit_prior or posterior is Posterior.DETERMINISTIC
    prior = Prior.FITTED_GAUSSIAN if fitted else Prior.STANDARD_NORMAL
    has_codes = model.codebook_size is not None
    if has_codes:
        if fit_prior:
            raise UsageError(
                "fit-prior: the model encodes to codes, to which no Gaussian is fitted"
            )
        prior = Prior.NONE
    served = model.likelihood.served
    return ModelSpec(
        data_axes=fixed_image_axes(model.image_shape),
        latent_axes=_latent_axes(model),
        codebook_size=model.codebook_size,
        label_count=_label_count(model),
        architecture=config.model.architecture,
        beta=config.loss.beta,
        dataset=config.data.dataset,
        # A server computes nats from the mean alone, which other likelihoods do not allow.
        likelihood=Likelihood(served.name) if served else Likelihood.NONE,
        sigma=(served and served.sigma) or config.loss.sigma,
        posterior=posterior,
        prior=prior,
        precision=precision,
        tolerance=tolerance,
        parameter_count=sum(parameter.numel() for parameter in model.parameters()),
        latent_dims=()
        if has_codes
        else tuple(LatentDim(kl=dim.kl, mean=dim.mean, std=dim.std) for dim in trained.latent_dims),
        attributes={} if has_codes else trained.attribute_vectors,
        label_names=dataset.class_names,
    )


def _label_count(model: Autoencoder) -> int | None:
    if model.label_count > MOST_LABELS:
        raise UsageError(
            f"a conditional model of {model.label_count} classes; {MOST_LABELS} are served at most"
        )
    return model.label_count or None


def _latent_axes(model: Autoencoder) -> tuple[LatentAxis, ...]:
    """The axes of the latent, or of the codes."""
    if model.codebook_size is None:
        return fixed_latent_axes(model.latent_shape)
    shape = model.code_shape
    if len(shape) != 2:
        return fixed_latent_axes(shape)
    return (LatentAxis(name="height", size=shape[0]), LatentAxis(name="width", size=shape[1]))
