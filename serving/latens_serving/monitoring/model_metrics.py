"""Metrics that are computed from the models at each scrape, so none outlives its model."""

from __future__ import annotations

import math
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from latens_serving.bundle.schema import BundleManifest, Spread
from latens_serving.engine.batcher import Batcher
from latens_serving.models.model import LoadedModel
from latens_serving.models.repository import Repository, State

_GRAPH_LABELS = ("model", "graph")


class ModelCollector(Collector):
    """Exports readiness, facts, references and queues of a repository's models."""

    def __init__(self, models: Repository) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        """Yields `latens_model_*`, `latens_reference_*`, `latens_queue_*` and the fallback."""
        yield from self._versions()
        yield from self._references()
        yield from self._queues()

    def _versions(self) -> Iterator[Metric]:
        ready = GaugeMetricFamily(
            "latens_model_ready",
            "1 when a version of a model answers.",
            labels=("model", "version"),
        )
        info = GaugeMetricFamily(
            "latens_model_info",
            "Always 1; the labels describe the version.",
            labels=("model", "version", "encoder_sha256", "precision", "provider"),
        )
        fallback = 0
        for entry in self._models.entries():
            ready.add_metric((entry.name, str(entry.version)), entry.state is State.READY)
            if (model := entry.model) is not None:
                digest = model.manifest.encoder.sha256
                facts = (digest, model.spec.precision, model.provider)
                info.add_metric((model.name, model.version, *facts), 1)
                fallback |= model.device_fallback
        yield ready
        yield info
        yield GaugeMetricFamily(
            "latens_device_fallback", "1 when a GPU was wanted and the CPU is used.", value=fallback
        )

    def _references(self) -> Iterator[Metric]:
        mean = GaugeMetricFamily(
            "latens_reference_nats",
            "Mean per image of the model's test set: the KL, the reconstruction error.",
            labels=("model", "version", "quantity"),
        )
        quantile = GaugeMetricFamily(
            "latens_reference_quantile_nats",
            "The quantile `level` over the images of the model's test set of the same quantities.",
            labels=("model", "version", "quantity", "level"),
        )
        for model in self._loaded():
            for quantity in ("kl", "reconstruction"):
                labels = (model.name, model.version, quantity)
                spread = _spread(model.manifest, quantity)
                if spread is not None:
                    mean.add_metric(labels, spread.mean)
                    for level, nats in sorted(spread.quantiles.items()):
                        quantile.add_metric((*labels, f"{level:g}"), nats)
        yield mean
        yield quantile

    def _queues(self) -> Iterator[Metric]:
        rows, size, capacity = (
            GaugeMetricFamily(name, text, labels=_GRAPH_LABELS)
            for name, text in (
                ("latens_queue_rows", "Rows that wait for an engine or run in it."),
                ("latens_queue_bytes", "Bytes of the rows that wait or run, and of their answers."),
                ("latens_queue_capacity_rows", "Rows that may wait or run."),
            )
        )
        for labels, batchers in self._batchers().items():
            rows.add_metric(labels, sum(batcher.admitted.rows for batcher in batchers))
            size.add_metric(labels, sum(batcher.admitted.bytes for batcher in batchers))
            capacity.add_metric(labels, sum(batcher.limits.queue_rows for batcher in batchers))
        yield from (rows, size, capacity)

    def _batchers(self) -> dict[tuple[str, str], list[Batcher]]:
        """The batchers of all versions, by model and graph."""
        found: dict[tuple[str, str], list[Batcher]] = {}
        for model in self._loaded():
            for graph, batcher in model.batchers.items():
                found.setdefault((model.name, graph), []).append(batcher)
        return found

    def _loaded(self) -> Iterator[LoadedModel]:
        return (entry.model for entry in self._models.entries() if entry.model is not None)


def _spread(manifest: BundleManifest, quantity: str) -> Spread | None:
    """The spread of a quantity over the test set; older bundles have only the mean."""
    if manifest.reference is not None:
        found: Spread | None = getattr(manifest.reference, quantity)
        return found
    nats = manifest.provenance.metrics.get(quantity)
    if nats is None or not math.isfinite(nats):
        return None
    return Spread(mean=nats, quantiles={})
