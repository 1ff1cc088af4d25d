"""The decoder likelihoods by the name that `--likelihood` takes.

A class of one's own is named `module:Class`; it derives from
`latens_training.likelihoods.likelihood.Likelihood`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from latens_training.registry import Registry

if TYPE_CHECKING:
    from latens_training.config import LossConfig
    from latens_training.likelihoods.likelihood import Likelihood

LIKELIHOODS = Registry("likelihood", shared=("sigma",))


@LIKELIHOODS.register("bernoulli")
def _bernoulli() -> Likelihood:
    from latens_training.likelihoods.continuous import Bernoulli

    return Bernoulli()


@LIKELIHOODS.register("continuous-bernoulli")
def _continuous_bernoulli() -> Likelihood:
    from latens_training.likelihoods.continuous import ContinuousBernoulli

    return ContinuousBernoulli()


@LIKELIHOODS.register("gaussian")
def _gaussian(*, sigma: float) -> Likelihood:
    from latens_training.likelihoods.continuous import Gaussian

    return Gaussian(sigma)


@LIKELIHOODS.register("gaussian-learnt")
def _learnt_gaussian(*, sigma: float) -> Likelihood:
    from latens_training.likelihoods.continuous import LearntGaussian

    return LearntGaussian(sigma)


@LIKELIHOODS.register("logistic-mixture")
def _logistic_mixture(
    *,
    mixtures: Annotated[
        int, Field(ge=1, le=100, description="logistic distributions per channel")
    ] = 5,
) -> Likelihood:
    from latens_training.likelihoods.discrete import LogisticMixture

    return LogisticMixture(mixtures)


@LIKELIHOODS.register("categorical")
def _categorical(
    *,
    levels: Annotated[int, Field(ge=2, le=256, description="grey levels to tell apart")] = 256,
) -> Likelihood:
    from latens_training.likelihoods.discrete import Categorical

    return Categorical(levels)


def build_likelihood(config: LossConfig) -> Likelihood:
    """The likelihood of a run's settings, untrained.

    Raises:
        TrainingError: there is none of this name, or an option is invalid.
    """
    entry = LIKELIHOODS.find(config.likelihood)
    arguments = entry.arguments({"sigma": config.sigma}, config.likelihood_options)
    likelihood: Likelihood = entry.factory(**arguments)
    return likelihood
