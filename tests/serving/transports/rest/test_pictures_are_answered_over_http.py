"""`curl` alone encodes pictures and sees pictures; what does not fit is refused in JSON."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openapi_spec_validator import validate
from PIL import Image

from http_calls import Answer, request
from server_process import Server, running_server
from toy_bundles import LOG_VAR, decoded, encoded, write_spatial

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def server(model_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    repository = tmp_path_factory.mktemp("repository")
    write_spatial(repository)
    shutil.copytree(model_repository / "mnist-2d", repository / "mnist-2d")
    with running_server(repository, "--default-model=spatial") as server:
        yield server


def photo(height: int = 24, width: int = 16, mode: str = "RGB") -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(values).convert(mode)


def file_of(picture: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    picture.save(file, kind)
    return file.getvalue()


def post(
    server: Server, path: str, body: bytes | dict[str, Any] | None = None, **headers: str
) -> Answer:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    if isinstance(body, dict):
        body, fields = json.dumps(body).encode(), JSON | fields
    return request(server.http_address, path, "POST", body=body or b"", headers=fields)


def planes(picture: Image.Image) -> np.ndarray:
    """A picture as images in [0, 1]."""
    return np.asarray(picture, np.float32).transpose(2, 0, 1)[np.newaxis] / 255


def opened(answer: Answer) -> Image.Image:
    assert answer.status == 200, answer.body
    return Image.open(io.BytesIO(answer.body))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP"])
def test_a_picture_is_encoded(server: Server, kind: str) -> None:
    body = file_of(photo(), kind)
    if kind == "WEBP":
        file = io.BytesIO()
        photo().save(file, "WEBP", lossless=True)
        body = file.getvalue()
    answer = post(server, "/v1/encode", body, Content_Type=f"image/{kind.lower()}")
    assert answer.status == 200, answer.body
    np.testing.assert_allclose(answer.json["mean"], encoded(planes(photo())), atol=1e-5)
    np.testing.assert_allclose(answer.json["log_var"], np.full((1, 3, 6, 4), LOG_VAR), atol=1e-5)
    assert answer.json["model"] == "spatial"
    assert answer.json["version"] == "1"


def test_a_seed_adds_a_draw(server: Server) -> None:
    draws = [
        post(server, f"/v1/encode?seed={seed}", file_of(photo()), Content_Type="image/png").json
        for seed in (1, 1, 2)
    ]
    assert draws[0]["latents"] == draws[1]["latents"] != draws[2]["latents"]


def test_latents_become_a_picture(server: Server) -> None:
    latents = np.random.default_rng(1).random((1, 3, 6, 4), np.float32)
    answer = post(server, "/v1/decode", {"latents": latents.tolist()}, Accept="image/png")
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-latens-model"] == "spatial"
    expected = np.rint(decoded(latents)[0].transpose(1, 2, 0) * 255)
    np.testing.assert_allclose(np.asarray(opened(answer)), expected, atol=1)


def test_pictures_are_what_a_caller_without_wishes_gets(server: Server) -> None:
    assert opened(post(server, "/v1/sample?count=1&seed=1")).format == "PNG"
    assert opened(post(server, "/v1/sample?count=1&seed=1", Accept="image/jpeg")).format == "JPEG"


def test_several_images_are_a_sheet(server: Server) -> None:
    answer = post(server, "/v1/sample?model=mnist-2d&count=6&columns=3&scale=2&seed=7")
    assert opened(answer).size == (2 * (3 * 28 + 2), 2 * (2 * 28 + 1))
    assert answer.headers["x-latens-seed"] == "7"


def test_numbers_are_given_where_they_are_asked_for(server: Server) -> None:
    path = "/v1/sample?model=mnist-2d&count=2&seed=7"
    answer = post(server, path, Accept="application/json").json
    assert np.shape(answer["images"]) == (2, 1, 28, 28)
    assert answer["seed"] == 7


def test_a_picture_is_reconstructed(server: Server) -> None:
    answer = post(server, "/v1/reconstruct", file_of(photo()), Content_Type="image/png")
    expected = decoded(encoded(planes(photo())))[0].transpose(1, 2, 0) * 255
    np.testing.assert_allclose(np.asarray(opened(answer)), expected, atol=1.01)


def test_a_walk_is_one_row_of_images(server: Server) -> None:
    ends = {"starts": [[0.0, 0.0]], "ends": [[1.0, 1.0]]}
    answer = post(server, "/v1/interpolate?model=mnist-2d&steps=5", ends)
    assert opened(answer).size == (5 * 28 + 4, 28)


def test_a_picture_of_another_size_is_fitted_as_asked(server: Server) -> None:
    body, kind = file_of(photo(30, 21)), "image/png"
    refused = post(server, "/v1/encode", body, Content_Type=kind)
    assert refused.status == 400
    assert "the nearest allowed size is 32; fit=crop" in refused.json["message"]
    fitted = post(server, "/v1/encode?fit=resize", body, Content_Type=kind)
    assert np.shape(fitted.json["mean"]) == (1, 3, 8, 5)
    sized = post(server, "/v1/encode?fit=crop&size=16x24", body, Content_Type=kind)
    assert np.shape(sized.json["mean"]) == (1, 3, 6, 4)


REFUSALS = {
    "no picture": ("/v1/encode", b"nothing", {"Content-Type": "image/png"}, 400, "no picture"),
    "no type": ("/v1/encode", b"x", {}, 415, "expected Content-Type image/png"),
    "another type": ("/v1/decode", b"x", {"Content-Type": "text/plain"}, 415, JSON["Content-Type"]),
    "no JSON": ("/v1/decode", b"{", JSON, 400, "no JSON"),
    "a list": ("/v1/decode", b"[]", JSON, 400, "a JSON object"),
    "deep nesting": ("/v1/decode", b"[" * 100_000, JSON, 400, "no JSON"),
    "a misspelt field": ("/v1/decode", b'{"latent": [[1]]}', JSON, 400, "latent: no such field"),
    "a missing field": ("/v1/decode", b"{}", JSON, 400, "latents: expected"),
    "words": ("/v1/decode", b'{"latents": ["a"]}', JSON, 400, "lists of numbers"),
    "ragged": ("/v1/decode", b'{"latents": [[1], [1, 2]]}', JSON, 400, "lists of numbers"),
    "infinite": ("/v1/decode", b'{"latents": [[[[1e300]]]]}', JSON, 400, "latents"),
    "a misspelt parameter": ("/v1/sample?cont=2", b"", {}, 400, "cont: no such parameter"),
    "twice": ("/v1/sample?seed=2&seed=3", b"", {}, 400, "seed: given twice"),
    "a wrong value": ("/v1/sample?count=many", b"", {}, 400, "count: expected a whole number"),
    "a negative seed": ("/v1/sample?seed=-1", b"", {}, 400, "seed: expected a whole number"),
    "too many digits": (
        *(f"/v1/sample?count={'0' * 21}{'9' * 40}", b"", {}),
        *(400, "count: expected a whole number"),
    ),
    "digits of another script": ("/v1/sample?size=%C2%B2x%C2%B2", b"", {}, 400, "WIDTHxHEIGHT"),
    "too much JSON": ("/v1/decode", b" " * (2 << 20), JSON, 400, "expected at most 1048576 bytes"),
    "a wrong size": ("/v1/sample?size=18x16", b"", {}, 400, "size: width: expected"),
    "unknown model": ("/v1/sample?model=nothing", b"", {}, 404, "nothing"),
    "nothing accepted": ("/v1/sample", b"", {"Accept": "text/html"}, 406, "expected Accept"),
    "a colour picture for a grey model": (
        *("/v1/encode?model=mnist-2d", file_of(photo()), {"Content-Type": "image/png"}),
        *(400, "grey=true takes it"),
    ),
    "a huge picture": ("/v1/sample?count=900&scale=64", b"", {}, 400, "scale"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_are_json_that_names_the_field(server: Server, case: str) -> None:
    path, body, headers, status, said = REFUSALS[case]
    answer = request(server.http_address, path, "POST", body=body, headers=headers)
    assert answer.status == status, answer.body
    assert said in answer.json["message"]
    assert answer.json["code"] in ("invalid_argument", "not_found")


def test_another_method_is_told_the_right_one(server: Server) -> None:
    answer = request(server.http_address, "/v1/encode", "GET")
    assert answer.status == 405
    assert answer.headers["allow"] == "POST"
    assert "expected POST" in answer.json["message"]


def test_a_colour_picture_is_made_grey_if_asked(server: Server) -> None:
    path = "/v1/encode?model=mnist-2d&grey=true"
    answer = post(server, path, file_of(photo()), Content_Type="image/png")
    assert np.shape(answer.json["mean"]) == (1, 2)


def test_the_openapi_document_describes_every_route(server: Server) -> None:
    document = request(server.http_address, "/openapi.json").json
    validate(document)
    assert {"/v1/encode", "/v1/decode", "/huggingface/{model}/decode"} <= set(document["paths"])
    for path in document["paths"]:
        there = request(server.http_address, path.replace("{model}", "spatial"), "POST", body=b"")
        assert there.status not in (404, 405), path


def test_calls_are_counted_under_their_names(server: Server) -> None:
    post(server, "/v1/sample?count=1")
    metrics = request(server.http_address, "/metrics").body.decode()
    assert 'grpc_service="rest"' in metrics
    assert 'grpc_method="Sample"' in metrics
