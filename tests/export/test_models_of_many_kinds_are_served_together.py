"""Autoencoders of four kinds in one server answer mixed calls as torch does; real VAEs too."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

import numpy as np
import pytest
import torch
from prometheus_client.parser import text_string_to_metric_families
from safetensors.torch import save_file
from torch import Tensor, nn

from diffusers_models import (
    autoencoder_dc,
    autoencoder_kl,
    autoencoder_tiny,
    saved,
    seeded,
)
from latens import Client
from latens_export.cli import main
from own_module import OWN
from pretrained_weights import BURGESS, weights_of
from server_process import Server, running_server

SIZES = ((64, 96), (128, 64), (72, 72))
TOLERANCE = 5e-5


class Kind(NamedTuple):
    """How torch computes what the served model answers."""

    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]


def of_diffusers(model: Any, scale: float, encode: Callable[[Any], Tensor]) -> Kind:
    return Kind(
        lambda x: encode(model.encode(2 * x - 1)) * scale,
        lambda z: (model.decode(z / scale).sample / 2 + 0.5).clamp(0, 1),
    )


@pytest.fixture(scope="module")
def kinds() -> dict[str, Any]:
    scope: dict[str, Any] = {"__name__": "own_of_this_test"}
    exec(OWN, scope)
    return {
        "kl": seeded(autoencoder_kl),
        "tiny": seeded(autoencoder_tiny),
        "dc": seeded(autoencoder_dc),
        "own": seeded(scope["Own"]),
    }


def expected_of(name: str, model: Any) -> Kind:
    if name == "kl":
        return of_diffusers(model, 0.18215, lambda found: found.latent_dist.mean)
    if name == "dc":
        return of_diffusers(model, 0.41407, lambda found: found.latent)
    if name == "tiny":
        return Kind(
            lambda x: model.encode(2 * x - 1).latents,
            lambda z: (model.decode(z).sample / 2 + 0.5).clamp(0, 1),
        )
    return Kind(lambda x: model.encode(2 * x - 1)[0], lambda z: model.decode(z) / 2 + 0.5)


@pytest.fixture(scope="module")
def server(
    kinds: dict[str, nn.Module], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("company")
    repository = ["--repository", str(folder / "models"), "--opset", "20"]
    for name in ("kl", "tiny", "dc"):
        path = saved(kinds[name], folder / name)
        assert main(["diffusers", str(path), "--name", name, *repository]) == 0
    (folder / "own.py").write_text(OWN)
    save_file(kinds["own"].state_dict(), folder / "own.safetensors")
    weights = ["--weights", str(folder / "own.safetensors")]
    assert main(["module", f"{folder}/own.py:Own", *weights, *repository]) == 0
    with running_server(folder / "models", "--canary-seconds=0", "--drift-seconds=0") as running:
        yield running


def calls(
    client: Client, name: str, kind: Kind, size: tuple[int, int], seed: int, wrong: list[str]
) -> None:
    """Encodes and decodes, and compares each answer with torch's."""
    generator = np.random.default_rng(seed)
    for _ in range(3):
        pixels = generator.random((2, 3, *size), np.float32)
        with torch.inference_mode():
            mean = kind.encode(torch.from_numpy(pixels))
            images = kind.decode(mean)
        found = client.encode(pixels, model=name).mean
        decoded = client.decode(mean.numpy(), model=name).images
        for what, one, other in (("mean", found, mean), ("images", decoded, images)):
            if one.shape != tuple(other.shape) or not np.allclose(one, other, atol=TOLERANCE):
                wrong.append(f"{what} of {name} at {size}")


def test_no_answer_is_swapped_among_models_and_sizes(server: Server, kinds: dict[str, Any]) -> None:
    wrong: list[str] = []
    with Client(server.address) as client:
        threads = [
            threading.Thread(
                target=calls,
                args=(client, name, expected_of(name, model), size, seed, wrong),
            )
            for seed, size in enumerate(SIZES)
            for name, model in kinds.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
    with urlopen(f"http://{server.http_address}/metrics", timeout=30) as answer:
        exposition = answer.read().decode()
    gauges = {"latens_calls_in_flight", "latens_queue_rows", "latens_queue_bytes"}
    left = {
        family.name: sum(sample.value for sample in family.samples)
        for family in text_string_to_metric_families(exposition)
        if family.name in gauges
    }
    assert left == dict.fromkeys(gauges, 0)


@pytest.mark.parametrize("name", ["kl", "tiny", "dc", "own"])
def test_each_is_interpolated_along_the_sphere(
    name: str, server: Server, kinds: dict[str, Any]
) -> None:
    kind = expected_of(name, kinds[name])
    generator = np.random.default_rng(5)
    pixels = generator.random((2, 3, 64, 64), np.float32)
    with Client(server.address) as client:
        ends = client.encode(pixels, model=name).mean
        walk = client.interpolate(ends[:1], ends[1:], 5, mode="spherical", model=name)
    start, end = ends[0].ravel().astype(float), ends[1].ravel().astype(float)
    lengths = np.linalg.norm(start), np.linalg.norm(end)
    angle = np.arccos(start @ end / (lengths[0] * lengths[1]))
    middle = walk.latents[0, 2].ravel().astype(float)
    for one, length in ((start, lengths[0]), (end, lengths[1])):
        cosine = one @ middle / (length * np.linalg.norm(middle))
        assert np.arccos(cosine) == pytest.approx(angle / 2, abs=1e-3)
    with torch.inference_mode():
        images = kind.decode(torch.from_numpy(walk.latents[0].copy()))
    np.testing.assert_allclose(walk.images[0], images.numpy(), atol=TOLERANCE)


@pytest.mark.parametrize(
    ("name", "weights", "channels"),
    [("celeba", "btcvae_celeba.safetensors", 3), ("dsprites", "factor_dsprites.safetensors", 1)],
)
def test_pretrained_vaes_are_sampled_traversed_and_interpolated(
    name: str, weights: str, channels: int, tmp_path: Path
) -> None:
    found = weights_of(weights)
    (tmp_path / "burgess.py").write_text(BURGESS)
    (tmp_path / "card.yaml").write_text("prior: standard-normal\nlikelihood: bernoulli\n")
    arguments = ["module", f"{tmp_path}/burgess.py:{name}", "--weights", str(found)]
    arguments += ["--card", f"{tmp_path}/card.yaml", "--repository", f"{tmp_path}/models"]
    assert main([*arguments, "--name", name, "--opset", "20"]) == 0
    with running_server(tmp_path / "models") as server, Client(server.address) as client:
        samples = client.sample(16, seed=3)
        assert samples.images.shape == (16, channels, 64, 64)
        assert np.ptp(samples.images, axis=0).mean() > 0.02, "samples differ"
        scan = client.traverse(np.zeros((1, 10), np.float32), axes=[0], steps=7)
        assert scan.images.shape[-3:] == (channels, 64, 64)
        walk = client.interpolate(samples.latents[:1], samples.latents[1:2], 5, mode="spherical")
        np.testing.assert_allclose(walk.images[0, 0], samples.images[0], atol=1e-5)
        np.testing.assert_allclose(walk.images[0, -1], samples.images[1], atol=1e-5)
        again = client.encode(samples.images)
        assert again.mean.shape == (16, 10)
