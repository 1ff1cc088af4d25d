"""Rows that float16 cannot hold are computed again in float32, or refused by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import latens_export
from latens import Client
from latens.errors import InvalidInputError as ClientInvalidInputError
from latens_export.bundling import BundleOptions
from latens_export.errors import UsageError
from latens_export.graphs.tracing import decoder_graph
from latens_export.network import Network
from latens_serving import Decoder, Encoder
from latens_serving.bundle.files import read_manifest, record_of
from latens_serving.bundle.spec import (
    ModelSpec,
    Posterior,
    Prior,
    fixed_image_axes,
    fixed_latent_axes,
)
from latens_serving.errors import InvalidInputError
from server_process import Server, running_server

SHAPE = (3, 8, 8)
BEYOND = 1e5
"""Above 65,504: on a GPU, what becomes float16 becomes infinite."""


class Bounded(nn.Module):
    """Has finite answers for latents of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.ConvTranspose2d(4, 3, 4, 4)

    def forward(self, latents: Tensor) -> Tensor:
        return torch.sigmoid(self.out(latents / 1000))


class Overflowing(Bounded):
    """Overflows float32 where `Bounded` in float16 would overflow on a GPU.

    ONNX Runtime computes float16 graphs on a CPU in float32, and hides it.
    """

    def forward(self, latents: Tensor) -> Tensor:
        return torch.sigmoid(self.out(latents * 1e34 / 1e37))


class Pair(NamedTuple):
    encoder: nn.Module
    decoder: nn.Module


def write(pair: Pair, repository: Path, name: str, precision: str, *, keep: bool) -> Path:
    spec = ModelSpec(
        data_axes=fixed_image_axes(SHAPE),
        latent_axes=fixed_latent_axes((4, 2, 2)),
        posterior=Posterior.DETERMINISTIC,
        prior=Prior.NONE,
        precision=precision,
        tolerance=5e-3,
    )
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (8, *SHAPE), dtype=torch.uint8, generator=generator)
    options = BundleOptions(float32_graphs=keep)
    written = latens_export.write_bundle(*pair, spec, images, repository, name, options=options)
    overflowing = Overflowing()
    overflowing.load_state_dict(pair.decoder.state_dict())
    network = Network(pair.encoder, overflowing, spec)
    _replace_decoder(written.path, decoder_graph(network))
    return written.path


def _replace_decoder(bundle: Path, graph: bytes) -> None:
    (bundle / "decoder.onnx").write_bytes(graph)
    path = bundle / "bundle.json"
    document = json.loads(path.read_text())
    document["decoder"] = record_of("decoder.onnx", graph).model_dump()
    path.write_text(json.dumps(document))


@pytest.fixture(scope="module")
def pair() -> Pair:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Pair(nn.Conv2d(3, 4, 4, 4), Bounded())


@pytest.fixture(scope="module")
def repository(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("half")
    write(pair, folder, "kept", "float16", keep=True)
    write(pair, folder, "alone", "float16", keep=False)
    return folder


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[Server]:
    with running_server(repository) as running:
        yield running


def latents() -> NDArray[np.float32]:
    rows = np.random.default_rng(0).standard_normal((4, 4, 2, 2)).astype(np.float32)
    rows[2] *= BEYOND
    return rows


def expected(pair: Pair) -> NDArray[np.float32]:
    with torch.inference_mode():
        images: NDArray[np.float32] = pair.decoder(torch.from_numpy(latents())).numpy()
    return images


def recomputed(server: Server) -> float:
    with urlopen(f"http://{server.http_address}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    wanted = 'latens_recomputed_rows_total{graph="decoder",model="kept"} '
    return sum(float(line.removeprefix(wanted)) for line in lines if line.startswith(wanted))


@pytest.mark.parametrize(("dtype", "unit"), [(np.float32, 1), (np.uint8, 255)])
def test_a_row_beyond_float16_is_answered_in_float32_and_counted(
    dtype: type, unit: float, server: Server, pair: Pair
) -> None:
    before = recomputed(server)
    with Client(server.address) as client:
        images = client.decode(latents(), model="kept", image_dtype=dtype).images
    wanted = unit * expected(pair)
    np.testing.assert_allclose(images, wanted, atol=unit * 5e-3 + (unit > 1))
    exact = images[2].astype(np.float64) - wanted[2]
    assert np.abs(exact).max() <= (0.501 if unit > 1 else 1e-5)
    assert recomputed(server) == before + 1


def test_without_float32_the_overflow_is_named(server: Server) -> None:
    with Client(server.address) as client:
        for dtype in (np.float32, np.uint8):
            with pytest.raises(ClientInvalidInputError, match="the decoder overflows float16"):
                client.decode(latents(), model="alone", image_dtype=dtype)


def test_no_bytes_are_decoded_in_float16(repository: Path) -> None:
    assert read_manifest(repository / "kept" / "1").decoder_uint8 is None


def test_an_embedded_model_does_the_same(repository: Path, pair: Pair) -> None:
    images = Decoder(repository / "kept")(latents())
    np.testing.assert_allclose(images, expected(pair), atol=5e-3)
    with pytest.raises(InvalidInputError, match="overflows float16 for 1 rows"):
        Decoder(repository / "alone")(latents())
    pixels = np.random.default_rng(1).random((2, *SHAPE), np.float32)
    assert np.isfinite(Encoder(repository / "kept")(pixels)["mean"]).all()


def test_a_second_graph_is_for_float16_alone(pair: Pair, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="keep-float32: expected --precision float16"):
        write(pair, tmp_path, "plain", "float32", keep=True)
