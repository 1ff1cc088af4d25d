"""The ELBO (Kingma and Welling 2013) with a weight on its KL term, constant or annealed."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from latens_training.objectives.batch import Batch, Terms, kl_by_dim


@dataclass(frozen=True)
class Elbo:
    """Reconstruction + beta KL (Higgins et al. 2017), averaged over the draws.

    Attributes:
        beta: the weight of the KL term once annealing is over.
        kl_warmup: epochs over which the weight rises from 0 to beta (Bowman et al. 2016).
        kl_cycle: epochs of a cycle, each of which begins with such a rise (Fu et al. 2019); 0 for
            one rise only.
        free_bits: nats per latent coordinate below which its KL costs nothing (Kingma et al. 2016,
            equation 15, on the mean over the batch).
    """

    beta: float
    kl_warmup: float
    kl_cycle: float
    free_bits: float

    def __call__(self, batch: Batch) -> Terms:
        weight = self.weight(batch.epoch)
        if weight == self.beta and not self.free_bits:
            # The path of nearly every run: each term is summed once.
            expected, divergence = batch.reconstruction.sum(), batch.kl.sum()
            loss = expected + weight * divergence
            return {"loss": loss, "reconstruction": expected, "kl": divergence}
        loss = batch.reconstruction.sum() + weight * self._charged(batch)
        return batch.terms(loss, kl_weight=batch.kl.new_full((len(batch.kl),), weight))

    def weight(self, epoch: float) -> float:
        """The weight of the KL term after so many epochs."""
        if not self.kl_warmup:
            return self.beta
        into = epoch % self.kl_cycle if self.kl_cycle else epoch
        return self.beta * min(1.0, into / self.kl_warmup)

    def _charged(self, batch: Batch) -> Tensor:
        """The KL that is paid for, summed over the images."""
        log_var = batch.output.log_var
        if not self.free_bits or log_var is None:
            return batch.kl.sum()
        by_dim = kl_by_dim(batch.output.mean, log_var).flatten(1).mean(0)
        return by_dim.clamp_min(self.free_bits).sum() * len(batch.kl)
