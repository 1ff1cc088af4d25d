"""Integer products give the same sums on every processor, and the export refuses any that do not.

x86 processors without VNNI add two products of 8 bits in 16 bits, and cut what exceeds them. The
arithmetic is emulated here; where QEMU's user mode is installed (`qemu-user` on Debian), ONNX
Runtime itself also runs on processors that QEMU emulates.
"""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import helper, numpy_helper

from export_networks import NOTHING, network_of, real
from latens_export.checks.inputs import values_of
from latens_export.checks.integer_sums import INT16_MAX, require_exact_sums
from latens_export.errors import ParityError
from latens_export.graphs import int8
from latens_export.graphs.int8 import count_products, with_int8_products
from latens_export.graphs.precision import DEFAULT_TOLERANCE, Precision
from latens_export.graphs.splitting import measure, split, split_within
from latens_training import checkpoint
from latens_training.data import datasets

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from latens_export.graphs.splitting import Graphs
    from latens_export.network import Network
    from latens_training.data.types import Dataset

TOLERANCE = DEFAULT_TOLERANCE[Precision.INT8]
QEMU = "qemu-x86_64"
ON_ANOTHER_PROCESSOR = """
import sys, numpy as np, onnxruntime as ort
options = ort.SessionOptions()
options.intra_op_num_threads = 1
given = np.load(sys.argv[1])
outputs = {}
for part in ("encoder", "decoder"):
    graph = given[part].tobytes()
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    for output, values in zip(session.get_outputs(), session.run(None, {
        session.get_inputs()[0].name: given[part + "_input"]
    })):
        outputs[output.name] = values
np.savez(sys.argv[2], **outputs)
"""


class Product(NamedTuple):
    """An integer product of a graph: its codes for some rows, its weights, and their product."""

    codes: NDArray[np.uint8]
    weights: NDArray[np.int8]
    sums: NDArray[np.int32]


@pytest.fixture(scope="module")
def mnist() -> Dataset:
    return datasets.load("mnist")


@pytest.fixture(scope="module")
def images(mnist: Dataset) -> Tensor:
    return mnist.test.images


@pytest.fixture(scope="module")
def model(trained_run: Path) -> Network:
    return network_of(checkpoint.load(trained_run).model, "int8", TOLERANCE)


@pytest.fixture(scope="module")
def graphs(model: Network, mnist: Dataset) -> Graphs:
    return split(model, Precision.INT8, real(mnist.train.images), lambda _: None)


@pytest.fixture
def codes_of_8_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "MAX_CODE", 255)


def product(graph: bytes, inputs: NDArray[Any]) -> Product:
    """The one integer product of a graph; a session computes the codes, numpy the exact sums."""
    proto = onnx.load_from_string(graph)
    (node,) = [node for node in proto.graph.node if node.op_type == int8.PRODUCT]
    codes = helper.make_tensor_value_info(node.input[0], onnx.TensorProto.UINT8, None)
    proto.graph.output.append(codes)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run([node.input[0]], {session.get_inputs()[0].name: inputs})
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    weights = constants[node.input[1]]
    return Product(found, weights, found.astype(np.int32) @ weights.astype(np.int32))


def sums_without_vnni(product: Product) -> NDArray[np.int32]:
    """The sums as pmaddubsw, pmaddwd and paddd give them: each pair of products is cut."""
    codes, weights = product.codes.astype(np.int32), product.weights.astype(np.int32)
    total = np.zeros((len(codes), weights.shape[1]), np.int32)
    for first in range(0, weights.shape[0], 2):
        pair = codes[:, first : first + 2] @ weights[first : first + 2]
        total += np.clip(pair, -INT16_MAX - 1, INT16_MAX)
    return total


def test_sums_are_exact_on_a_processor_without_vnni(graphs: Graphs, images: Tensor) -> None:
    for graph, inputs in inputs_of(graphs, images).values():
        found = product(graph, inputs)
        assert found.codes.max() == int8.MAX_CODE
        np.testing.assert_array_equal(sums_without_vnni(found), found.sums)


def inputs_of(graphs: Graphs, images: Tensor) -> dict[str, tuple[bytes, NDArray[np.float32]]]:
    """Of each graph: itself and 200 inputs, some far outside what calibration has seen."""
    latents = 3 * np.random.default_rng(0).standard_normal((200, 2)).astype(np.float32)
    return {
        "encoder": (graphs.encoder, values_of(images[:200])),
        "decoder": (graphs.decoder, latents),
    }


def with_large_weights(model: Network) -> bytes:
    """A float32 encoder whose neighbouring weights are of the same sign and size."""
    graph = onnx.load_from_string(split(model, Precision.FLOAT32, NOTHING, lambda _: None).encoder)
    for tensor in graph.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.size >= int8.MIN_WEIGHTS:
            tensor.CopyFrom(numpy_helper.from_array(np.abs(values) + 1, tensor.name))
    return graph.SerializeToString()


@pytest.mark.usefixtures("codes_of_8_bits")
def test_codes_of_8_bits_would_be_cut(model: Network) -> None:
    """The emulation sees what the 7 bits prevent."""
    white = np.ones((2, 1, 28, 28), np.float32)
    found = product(with_int8_products(with_large_weights(model), white), white)
    assert found.codes.max() == 255
    assert (sums_without_vnni(found) < found.sums).all()


def test_codes_of_7_bits_are_not_cut_whatever_the_weights(model: Network) -> None:
    white = np.ones((2, 1, 28, 28), np.float32)
    found = product(with_int8_products(with_large_weights(model), white), white)
    np.testing.assert_array_equal(sums_without_vnni(found), found.sums)


@pytest.mark.usefixtures("codes_of_8_bits")
def test_the_export_refuses_sums_that_another_processor_would_cut(
    model: Network, mnist: Dataset, images: Tensor
) -> None:
    graphs = split(model, Precision.INT8, real(mnist.train.images), lambda _: None)
    with pytest.raises(ParityError, match="can reach 64770; expected at most 32767"):
        measure(model, graphs, Precision.INT8, images)


def test_a_clip_is_what_bounds_the_codes(graphs: Graphs) -> None:
    require_exact_sums(graphs.encoder)
    proto = onnx.load_from_string(graphs.encoder)
    (clip,) = [node for node in proto.graph.node if node.op_type == "Clip"]
    (maker,) = [node for node in proto.graph.node if clip.input[0] in node.output]
    maker.output[0] = clip.output[0]
    proto.graph.node.remove(clip)
    with pytest.raises(ParityError, match="can reach 64770"):
        require_exact_sums(proto.SerializeToString())


def test_a_decoder_that_integers_change_too_much_stays_float32(
    model: Network, mnist: Dataset, images: Tensor
) -> None:
    sharp = copy.deepcopy(model)
    logits = sharp.decoder.get_submodule("logits")
    assert isinstance(logits, torch.nn.Linear)
    logits.weight.data *= 10
    train = mnist.train.images
    integers = split(sharp, Precision.INT8, real(train), lambda _: None)
    assert measure(sharp, integers, Precision.INT8, images).differences["images"] > TOLERANCE
    steps: list[str] = []
    graphs, parity = split_within(sharp, real(images, train), steps.append)
    assert (count_products(graphs.encoder), count_products(graphs.decoder)) == (1, 0)
    assert parity.differences["images"] < 1e-4
    assert any("keeping the decoder in float32" in step for step in steps)


def test_a_decoder_within_the_tolerance_is_in_integers(
    model: Network, mnist: Dataset, images: Tensor
) -> None:
    graphs, parity = split_within(model, real(images, mnist.train.images), lambda _: None)
    assert (count_products(graphs.encoder), count_products(graphs.decoder)) == (1, 1)
    assert parity.largest <= TOLERANCE


@pytest.mark.skipif(shutil.which(QEMU) is None, reason=f"{QEMU} is not installed")
@pytest.mark.parametrize("processor", ["Haswell", "Nehalem"])  # AVX2 without VNNI; SSE4.2
def test_int8_graphs_answer_alike_on_an_emulated_processor(
    processor: str, graphs: Graphs, images: Tensor, tmp_path: Path
) -> None:
    given = inputs_of(graphs, images)
    expected: dict[str, NDArray[np.float32]] = {}
    arrays: dict[str, NDArray[Any]] = {}
    for part, (graph, inputs) in given.items():
        session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        answers = session.run(names, {session.get_inputs()[0].name: inputs})
        expected |= dict(zip(names, answers, strict=True))
        arrays |= {part: np.frombuffer(graph, np.uint8), f"{part}_input": inputs}
    np.savez(tmp_path / "given.npz", allow_pickle=False, **arrays)
    files = [str(tmp_path / "given.npz"), str(tmp_path / "found.npz")]
    command = [QEMU, "-cpu", processor, sys.executable, "-c", ON_ANOTHER_PROCESSOR, *files]
    # A kernel that this machine's settings choose may not run on the emulated processor.
    own = {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"}
    subprocess.run(command, check=True, capture_output=True, timeout=240, env=own)
    found = np.load(tmp_path / "found.npz")
    for name, values in expected.items():
        # Layers in float32 are rounded differently on each processor. A value between two codes may
        # then take the other one, which moves its row by one step of a code.
        assert np.abs(found[name] - values).max() <= 0.02, name
        assert np.median(np.abs(found[name] - values)) <= 1e-5, name
