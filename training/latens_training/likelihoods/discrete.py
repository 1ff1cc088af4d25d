"""Likelihoods of the 256 levels of a pixel: a mixture of logistics, and categories."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from latens_training.likelihoods.likelihood import PIXEL_AXES, Likelihood

_LEVELS = 256
_HALF_STEP = 1 / (_LEVELS - 1)
_LEAST_LOG_SCALE = -7.0
_LEAST_PROBABILITY = 1e-12
_PER_COMPONENT = 3
"""Values per channel and component: weight, mean and log scale."""


class LogisticMixture(Likelihood):
    """A mixture of logistic distributions, each summed over the width of a grey level.

    Salimans, Karpathy, Kingma and Chen, "PixelCNN++" (2017), section 2.1, without the dependence
    of a channel on the channels before it. Values are counted from -1 to 1, as there.
    """

    def __init__(self, mixtures: int) -> None:
        super().__init__()
        self.mixtures = mixtures

    def channels(self, image_channels: int) -> int:
        return image_channels * self.mixtures * _PER_COMPONENT

    def mean(self, decoded: Tensor) -> Tensor:
        logits, centres, _ = self._components(decoded)
        mixed = (logits.softmax(-4) * centres.clamp(-1, 1)).sum(-4)
        return (mixed + 1) / 2

    def negative_log_p(self, decoded: Tensor, targets: Tensor) -> Tensor:
        logits, centres, log_scales = self._components(decoded)
        values = (2 * targets - 1).unsqueeze(-4)  # one axis for the components
        log_p = _log_probability(values, centres, log_scales)
        return -torch.logsumexp(logits.log_softmax(-4) + log_p, -4).sum(PIXEL_AXES)

    def _components(self, decoded: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weights' logits, centres and log scales, each [..., mixtures, c, h, w]."""
        shape = (
            _PER_COMPONENT,
            self.mixtures,
            decoded.shape[-3] // _PER_COMPONENT // self.mixtures,
        )
        parts = _split_channels(decoded, shape)
        logits, centres, log_scales = parts.unbind(-5)
        return logits, centres, log_scales.clamp_min(_LEAST_LOG_SCALE)


def _log_probability(values: Tensor, centres: Tensor, log_scales: Tensor) -> Tensor:
    """The logarithm of a logistic distribution's mass on the grey level of each value."""
    centred, rate = values - centres, torch.exp(-log_scales)
    above, below = rate * (centred + _HALF_STEP), rate * (centred - _HALF_STEP)
    mass = (torch.sigmoid(above) - torch.sigmoid(below)).clamp_min(_LEAST_PROBABILITY)
    middle = rate * centred
    # Where the mass cannot be told from 0: the density times the width of a level.
    density = middle - log_scales - 2 * functional.softplus(middle) + math.log(2 * _HALF_STEP)
    inside = torch.where(mass > 1e-5, mass.log(), density)
    lowest = above - functional.softplus(above)
    highest = -functional.softplus(below)
    return torch.where(values < -0.999, lowest, torch.where(values > 0.999, highest, inside))


class Categorical(Likelihood):
    """Each grey level of a pixel has a probability of its own (van den Oord et al. 2016)."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels

    def channels(self, image_channels: int) -> int:
        return image_channels * self.levels

    def mean(self, decoded: Tensor) -> Tensor:
        values = torch.linspace(0, 1, self.levels, device=decoded.device, dtype=decoded.dtype)
        shares = self._logits(decoded).softmax(-4)
        return (shares * values.view(-1, 1, 1, 1)).sum(-4)

    def negative_log_p(self, decoded: Tensor, targets: Tensor) -> Tensor:
        log_shares = self._logits(decoded).log_softmax(-4)
        levels = (targets * (self.levels - 1)).round().long().unsqueeze(-4)
        shape = (*log_shares.shape[:-4], 1, *log_shares.shape[-3:])
        return -log_shares.gather(-4, levels.expand(shape)).squeeze(-4).sum(PIXEL_AXES)

    def _logits(self, decoded: Tensor) -> Tensor:
        """[..., levels, c, h, w]."""
        return _split_channels(decoded, (self.levels, decoded.shape[-3] // self.levels))


def _split_channels(decoded: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """The axis of channels as several axes."""
    return decoded.reshape(*decoded.shape[:-3], *sizes, *decoded.shape[-2:])
