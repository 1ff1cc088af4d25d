"""The importance-weighted bound (Burda, Grosse and Salakhutdinov 2016, equation 8)."""

from __future__ import annotations

import math

from torch import Tensor, logsumexp

from latens_training.config import LossConfig
from latens_training.models.autoencoder import ForwardOutput
from latens_training.objectives.elbo import elbo
from latens_training.objectives.terms import kl, log_prior_to_posterior, reconstruction


def iwae(output: ForwardOutput, targets: Tensor, config: LossConfig) -> dict[str, Tensor]:
    """Minus the logarithm of the mean importance weight, and the terms of the ELBO beside it.

    beta weighs the ratio of prior to posterior. A deterministic posterior has no weights; its
    loss is the ELBO's.

    Args:
        output: of the network.
        targets: [n, c, h, w] in [0, 1].
        config: likelihood and beta.

    Returns:
        `loss`, `reconstruction` and `kl`, each summed over the images, nats.
    """
    if output.log_var is None:
        return elbo(output, targets, config)
    negative_log_p = reconstruction(output.logits, targets, config)
    ratio = log_prior_to_posterior(output.latents, output.mean, output.log_var)
    weights = config.beta * ratio - negative_log_p
    return {
        "loss": (math.log(len(weights)) - logsumexp(weights, 0)).sum(),
        "reconstruction": negative_log_p.mean(0).sum(),
        "kl": kl(output.mean, output.log_var).sum(),
    }
