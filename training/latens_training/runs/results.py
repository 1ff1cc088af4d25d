"""What a run measures of its model on the test set: some terms per epoch, all at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from latens_training.metrics.evaluation import evaluate
from latens_training.metrics.iwae_bound import iwae_bound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from latens_training.config import LossConfig
    from latens_training.data.types import Images
    from latens_training.models.autoencoder import Autoencoder

_PREFIX = "test_"
_BOUND_SAMPLES = 200
_MOST_BOUND_IMAGES, _LEAST_BOUND_IMAGES = 500, 20
_BOUND_SHARE = 0.25
"""The most draws of the bound per image that was trained on, so that a short run ends soon."""


def epoch_terms(
    model: Autoencoder, images: Images, labels: Tensor | None, loss: LossConfig
) -> dict[str, float]:
    """The ELBO's terms over the test set with one draw per image, as the history names them."""
    terms = evaluate(model, images, labels, draws=1).metrics(model.posterior)
    # Other losses are other bounds, or change from epoch to epoch: not to be set beside it.
    if loss.objective == "elbo" and not any(loss.objective_options.values()):
        terms["loss"] = terms["reconstruction"] + loss.beta * terms.get("kl", 0.0)
    return {_PREFIX + name: value for name, value in terms.items()}


def metrics_of(record: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of the test set in a line of the history."""
    return {
        name.removeprefix(_PREFIX): value
        for name, value in record.items()
        if name.startswith(_PREFIX) and name != f"{_PREFIX}loss"
    }


def final_metrics(
    model: Autoencoder, images: Images, labels: Tensor | None, trained_on: int
) -> dict[str, float]:
    """The ELBO with many draws, and the importance-weighted bound.

    Args:
        model: the trained model.
        images: of the test set.
        labels: of those images; None where there are none.
        trained_on: images that all epochs together have; after few, fewer draws are made.
    """
    terms = evaluate(model, images, labels)
    metrics = terms.metrics(model.posterior)
    if model.posterior == "deterministic":
        return metrics
    affordable = int(_BOUND_SHARE * trained_on / _BOUND_SAMPLES)
    subset = min(_MOST_BOUND_IMAGES, max(_LEAST_BOUND_IMAGES, affordable))
    bound = iwae_bound(model, images, terms, labels, samples=_BOUND_SAMPLES, subset=subset)
    return metrics | bound.metrics()
