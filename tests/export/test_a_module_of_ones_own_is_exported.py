"""`latens-export module` exports any module with `encode` and `decode`; the card says the rest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_sample_images

from latens_export.cli import main
from latens_serving.bundle.files import read_manifest, verified_bytes
from latens_serving.bundle.prior import read_prior
from latens_serving.bundle.spec import Axis, LatentAxis, Posterior, Prior
from pretrained_weights import BURGESS, TAEF2, weights_of

if TYPE_CHECKING:
    from latens_serving.bundle.schema import BundleManifest

OWN = """
import torch
from torch import nn

class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.into = nn.Conv2d(3, 8, 4, 4)
        self.out = nn.ConvTranspose2d(4, 3, 4, 4)

    def encode(self, x):
        return self.into(x).chunk(2, dim=1)

    def decode(self, z):
        return torch.tanh(self.out(z))

class Unbounded(Own):
    def decode(self, z):
        return self.out(z)

class Sampling(Own):
    def encode(self, x):
        mean, log_var = super().encode(x)
        return mean + (log_var / 2).exp() * torch.randn_like(mean)

class Nothing(nn.Module):
    pass
"""


def own(folder: Path, name: str = "Own", text: str = OWN) -> tuple[list[str], Any]:
    """The arguments that export a class of a file with random weights, and the module."""
    (folder / "own.py").write_text(text)
    scope: dict[str, Any] = {"__name__": "own_of_the_test"}
    exec(text, scope)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = scope[name]().eval()
    save_file(module.state_dict(), folder / "w.safetensors")
    weights = str(folder / "w.safetensors")
    return ["module", f"{folder / 'own.py'}:{name}", "--weights", weights, *common(folder)], module


def common(folder: Path) -> list[str]:
    return ["--repository", str(folder / "models"), "--name", "m", "--opset", "20"]


def card(folder: Path, **fields: Any) -> list[str]:
    (folder / "card.yaml").write_text(yaml.safe_dump(fields))
    return ["--card", str(folder / "card.yaml")]


def exported(arguments: list[str], folder: Path) -> tuple[Path, BundleManifest]:
    assert main(arguments) == 0
    path = folder / "models" / "m" / "1"
    return path, read_manifest(path)


def refused(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == code
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("latens-export: ")
    return lines[-1]


def run(path: Path, part: str, values: np.ndarray) -> list[np.ndarray]:
    graph = verified_bytes(path, read_manifest(path).graphs[part])
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    found: list[np.ndarray] = session.run(None, {session.get_inputs()[0].name: values})
    return found


def photos(height: int, width: int) -> torch.Tensor:
    images = load_sample_images().images
    parts = [image[60 : 60 + height, 100 : 100 + width] for image in images]
    return torch.from_numpy(np.stack(parts)).permute(0, 3, 1, 2).float() / 255


def test_a_module_of_a_file_is_exported_with_what_tracing_finds(tmp_path: Path) -> None:
    arguments, module = own(tmp_path)
    path, manifest = exported(arguments, tmp_path)
    spec = manifest.spec
    free = {"multiple": 4, "minimum": 4, "maximum": 2048, "usual": 256}
    assert spec.data_axes == (
        Axis(name="channels", size=3),
        Axis(name="height", **free),
        Axis(name="width", **free),
    )
    assert spec.latent_axes == (
        LatentAxis(name="channels", size=4),
        LatentAxis(name="height", of="height", stride=4),
        LatentAxis(name="width", of="width", stride=4),
    )
    assert (spec.posterior, spec.prior) == (Posterior.DIAGONAL_GAUSSIAN, Prior.NONE)
    assert spec.graph_range == (-1, 1)
    for size in ((4, 4), (40, 64), (120, 92)):
        pixels = photos(*size)
        with torch.inference_mode():
            mean, log_var = module.encode(2 * pixels - 1)
            images = module.decode(mean) / 2 + 0.5
        found = [*run(path, "encoder", pixels.numpy()), *run(path, "decoder", mean.numpy())]
        for array, expected in zip(found, (mean, log_var, images), strict=True):
            np.testing.assert_allclose(array, expected.numpy(), atol=2e-5)


def test_a_printed_card_is_read_again_and_mended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, _ = own(tmp_path)
    assert main([*arguments, "--print-card"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["data"]["height"] == {"multiple": 4, "minimum": 4, "maximum": 2048, "usual": 256}
    assert printed["latent"] == {"channels": 4, "height": "height/4", "width": "width/4"}
    printed["data"] |= {"height": 64, "width": {**printed["data"]["width"], "maximum": 128}}
    printed["latent"]["height"] = 16
    printed["data"]["width"]["usual"] = 64
    printed["prior"] = "standard-normal"
    path, manifest = exported([*arguments, *card(tmp_path, **printed)], tmp_path)
    assert manifest.spec.data_shape == (3, 64, None)
    assert manifest.spec.latent_shape == (4, 16, None)
    assert manifest.spec.data_axes[2].maximum == 128
    assert manifest.spec.prior is Prior.STANDARD_NORMAL
    mean, _ = run(path, "encoder", photos(64, 100).numpy())
    assert mean.shape == (2, 4, 16, 25)


def test_scaling_shift_and_packing_are_folded_into_the_graphs(tmp_path: Path) -> None:
    arguments, module = own(tmp_path)
    scaling = {"scale": 2.0, "shift": 0.5, "packing": 2}
    path, manifest = exported([*arguments, *card(tmp_path, scaling=scaling)], tmp_path)
    assert [axis.multiple for axis in manifest.spec.data_axes[1:]] == [8, 8]
    assert [axis.stride for axis in manifest.spec.latent_axes[1:]] == [8, 8]
    assert manifest.spec.latent_shape == (16, None, None)
    pixels = photos(64, 40)
    with torch.inference_mode():
        mean, log_var = module.encode(2 * pixels - 1)
        images = module.decode(mean) / 2 + 0.5
        expected = [
            torch.nn.functional.pixel_unshuffle((mean - 0.5) * 2, 2),
            torch.nn.functional.pixel_unshuffle(log_var + 2 * np.log(2), 2),
        ]
    found = run(path, "encoder", pixels.numpy())
    for array, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(array, wanted.numpy(), atol=2e-5)
    np.testing.assert_allclose(run(path, "decoder", found[0])[0], images.numpy(), atol=2e-5)


def test_a_prior_is_fitted_to_the_means_of_pictures(tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "pictures"
    folder.mkdir()
    for index, image in enumerate(load_sample_images().images):
        Image.fromarray(image).save(folder / f"{index}.png")
    arguments, _ = own(tmp_path)
    given = ["--images", str(folder), "--fit-prior", str(folder)]
    path, manifest = exported([*arguments, *given], tmp_path)
    assert manifest.spec.prior is Prior.FITTED_GAUSSIAN
    assert manifest.prior is not None
    prior = read_prior(verified_bytes(path, manifest.prior), manifest.spec)
    pictures = np.stack(
        [
            np.asarray(Image.fromarray(image).resize((256, 256)))
            for image in load_sample_images().images
        ]
    )
    means = run(path, "encoder", pictures.transpose(0, 3, 1, 2).astype(np.float32) / 255)[0]
    assert prior.mean.shape == (4, 1, 1)
    np.testing.assert_allclose(prior.mean[:, 0, 0], means.mean((0, 2, 3)), atol=0.1)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {
                "data": {
                    "channels": 3,
                    "height": {"multiple": 2, "maximum": 64, "usual": 32},
                    "width": 32,
                },
                "latent": {"channels": 4, "height": "height/2", "width": 8},
            },
            "data.height: 2 does not come back as 2; the network takes a multiple of 4 from 4",
        ),
        ({"sizes": 3}, "card: sizes: Extra inputs are not permitted"),
        ({"posterior": "cauchy"}, "card: posterior: Input should be"),
        ({"data": {"channels": 3, "height": 30, "width": 32}}, "no data size is found"),
    ],
)
def test_a_wrong_card_is_refused_with_its_field(
    fields: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, _ = own(tmp_path)
    code = 5 if "no data size" in said else 2
    assert said in refused([*arguments, *card(tmp_path, **fields)], code, capsys)


def test_a_range_that_cannot_be_seen_must_be_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, _ = own(tmp_path, "Unbounded")
    line = refused(arguments, 2, capsys)
    assert "card: graph_range: expected a value: the values that the network takes" in line
    _, manifest = exported([*arguments, *card(tmp_path, graph_range=[0, 1])], tmp_path)
    assert manifest.spec.graph_range is None


def test_an_encoder_that_draws_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(own(tmp_path, "Sampling")[0], 5, capsys)
    assert "the encoder draws random numbers (randn_like); encode must return mean" in line


def test_a_pickle_is_refused_with_the_line_that_converts_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, module = own(tmp_path)
    pickled = tmp_path / "w.pt"
    torch.save(module.state_dict(), pickled)
    arguments[arguments.index("--weights") + 1] = str(pickled)
    line = refused(arguments, 2, capsys)
    assert "is a pickle, which can run any code" in line
    (tmp_path / "w.safetensors").unlink()
    command = line[line.index("import torch, ") : -1]
    subprocess.run([sys.executable, "-c", command], check=True)
    assert load_file(tmp_path / "w.safetensors").keys() == module.state_dict().keys()


@pytest.mark.parametrize(
    ("factory", "code", "said"),
    [
        ("own.py", 2, "expected FILE.py:FACTORY or PACKAGE.MODULE:FACTORY"),
        ("{}/none.py:Own", 2, "no such file"),
        ("{}/own.py:Other", 2, "has no class or function Other"),
        (
            "{}/own.py:Nothing",
            2,
            "has no method encode; expected encode(x) -> z or",
        ),
        ("no_such_package.at_all:Own", 2, "ModuleNotFoundError"),
    ],
)
def test_a_factory_that_cannot_be_used_is_refused(
    factory: str, code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, _ = own(tmp_path)
    arguments[1] = factory.format(tmp_path)
    assert said in refused(arguments, code, capsys)


def test_weights_that_do_not_fit_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, module = own(tmp_path)
    state = {name: tensor for name, tensor in module.state_dict().items() if name != "into.bias"}
    save_file(state, tmp_path / "w.safetensors")
    assert 'Missing key(s) in state_dict: "into.bias"' in refused(arguments, 5, capsys)
    (tmp_path / "w.safetensors").write_bytes(b"nothing")
    assert "weights: " in refused(arguments, 5, capsys)
    (tmp_path / "w.safetensors").unlink()
    assert "weights: no such file" in refused(arguments, 3, capsys)


def test_a_stranger_s_packages_named_training_and_models_are_imported(tmp_path: Path) -> None:
    for package in ("training", "models"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / "training" / "layers.py").write_text("from torch import nn\n")
    text = OWN.replace("from torch import nn", "from training.layers import nn")
    (tmp_path / "models" / "vae.py").write_text(text)
    own(tmp_path)
    command = [sys.executable, "-m", "latens_export", "module", "models.vae:Own"]
    done = subprocess.run(
        [*command, "--weights", "w.safetensors", "--repository", "out", "--opset", "20"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "own" / "1" / "bundle.json").is_file()


@pytest.mark.parametrize(
    ("factory", "weights", "channels"),
    [
        ("celeba", "btcvae_celeba.safetensors", 3),
        ("dsprites", "factor_dsprites.safetensors", 1),
    ],
)
def test_pretrained_vaes_of_vectors_are_exported(
    factory: str, weights: str, channels: int, tmp_path: Path
) -> None:
    arguments = [
        "module",
        f"{tmp_path}/burgess.py:{factory}",
        "--weights",
        str(weights_of(weights)),
    ]
    (tmp_path / "burgess.py").write_text(BURGESS)
    said = card(tmp_path, prior="standard-normal", likelihood="bernoulli")
    path, manifest = exported([*arguments, *common(tmp_path), *said], tmp_path)
    assert manifest.spec.usual_data_shape == (channels, 64, 64)
    assert manifest.spec.latent_shape == (10,)
    assert manifest.spec.prior is Prior.STANDARD_NORMAL
    assert manifest.spec.error is not None
    assert manifest.spec.error < 2e-5
    latents = np.random.default_rng(0).standard_normal((4, 10)).astype(np.float32)
    (images,) = run(path, "decoder", latents)
    assert images.std() > 0.05


def test_a_pretrained_tiny_autoencoder_answers_as_torch_does_on_photos(tmp_path: Path) -> None:
    weights = weights_of("taef2.safetensors")
    (tmp_path / "taef2.py").write_text(TAEF2)
    arguments = ["module", f"{tmp_path}/taef2.py:TAEF2", "--weights", str(weights)]
    said = card(tmp_path, graph_range=[0, 1])
    path, manifest = exported([*arguments, *common(tmp_path), *said], tmp_path)
    assert manifest.spec.posterior is Posterior.DETERMINISTIC
    scope: dict[str, Any] = {"__name__": "taef2_of_the_test"}
    exec(TAEF2, scope)
    module = scope["TAEF2"]()
    module.load_state_dict(load_file(weights))
    module.float().eval()
    for size in ((128, 192), (64, 64), (200, 136)):
        pixels = photos(*size)
        with torch.inference_mode():
            latents = module.encode(pixels)
            images = module.decode(latents).clamp(0, 1)
        (found,) = run(path, "encoder", pixels.numpy())
        np.testing.assert_allclose(found, latents.numpy(), atol=1e-4)
        (found,) = run(path, "decoder", latents.numpy())
        np.testing.assert_allclose(found, images.numpy(), atol=1e-4)
        assert np.sqrt(np.mean((found - pixels.numpy()) ** 2)) < 0.1  # the pictures come back
