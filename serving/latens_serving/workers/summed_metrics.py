"""The metrics of several worker processes as one exposition.

Each worker tells its own over a socket in a folder that the supervisor made; whichever of them is
asked for `/metrics` asks them all and adds up.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector, CollectorRegistry

_ANSWER_SECONDS = 5.0

# Facts rather than quantities: of these the largest is shown.
_NOT_SUMMED = (
    "latens_ready",
    "latens_model_ready",
    "latens_model_info",
    "latens_reference_nats",
    "latens_reference_quantile_nats",
    "latens_device_fallback",
    "process_start_time_seconds",
    "process_max_fds",
    "python_info",
)


class WorkerMetrics:
    """One worker's part in it: tells its own metrics, and adds up all."""

    def __init__(self, folder: Path, name: str, own: Callable[[], bytes]) -> None:
        """Makes one that does not listen yet.

        Args:
            folder: where the sockets of all workers are.
            name: of this worker.
            own: this worker's exposition.
        """
        self._folder = folder
        self._socket = folder / f"{name}.sock"
        self._own = own
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._socket.unlink()  # of this worker's life before
        self._server = await asyncio.start_unix_server(self._tell, str(self._socket))

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(FileNotFoundError):
                self._socket.unlink()

    async def exposition(self) -> bytes:
        """The sum over all workers that answer."""
        sockets = sorted(self._folder.glob("*.sock"))
        texts = await asyncio.gather(*(self._ask(path) for path in sockets))
        return summed(text for text in texts if text)

    async def _tell(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._own())
        with contextlib.suppress(OSError):
            await writer.drain()
        writer.close()

    async def _ask(self, path: Path) -> str:
        if path == self._socket:
            return self._own().decode()
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                reader, writer = await asyncio.open_unix_connection(str(path))
                text = await reader.read()
                writer.close()
        except (OSError, TimeoutError):
            return ""  # it died, and is being started again
        return text.decode()


def summed(texts: Iterable[str]) -> bytes:
    """Adds up expositions, sample by sample."""
    families: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for text in texts:
        for family in text_string_to_metric_families(text):
            families.setdefault(family.name, family)
            sums = values.setdefault(family.name, {})
            for sample in family.samples:
                key = (sample.name, tuple(sorted(sample.labels.items())))
                before = sums.get(key, 0.0)
                largest = family.name in _NOT_SUMMED
                sums[key] = max(before, sample.value) if largest else before + sample.value
    return _exposition(families, values)


def _exposition(
    families: dict[str, Metric],
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]],
) -> bytes:
    made = []
    for name, family in families.items():
        metric = Metric(name, family.documentation, family.type)
        for (sample, labels), value in values[name].items():
            metric.add_sample(sample, dict(labels), value)
        made.append(metric)
    return generate_latest(_Given(made))


class _Given(CollectorRegistry):
    """A registry of metrics that are already collected."""

    def __init__(self, metrics: list[Metric]) -> None:
        super().__init__()
        self.register(_Constant(metrics))


class _Constant(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics

    def describe(self) -> Iterable[Metric]:
        return ()
