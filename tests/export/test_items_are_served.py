"""Models of sound and of tables are exported and served with items, as torch computes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from command_line import Run, command_line, ok
from diffusers_models import autoencoder_oobleck, saved, seeded
from json_calls import TOLERANCE, pixels, post
from latens import Client
from latens.errors import InvalidInputError, NotOfferedError
from latens_export.cli import main
from latens_serving import Encoder
from server_process import Server, running_server

TABLE = """
import torch
from torch import nn

class Table(nn.Module):
    def __init__(self):
        super().__init__()
        self.into = nn.Linear(5, 4)
        self.out = nn.Linear(2, 5)

    def encode(self, x):
        return self.into(x).chunk(2, dim=1)

    def decode(self, z):
        return self.out(z)
"""


@pytest.fixture(scope="module")
def networks() -> dict[str, Any]:
    scope: dict[str, Any] = {"__name__": "table_of_this_test"}
    exec(TABLE, scope)
    return {"sound": seeded(autoencoder_oobleck), "table": seeded(scope["Table"])}


@pytest.fixture(scope="module")
def repository(networks: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("items")
    target = ["--repository", str(folder / "models"), "--opset", "20"]
    path = saved(networks["sound"], folder / "sound")
    assert main(["diffusers", str(path), "--name", "sound", *target]) == 0
    (folder / "table.py").write_text(TABLE)
    (folder / "card.yaml").write_text("prior: standard-normal\n")
    save_file(networks["table"].state_dict(), folder / "table.safetensors")
    weights = ["--weights", f"{folder}/table.safetensors", "--card", f"{folder}/card.yaml"]
    assert main(["module", f"{folder}/table.py:Table", *weights, *target]) == 0
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


def _expected_items(name: str, network: Any, items: NDArray[np.float32]) -> tuple[Any, Any]:
    with torch.inference_mode():
        if name == "table":
            mean = network.encode(torch.from_numpy(items))[0]
            return mean.numpy(), network.decode(mean).numpy()
        mean = network.encode(torch.from_numpy(items)).latent_dist.mean
        return mean.numpy(), network.decode(mean).sample.numpy()


@pytest.mark.parametrize(
    ("name", "shape", "modality"),
    [
        ("sound", (2, 2, 512), "AUDIO"),
        ("sound", (1, 2, 64), "AUDIO"),
        ("table", (7, 5), "TABULAR"),
    ],
)
def test_items_are_encoded_and_decoded_as_torch_does(
    name: str,
    shape: tuple[int, ...],
    modality: str,
    client: Client,
    networks: dict[str, Any],
) -> None:
    items = 4 * pixels(*shape) - 2
    mean, decoded = _expected_items(name, networks[name], items)
    assert client.model(name).modality == modality
    encoding = client.encode(items, model=name, seed=4)
    np.testing.assert_allclose(encoding.mean, mean, atol=TOLERANCE)
    assert encoding.latents is not None
    found = client.decode(mean, model=name)
    np.testing.assert_allclose(found.items, decoded, atol=TOLERANCE)
    assert found._repr_png_() is None
    again = client.reconstruct(items, model=name)
    np.testing.assert_allclose(again.items, decoded, atol=TOLERANCE)
    walk = client.interpolate(items[:1], items[-1:], 3, model=name)
    assert walk.items.shape == (1, 3, *shape[1:])
    np.testing.assert_allclose(walk.items[0, 0], decoded[0], atol=TOLERANCE)


def test_tables_are_sampled_and_traversed(client: Client) -> None:
    sampled = client.sample(4, seed=1, model="table")
    np.testing.assert_allclose(
        sampled.items, client.decode(sampled.latents, model="table").items, atol=1e-6
    )
    lines = client.traverse(steps=3, model="table")
    assert lines.items.shape == (1, 2, 3, 5)


def test_a_model_of_items_has_no_codes(client: Client) -> None:
    assert client.model("table").codebook_size == 0


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda client: client.encode_codes(pixels(1, 5), model="table"), "no codebook"),
        (lambda client: client.score(pixels(1, 5), model="table"), "is for images"),
        (
            lambda client: client.inpaint(pixels(1, 5), np.ones((1, 1, 5), bool), model="table"),
            "for images",
        ),
    ],
)
def test_what_items_do_not_offer_is_said(
    call: Callable[[Client], object], said: str, client: Client
) -> None:
    with pytest.raises(NotOfferedError, match=said):
        call(client)


@pytest.mark.parametrize(
    ("items", "said"),
    [
        (np.zeros((1, 5), np.uint8), "expected FLOAT32 or FLOAT16 for items, got UINT8"),
        (np.full((1, 5), np.nan, np.float32), "expected finite values"),
        (np.zeros((1, 6), np.float32), "expected items of shape"),
    ],
)
def test_items_that_the_model_does_not_take_are_refused(
    items: NDArray[Any], said: str, client: Client
) -> None:
    with pytest.raises(InvalidInputError, match=said):
        client.encode(items, model="table")


def test_no_bytes_are_given_of_items(client: Client) -> None:
    with pytest.raises(InvalidInputError, match="whose data are no images"):
        client.decode(np.zeros((1, 2)), model="table", image_dtype=np.uint8)


def test_json_over_http_has_items(server: Server, networks: dict[str, Any]) -> None:
    rows = pixels(2, 5)
    encoded = post(server, "encode?model=table", {"items": rows.tolist()})
    with torch.inference_mode():
        mean = networks["table"].encode(torch.from_numpy(rows))[0]
    np.testing.assert_allclose(encoded["mean"], mean.numpy(), atol=TOLERANCE)
    sampled = post(server, "sample?model=table&count=3", {})
    assert np.shape(sampled["items"]) == (3, 5)


def test_the_command_line_carries_items(
    latens: Run, tmp_path: Path, networks: dict[str, Any]
) -> None:
    rows = pixels(3, 5)
    np.save(tmp_path / "rows.npy", rows)
    ok(latens("encode", "rows.npy", "-o", "z.npz", "--model", "table"))
    ok(latens("decode", "z.npz", "-o", "rows.npz", "--model", "table"))
    with np.load(tmp_path / "rows.npz") as found:
        _, expected = _expected_items("table", networks["table"], rows)
        np.testing.assert_allclose(found["items"], expected, atol=TOLERANCE)
    refused = latens("sample", "-o", "rows.png", "--model", "table")
    assert refused.code == 5
    assert "write an .npy or .npz" in refused.err
    assert "tabular" in ok(latens("models", "table")).out


def test_items_are_embedded_without_a_server(repository: Path, networks: dict[str, Any]) -> None:
    rows = pixels(3, 5)
    mean, _ = _expected_items("table", networks["table"], rows)
    np.testing.assert_allclose(Encoder(repository / "table")(rows)["mean"], mean, atol=TOLERANCE)
