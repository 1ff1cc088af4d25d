"""A lower precision is exported only when its error on real test images is below what it states."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from export_networks import NOTHING, network_of, real
from latens_export.checks import parity
from latens_export.checks.inputs import values_of
from latens_export.cli import main
from latens_export.errors import UsageError
from latens_export.graphs.int8 import count_products, with_int8_products
from latens_export.graphs.pixels import with_byte_input, with_byte_output
from latens_export.graphs.precision import DEFAULT_TOLERANCE, Precision
from latens_export.graphs.rounding import as_tf32, rounded_to_tf32
from latens_export.graphs.splitting import measure, split
from latens_export.graphs.tracing import decoder_graph, encoder_graph
from latens_serving.bundle.files import read_manifest
from latens_training import checkpoint
from latens_training.config import ModelConfig
from latens_training.data import datasets
from latens_training.models.build import build

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from latens_export.graphs.splitting import Graphs
    from latens_export.network import Network


@pytest.fixture(scope="module")
def images() -> Tensor:
    return datasets.load("mnist").test.images


@pytest.fixture(scope="module")
def model(trained_run: Path) -> Network:
    return network_of(checkpoint.load(trained_run).model)


@pytest.fixture(scope="module")
def graphs(model: Network) -> Graphs:
    return split(model, Precision.FLOAT32, NOTHING, lambda _: None)


def run(graph: bytes, inputs: np.ndarray) -> list[np.ndarray]:
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    outputs: list[np.ndarray] = session.run(None, {session.get_inputs()[0].name: inputs})
    return outputs


def operators(graph: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(graph).graph.node]


def test_int8_stays_below_its_tolerance_and_a_row_s_answer_ignores_its_neighbours(
    model: Network, images: Tensor
) -> None:
    graphs = split(model, Precision.INT8, real(images[5000:]), lambda _: None)
    assert operators(graphs.encoder).count("MatMulIntegerToFloat") == 1
    assert operators(graphs.decoder).count("MatMulIntegerToFloat") == 1
    measured = measure(model, graphs, Precision.INT8, images)
    assert 1e-5 < measured.largest <= DEFAULT_TOLERANCE[Precision.INT8]
    pixels = values_of(images[:9])
    whole = run(graphs.encoder, pixels)
    for alone, together in zip(run(graphs.encoder, pixels[4:5]), whole, strict=True):
        np.testing.assert_array_equal(alone, together[4:5])


def test_small_products_stay_as_they_are() -> None:
    with torch.random.fork_rng(devices=[]):
        small = network_of(build(ModelConfig(latent_size=2, hidden=(8,)), (1, 8, 8)).eval())
    graph = encoder_graph(small)
    rewritten = with_int8_products(graph, np.zeros((1, 1, 8, 8), np.float32))
    assert count_products(rewritten) == 0
    assert operators(rewritten) == operators(graph)
    images = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
    with pytest.raises(UsageError, match="int8 does nothing here"):
        split(small, Precision.INT8, real(images), lambda _: None)


def test_float16_halves_the_file_and_stays_below_its_tolerance(
    model: Network, graphs: Graphs, images: Tensor
) -> None:
    half = split(model, Precision.FLOAT16, real(images[:20]), lambda _: None)
    assert len(half.decoder) < 0.6 * len(graphs.decoder)
    measured = measure(model, half, Precision.FLOAT16, images)
    assert 1e-6 < measured.largest <= DEFAULT_TOLERANCE[Precision.FLOAT16]


def test_tf32_counts_the_rounding_that_only_a_gpu_does(
    model: Network, graphs: Graphs, images: Tensor
) -> None:
    on_cpu = measure(model, graphs, Precision.FLOAT32, images).largest
    on_gpu = measure(model, graphs, Precision.TF32, images).largest
    assert on_cpu < 1e-5 < on_gpu <= DEFAULT_TOLERANCE[Precision.TF32]


def test_tf32_keeps_ten_bits_of_mantissa() -> None:
    values = torch.tensor([1 + 2**-10, 1 + 2**-11, 1 + 2**-12, -1 - 2**-11 - 2**-20, 0.0])
    expected = torch.tensor([1 + 2**-10, 1 + 2**-10, 1.0, -1 - 2**-10, 0.0])
    assert torch.equal(rounded_to_tf32(values), expected)


def test_a_rounded_copy_leaves_the_network_alone(model: Network) -> None:
    before = [parameter.clone() for parameter in model.parameters()]
    as_tf32(model)
    assert all(map(torch.equal, before, model.parameters()))


def test_byte_graphs_equal_the_float_graphs_on_converted_pixels(
    model: Network, graphs: Graphs, images: Tensor
) -> None:
    received = images[:64].numpy()
    by_bytes = run(with_byte_input(graphs.encoder), received)
    by_floats = run(graphs.encoder, values_of(images[:64]))
    for found, wanted in zip(by_bytes, by_floats, strict=True):
        assert parity.largest_difference("mean", found, wanted) <= 1e-5
    latents = np.random.default_rng(0).standard_normal((64, 2)).astype(np.float32)
    (decoded,) = run(with_byte_output(graphs.decoder), latents)
    wanted = np.rint(run(graphs.decoder, latents)[0] * np.float32(255))
    assert decoded.dtype == np.uint8
    assert np.abs(decoded - wanted).max() <= 1  # ties may fall to either side
    assert np.mean(decoded != wanted) < 1e-3


def test_byte_graphs_are_valid_onnx(graphs: Graphs) -> None:
    for graph in (with_byte_input(graphs.encoder), with_byte_output(graphs.decoder)):
        onnx.checker.check_model(onnx.load_from_string(graph), full_check=True)


def test_a_precision_above_its_gate_is_refused_and_one_below_is_declared(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = [str(trained_run), "--repository", str(tmp_path / "models"), "--name", "small"]
    common += ["--precision", "int8", "--atlas-images", "0"]
    assert main([*common, "--tolerance", "0.0001"]) == 5
    assert "more than the tolerance 0.0001" in capsys.readouterr().err
    assert not (tmp_path / "models").exists()
    assert main([*common, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    contract = read_manifest(tmp_path / "models" / "small" / "1").spec
    assert contract.precision == result["precision"] == "int8"
    assert contract.tolerance == DEFAULT_TOLERANCE[Precision.INT8]
    assert max(result["parity"]["largest_difference"].values()) <= contract.tolerance


def test_the_decoder_s_graph_is_float32_by_default(model: Network) -> None:
    graph = onnx.load_from_string(decoder_graph(model)).graph
    types = {tensor.data_type for tensor in graph.initializer}
    assert types <= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64}
