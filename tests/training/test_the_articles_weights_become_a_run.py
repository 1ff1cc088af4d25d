"""A file of the article's weights becomes a run that gives the same images."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor

from latens_training import article, checkpoint
from latens_training.cli.main import main
from latens_training.config import ModelConfig
from latens_training.data.mnist import load_mnist
from latens_training.data.types import Dataset, Split
from latens_training.models.build import build


class _ListOfTensors(torch.nn.Module):
    """What hasktorch's `save` writes: parameters named by their places, and no code."""

    def __init__(self, tensors: list[Tensor]) -> None:
        super().__init__()
        for place, tensor in enumerate(tensors):
            self.register_parameter(str(place), torch.nn.Parameter(tensor))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs


def write_archive(path: Path, tensors: list[Tensor]) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(_ListOfTensors(tensors)).save(str(path))
    return path


def article_vae(latent: int = 2, hidden: int = 400) -> list[Tensor]:
    """Weights of the article's MLP VAE in its order: fc1, the mean's and the log-variance's heads,
    and the decoder's two layers."""
    generator = torch.Generator().manual_seed(3)
    sizes = [(784, hidden), (hidden, latent), (hidden, latent), (latent, hidden), (hidden, 784)]
    tensors = []
    for inputs, outputs in sizes:
        tensors.append(torch.randn(outputs, inputs, generator=generator) / inputs**0.5)
        tensors.append(torch.randn(outputs, generator=generator) / 10)
    return tensors


def few_images() -> Dataset:
    whole = load_mnist(None)
    assert whole.test.labels is not None
    part = Split(whole.test.images[:200], whole.test.labels[:200])
    return Dataset("mnist", part, part)


def test_the_run_computes_what_the_articles_formulas_say(tmp_path: Path) -> None:
    tensors = article_vae()
    path = write_archive(tmp_path / "VAE-Aug2022-beta_4.ht", tensors)
    article.import_weights(path, 4.0, few_images(), tmp_path / "run")
    loaded = checkpoint.load(tmp_path / "run")
    images = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    w = tensors
    hidden = torch.relu(images.flatten(1) @ w[0].T + w[1])
    mean, log_var = loaded.model.encode(images)
    torch.testing.assert_close(mean, hidden @ w[2].T + w[3])
    torch.testing.assert_close(log_var, hidden @ w[4].T + w[5])
    decoded = torch.relu(mean @ w[6].T + w[7]) @ w[8].T + w[9]
    torch.testing.assert_close(loaded.model.decode(mean).flatten(1), decoded)
    assert loaded.config.loss.beta == 4.0
    assert loaded.config.model.latent_size == 2
    assert {"elbo", "reconstruction", "kl"} <= loaded.metrics.keys()
    assert len(loaded.latent_dims) == 2


def test_the_plain_autoencoder_is_imported_with_the_relu_on_its_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    w = article_vae()
    del w[4:6]
    path = write_archive(tmp_path / "AE.ht", w)
    flags = ["--out", str(tmp_path / "run"), "--no-figures"]
    assert main(["import-article", str(path), *flags]) == 0
    assert "the ReLU on its code kills units" in capsys.readouterr().out
    loaded = checkpoint.load(tmp_path / "run")
    images = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    code = torch.relu(torch.relu(images.flatten(1) @ w[0].T + w[1]) @ w[2].T + w[3])
    mean, log_var = loaded.model.encode(images)
    torch.testing.assert_close(mean, code)
    assert log_var is None
    assert loaded.config.model.model_options == {"relu_code": True}


def test_the_convolutional_vae_is_imported_too(tmp_path: Path) -> None:
    config = ModelConfig(architecture="vae-conv", latent_size=3)
    original = build(config, (1, 28, 28)).eval()
    path = write_archive(tmp_path / "cnn.ht", list(original.state_dict().values()))
    found, model = article.model_of(path, article.read_tensors(path))
    assert found == config
    latents = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.decode(latents), original.decode(latents))


def test_an_existing_run_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_archive(tmp_path / "VAE-beta_1.ht", article_vae())
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.safetensors").write_bytes(b"mine")
    assert main(["import-article", str(path), "--out", str(tmp_path / "run")]) == 2
    assert "contains a run" in capsys.readouterr().err
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == b"mine"


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = main(arguments)
    text = capsys.readouterr().err.strip()
    assert len(text.splitlines()) == 1, text
    return code, text


def test_other_files_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"

    def refused(path: Path) -> tuple[int, str]:
        return refusal(["import-article", str(path), "--beta=1", "--out", str(out)], capsys)

    code, text = refused(tmp_path / "nowhere.ht")
    assert (code, "no such file" in text) == (3, True)
    (tmp_path / "garbage.ht").write_bytes(b"PK\3\4 but not really a zip")
    code, text = refused(tmp_path / "garbage.ht")
    assert (code, "not a TorchScript archive" in text) == (5, True)
    code, text = refused(write_archive(tmp_path / "odd.ht", article_vae()[:3]))
    assert (code, "3 tensors" in text) == (5, True)
    broken = article_vae()
    broken[4][0, 0] = float("nan")
    code, text = refused(write_archive(tmp_path / "nan.ht", broken))
    assert (code, "not finite" in text) == (5, True)
    swapped = article_vae()
    swapped[8] = torch.zeros(10, 400)
    code, text = refused(write_archive(tmp_path / "swapped.ht", swapped))
    assert (code, "decoder.logits.weight" in text) == (5, True)
    assert not out.exists()


def test_beta_is_read_from_the_name_or_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert article.beta_in(Path("VAE-Aug2022-beta_1.ht")) == 1.0
    assert article.beta_in(Path("VAE-CNN-beta_0.5_z10.ht")) == 0.5
    path = write_archive(tmp_path / "weights.ht", article_vae())
    code, text = refusal(["import-article", str(path), "--out", str(tmp_path / "run")], capsys)
    assert (code, "--beta" in text) == (2, True)
    arguments = ["import-article", str(path), "--beta=2", "--out", str(tmp_path / "run"), "--json"]
    assert main([*arguments, "--no-figures"]) == 0
    assert json.loads(capsys.readouterr().out)["run"] == str(tmp_path / "run")
