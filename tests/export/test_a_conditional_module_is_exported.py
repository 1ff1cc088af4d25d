"""A conditional model of one's own, encode(x, labels) and decode(z, labels), becomes a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from latens import Client
from latens_export.cli import main
from server_process import running_server

CLASSES = 4

MODULE = """
import torch
from torch import nn

class Conditional(nn.Module):
    def __init__(self):
        super().__init__()
        self.classes = nn.Embedding(4, 6)
        self.into = nn.Linear(3 * 8 * 8 + 6, 4)
        self.out = nn.Linear(2 + 6, 3 * 8 * 8)

    def encode(self, x, labels):
        known = torch.cat([x.flatten(1), self.classes(labels)], 1)
        return self.into(known).chunk(2, dim=1)

    def decode(self, z, labels):
        known = torch.cat([z, self.classes(labels)], 1)
        return torch.sigmoid(self.out(known)).view(-1, 3, 8, 8)

class Plain(Conditional):
    def encode(self, x):
        return super().encode(x, torch.zeros(len(x), dtype=torch.int64))

    def decode(self, z):
        return super().decode(z, torch.zeros(len(z), dtype=torch.int64))
"""
CARD = "data: {channels: 3, height: 8, width: 8}\nprior: standard-normal\n"


def made() -> Any:
    scope: dict[str, Any] = {"__name__": "module_of_this_test"}
    exec(MODULE, scope)
    torch.manual_seed(0)
    return scope["Conditional"]().eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(MODULE)
    save_file(made().state_dict(), tmp_path / "own.safetensors")
    (tmp_path / "card.yaml").write_text(f"{CARD}label_count: {CLASSES}\n")
    (tmp_path / "plain.yaml").write_text(CARD)
    return tmp_path


def exported(folder: Path, name: str, card: str, *more: str) -> int:
    weights = ["--weights", f"{folder}/own.safetensors", "--card", f"{folder}/{card}"]
    target = ["--repository", f"{folder}/models", "--name", "own", "--opset", "20"]
    return main(["module", f"{folder}/own.py:{name}", *weights, *target, *more])


def test_it_is_served_in_the_class_that_a_call_says(folder: Path) -> None:
    assert exported(folder, "Conditional", "card.yaml") == 0
    model, labels = made(), torch.arange(6) % CLASSES
    images = np.random.default_rng(0).random((6, 3, 8, 8), np.float32)
    with torch.inference_mode():
        mean = model.encode(torch.from_numpy(images), labels)[0]
        decoded = model.decode(mean, labels).numpy()
    with running_server(folder / "models") as server, Client(server.address) as client:
        described = client.model()
        assert (described.label_count, described.image_shape) == (CLASSES, (3, 8, 8))
        found = client.encode(images, labels=labels.numpy())
        np.testing.assert_allclose(found.mean, mean.numpy(), atol=2e-5)
        again = client.decode(mean.numpy(), labels=labels.numpy())
        np.testing.assert_allclose(again.images, decoded, atol=2e-5)
        drawn = client.sample(5, seed=1).labels
        assert drawn is not None
        assert drawn.tolist() == [0, 1, 2, 3, 0]


def test_the_card_that_is_printed_has_the_classes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exported(folder, "Conditional", "card.yaml", "--print-card") == 0
    assert f"label_count: {CLASSES}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "card", "said"),
    [
        ("Conditional", "plain.yaml", "the card says the number of classes: label_count"),
        ("Plain", "card.yaml", "expected encode(x, labels), but Plain.encode takes x alone"),
    ],
)
def test_what_does_not_go_together_is_named(
    name: str, card: str, said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exported(folder, name, card) == 2
    assert said in capsys.readouterr().err
