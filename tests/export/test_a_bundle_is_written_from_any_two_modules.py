"""`write_bundle` makes a bundle of any encoder and decoder, not only of a training run."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

import latens_export
from latens_export import BundleOptions
from latens_export.cli import main
from latens_export.errors import ParityError
from latens_serving.bundle.files import read_manifest, verified_bytes
from latens_serving.bundle.spec import (
    Likelihood,
    ModelSpec,
    Posterior,
    fixed_image_axes,
    fixed_latent_axes,
)

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (1, 6, 6)


class Encoder(nn.Module):
    """A network without modules of training."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(36, 8)
        self.heads = nn.Linear(8, 6)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_var = self.heads(torch.tanh(self.hidden(images.flatten(1)))).chunk(2, dim=1)
        return mean, log_var


def modules() -> tuple[nn.Module, nn.Module]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Encoder(), nn.Sequential(nn.Linear(3, 36), nn.Unflatten(1, SHAPE), nn.Sigmoid())


def images() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (20, *SHAPE), dtype=torch.uint8, generator=generator)


def spec(tolerance: float = 1e-4) -> ModelSpec:
    return ModelSpec(
        data_axes=fixed_image_axes(SHAPE),
        latent_axes=fixed_latent_axes((3,)),
        architecture="own",
        beta=1,
        dataset="noise",
        likelihood=Likelihood.BERNOULLI,
        posterior=Posterior.DIAGONAL_GAUSSIAN,
        tolerance=tolerance,
        parameter_count=0,
    )


def test_two_modules_become_a_bundle_that_answers_as_they_do(tmp_path: Path) -> None:
    encoder, decoder = modules()
    written = latens_export.write_bundle(encoder, decoder, spec(), images(), tmp_path, "own")
    assert written.path == tmp_path / "own" / "1"
    manifest = read_manifest(written.path)
    assert manifest.spec == spec().model_copy(update={"error": written.bundle.parity.largest})
    assert 0 < written.bundle.parity.largest < 1e-5
    assert manifest.reference is not None
    assert manifest.reference.images == 20
    pixels = images().float() / 255
    encode = ort.InferenceSession(
        verified_bytes(written.path, manifest.encoder), providers=["CPUExecutionProvider"]
    )
    with torch.inference_mode():
        expected = encoder(pixels)
    for found, wanted in zip(encode.run(None, {"images": pixels.numpy()}), expected, strict=True):
        np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)


def test_modules_that_a_graph_does_not_equal_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="more than the tolerance 1e-12"):
        latens_export.write_bundle(*modules(), spec(1e-12), images(), tmp_path / "models", "own")
    assert list(tmp_path.iterdir()) == []


def test_the_same_modules_and_versions_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    options = BundleOptions(atlas_images=5)
    paths = [
        latens_export.write_bundle(
            *modules(), spec(), images(), tmp_path / repository, "own", options=options
        ).path
        for repository in ("first", "second")
    ]
    first, second = (
        {path.name: path.read_bytes() for path in folder.iterdir()} for folder in paths
    )
    assert len(first) == 7
    assert first == second


def test_a_run_gives_the_same_bytes_again(
    point_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    common = [str(point_run), "--repository", str(tmp_path / "models"), "--name"]
    for name in ("first", "second"):
        assert main([*common, name]) == 0
    for path in (tmp_path / "models" / "first" / "1").iterdir():
        other = (tmp_path / "models" / "second" / "1" / path.name).read_bytes()
        assert path.read_bytes() == other.replace(b'"second"', b'"first"'), path.name


def test_help_is_printed_without_torch() -> None:
    code = "import latens_export.cli, sys; print(sorted({'torch', 'onnx'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
