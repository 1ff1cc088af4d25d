"""Attribute vectors are differences of means, stored in the run, exported and drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from latens_training import attributes, checkpoint
from latens_training.attributes import Condition, Contrast
from latens_training.cli.main import main
from latens_training.config import DataConfig, ModelConfig, RunConfig
from latens_training.errors import UsageError
from latens_training.models.build import build
from latens_training.runs.record import RunRecord


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """An untrained model of bars whose thickness follows the weight, and their names."""
    generator = np.random.default_rng(0)
    weights = np.array([100, 300, 400, 400, 700, 900] * 10)
    images = np.zeros((60, 1, 12, 12), np.uint8)
    for image, weight in zip(images, weights, strict=True):
        image[:, :, : weight // 90] = generator.integers(200, 256)
    columns = {
        "images": images,
        "attribute_weight": weights,
        "attribute_italic": np.arange(60) % 2,
        "names": np.array([f"Bar {i}" for i in range(60)]),
    }
    arrays: dict[str, Any] = {
        f"{part}_{name}": c for part in ("train", "test") for name, c in columns.items()
    }
    np.savez(tmp_path / "bars.npz", **arrays)
    torch.manual_seed(0)
    config = RunConfig(
        data=DataConfig(dataset=str(tmp_path / "bars.npz")),
        model=ModelConfig(latent_size=4, hidden=(16,)),
    )
    model = build(config.model, (1, 12, 12))
    checkpoint.save(
        tmp_path / "run", model, RunRecord(config=config, image_shape=(1, 12, 12), epoch=1)
    )
    return tmp_path / "run"


def test_a_vector_is_the_mean_with_the_attribute_minus_the_mean_without() -> None:
    means = np.random.default_rng(1).standard_normal((40, 3)).astype(np.float32)
    weight = np.arange(40) * 25
    bold = Contrast.parse("bold=weight>=700:weight<400")
    found = attributes.directions(means, {"weight": weight}, [bold])
    expected = means[weight >= 700].mean(0) - means[weight < 400].mean(0)
    np.testing.assert_allclose(found["bold"], expected, rtol=1e-5)


def test_a_contrast_with_too_few_images_on_a_side_is_left_out() -> None:
    rare = Contrast.parse("rare=a>=9:a<9")
    means = np.zeros((12, 2), np.float32)
    assert attributes.directions(means, {"a": np.arange(12)}, [rare]) == {}


def test_labels_suggest_their_contrasts() -> None:
    values = {
        "weight": np.array([100, 400, 700]),
        "italic": np.array([0, 1, 1]),
        "Roundness (%)": np.array([0.1, 0.5, 0.9], np.float32),
        "constant": np.array([3, 3, 3]),
        "label": np.array([0, 1, 4]),
    }
    names = [contrast.name for contrast in attributes.suggested(values)]
    assert names == ["bold", "light", "italic", "roundness", "label-0", "label-1", "label-4"]
    italic = next(c for c in attributes.suggested(values) if c.name == "italic")
    assert italic.more.holds(values).tolist() == [False, True, True]
    assert italic.less.holds(values).tolist() == [True, False, False]


@pytest.mark.parametrize("text", ["bold", "bold=weight", "=a>1:a<1", "Bold!=a>1:a<1", "b=a>x:a<1"])
def test_an_invalid_contrast_is_reported_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="vector: "):
        Contrast.parse(text)


def test_an_unknown_attribute_is_named_beside_the_known_ones() -> None:
    with pytest.raises(UsageError, match="no attribute wait; the data set has weight"):
        Condition.parse("wait>3").holds({"weight": np.zeros(2)})


def test_the_command_keeps_the_vectors_with_the_run_and_draws_them(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = checkpoint.load(run)
    assert main(["attributes", str(run), "--image", "bar 7", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    after = checkpoint.load(run)
    assert set(printed) == {"bold", "light", "italic"}
    assert {k: list(v) for k, v in after.attribute_vectors.items()} == printed
    weights = (before.model.state_dict(), after.model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    for name in ("attributes.png", "weight-and-slant.png"):
        with Image.open(run / "figures" / name) as image:
            assert min(image.size) > 300


def test_vectors_are_those_of_the_training_images(run: Path) -> None:
    assert main(["attributes", str(run), "--vector", "thick=weight>=700:weight<=300"]) == 0
    loaded = checkpoint.load(run)
    with np.load(run.parent / "bars.npz") as arrays:
        images, weight = arrays["train_images"], arrays["train_attribute_weight"]
    with torch.inference_mode():
        mean = loaded.model.encode(torch.tensor(images).float() / 255)[0].numpy()
    expected = mean[weight >= 700].mean(0) - mean[weight <= 300].mean(0)
    np.testing.assert_allclose(loaded.attribute_vectors["thick"], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--vector", "x=nothing>1:nothing<1"], 2, "no attribute nothing"),
        (["--vector", "x=weight>1000:weight<1000"], 5, "fewer than 5"),
        (["--image", "60"], 2, "only 60"),
        (["--image", "Nobody"], 3, "no 'Nobody'"),
        (["--reach", "0"], 2, "reach"),
    ],
)
def test_bad_input_is_one_clear_line_and_changes_nothing(
    run: Path, arguments: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run / "model.safetensors").read_bytes()
    assert main(["attributes", str(run), *arguments]) == code
    text = capsys.readouterr().err.strip()
    assert says in text
    assert len(text.splitlines()) == 1
    assert (run / "model.safetensors").read_bytes() == before
