"""A model whose rows are costly loads, and serves, with little work that no caller asked for."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from latens_serving.engine import run_cost
from latens_serving.engine.onnx import CPU_PROVIDER, OnnxEngine, TensorSpec
from latens_serving.engine.run_cost import InputShapes
from latens_serving.errors import BundleRefusedError
from latens_serving.models import model as model_module
from latens_serving.models.model import Encoded, LoadedModel
from latens_serving.monitoring.canary import Canary
from latens_serving.monitoring.drift import DriftWatch
from latens_serving.monitoring.pace import Pace
from model_folders import load_bundle
from toy_bundles import decoded, encoded, random_images, side, spatial_spec, write_spatial

FIXED = InputShapes((100,), (100,))


class CostlyEngine:
    """Takes a time per row and per element, on a clock of its own."""

    provider = CPU_PROVIDER
    outputs = ()

    def __init__(self, monkeypatch: pytest.MonkeyPatch, start: float, element: float) -> None:
        self.input = TensorSpec("x", np.dtype(np.float32), (100,))
        self.now = 0.0
        self.elements = 0
        self._start, self._element = start, element
        monkeypatch.setattr(run_cost.time, "perf_counter", lambda: self.now)

    def run(self, inputs: np.ndarray) -> tuple[np.ndarray]:
        self.elements += inputs.size
        self.now += self._start + self._element * inputs.size
        return (inputs,)


@pytest.mark.parametrize("row_seconds", [1e-6, 1e-4, 1e-2, 0.2, 1.0, 40.0])
def test_the_measurement_at_load_is_bounded_in_time(
    monkeypatch: pytest.MonkeyPatch, row_seconds: float
) -> None:
    engine: Any = CostlyEngine(monkeypatch, start=1e-5, element=row_seconds / 100)
    cost = run_cost.measure(engine, FIXED, inline_seconds=1e-3)
    assert engine.now <= 5.0 + row_seconds
    assert cost.seconds(100) == pytest.approx(row_seconds + 1e-5, rel=0.1, abs=2e-6)


def test_a_large_usual_size_is_not_run_where_the_smallest_is_costly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine: Any = CostlyEngine(monkeypatch, start=0, element=1e-3)
    cost = run_cost.measure(engine, InputShapes((10, 10), (100, 100)), inline_seconds=1e-3)
    assert engine.elements <= 4 * 100
    assert cost.seconds(100 * 100) == pytest.approx(10)


def test_a_batch_is_limited_in_elements_by_what_they_cost() -> None:
    def elements(row_seconds: float) -> int:
        cost = run_cost.RunCost(0, row_seconds / 100, 1e-3)
        return cost.batch_elements(CPU_PROVIDER, 100) // 100

    assert elements(1e-4) == pytest.approx(50, abs=1)
    assert elements(1e-3) == pytest.approx(5, abs=1)
    assert elements(10.0) == 1, "a row is run however long it takes"


@pytest.fixture
def costly(tmp_path: Path) -> Path:
    """A decoder of some seconds for a row of the usual size, of milliseconds for the smallest."""
    sides = (side("height", usual=512, maximum=512), side("width", usual=512, maximum=512))
    spec = spatial_spec()
    spec = spatial_spec(data_axes=(spec.data_axes[0], *sides), likelihood="gaussian")
    return write_spatial(tmp_path, spec=spec, convolutions=300)


def test_a_decoder_with_a_loop_of_convolutions_loads_in_bounded_work(
    costly: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, rows = OnnxEngine.run, []

    def counted(engine: OnnxEngine, inputs: np.ndarray) -> Any:
        if engine.input.name == "latents":
            rows.append((len(inputs), math.prod(inputs.shape[2:])))
        return run(engine, inputs)

    monkeypatch.setattr(OnnxEngine, "run", counted)
    model = load_bundle(costly)
    model.close()
    usual = (512 // 4) ** 2
    work = sum(count * elements for count, elements in rows) / usual
    assert work < 12, f"as much as {work:g} rows of the usual size were run"


async def test_a_model_of_free_sizes_answers_at_each_of_them(tmp_path: Path) -> None:
    model = load_bundle(write_spatial(tmp_path))
    try:
        for height, width in ((8, 8), (16, 64), (64, 12)):
            images = random_images(3, height, width)
            posterior = await model.encode(images, None)
            np.testing.assert_allclose(posterior.mean, encoded(images), atol=1e-5)
            images = await model.decode(posterior.mean, None)
            np.testing.assert_allclose(images, decoded(posterior.mean), atol=1e-5)
    finally:
        model.close()


def test_graphs_whose_sizes_are_free_need_a_spec_that_says_so(tmp_path: Path) -> None:
    fixed = spatial_spec(
        data_axes=[{"name": name, "size": 3 if name == "channels" else 16}
                   for name in ("channels", "height", "width")],
        latent_axes=[{"name": name, "size": 3 if name == "channels" else 4}
                     for name in ("channels", "height", "width")],
    )  # fmt: skip
    with pytest.raises(BundleRefusedError, match="the spec says rows of"):
        load_bundle(write_spatial(tmp_path, spec=fixed))


def test_work_without_callers_rests_in_proportion_to_its_cost() -> None:
    now = [100.0]
    pace = Pace(lambda: now[0])
    model: Any = SimpleNamespace(name="a", version="1")
    other: Any = SimpleNamespace(name="b", version="1")
    with pace.of(model):
        now[0] += 10.0
    assert not pace.may_begin(model)
    assert pace.may_begin(other)
    now[0] += 499.0
    assert not pace.may_begin(model)
    now[0] += 1.0
    assert pace.may_begin(model)
    with pace.of(model):
        now[0] += 0.01
    assert pace.may_begin(model)


class Watched:
    """A model that counts what its graphs are given."""

    def __init__(self, model: LoadedModel) -> None:
        self.model = model
        self.rows = 0
        for batcher in model.batchers.values():
            batcher.submit = self._counted(batcher.submit)  # type: ignore[method-assign]

    def _counted(self, submit: Any) -> Any:
        async def counted(rows: np.ndarray, deadline: float | None = None) -> Any:
            self.rows += len(rows)
            return await submit(rows, deadline)

        return counted


async def test_the_canary_runs_one_row_of_each_graph(tmp_path: Path) -> None:
    watched = Watched(load_bundle(write_spatial(tmp_path)))
    lost: list[Any] = []
    models: Any = SimpleNamespace(ready_models=lambda: [watched.model])
    await Canary(models, lambda *arguments: lost.append(arguments)).check(watched.model)
    watched.model.close()
    assert (watched.rows, lost) == (2, [])


async def test_drift_decodes_few_elements_however_large_the_images(tmp_path: Path) -> None:
    spec = spatial_spec()
    sides = (side("height", maximum=512), side("width", maximum=512))
    spec = spatial_spec(data_axes=(spec.data_axes[0], *sides), likelihood="gaussian")
    watched = Watched(load_bundle(write_spatial(tmp_path, spec=spec)))
    metrics: Any = SimpleNamespace(reconstruction=_Nothing(), posterior_kl=_Nothing())
    models: Any = SimpleNamespace(ready_models=lambda: [watched.model])
    drift = DriftWatch(models, metrics)
    for size, rows in ((16, 16), (512, 1)):
        await watched.model.encode(random_images(20, size, size), None)
        watched.rows = 0
        sample = watched.model.take_sample()
        assert isinstance(sample, Encoded)
        await drift.measure(watched.model, sample)
        assert watched.rows == rows
    watched.model.close()


class _Nothing:
    def labels(self, *_: str) -> _Nothing:
        return self

    def observe(self, _: float) -> None:
        pass


async def test_large_bytes_are_converted_away_from_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[bool] = []

    def watched(convert: Any) -> Any:
        def call(images: np.ndarray) -> Any:
            threads.append(threading.current_thread() is threading.main_thread())
            return convert(images)

        return call

    for name in ("as_floats", "as_bytes"):
        monkeypatch.setattr(model_module, name, watched(getattr(model_module, name)))
    model = load_bundle(write_spatial(tmp_path))
    try:
        for rows in (2, 40):
            images = np.zeros((rows, 3, 64, 64), np.uint8)
            posterior = await model.encode(images, None)
            model.take_sample()
            await model.decode_bytes(posterior.mean, None)
    finally:
        model.close()
    # Twice for encode: the sample of a few rows is converted too.
    assert threads == [True, True, True, False, True, False]
