"""Models with a codebook are exported and served with their codes, as torch computes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from command_line import Run, command_line, ok
from diffusers_models import autoencoder_tiny, saved, seeded, vq_model
from json_calls import TOLERANCE, pixels, post
from latens import Client
from latens.errors import InvalidInputError, NotOfferedError
from latens.oip import open_inference_pb2 as oip
from latens.oip.open_inference_pb2_grpc import GRPCInferenceServiceStub
from latens.tensors import to_message
from latens.v1 import latens_pb2 as pb
from latens.v1.latens_pb2_grpc import LatentServiceStub
from latens_export.cli import main
from latens_serving import Decoder, Encoder
from latens_serving.errors import InvalidInputError as EmbeddedInvalidInputError
from server_process import Server, running_server

CODES = 16


@pytest.fixture(scope="module")
def networks() -> dict[str, Any]:
    return {"codes": seeded(vq_model)}


@pytest.fixture(scope="module")
def repository(networks: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("codes")
    target = ["--repository", str(folder / "models"), "--opset", "20"]
    path = saved(networks["codes"], folder / "codes")
    assert main(["diffusers", str(path), "--name", "codes", "--codes", *target]) == 0
    return folder / "models"


@pytest.fixture(scope="module", params=["http2", "grpcio"])
def server(repository: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    with running_server(repository, f"--frontend={request.param}") as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.address) as connected:
        yield connected


@pytest.fixture
def latens(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    return command_line(server.address, tmp_path, monkeypatch, capsys)


def codes_of(network: Any, images: NDArray[np.float32]) -> NDArray[np.int64]:
    """What diffusers' own quantizer gives."""
    with torch.inference_mode():
        latents = network.encode(2 * torch.from_numpy(images) - 1).latents
        _, _, (_, _, indices) = network.quantize(latents)
    side = latents.shape[2:]
    return indices.reshape(len(images), *side).numpy()


def images_of(network: Any, codes: NDArray[np.int64]) -> NDArray[np.float32]:
    with torch.inference_mode():
        shape = (*codes.shape, network.quantize.embedding.weight.shape[1])
        latents = network.quantize.get_codebook_entry(torch.from_numpy(codes.ravel().copy()), shape)
        decoded = network.decode(latents, force_not_quantize=True).sample
    return (decoded / 2 + 0.5).clamp(0, 1).numpy()


@pytest.mark.parametrize("size", [(32, 32), (16, 48), (40, 24)])
def test_codes_are_those_of_torch_bit_for_bit(
    size: tuple[int, int], client: Client, networks: dict[str, Any]
) -> None:
    images = pixels(3, 3, *size)
    expected = codes_of(networks["codes"], images)
    assert len(np.unique(expected)) > 2, "the network uses its codebook"
    found = client.encode_codes(images, model="codes")
    assert found.codes.dtype == np.int64
    np.testing.assert_array_equal(found.codes, expected)
    decoded = client.decode(found.codes, model="codes")
    images = images_of(networks["codes"], expected)
    np.testing.assert_allclose(decoded.images, images, atol=TOLERANCE)
    levels = client.decode(found.codes, model="codes", image_dtype=np.uint8).images
    assert np.abs(levels - 255 * images).max() <= 0.5 + 255 * TOLERANCE


def test_a_reconstruction_holds_the_codes(client: Client, networks: dict[str, Any]) -> None:
    images = pixels(2, 3, 32, 32)
    found = client.reconstruct(images, model="codes")
    codes = codes_of(networks["codes"], images)
    np.testing.assert_array_equal(found.latents, codes)
    expected = images_of(networks["codes"], codes)
    np.testing.assert_allclose(found.images, expected, atol=TOLERANCE)
    errors = np.square(expected - images).mean((1, 2, 3))
    np.testing.assert_allclose(found.reconstruction, errors, rtol=1e-4)
    assert found.kl is None


def test_the_model_says_that_it_has_codes(client: Client) -> None:
    model = client.model("codes")
    assert (model.codebook_size, model.has_codes) == (CODES, True)
    assert [axis.name for axis in model.latent_axes] == ["height", "width"]
    assert "16 codes" in repr(model)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda client: client.encode(pixels(1, 3, 32, 32), model="codes"), "encode_codes"),
        (lambda client: client.sample(2, latent_shape=(8, 8), model="codes"), "has codes"),
        (
            lambda client: client.interpolate(
                pixels(1, 8, 8), pixels(1, 8, 8), 3, ends_are="latents", model="codes"
            ),
            "has codes",
        ),
        (lambda client: client.traverse(pixels(1, 3, 32, 32), steps=3, model="codes"), "has codes"),
        (
            lambda client: client.inpaint(
                pixels(1, 3, 32, 32), np.ones((32, 32), bool), model="codes"
            ),
            "has codes",
        ),
        (
            lambda client: client.reconstruct(pixels(1, 3, 32, 32), seed=1, model="codes"),
            "draw needs latents of real numbers",
        ),
    ],
)
def test_what_codes_do_not_offer_is_said(
    call: Callable[[Client], object], said: str, client: Client
) -> None:
    with pytest.raises(NotOfferedError, match=said):
        call(client)


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        (np.full((1, 16, 16), CODES), "expected codes from 0 to 15, got 16 to 16"),
        (np.full((1, 16, 16), -1), "got -1 to -1"),
        (np.zeros((1, 16, 16), np.float32), "expected codes, whole numbers"),
        (np.zeros((1, 3, 16, 16), np.int64), "expected"),
    ],
)
def test_codes_that_the_codebook_lacks_are_refused(
    codes: NDArray[Any], said: str, client: Client
) -> None:
    with pytest.raises(InvalidInputError, match=said):
        client.decode(codes, model="codes")


@pytest.mark.parametrize(
    ("method", "tensors", "field"),
    [
        ("Encode", {"items": pixels(1, 3, 32, 32)}, "items"),
        ("Encode", {"images": np.zeros((1, 3, 32, 32), np.int64)}, "images.dtype"),
        ("Decode", {"latents": pixels(1, 16, 16)}, "latents"),
        ("Decode", {"codes": pixels(1, 16, 16)}, "codes.dtype"),
        ("Decode", {}, "codes"),
        ("Decode", {"codes": np.zeros((1, 16, 16), np.int64), "latents": pixels(1)}, "latents"),
    ],
)
def test_a_tensor_in_the_wrong_field_is_named(
    method: str, tensors: dict[str, NDArray[Any]], field: str, server: Server
) -> None:
    request = getattr(pb, f"{method}Request")(model="codes")
    for name, array in tensors.items():
        getattr(request, name).CopyFrom(to_message(array))
    with grpc.insecure_channel(server.address) as channel:
        stub = LatentServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            getattr(stub, method)(request, timeout=30)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (caught.value.details() or "").startswith(f"{field}:")


def test_the_open_inference_protocol_has_codes_as_int64(
    server: Server, networks: dict[str, Any]
) -> None:
    images = pixels(2, 3, 32, 32)
    with grpc.insecure_channel(server.address) as channel:
        stub = GRPCInferenceServiceStub(channel)
        described = stub.ModelMetadata(oip.ModelMetadataRequest(name="codes-encoder"), timeout=30)
        assert [(o.name, o.datatype, list(o.shape)) for o in described.outputs] == [
            ("codes", "INT64", [-1, -1, -1])
        ]
        config = stub.ModelConfig(oip.ModelConfigRequest(name="codes-decoder"), timeout=30).config
        assert config.input[0].data_type == oip.TYPE_INT64
        encoded = _infer(stub, "codes-encoder", "images", "FP32", images)
        codes = np.frombuffer(encoded.raw_output_contents[0], "<i8").reshape(2, 16, 16)
        np.testing.assert_array_equal(codes, codes_of(networks["codes"], images))
        decoded = _infer(stub, "codes-decoder", "codes", "INT64", codes)
        found = np.frombuffer(decoded.raw_output_contents[0], "<f4").reshape(images.shape)
        expected = images_of(networks["codes"], codes)
        np.testing.assert_allclose(found, expected, atol=TOLERANCE)
        with pytest.raises(grpc.RpcError, match="INT64"):
            _infer(stub, "codes-decoder", "codes", "FP32", codes.astype(np.float32))


def _infer(stub: Any, model: str, name: str, datatype: str, array: NDArray[Any]) -> Any:
    tensor = oip.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=array.shape)
    request = oip.ModelInferRequest(
        model_name=model, inputs=[tensor], raw_input_contents=[array.tobytes()]
    )
    return stub.ModelInfer(request, timeout=30)


def test_json_over_http_has_codes(server: Server, networks: dict[str, Any]) -> None:
    images = pixels(1, 3, 8, 8)
    codes = post(server, "encode?model=codes", {"images": images.tolist()})["codes"]
    expected = codes_of(networks["codes"], images)
    assert codes == expected.tolist()
    found = post(server, "decode?model=codes", {"codes": codes})["images"]
    np.testing.assert_allclose(found, images_of(networks["codes"], expected), atol=TOLERANCE)


def test_the_command_line_carries_codes(
    latens: Run, tmp_path: Path, networks: dict[str, Any]
) -> None:
    images = pixels(2, 3, 32, 32)
    np.save(tmp_path / "images.npy", images)
    ok(latens("encode", "images.npy", "-o", "codes.npz", "--model", "codes"))
    with np.load(tmp_path / "codes.npz") as found:
        np.testing.assert_array_equal(found["codes"], codes_of(networks["codes"], images))
    ok(latens("decode", "codes.npz", "-o", "images.png", "--model", "codes"))
    refused = latens("encode", "images.npy", "--seed", "1", "--model", "codes")
    assert refused.code == 5
    assert "codes, which are not drawn" in refused.err
    assert "codes from 0 to 15" in ok(latens("models", "codes")).out


def test_codes_are_embedded_without_a_server(repository: Path, networks: dict[str, Any]) -> None:
    images = pixels(2, 3, 32, 32)
    encoded = Encoder(repository / "codes")(images)
    assert list(encoded) == ["codes"]
    np.testing.assert_array_equal(encoded["codes"], codes_of(networks["codes"], images))
    decoded = Decoder(repository / "codes")(encoded["codes"])
    expected = images_of(networks["codes"], encoded["codes"])
    np.testing.assert_allclose(decoded, expected, atol=TOLERANCE)
    with pytest.raises(EmbeddedInvalidInputError, match="whole numbers from 0 to 15"):
        Decoder(repository / "codes")(np.full((1, 16, 16), 16))


def test_only_a_model_with_a_codebook_is_exported_with_codes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(seeded(autoencoder_tiny), tmp_path / "tiny")
    assert main(["diffusers", str(path), "--codes", "--repository", f"{tmp_path}/models"]) == 2
    assert "codes: expected a VQModel, AutoencoderTiny has no codebook" in capsys.readouterr().err
