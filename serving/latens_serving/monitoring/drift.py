"""Measures whether the images that callers encode look like those of the training set.

Two quantities are measured for a few rows per second: the KL of the posterior to the prior, and
the reconstruction error of its mean. Images unlike those of the training set move both away from
the values of the test set, which the exporter measured in the same way and the bundle carries;
`latens_reference_nats` and `latens_reference_quantile_nats` show those.
"""

from __future__ import annotations

import time

from latens_serving.bundle import likelihood
from latens_serving.errors import LatensError
from latens_serving.models.model import Encoded, LoadedModel
from latens_serving.models.repository import Repository
from latens_serving.monitoring.metrics import Metrics
from latens_serving.monitoring.pace import Pace
from latens_serving.monitoring.visits import visit_ready_models

_ANSWER_SECONDS = 5.0
# So many times the expected duration of the run, besides.
_PATIENCE = 4.0


class DriftWatch:
    """Measures a sample of the encoded rows of each model that has a likelihood.

    A model whose rows take long is measured the less often: see `Pace`.
    """

    def __init__(self, models: Repository, metrics: Metrics) -> None:
        self._models = models
        self._metrics = metrics
        self._pace = Pace()

    async def measure_samples(self) -> None:
        """Measures the rows that were encoded since the last time."""
        await visit_ready_models(self._models, self._measure_sample)

    async def _measure_sample(self, model: LoadedModel) -> None:
        if not model.spec.gives_nats or not self._pace.may_begin(model):
            return
        encoded = model.take_sample()
        if encoded is not None:
            with self._pace.of(model):
                await self.measure(model, encoded)

    async def measure(self, model: LoadedModel, encoded: Encoded) -> None:
        """Adds rows to the histograms of their model."""
        if encoded.log_var is not None and model.spec.gives_kl:
            for nats in likelihood.kl_to_prior(encoded.mean, encoded.log_var):
                self._metrics.posterior_kl.labels(model.name).observe(float(nats))
        model.hold()
        try:
            patience = _ANSWER_SECONDS + _PATIENCE * model.decoder.expected_seconds(encoded.mean)
            decoded = await model.decode(encoded.mean, time.monotonic() + patience, encoded.labels)
        except LatensError:
            return  # the engine is busy with calls, which come first
        finally:
            model.release()
        errors = likelihood.reconstruction_error(encoded.images, decoded, model.spec)
        for nats in errors:
            self._metrics.reconstruction.labels(model.name).observe(float(nats))
