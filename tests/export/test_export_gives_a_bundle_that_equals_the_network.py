"""An exported bundle answers as the network that was trained does, whatever the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from export_networks import network_of
from latens_export.checks.parity import largest_difference, measure, require
from latens_export.graphs.tracing import decoder_graph, encoder_graph
from latens_serving.bundle.files import read_manifest, verified_bytes
from latens_serving.bundle.probe import read_probe
from latens_serving.bundle.spec import Posterior
from latens_training import checkpoint
from latens_training.config import ModelConfig
from latens_training.data import datasets
from latens_training.models.build import build

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from latens_export.network import Network
    from latens_serving.bundle.schema import BundleManifest

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def test_images() -> Tensor:
    return datasets.load("mnist").test.images


@pytest.fixture(scope="module")
def bundle(model_repository: Path) -> tuple[Path, BundleManifest]:
    directory = model_repository / "mnist-2d" / "1"
    return directory, read_manifest(directory)


def small_model(architecture: str, shape: tuple[int, int, int]) -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        config = ModelConfig(architecture=architecture, latent_size=5, hidden=(12, 8))
        return network_of(build(config, shape).eval())


def run(graph: bytes, inputs: np.ndarray) -> list[np.ndarray]:
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    outputs: list[np.ndarray] = session.run(None, {session.get_inputs()[0].name: inputs})
    return outputs


def test_the_trained_model_s_graphs_answer_as_torch_does_on_test_images(
    bundle: tuple[Path, BundleManifest], trained_run: Path, test_images: Tensor
) -> None:
    directory, manifest = bundle
    model = network_of(checkpoint.load(trained_run).model)
    encoder = verified_bytes(directory, manifest.encoder)
    decoder = verified_bytes(directory, manifest.decoder)
    parity = measure(model, encoder, decoder, test_images)
    assert parity.batch_sizes == (1, 2, 3, 1000)
    assert parity.differences.keys() == {"mean", "log_var", "images"}
    require(parity, min(TOLERANCE, manifest.spec.tolerance))


def test_a_row_s_answer_is_the_same_alone_and_in_any_batch(
    bundle: tuple[Path, BundleManifest], test_images: Tensor
) -> None:
    directory, manifest = bundle
    graph = verified_bytes(directory, manifest.encoder)
    pixels = test_images[:64].numpy().astype(np.float32) / 255
    whole = run(graph, pixels)
    for rows in (slice(0, 1), slice(5, 7), slice(0, 33), slice(63, 64)):
        for alone, together in zip(run(graph, pixels[rows]), whole, strict=True):
            assert np.abs(alone - together[rows]).max() <= TOLERANCE


@pytest.mark.parametrize(
    ("architecture", "shape"),
    [
        ("vae-mlp", (3, 10, 14)),
        ("ae-mlp", (1, 8, 8)),
        ("vae-conv", (1, 28, 28)),
    ],
)
def test_every_architecture_exports_to_graphs_that_equal_it(
    architecture: str, shape: tuple[int, int, int]
) -> None:
    model = small_model(architecture, shape)
    images = torch.randint(256, (40, *shape), dtype=torch.uint8)
    parity = measure(model, encoder_graph(model), decoder_graph(model), images)
    assert parity.batch_sizes == (1, 2, 3, 40)
    assert ("log_var" in parity.differences) is (
        model.spec.posterior is Posterior.DIAGONAL_GAUSSIAN
    )
    require(parity, TOLERANCE)


def test_the_probe_holds_what_torch_gives_for_real_images(
    bundle: tuple[Path, BundleManifest], trained_run: Path, test_images: Tensor
) -> None:
    directory, manifest = bundle
    probe = read_probe(verified_bytes(directory, manifest.probe), manifest.spec)
    model = checkpoint.load(trained_run).model
    pixels = torch.from_numpy(probe.images)
    assert torch.equal((pixels * 255).round().to(torch.uint8), test_images[: len(pixels)])
    mean, log_var = model.encode(pixels)
    assert log_var is not None
    assert probe.log_var is not None
    assert largest_difference("mean", probe.mean, mean.numpy()) <= TOLERANCE
    assert largest_difference("log_var", probe.log_var, log_var.numpy()) <= TOLERANCE
    decoded = torch.sigmoid(model.decode(torch.from_numpy(probe.latents))).numpy()
    assert largest_difference("decoded", probe.decoded, decoded) <= TOLERANCE


def test_a_deterministic_model_s_bundle_has_no_log_var(model_repository: Path) -> None:
    directory = model_repository / "point" / "1"
    manifest = read_manifest(directory)
    probe = read_probe(verified_bytes(directory, manifest.probe), manifest.spec)
    outputs = run(verified_bytes(directory, manifest.encoder), probe.images)
    assert probe.log_var is None
    assert [output.shape for output in outputs] == [probe.mean.shape]


def test_the_conv_decoder_s_graph_computes_no_weight_when_it_runs() -> None:
    model = small_model("vae-conv", (1, 28, 28))
    operators = [node.op_type for node in onnx.load_from_string(decoder_graph(model)).graph.node]
    assert operators.count("Gemm") == 2  # the first kernel is read as a matrix
    assert operators.count("ConvTranspose") == 2
    assert operators.count("Reshape") == 2  # of activations; none of a weight
    assert "Transpose" not in operators


def test_the_same_weights_give_the_same_bytes_and_name_no_source_file() -> None:
    model = small_model("vae-mlp", (1, 8, 8))
    for make in (encoder_graph, decoder_graph):
        graph = make(model)
        assert graph == make(model)
        assert b".py" not in graph
        assert b"site-packages" not in graph
        assert b"stack_trace" not in graph


def test_graphs_are_opset_20_with_a_free_batch_and_no_external_data() -> None:
    model = small_model("vae-mlp", (1, 8, 8))
    for graph in (encoder_graph(model), decoder_graph(model)):
        proto = onnx.load_from_string(graph)
        onnx.checker.check_model(proto, full_check=True)
        assert [(opset.domain, opset.version) for opset in proto.opset_import] == [("", 20)]
        for value in [*proto.graph.input, *proto.graph.output]:
            assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
        assert not any(tensor.external_data for tensor in proto.graph.initializer)
