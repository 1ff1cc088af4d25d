"""Networks as export sees them, for its tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from latens_export.checks.inputs import Inputs
from latens_export.network import Network
from latens_serving.bundle.spec import (
    Likelihood,
    ModelSpec,
    Posterior,
    Prior,
    fixed_image_axes,
    fixed_latent_axes,
)

if TYPE_CHECKING:
    from torch import Tensor

    from latens_training.models.autoencoder import Autoencoder


def network_of(model: Autoencoder, precision: str = "float32", tolerance: float = 1e-4) -> Network:
    """An autoencoder of training as export sees it."""
    deterministic = model.posterior == "deterministic"
    spec = ModelSpec(
        data_axes=fixed_image_axes(model.image_shape),
        latent_axes=fixed_latent_axes(model.latent_shape),
        posterior=Posterior(model.posterior),
        prior=Prior.NONE if deterministic else Prior.STANDARD_NORMAL,
        likelihood=Likelihood.BERNOULLI,
        precision=precision,
        tolerance=tolerance,
    )
    return Network(model.encoder, model.decoder, spec, logits=True)


def real(images: Tensor, calibration: Tensor | None = None) -> Inputs:
    """Images of one size as export takes them."""
    return Inputs((images,), None, images if calibration is None else calibration)


NOTHING = Inputs((), None, torch.empty(0))
