"""A float16 graph never overflows: large layers stay in float32, or the export is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

import latens_export
from latens_export.errors import HalfRangeError
from latens_serving.bundle.files import read_manifest, verified_bytes
from latens_serving.bundle.spec import (
    ModelSpec,
    Posterior,
    Prior,
    fixed_image_axes,
    fixed_latent_axes,
)

if TYPE_CHECKING:
    from pathlib import Path

    from latens_export.bundling import WrittenBundle

SHAPE = (3, 16, 16)


class Decoder(nn.Module):
    """As the SDXL VAE: values beyond float16 inside, brought back by a norm."""

    def __init__(self, size: float) -> None:
        super().__init__()
        self.into = nn.ConvTranspose2d(4, 16, 4, 4)
        self.large = nn.Conv2d(16, 16, 3, padding=1)
        self.norm = nn.GroupNorm(4, 16)
        self.middle = nn.Conv2d(16, 32, 3, padding=1)
        self.out = nn.Conv2d(32, 3, 3, padding=1)
        self.large.weight.data *= size

    def forward(self, latents: Tensor) -> Tensor:
        hidden = self.norm(self.large(self.into(latents)))
        return torch.sigmoid(self.out(torch.relu(self.middle(hidden))))


class Throughout(Decoder):
    """Values beyond float16 in a layer that holds most of the weights."""

    def __init__(self, size: float) -> None:
        super().__init__(1)
        self.middle.weight.data *= size
        self.out.weight.data /= size


def write(decoder: type[Decoder], size: float, repository: Path) -> WrittenBundle:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        modules = (nn.Conv2d(3, 4, 4, 4), decoder(size))
    spec = ModelSpec(
        data_axes=fixed_image_axes(SHAPE),
        latent_axes=fixed_latent_axes((4, 4, 4)),
        posterior=Posterior.DETERMINISTIC,
        prior=Prior.NONE,
        precision="float16",
        tolerance=5e-3,
    )
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (8, *SHAPE), dtype=torch.uint8, generator=generator)
    return latens_export.write_bundle(*modules, spec, images, repository, "half")


def weights_of(path: Path) -> dict[str, int]:
    """The types of the decoder's convolutions' and norm's weights, by name."""
    graph = verified_bytes(path, read_manifest(path).decoder)
    tensors = onnx.load_from_string(graph).graph.initializer
    return {tensor.name: tensor.data_type for tensor in tensors if "weight" in tensor.name}


def test_a_network_of_small_values_is_in_float16(tmp_path: Path) -> None:
    types = weights_of(write(Decoder, 1, tmp_path).path)
    assert set(types.values()) == {onnx.TensorProto.FLOAT16}


def test_layers_beyond_float16_stay_in_float32(tmp_path: Path) -> None:
    path = write(Decoder, 1e7, tmp_path).path
    types = weights_of(path)
    large = {name for name, kind in types.items() if kind == onnx.TensorProto.FLOAT}
    assert any("large" in name for name in large)
    assert not any("into" in name or "out" in name or "middle" in name for name in large)
    graph = verified_bytes(path, read_manifest(path).decoder)
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (images,) = session.run(None, {"latents": np.ones((1, 4, 4, 4), np.float32)})
    assert np.isfinite(images).all()


def test_a_network_that_is_beyond_float16_is_refused_with_the_layers_named(
    tmp_path: Path,
) -> None:
    with pytest.raises(HalfRangeError, match=r"decoder\.middle \([0-9,]+\).*--precision float32"):
        write(Throughout, 1e7, tmp_path / "models")
    assert list(tmp_path.iterdir()) == []
