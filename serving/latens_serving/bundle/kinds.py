"""The words of a spec: which kind of data, posterior, prior, likelihood and tiling a model has."""

from __future__ import annotations

from enum import StrEnum


class Modality(StrEnum):
    """What the data are."""

    IMAGE = "image"
    """`[channels, height, width]`, values 0 to 1."""
    AUDIO = "audio"
    TABULAR = "tabular"
    OTHER = "other"


class Posterior(StrEnum):
    """The form of q(z|x)."""

    DIAGONAL_GAUSSIAN = "diagonal-gaussian"
    DETERMINISTIC = "deterministic"

    @classmethod
    def _missing_(cls, value: object) -> Posterior | None:
        """Reads "point", the former name of "deterministic"."""
        return cls.DETERMINISTIC if value == "point" else None


class Prior(StrEnum):
    """The distribution p(z) that Sample draws from."""

    STANDARD_NORMAL = "standard-normal"
    FITTED_GAUSSIAN = "fitted-gaussian"
    """Its parameters are a file of the bundle."""
    NONE = "none"


class Likelihood(StrEnum):
    """The distribution p(x|z) that the model was trained with."""

    BERNOULLI = "bernoulli"
    GAUSSIAN = "gaussian"
    NONE = "none"
    """The model was trained without one: nothing is given in nats."""


class Tiles(StrEnum):
    """Whether a large input may be computed in parts."""

    EXACT = "exact"
    """The network is local: parts with a halo give the same values as the whole."""
    APPROXIMATE = "approximate"
    """Parts differ from the whole, since the network looks at all of it."""
    NONE = "none"
