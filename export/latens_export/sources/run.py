"""A training run as the source of a bundle: the one module that knows `latens_training`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from latens_export.bundling import BundleOptions, write_bundle
from latens_export.errors import SourceError
from latens_serving.bundle.spec import (
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
from latens_training.run_data import dataset_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from latens_export.bundling import WrittenBundle
    from latens_export.graphs.precision import Precision
    from latens_training.checkpoint import Checkpoint

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
    model = trained.model
    return write_bundle(
        model.encoder,
        model.decoder,
        _spec(trained, precision, tolerance, fit_prior=fit_prior),
        dataset.test.images,
        repository,
        name,
        logits=True,
        labels=dataset.test.labels,
        calibration=dataset.train.images,
        prior_data=dataset.train.images,
        provenance=(trained.metrics, trained.config.model_dump(mode="json")),
        options=options,
        step=step,
    )


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except TrainingError as error:
        raise SourceError(str(error), error.exit_code) from error


def _spec(
    trained: Checkpoint, precision: Precision, tolerance: float, *, fit_prior: bool
) -> ModelSpec:
    config, model = trained.config, trained.model
    posterior = _POSTERIORS[model.posterior]
    fitted = fit_prior or posterior is Posterior.DETERMINISTIC
    return ModelSpec(
        data_axes=fixed_image_axes(model.image_shape),
        latent_axes=fixed_latent_axes(model.latent_shape),
        architecture=config.model.architecture,
        beta=config.loss.beta,
        dataset=config.data.dataset,
        likelihood=Likelihood(config.loss.likelihood),
        sigma=config.loss.sigma,
        posterior=posterior,
        prior=Prior.FITTED_GAUSSIAN if fitted else Prior.STANDARD_NORMAL,
        precision=precision,
        tolerance=tolerance,
        parameter_count=sum(parameter.numel() for parameter in model.parameters()),
        latent_dims=tuple(
            LatentDim(kl=dim.kl, mean=dim.mean, std=dim.std) for dim in trained.latent_dims
        ),
        attributes=trained.attribute_vectors,
    )
