"""UINT8 images run in the byte graphs of a bundle, with the same results as floats."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from bad_bundles import rewritten
from latens_export.cli import main as export
from latens_serving.bundle.files import read_manifest, verified_bytes
from latens_serving.engine.batch import BatchReport
from latens_serving.engine.onnx import Device, EngineSettings, OnnxEngine
from latens_serving.errors import (
    BundleRefusedError,
    DrainingError,
    EngineFailedError,
    InvalidInputError,
    QueueFullError,
)
from latens_serving.models.loading import load
from latens_serving.models.model import LoadedModel
from latens_serving.models.repository import Repository
from latens_serving.monitoring.canary import Canary
from latens_serving.settings import Settings

ON_CPU = EngineSettings(Device.CPU)
OF_BYTES = ("encoder_uint8", "decoder_uint8")


class Observer:
    """Records which graphs ran, and which were lost."""

    def __init__(self) -> None:
        self.graphs: list[str] = []
        self.gone: list[str] = []

    def ran(self, model: str, graph: str, provider: str, report: BatchReport) -> None:
        self.graphs.append(graph)

    def recomputed(self, model: str, graph: str, rows: int) -> None:
        del model, graph, rows

    def lost(self, model: str, graph: str, error: BaseException) -> None:
        self.gone.append(graph)


def loaded(directory: Path, observer: Observer | None = None, **limits: Any) -> LoadedModel:
    return load(directory, Settings(device="cpu", **limits).load_options(), observer or Observer())


@pytest.fixture
def observer() -> Observer:
    return Observer()


@pytest.fixture
def model(model_repository: Path, observer: Observer) -> Iterator[LoadedModel]:
    model = loaded(model_repository / "mnist-2d" / "1", observer)
    yield model
    model.retire()


@pytest.fixture
def bundle(model_repository: Path, tmp_path: Path) -> Path:
    """A copy, to be changed."""
    return Path(shutil.copytree(model_repository / "mnist-2d", tmp_path / "mnist-2d")) / "1"


def without_byte_graphs(bundle: Path) -> Path:
    """Removes the byte graphs, as in bundles of older versions."""
    manifest = json.loads((bundle / "bundle.json").read_bytes())
    for graph in OF_BYTES:
        (bundle / manifest.pop(graph)["name"]).unlink()
    (bundle / "bundle.json").write_text(json.dumps(manifest))
    return bundle


def grey(rows: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (rows, 1, 28, 28), np.uint8)


def draws(rows: int, size: int = 2) -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal((rows, size)).astype(np.float32)


def levels_between(given: NDArray[np.uint8], floats: NDArray[np.float32]) -> float:
    """The largest difference in grey levels from images in [0, 1] that are rounded."""
    return float(np.abs(given - np.rint(floats * 255)).max())


@pytest.mark.parametrize("name", ["mnist-2d", "point"])
def test_a_bundle_s_graphs_of_bytes_answer_as_its_graphs_of_floats(
    model_repository: Path, name: str
) -> None:
    directory = model_repository / name / "1"
    manifest = read_manifest(directory)
    assert list(manifest.graphs) == ["encoder", "decoder", *OF_BYTES]
    engines = {
        graph: OnnxEngine(verified_bytes(directory, record), ON_CPU)
        for graph, record in manifest.graphs.items()
    }
    assert engines["encoder_uint8"].input.dtype == np.uint8
    assert engines["decoder_uint8"].outputs[0].dtype == np.uint8
    pixels = np.arange(256 * 28 * 28).astype(np.uint8).reshape(256, 1, 28, 28)  # every grey level
    of_floats = engines["encoder"].run((pixels / 255).astype(np.float32))
    for one, other in zip(engines["encoder_uint8"].run(pixels), of_floats, strict=True):
        assert np.abs(one - other).max() <= manifest.spec.tolerance
    latents = draws(300, manifest.spec.usual_latent_shape[0])
    (images,), (floats,) = (engines[graph].run(latents) for graph in ("decoder_uint8", "decoder"))
    assert levels_between(images, floats) <= 1


async def test_bytes_go_to_graphs_of_bytes_and_floats_to_graphs_of_floats(
    model: LoadedModel, observer: Observer
) -> None:
    pixels, latents = grey(5), draws(5)
    of_bytes = await model.encode(pixels, None)
    images = await model.decode_bytes(latents, None)
    assert observer.graphs == list(OF_BYTES)
    of_floats = await model.encode((pixels / 255).astype(np.float32), None)
    floats = await model.decode(latents, None)
    assert observer.graphs[2:] == ["encoder", "decoder"]
    assert np.abs(of_bytes.mean - of_floats.mean).max() <= model.spec.tolerance
    assert of_bytes.log_var is not None
    assert of_floats.log_var is not None
    assert np.abs(of_bytes.log_var - of_floats.log_var).max() <= model.spec.tolerance
    assert images.dtype == np.uint8
    assert levels_between(images, floats) <= 1


async def test_statistics_count_both_forms_of_a_graph_as_the_graph(model: LoadedModel) -> None:
    await model.encode(grey(3), None)
    await model.encode((grey(4) / 255).astype(np.float32), None)
    await model.decode_bytes(draws(2), None)
    assert model.statistics.keys() == {"encoder", "decoder"}
    assert (model.statistics["encoder"].runs, model.statistics["encoder"].rows) == (2, 7)
    assert (model.statistics["decoder"].runs, model.statistics["decoder"].rows) == (1, 2)


async def test_drift_is_measured_on_floats(model: LoadedModel) -> None:
    pixels = grey(3)
    await model.encode(pixels, None)
    sample = model.take_sample()
    assert sample is not None
    assert sample.images.dtype == np.float32
    np.testing.assert_allclose(sample.images, pixels / 255, atol=1e-6)


async def test_far_latents_are_decoded_in_floats_so_that_an_overflow_is_refused(
    model: LoadedModel, observer: Observer
) -> None:
    far = draws(2)
    far[1, 0] = 17
    images = await model.decode_bytes(far, None)
    assert observer.graphs == ["decoder"]
    assert levels_between(images, await model.decode(far, None)) <= 1
    for value in (3e38, np.inf, np.nan):
        with pytest.raises(InvalidInputError, match="overflows"):
            await model.decode_bytes(np.full((1, 2), value, np.float32), None)
    assert set(observer.graphs) == {"decoder"}


async def test_a_bundle_without_byte_graphs_answers_alike(bundle: Path, model: LoadedModel) -> None:
    observer = Observer()
    before = loaded(without_byte_graphs(bundle), observer)
    assert list(before.batchers) == ["encoder", "decoder"]
    pixels, latents = grey(6), draws(6)
    told = [await each.encode(pixels, None) for each in (before, model)]
    assert np.abs(told[0].mean - told[1].mean).max() <= model.spec.tolerance
    images = [await each.decode_bytes(latents, None) for each in (before, model)]
    assert images[0].dtype == images[1].dtype == np.uint8
    assert np.abs(images[0].astype(int) - images[1]).max() <= 1
    assert observer.graphs == ["encoder", "decoder"]
    before.retire()


def test_the_exporter_omits_them_on_request(trained_run: Path, tmp_path: Path) -> None:
    assert export([str(trained_run), "--repository", str(tmp_path), "--no-byte-graphs"]) == 0
    (written,) = tmp_path.glob("*/1")
    manifest = read_manifest(written)
    assert (manifest.encoder_uint8, manifest.decoder_uint8) == (None, None)
    assert not list(written.glob("*uint8*"))


def swapped(bundle: Path, graph: str) -> None:
    """The graph of floats in the place of the one of bytes."""
    rewritten(bundle, f"{graph}_uint8", (bundle / f"{graph}.onnx").read_bytes())


def of_another_scale(bundle: Path, graph: str) -> None:
    """Grey levels taken for a hundredth each."""
    proto = onnx.load(bundle / f"{graph}-uint8.onnx")
    (scale,) = (each for each in proto.graph.initializer if each.name == "pixel_scale")
    scale.CopyFrom(onnx.numpy_helper.from_array(np.array(0.01, np.float32), scale.name))
    rewritten(bundle, f"{graph}_uint8", proto.SerializeToString())


def cut(bundle: Path, graph: str) -> None:
    path = bundle / f"{graph}-uint8.onnx"
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("graph", ["encoder", "decoder"])
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (swapped, "_uint8 .*put.*uint8.*float32"),
        (of_another_scale, "_uint8: .*differs from the training framework"),
        (cut, "uint8.onnx: .*the manifest says"),
    ],
)
def test_a_graph_of_bytes_that_is_not_its_graph_is_refused(
    bundle: Path, graph: str, damage: Callable[[Path, str], None], said: str
) -> None:
    damage(bundle, graph)
    with pytest.raises(BundleRefusedError, match=said):
        loaded(bundle)


async def test_each_queue_of_a_model_holds_its_limit(model_repository: Path) -> None:
    model = loaded(model_repository / "mnist-2d" / "1", queue_rows=8)
    floats = (grey(8) / 255).astype(np.float32)
    calls: list[Any] = [
        model.encode(grey(8), None),
        model.encode(grey(1), None),
        model.encode(floats, None),  # another queue, which is empty
        model.decode_bytes(draws(8), None),
        model.decode_bytes(draws(1), None),
    ]
    ends = await asyncio.gather(*calls, return_exceptions=True)
    refused = [isinstance(end, QueueFullError) for end in ends]
    assert refused == [False, True, False, False, True]
    assert all(batcher.admitted.rows == 0 for batcher in model.batchers.values())
    model.retire()


async def test_a_deadline_that_has_passed_is_never_run(
    model: LoadedModel, observer: Observer
) -> None:
    with pytest.raises(Exception, match="deadline"):
        await model.encode(grey(1), time.monotonic() - 1)
    assert observer.graphs == []


async def test_an_unloaded_model_closes_every_graph(model_repository: Path) -> None:
    model = loaded(model_repository / "mnist-2d" / "1")
    model.retire()
    for call in (model.encode(grey(1), None), model.decode_bytes(draws(1), None)):
        with pytest.raises(DrainingError):
            await call


@pytest.mark.parametrize("graph", OF_BYTES)
async def test_the_canary_checks_byte_graphs_too(
    model_repository: Path, model: LoadedModel, graph: str
) -> None:
    lost: list[str] = []
    repository = Repository(model_repository, lambda _: model)
    canary = Canary(repository, lambda name, which, error: lost.append(which))
    await canary.check(model)
    assert lost == []
    batcher: Any = model.batchers[graph]
    real = batcher._run
    batcher._run = lambda rows: tuple(answer + answer.dtype.type(7) for answer in real(rows))
    await canary.check(model)
    assert lost == [graph]


async def test_a_byte_graph_whose_thread_ends_is_reported_as_lost(
    model: LoadedModel, observer: Observer
) -> None:
    class Gone(BaseException):
        pass

    def end(rows: object) -> tuple[NDArray[Any], ...]:
        raise Gone

    batcher: Any = model.batchers["encoder_uint8"]
    batcher._run, batcher._runs_inline = end, lambda rows: False
    with pytest.raises(EngineFailedError):
        await model.encode(grey(1), time.monotonic() + 20)
    assert observer.gone == ["encoder_uint8"]
