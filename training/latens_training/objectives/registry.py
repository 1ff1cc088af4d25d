"""The objectives by the name that `--objective` takes.

An objective of one's own is named `module:name`. It is

- a function `(batch, *, options...)` that returns the terms of a batch, or
- a class `(model, *, options...)` whose objects are such functions of the batch. If it is a
  module with weights of its own, the term `auxiliary` is what these minimise.
"""

from __future__ import annotations

import inspect
import math
from functools import partial
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from latens_training.registry import Registry

if TYPE_CHECKING:
    from latens_training.config import LossConfig
    from latens_training.models.autoencoder import Autoencoder
    from latens_training.objectives.batch import Objective

OBJECTIVES = Registry("objective", shared=("beta",))

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Epochs = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@OBJECTIVES.register("elbo")
def _elbo(
    model: Autoencoder,
    *,
    beta: float,
    kl_warmup: Annotated[
        Epochs, Field(description="epochs over which the KL's weight rises from 0 to --beta")
    ] = 0.0,
    kl_cycle: Annotated[
        Epochs,
        Field(description="epochs after which --kl-warmup begins again; 0: never"),
    ] = 0.0,
    free_bits: Annotated[
        Weight, Field(description="nats per latent coordinate whose KL costs nothing")
    ] = 0.0,
) -> Objective:
    from latens_training.objectives.elbo import Elbo

    return Elbo(beta, kl_warmup, kl_cycle, free_bits)


@OBJECTIVES.register("iwae")
def _iwae(model: Autoencoder, *, beta: float) -> Objective:
    from latens_training.objectives.iwae import Iwae

    return Iwae(beta)


@OBJECTIVES.register("dreg")
def _dreg(model: Autoencoder) -> Objective:
    from latens_training.objectives.iwae import dreg

    return dreg


@OBJECTIVES.register("capacity")
def _capacity(
    model: Autoencoder,
    *,
    gamma: Annotated[Weight, Field(description="weight of |KL - capacity|")] = 1000.0,
    capacity: Annotated[Weight, Field(description="last capacity, nats")] = 25.0,
    capacity_epochs: Annotated[
        float, Field(gt=0, allow_inf_nan=False, description="epochs over which it rises from 0")
    ] = 10.0,
) -> Objective:
    from latens_training.objectives.capacity import Capacity

    return Capacity(gamma, capacity, capacity_epochs)


@OBJECTIVES.register("beta-tc")
def _beta_tc(
    model: Autoencoder,
    *,
    alpha: Annotated[Weight, Field(description="weight of the mutual information")] = 1.0,
    tc_weight: Annotated[Weight, Field(description="weight of the total correlation")] = 6.0,
    gamma: Annotated[Weight, Field(description="weight of the KL by dimension")] = 1.0,
) -> Objective:
    from latens_training.objectives.total_correlation import BetaTc

    return BetaTc(alpha, tc_weight, gamma)


@OBJECTIVES.register("factor-vae")
def _factor_vae(
    model: Autoencoder,
    *,
    gamma: Annotated[Weight, Field(description="weight of the total correlation")] = 10.0,
    discriminator_width: Annotated[
        int, Field(ge=1, le=65536, description="units of each layer of the discriminator")
    ] = 1000,
) -> Objective:
    from latens_training.objectives.total_correlation import FactorVae

    return FactorVae(math.prod(model.latent_shape), gamma, discriminator_width)


@OBJECTIVES.register("mmd")
def _mmd(
    model: Autoencoder,
    *,
    alpha: Annotated[
        float,
        Field(le=1, allow_inf_nan=False, description="1 leaves the KL term out, 0 keeps it whole"),
    ] = 1.0,
    mmd_weight: Annotated[Weight, Field(description="weight of the discrepancy (lambda)")] = 1000.0,
) -> Objective:
    from latens_training.objectives.mmd import Mmd

    return Mmd(alpha, mmd_weight)


@OBJECTIVES.register("vq")
def _vq(
    model: Autoencoder,
    *,
    commitment: Annotated[
        Weight, Field(description="weight of the latents' distance from their vectors (beta)")
    ] = 0.25,
) -> Objective:
    from latens_training.objectives.vector_quantization import VectorQuantization

    return VectorQuantization(model, commitment)


def build_objective(config: LossConfig, model: Autoencoder) -> Objective:
    """The objective of a run's settings.

    Raises:
        TrainingError: there is none of this name, or an option is invalid.
    """
    entry = OBJECTIVES.find(config.objective)
    arguments = entry.arguments({"beta": config.beta}, config.objective_options)
    if entry.is_external and not inspect.isclass(entry.factory):
        return partial(entry.factory, **arguments)
    objective: Objective = entry.factory(model, **arguments)
    return objective
