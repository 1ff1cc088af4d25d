"""Autoencoders that Latens did not train become bundles that answer as torch does, at any size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from sklearn.datasets import load_sample_images
from torch import Tensor, nn

from diffusers_models import (
    autoencoder_dc,
    autoencoder_kl,
    autoencoder_tiny,
    saved,
    seeded,
    vq_model,
)
from latens_export.cli import main
from latens_serving.bundle.files import read_manifest, verified_bytes
from latens_serving.bundle.probe import read_probe
from latens_serving.bundle.spec import Likelihood, Posterior, Prior, Scaling

if TYPE_CHECKING:
    from collections.abc import Callable

    from latens_serving.bundle.schema import BundleManifest

FLOAT32_ERROR = 2e-5
SIZES = ((64, 96), (128, 64), (72, 72))


def photos(height: int, width: int) -> Tensor:
    """Real photos in [0, 1]: the middles of those that scikit-learn ships."""
    images = load_sample_images().images
    parts = [image[100 : 100 + height, 200 : 200 + width] for image in images]
    return torch.from_numpy(np.stack(parts)).permute(0, 3, 1, 2).float() / 255


def run(path: Path, part: str, values: np.ndarray) -> list[np.ndarray]:
    manifest = read_manifest(path)
    graph = verified_bytes(path, manifest.graphs[part])
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    found: list[np.ndarray] = session.run(None, {session.get_inputs()[0].name: values})
    return found


def exported(arguments: list[str], repository: Path) -> tuple[Path, BundleManifest]:
    assert main([*arguments, "--repository", str(repository), "--name", "m"]) == 0
    path = repository / "m" / "1"
    manifest = read_manifest(path)
    read_probe(verified_bytes(path, manifest.probe), manifest.spec)
    return path, manifest


def largest(found: np.ndarray, expected: Tensor) -> float:
    assert found.shape == tuple(expected.shape)
    return float(np.abs(found - expected.numpy()).max())


@pytest.mark.parametrize(
    ("make", "opset", "scale", "shift", "stride"),
    [
        (autoencoder_kl, "auto", 0.18215, 0, 2),
        # Flux's and SD3's form: 16 channels, a shift, no convolutions about the latents.
        (
            lambda: autoencoder_kl(
                latent_channels=16,
                scaling_factor=0.3611,
                shift_factor=0.1159,
                use_quant_conv=False,
                use_post_quant_conv=False,
            ),
            "20",
            0.3611,
            0.1159,
            2,
        ),
        (autoencoder_tiny, "20", 1, 0, 8),
        (autoencoder_dc, "20", 0.41407, 0, 4),
        (vq_model, "20", 0.18215, 0, 2),
    ],
    ids=["kl", "flux", "tiny", "dc", "vq"],
)
def test_a_folder_of_diffusers_becomes_a_bundle_without_factors_for_callers(
    make: Callable[[], nn.Module],
    opset: str,
    scale: float,
    shift: float,
    stride: int,
    tmp_path: Path,
) -> None:
    model: Any = seeded(make)
    folder = saved(model, tmp_path / "vae")
    path, manifest = exported(["diffusers", str(folder), "--opset", opset], tmp_path / "models")
    spec = manifest.spec
    assert (spec.scaling or Scaling()) == Scaling(scale=scale, shift=shift)
    assert spec.graph_range == (-1, 1)
    assert (spec.likelihood, spec.prior) == (Likelihood.NONE, Prior.NONE)
    assert spec.is_free
    assert [axis.multiple for axis in spec.data_axes[1:]] == [stride, stride]
    assert spec.error is not None
    assert spec.error <= FLOAT32_ERROR
    assert manifest.encoder.size < 1.2 * 4 * spec.parameter_count
    for size in SIZES:
        pixels = photos(*size)
        with torch.inference_mode():
            (encoded,) = model.encode(2 * pixels - 1, return_dict=False)
            mean = encoded if isinstance(encoded, Tensor) else encoded.mean
            latents = (mean - shift) * scale
            decoded = model.decode(latents / scale + shift, return_dict=False)[0]
        found = run(path, "encoder", pixels.numpy())
        assert largest(found[0], latents) <= FLOAT32_ERROR
        assert found[0].shape[1:] == spec.latent_shape_of((3, *size))
        if spec.posterior is Posterior.DIAGONAL_GAUSSIAN:
            log_var = encoded.logvar + 2 * np.log(scale)
            assert largest(found[1], log_var) <= FLOAT32_ERROR
        (images,) = run(path, "decoder", latents.numpy())
        assert largest(images, (decoded / 2 + 0.5).clamp(0, 1)) <= FLOAT32_ERROR
        (levels,) = run(path, "decoder_uint8", latents.numpy())
        assert np.abs(levels - np.rint(255 * images)).max() <= 1


def test_raw_latents_are_those_of_the_network(tmp_path: Path) -> None:
    model: Any = seeded(autoencoder_kl)
    folder = saved(model, tmp_path / "pipeline" / "vae").parent
    arguments = ["diffusers", str(folder), "--opset", "20", "--raw-latents", "--no-byte-graphs"]
    path, manifest = exported(arguments, tmp_path / "models")
    assert manifest.spec.scaling is None
    assert manifest.decoder_uint8 is None
    pixels = photos(64, 64)
    with torch.inference_mode():
        mean = model.encode(2 * pixels - 1).latent_dist.mean
    assert largest(run(path, "encoder", pixels.numpy())[0], mean) <= FLOAT32_ERROR


def test_an_unknown_class_is_refused_with_those_that_are_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKLMochi"}))
    (tmp_path / "diffusion_pytorch_model.safetensors").touch()
    assert main(["diffusers", str(tmp_path), "--name", "m"]) == 2
    said = capsys.readouterr().err
    assert "class 'AutoencoderKLMochi' is unknown; expected one of AutoencoderKL, " in said
    assert "latens-export module" in said


def test_pickled_weights_of_diffusers_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKL"}))
    (tmp_path / "diffusion_pytorch_model.bin").touch()
    assert main(["diffusers", str(tmp_path), "--name", "m"]) == 2
    assert "is a pickle" in capsys.readouterr().err
