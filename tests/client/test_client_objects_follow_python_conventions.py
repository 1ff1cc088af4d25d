"""Clients and results support pickle, repr, closing and timeouts."""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image
from test_client_retries import Flaky, serving

from latens import AsyncClient, Client, Decoding, Paths, Scores, Tls, errors
from latens.channel import locate
from server_process import Server

ONE = np.zeros((1, 1, 28, 28), np.float32)
METHODS: dict[str, Callable[[Any], Any]] = {
    "models": lambda client: client.models(),
    "model": lambda client: client.model(),
    "encode": lambda client: client.encode(ONE),
    "decode": lambda client: client.decode([[0.0, 0.0]]),
    "sample": lambda client: client.sample(1),
    "interpolate": lambda client: client.interpolate([[0, 0]], [[1, 1]], 3),
    "reconstruct": lambda client: client.reconstruct(ONE),
    "traverse": lambda client: client.traverse(),
    "inpaint": lambda client: client.inpaint(ONE, ONE > 0),
    "score": lambda client: client.score(ONE),
    "health": lambda client: client.health(),
}


@pytest.mark.parametrize("name", METHODS)
async def test_every_method_of_a_closed_client_raises_a_latens_error(
    server: Server, name: str
) -> None:
    client, other = Client(server.address), AsyncClient(server.address)
    client.sample(1)
    await other.sample(1)
    client.close()
    await other.close()
    with pytest.raises(errors.ClientClosedError, match="the client is closed"):
        METHODS[name](client)
    with pytest.raises(errors.ClientClosedError, match="the client is closed"):
        await METHODS[name](other)


async def test_a_copy_of_a_client_by_pickle_makes_its_own_connection(server: Server) -> None:
    with Client(server.address, rows_per_call=3, timeout=20) as client:
        expected = client.sample(4, seed=1).latents
        copied = pickle.loads(pickle.dumps(client))
    with copied:  # the original is closed
        assert np.array_equal(copied.sample(4, seed=1).latents, expected)
        assert repr(copied) == f"Client('{server.address}', timeout=20)"
    async with pickle.loads(pickle.dumps(AsyncClient(server.address))) as other:
        assert np.array_equal((await other.sample(4, seed=1)).latents, expected)


def test_a_client_shows_its_address_and_never_its_token() -> None:
    client = Client("grpcs://gpu:1234", tls=Tls(), token="secret-token")
    assert repr(client) == "Client('grpcs://gpu:1234', tls=True, token=..., timeout=60.0)"


def test_results_show_shapes_ranges_seed_and_version() -> None:
    scores = Scores(
        np.array([-101.25, -90.5], np.float32), None, np.array([3, 40], np.float32), 7, "3"
    )
    assert repr(scores) == (
        "Scores(bound=float32 [2] in -101..-90.5, standard_error=None, "
        "effective_samples=float32 [2] in 3..40, seed=7, version='3')"
    )
    images = np.arange(8, dtype=np.uint8).reshape(2, 1, 2, 2) * 30
    assert repr(Decoding(images, None, "1")) == (
        "Decoding(images=uint8 [2, 1, 2, 2] in 0..210, latents=None, version='1')"
    )
    assert "float32 [0, 2]" in repr(Decoding(images, np.zeros((0, 2), np.float32), "1"))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_notebook_shows_the_images_of_a_result(channels: int) -> None:
    images = np.random.default_rng(0).random((2, 5, channels, 64, 64), np.float32)
    content = Paths(images, np.zeros((2, 5, 2), np.float32), "1")._repr_png_()
    assert content is not None
    with Image.open(io.BytesIO(content)) as sheet:
        assert sheet.size == (5 * 65 - 1, 2 * 65 - 1)  # a row per path
        assert sheet.mode == ("L" if channels == 1 else "RGB")
        first = np.asarray(sheet).reshape(129, 324, channels)[:64, :64]
    expected = np.rint(images[0, 0].transpose(1, 2, 0) * 255)
    np.testing.assert_array_equal(first, expected)
    scores = Scores(np.zeros(2, np.float32), None, np.ones(2, np.float32), 1, "1")
    assert not hasattr(scores, "_repr_png_")
    assert Decoding(images[0, :, :1].repeat(4, 1), None, "1")._repr_png_() is None


class Slow(Flaky):
    """Records the timeout of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.left: list[float | None] = []

    def Decode(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.left.append(context.time_remaining())
        return super().Decode(request, context)


async def test_a_call_has_its_timeout() -> None:
    service = Slow()
    with serving(service) as address, Client(address, timeout=1000) as client:
        for timeout in (None, 50.0, math.inf):
            client.decode([[0.0]], timeout=timeout)
        async with AsyncClient(address, timeout=1000) as other:
            await other.decode([[0.0]], timeout=50)
    default, given, unbounded, other_given = service.left
    assert default is not None
    assert given is not None
    assert other_given is not None
    assert 60 < default < 1010
    assert given < 60
    assert other_given < 60
    assert unbounded is None or unbounded > 10**6


def test_a_passed_deadline_is_reported() -> None:
    service = Flaky()
    service.failures = [grpc.StatusCode.DEADLINE_EXCEEDED]
    named = pytest.raises(errors.DeadlineExceededError, match="the timeout of the call is 30 s")
    with serving(service) as address, Client(address) as client, named:
        client.decode([[0.0]], timeout=30)


ADDRESSES = {
    "gpu": ("dns:///gpu:50051", None),
    "gpu:1": ("dns:///gpu:1", None),
    "grpc://gpu": ("dns:///gpu:50051", False),
    "grpcs://gpu:1/": ("dns:///gpu:1", True),
    "http://gpu": ("dns:///gpu:80", False),
    "HTTPS://gpu": ("dns:///gpu:443", True),
    "https://[::1]:7": ("dns:///[::1]:7", True),
    "dns:///gpu:1": ("dns:///gpu:1", None),
    "grpcs://127.0.0.1:1,grpcs://127.0.0.1:2": ("ipv4:127.0.0.1:1,127.0.0.1:2", True),
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_may_be_a_url(address: str) -> None:
    location = locate(address)
    assert (location.target, location.encrypted) == ADDRESSES[address]


def test_models_are_one_line_each(server: Server) -> None:
    with Client(server.address) as client:
        shown = repr(client.model("mnist-2d"))
        assert shown == (
            "<Model 'mnist-2d' version 1 READY: vae-mlp, image 1x28x28, latent 2, float32>"
        )
        assert shown in repr(client.models())


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ftp://gpu:1", "expected host:port or a URL with grpc://"),
        ("grpc://gpu:1/v1/encode", "without a user, path or query"),
        ("grpc://me@gpu:1", "without a user, path or query"),
        ("grpc://gpu:1,grpcs://gpu:2", "the same scheme"),
        ("grpc://:1", "expected host:port"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_with_the_reason(address: str, said: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(ValueError, match=said):
            kind(address)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"tls": Tls(), "address": "grpc://gpu:1"}, "the scheme means a connection without TLS"),
        ({"token": "two\nlines"}, "printable ASCII"),
        ({"timeout": 0}, "timeout: expected a number above 0"),
        ({"max_in_flight": 0}, "max_in_flight: expected a number above 0"),
    ],
)
def test_arguments_that_cannot_work_are_refused_when_the_client_is_made(
    arguments: dict[str, Any], said: str
) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(ValueError, match=said):
            kind(**arguments)
