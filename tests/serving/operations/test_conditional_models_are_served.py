"""A conditional model is served as torch computes it, by every call and every way in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import grpc
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from command_line import command_line, ok
from labelled_model import NAMES, SIDE, labelled, trained
from latens import Client
from latens.errors import InvalidInputError
from latens.oip import open_inference_pb2 as oip
from latens.oip.open_inference_pb2_grpc import GRPCInferenceServiceStub
from latens.v1 import latens_pb2 as pb
from latens.v1.latens_pb2_grpc import LatentServiceStub
from latens_serving import Decoder, Encoder
from latens_serving.bundle.conditional import joined, labels_of
from latens_serving.errors import InvalidInputError as EmbeddedInvalidInputError
from latens_training.api import Run
from server_process import Server, running_server

ATOL = 1e-5
COUNT = len(NAMES)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(tmp_path_factory.mktemp("conditional") / "run", epochs=8)


@pytest.fixture(scope="module")
def repository(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("models")
    run.export(models, "halves")
    return models


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[Server]:
    with running_server(repository) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with Client(server.address) as connected:
        yield connected


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    found: NDArray[np.uint8] = labelled().test.images.numpy()
    return found


@pytest.fixture(scope="module")
def labels() -> NDArray[np.int64]:
    known = labelled().test.labels
    assert known is not None
    return known.numpy()


def encoded(run: Run, images: NDArray[Any], labels: Any) -> NDArray[np.float32]:
    mean, _ = run.encode(torch.from_numpy(images), torch.as_tensor(labels))
    return mean.numpy()


def decoded(run: Run, latents: NDArray[Any], labels: Any) -> NDArray[np.float32]:
    return run.decode(torch.tensor(latents), torch.as_tensor(labels)).numpy()


def latents_of(rows: int) -> NDArray[np.float32]:
    return np.random.default_rng(3).standard_normal((rows, 2)).astype(np.float32)


def test_the_model_says_that_it_knows_classes(client: Client) -> None:
    model = client.model()
    assert (model.label_count, model.label_names) == (COUNT, NAMES)
    assert (model.image_shape, model.latent_shape) == ((1, SIDE, SIDE), (2,))


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float16])
def test_images_are_encoded_in_their_classes(
    kind: type, client: Client, run: Run, images: NDArray[np.uint8], labels: NDArray[np.int64]
) -> None:
    given = images if kind is np.uint8 else (images / 255).astype(kind)
    found = client.encode(given, labels=labels)
    exact = 1e-3 if kind is np.float16 else ATOL
    np.testing.assert_allclose(found.mean, encoded(run, images, labels), atol=exact)


@pytest.mark.parametrize("rows_per_call", [None, 5])
def test_latents_are_decoded_in_their_classes(
    rows_per_call: int | None, server: Server, run: Run
) -> None:
    latents, classes = latents_of(13), np.arange(13) % COUNT
    with Client(server.address, rows_per_call=rows_per_call) as split:
        found = split.decode(latents, labels=classes)
        np.testing.assert_allclose(found.images, decoded(run, latents, classes), atol=ATOL)
        one = split.decode(latents, labels="both", image_dtype=np.uint8)
        expected = decoded(run, latents, np.full(13, 2)) * 255
        assert np.abs(one.images - expected).max() <= 0.5 + 255 * ATOL


@pytest.mark.parametrize("rows_per_call", [None, 3])
def test_classes_are_sampled_in_turn_however_the_batch_is_split(
    rows_per_call: int | None, server: Server, run: Run
) -> None:
    with Client(server.address, rows_per_call=rows_per_call) as split:
        found = split.sample(8, seed=5)
        assert found.labels is not None
        assert found.labels.tolist() == [row % COUNT for row in range(8)]
        np.testing.assert_allclose(
            found.images, decoded(run, found.latents, found.labels), atol=ATOL
        )
        chosen = split.sample(8, seed=5, labels=["right"] * 8)
        np.testing.assert_array_equal(chosen.latents, found.latents)
        np.testing.assert_allclose(
            chosen.images, decoded(run, found.latents, np.ones(8, int)), atol=ATOL
        )


def test_walks_and_lines_have_the_class_of_their_ends(
    client: Client, run: Run, images: NDArray[np.uint8], labels: NDArray[np.int64]
) -> None:
    walk = client.interpolate(images[:3], images[3:6], 4, labels=labels[:3])
    ends = encoded(run, images[:3], labels[:3]), encoded(run, images[3:6], labels[:3])
    np.testing.assert_allclose(walk.latents[:, 0], ends[0], atol=ATOL)
    np.testing.assert_allclose(walk.latents[:, -1], ends[1], atol=ATOL)
    expected = decoded(run, walk.latents.reshape(-1, 2), np.repeat(labels[:3], 4))
    np.testing.assert_allclose(walk.images.reshape(expected.shape), expected, atol=ATOL)
    lines = client.traverse(images[:2], steps=3, labels=labels[:2])
    expected = decoded(run, lines.latents.reshape(-1, 2), np.repeat(labels[:2], 6))
    np.testing.assert_allclose(lines.images.reshape(expected.shape), expected, atol=ATOL)


def test_a_walk_longer_than_a_call_has_its_class_too(server: Server, run: Run) -> None:
    starts, ends = latents_of(4)[:2], latents_of(4)[2:]
    with Client(server.address, rows_per_call=5) as small:
        walk = small.interpolate(starts, ends, 9, labels=[1, 2])
        lines = small.traverse(starts, steps=7, labels=[1, 2])
    expected = decoded(run, walk.latents.reshape(-1, 2), np.repeat([1, 2], 9))
    np.testing.assert_allclose(walk.images.reshape(expected.shape), expected, atol=ATOL)
    expected = decoded(run, lines.latents.reshape(-1, 2), np.repeat([1, 2], 14))
    np.testing.assert_allclose(lines.images.reshape(expected.shape), expected, atol=ATOL)


def test_images_are_reconstructed_scored_and_filled_in_their_classes(
    client: Client, run: Run, images: NDArray[np.uint8], labels: NDArray[np.int64]
) -> None:
    done = client.reconstruct(images, labels=labels)
    expected = decoded(run, encoded(run, images, labels), labels)
    np.testing.assert_allclose(done.images, expected, atol=ATOL)
    right = client.score(images, samples=200, seed=1, labels=labels)
    wrong = client.score(images, samples=200, seed=1, labels=(labels + 1) % COUNT)
    assert (right.bound > wrong.bound).mean() > 0.9, "an image is probable in its own class"
    masks = np.zeros((SIDE, SIDE), np.uint8)
    masks[:, SIDE // 2 :] = 1
    filled = client.inpaint(images, masks, iterations=3, seed=2, labels=labels)
    again = client.inpaint(images, masks, iterations=3, seed=2, labels=(labels + 1) % COUNT)
    assert np.abs(filled.images - again.images).max() > 0.05
    known = (images / 255)[..., : SIDE // 2]
    np.testing.assert_allclose(filled.images[..., : SIDE // 2], known, atol=1e-6)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (None, "labels: expected the class of each of 2 rows, or one for all, got none"),
        (3, "labels: expected classes from 0 to 2, got 3"),
        ([0, 1, 2], "labels: expected one class, or 2, got 3"),
        ("middle", r"expected a class of the model \(left, right, both\), got 'middle'"),
        (1.5, "labels: expected numbers or names of classes, got 1.5"),
        (-1, "labels: expected classes from 0 up, got -1"),
    ],
)
def test_other_labels_are_refused(labels: Any, said: str, client: Client) -> None:
    with pytest.raises(InvalidInputError, match=said):
        client.decode(latents_of(2), labels=labels)


def test_the_server_itself_refuses_them(server: Server) -> None:
    with grpc.insecure_channel(server.address) as channel:
        stub = LatentServiceStub(channel)
        for wrong in ([-1], [1 << 40], [0, 1]):
            with pytest.raises(grpc.RpcError) as refusal:
                stub.Sample(pb.SampleRequest(count=3, labels=wrong))
            assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "labels" in (refusal.value.details() or "")


def test_other_models_take_no_labels(tmp_path: Path) -> None:
    trained(tmp_path / "run", epochs=1, conditional=False).export(tmp_path / "models", "plain")
    with running_server(tmp_path / "models") as server, Client(server.address) as client:
        assert client.model().label_count == 0
        assert client.sample(2).labels is None
        with pytest.raises(InvalidInputError, match="plain is not conditional"):
            client.sample(2, labels=1)


def test_open_inference_has_the_labels_in_the_rows(
    server: Server, run: Run, images: NDArray[np.uint8], labels: NDArray[np.int64]
) -> None:
    latents = latents_of(6)
    with grpc.insecure_channel(server.address) as channel:
        stub = GRPCInferenceServiceStub(channel)
        described = stub.ModelMetadata(oip.ModelMetadataRequest(name="halves-encoder"))
        assert list(described.inputs[0].shape) == [-1, 2, SIDE, SIDE]
        rows = joined(images, labels)
        answer = stub.ModelInfer(_request("halves-encoder", "images", rows, "UINT8"))
        mean = np.frombuffer(answer.raw_output_contents[0], np.float32).reshape(-1, 2)
        np.testing.assert_allclose(mean, encoded(run, images, labels), atol=ATOL)
        rows = joined(latents, np.arange(6) % COUNT)
        answer = stub.ModelInfer(_request("halves-decoder", "latents", rows, "FP32"))
        found = np.frombuffer(answer.raw_output_contents[0], np.float32)
        expected = decoded(run, latents, np.arange(6) % COUNT)
        np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=ATOL)
        with pytest.raises(grpc.RpcError, match="expected classes from 0 to 2, got 7"):
            stub.ModelInfer(
                _request("halves-decoder", "latents", joined(latents, np.full(6, 7)), "FP32")
            )
        with pytest.raises(
            grpc.RpcError, match=r"expected \[n, 3\], each row with its label, got \[6, 2\]"
        ):
            stub.ModelInfer(_request("halves-decoder", "latents", latents, "FP32"))


def _request(model: str, name: str, rows: NDArray[Any], datatype: str) -> oip.ModelInferRequest:
    tensor = oip.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=rows.shape)
    return oip.ModelInferRequest(
        model_name=model, inputs=[tensor], raw_input_contents=[rows.tobytes()]
    )


def _posted(server: Server, path: str, body: object = None) -> dict[str, Any]:
    request = Request(
        f"http://{server.http_address}{path}",
        data=b"" if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Accept": "application/json"},
        method="POST",
    )
    with urlopen(request) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def test_labels_are_parameters_over_http(server: Server, run: Run) -> None:
    latents = latents_of(3)
    answer = _posted(server, "/v1/decode?labels=2,0,1", {"latents": latents.tolist()})
    expected = decoded(run, latents, [2, 0, 1])
    np.testing.assert_allclose(np.array(answer["images"]), expected, atol=ATOL)
    sampled = _posted(server, "/v1/sample?count=2&labels=1")
    assert np.array(sampled["images"]).shape == (2, 1, SIDE, SIDE)
    with pytest.raises(HTTPError) as refusal:
        _posted(server, "/v1/sample?count=2&labels=one")
    assert b"whole numbers, for example 3 or 3,1,4" in refusal.value.read()


def test_the_command_line_takes_classes_by_name(
    server: Server,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    latens = command_line(server.address, tmp_path, monkeypatch, capsys)
    ok(latens("sample", "-n", 3, "--seed", 1, "--label", "both", "-o", "both.npz"))
    with np.load(tmp_path / "both.npz") as arrays:
        assert arrays["labels"].tolist() == [2, 2, 2]
        expected = decoded(run, arrays["latents"], [2, 2, 2])
        np.testing.assert_allclose(arrays["images"], expected, atol=ATOL)
    ok(latens("decode", "--at", "0,0", "--at", "1,1", "-l", 0, "-l", 1, "-o", "two.npy"))
    ok(latens("grid", "--size", 3, "-l", "left", "-o", "map.png"))
    assert "conditional on 3 classes" in ok(latens("models", "halves")).out
    wrong = latens("sample", "-n", 3, "-l", "top", "-o", "both.npz")
    assert wrong.code != 0
    assert "left, right, both" in wrong.err


def test_a_model_in_the_same_process_takes_them_too(
    repository: Path, run: Run, images: NDArray[np.uint8], labels: NDArray[np.int64]
) -> None:
    mean = Encoder(repository / "halves")(images, labels)["mean"]
    np.testing.assert_allclose(mean, encoded(run, images, labels), atol=ATOL)
    decode = Decoder(repository / "halves")
    np.testing.assert_allclose(
        decode(mean, labels=1), decoded(run, mean, [1] * len(mean)), atol=ATOL
    )
    with pytest.raises(EmbeddedInvalidInputError, match="labels: expected classes from 0 to 2"):
        decode(mean)
    with pytest.raises(EmbeddedInvalidInputError, match="labels: expected classes from 0 to 2"):
        decode(mean, labels=3)


@pytest.mark.parametrize("rows", [np.zeros((4, 2), np.float32), np.zeros((4, 1, 3, 3), np.uint8)])
def test_rows_and_labels_come_apart_as_they_were_joined(rows: NDArray[Any]) -> None:
    labels = np.array([0, 255, 17, 3])
    both = joined(rows, labels)
    assert both.dtype == rows.dtype
    assert both.shape[1] == rows.shape[1] + 1
    np.testing.assert_array_equal(labels_of(both), labels)
    np.testing.assert_array_equal(both[:, :-1], rows)
