"""Whether what is encoded still looks like what the model was trained on.

Of a few rows a second of what callers encode, two numbers are measured: the KL of the posterior to
the prior, and the reconstruction error of its mean. A model that meets other images than it knows
shows both away from the test set's, which the exporter measured in the same way and the bundle
carries; `latens_reference_nats` and `latens_reference_quantile_nats` show them beside.
"""

from __future__ import annotations

import time

from latens_serving.bundle import likelihood
from latens_serving.errors import LatensError
from latens_serving.models.model import Encoded, LoadedModel
from latens_serving.models.repository import Repository
from latens_serving.monitoring.metrics import Metrics
from latens_serving.monitoring.periodic import Rounds

_ANSWER_SECONDS = 5.0


class DriftWatch:
    """Measures a sample of what was encoded, model by model, every so often."""

    def __init__(self, models: Repository, metrics: Metrics, interval: float) -> None:
        """Makes one at rest; with an interval (seconds) of 0 it stays there."""
        self._metrics = metrics
        self._rounds = Rounds(models, interval, self._measure_sample)

    def start(self) -> None:
        self._rounds.start()

    async def stop(self) -> None:
        await self._rounds.stop()

    async def _measure_sample(self, model: LoadedModel) -> None:
        encoded = model.take_sample()
        if encoded is not None:
            await self.measure(model, encoded)

    async def measure(self, model: LoadedModel, encoded: Encoded) -> None:
        """Adds rows to the histograms of their model."""
        if encoded.log_var is not None:
            for nats in likelihood.kl_to_prior(encoded.mean, encoded.log_var):
                self._metrics.posterior_kl.labels(model.name).observe(float(nats))
        model.hold()
        try:
            decoded = await model.decode(encoded.mean, time.monotonic() + _ANSWER_SECONDS)
        except LatensError:
            return  # the server has better to do
        finally:
            model.release()
        errors = likelihood.reconstruction_error(encoded.images, decoded, model.contract)
        for nats in errors:
            self._metrics.reconstruction.labels(model.name).observe(float(nats))
