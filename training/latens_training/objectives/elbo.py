"""The ELBO (Kingma and Welling 2013), with a weight on its KL term (Higgins et al. 2017)."""

from __future__ import annotations

from torch import Tensor

from latens_training.config import LossConfig
from latens_training.models.autoencoder import ForwardOutput
from latens_training.objectives.terms import kl, reconstruction


def elbo(output: ForwardOutput, targets: Tensor, config: LossConfig) -> dict[str, Tensor]:
    """The loss, reconstruction + beta KL averaged over the draws, and its terms.

    Args:
        output: of the network.
        targets: [n, c, h, w] in [0, 1].
        config: likelihood and beta.

    Returns:
        `loss`, `reconstruction` and `kl`, each summed over the images, nats.
    """
    expected = reconstruction(output.logits, targets, config).mean(0).sum()
    divergence = kl(output.mean, output.log_var).sum()
    loss = expected + config.beta * divergence
    return {"loss": loss, "reconstruction": expected, "kl": divergence}
