"""Prometheus expositions of several processes, which can be added up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from prometheus_client import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector, CollectorRegistry

# For facts, the largest value is exported, not the sum.
_NOT_SUMMED = frozenset(
    {
        "latens_ready",
        "latens_model_ready",
        "latens_model_info",
        "latens_reference_nats",
        "latens_reference_quantile_nats",
        "latens_device_fallback",
        "process_start_time_seconds",
        "process_max_fds",
        "python_info",
    }
)
_CUMULATIVE = frozenset({"counter", "histogram", "summary"})

Series: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]
"""The name and the labels of a sample."""


class Exposition:
    """Samples by family and series, which can be added up."""

    def __init__(self) -> None:
        self._families: dict[str, Metric] = {}
        self._values: dict[str, dict[Series, float]] = {}

    @classmethod
    def parse(cls, text: str) -> Exposition:
        """Reads Prometheus' text format.

        Raises:
            ValueError: the text is not an exposition.
        """
        found = cls()
        for family in text_string_to_metric_families(text):
            found._families[family.name] = family
            values = found._values.setdefault(family.name, {})
            for sample in family.samples:
                values[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
        return found

    def add(self, other: Exposition) -> None:
        """Adds each sample of another exposition; for facts, the larger value is kept."""
        for name, family in other._families.items():
            self._families.setdefault(name, family)
            values = self._values.setdefault(name, {})
            for series, value in other._values[name].items():
                before = values.get(series, 0.0)
                values[series] = max(before, value) if name in _NOT_SUMMED else before + value

    def cumulative(self) -> Exposition:
        """Only the counters, histograms and summaries, which outlast the process."""
        kept = Exposition()
        for name, family in self._families.items():
            if family.type in _CUMULATIVE and name not in _NOT_SUMMED:
                kept._families[name] = family
                kept._values[name] = self._values[name]
        return kept

    def text(self) -> bytes:
        """Prometheus' text format."""
        made = []
        for name, family in self._families.items():
            metric = Metric(name, family.documentation, family.type)
            for (sample, labels), value in self._values[name].items():
                metric.add_sample(sample, dict(labels), value)
            made.append(metric)
        return generate_latest(_FixedRegistry(made))


def summed(texts: Iterable[str]) -> bytes:
    """Adds up expositions, sample by sample."""
    total = Exposition()
    for text in texts:
        total.add(Exposition.parse(text))
    return total.text()


class _FixedRegistry(CollectorRegistry):
    """A registry of metrics that are already collected."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        super().__init__()
        self.register(_FixedCollector(metrics))


class _FixedCollector(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics

    def describe(self) -> Iterable[Metric]:
        return ()
