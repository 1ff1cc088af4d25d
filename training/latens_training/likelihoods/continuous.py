"""Likelihoods of values in [0, 1]: Bernoulli, continuous Bernoulli and Gaussian."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn, sigmoid
from torch.distributions import ContinuousBernoulli as TorchContinuousBernoulli
from torch.nn import functional

from latens_training.likelihoods.likelihood import PIXEL_AXES, Likelihood, ServedLikelihood

_LOG_TWO_PI = math.log(2 * math.pi)
_NEAR, _FAR = 0.4, 80.0
"""Logits within which a series is exact to float32, and beyond which exp would overflow."""


class Bernoulli(Likelihood):
    """Each pixel is white with the probability sigmoid(decoded).

    The term is computed from the logits, so that it stays finite where a sigmoid would saturate.
    For grey targets it is the cross-entropy, as is usual, and not a true likelihood.
    """

    has_logits: ClassVar[bool] = True

    def mean(self, decoded: Tensor) -> Tensor:
        return sigmoid(decoded)

    def negative_log_p(self, decoded: Tensor, targets: Tensor) -> Tensor:
        pixels = functional.binary_cross_entropy_with_logits(
            decoded, targets.expand_as(decoded), reduction="none"
        )
        return pixels.sum(PIXEL_AXES)

    @property
    def served(self) -> ServedLikelihood:
        return ServedLikelihood("bernoulli")


class ContinuousBernoulli(Likelihood):
    """The Bernoulli term with the constant that makes it a density over [0, 1].

    Loaiza-Ganem and Cunningham, "The continuous Bernoulli: fixing a pervasive error in
    variational autoencoders" (2019).
    """

    def mean(self, decoded: Tensor) -> Tensor:
        """1 / (1 - exp(-logit)) - 1 / logit, which is 1/2 at 0.

        torch.distributions has it as a difference that loses all but two digits near 0.
        """
        near = decoded.abs() < _NEAR
        logits = torch.where(near, torch.ones_like(decoded), decoded)
        exact = -1 / torch.expm1(-logits.clamp(-_FAR, _FAR)) - 1 / logits
        series = 0.5 + decoded / 12 - decoded**3 / 720
        return torch.where(near, series, exact)

    def negative_log_p(self, decoded: Tensor, targets: Tensor) -> Tensor:
        log_p: Tensor = self._of(decoded).log_prob(targets)  # type: ignore[no-untyped-call]
        return -log_p.sum(PIXEL_AXES)

    def _of(self, decoded: Tensor) -> TorchContinuousBernoulli:
        return TorchContinuousBernoulli(logits=decoded, validate_args=False)


class Gaussian(Likelihood):
    """Each pixel is normal around sigmoid(decoded), with one standard deviation for all.

    The term keeps its normalising constant.
    """

    has_logits: ClassVar[bool] = True

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma

    def mean(self, decoded: Tensor) -> Tensor:
        return sigmoid(decoded)

    def negative_log_p(self, decoded: Tensor, targets: Tensor) -> Tensor:
        squares = (sigmoid(decoded) - targets).square().sum(PIXEL_AXES)
        pixels = math.prod(targets.shape[-3:])
        constant = 0.5 * pixels * (_LOG_TWO_PI + 2 * math.log(self.sigma))
        return squares / (2 * self.sigma**2) + constant

    @property
    def served(self) -> ServedLikelihood:
        return ServedLikelihood("gaussian", self.sigma)


class LearntGaussian(Likelihood):
    """The Gaussian likelihood whose standard deviation is trained with the weights.

    Rybkin, Daniilidis and Levine, "Simple and effective VAE training with calibrated decoders"
    (2021), the variant with one shared parameter.
    """

    has_logits: ClassVar[bool] = True

    def __init__(self, first_sigma: float) -> None:
        super().__init__()
        self.log_sigma = nn.Parameter(torch.tensor(math.log(first_sigma)))

    def mean(self, decoded: Tensor) -> Tensor:
        return sigmoid(decoded)

    def negative_log_p(self, decoded: Tensor, targets: Tensor) -> Tensor:
        squares = (sigmoid(decoded) - targets).square().sum(PIXEL_AXES)
        pixels = math.prod(targets.shape[-3:])
        constant = pixels * (0.5 * _LOG_TWO_PI + self.log_sigma)
        return 0.5 * squares * torch.exp(-2 * self.log_sigma) + constant

    @property
    def served(self) -> ServedLikelihood:
        return ServedLikelihood("gaussian", math.exp(float(self.log_sigma.detach())))
