"""A panel has one quantity under one title, and classes have their names."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from latens_training.config import ModelConfig
from latens_training.figures import curves, scatter
from latens_training.figures.subject import Subject
from latens_training.models.build import build


def subject_of(means: np.ndarray, log_vars: np.ndarray | None) -> Subject:
    model = build(ModelConfig(latent_size=means.shape[1]), (1, 4, 4))
    images = np.zeros((len(means), 1, 4, 4), np.uint8)
    return Subject(model, images, None, means, log_vars, "a model")


def test_iwae_curves_draw_one_quantity_under_one_title(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Minus the importance-weighted bound of training is not set beside minus the ELBO."""
    drawn: dict[str, set[str]] = {}
    monkeypatch.setattr(
        curves, "_fill", lambda _axes, title, found: drawn.update({title: {*found}})
    )
    history = [
        {"epoch": e, "train_loss": 90.0, "test_loss": 95.0, "train_kl": 20.0, "test_kl": 21.0}
        for e in (1, 2)
    ]
    means = np.zeros((3, 2), np.float32)
    for objective in ("elbo", "iwae"):
        subject = dataclasses.replace(
            subject_of(means, means), history=history, objective=objective
        )
        curves.draw(subject, tmp_path / f"{objective}.png")
    assert drawn == {
        "loss: reconstruction + β KL": {"train", "test"},
        "loss: minus the importance-weighted bound": {"train"},
        "KL from the prior": {"train", "test"},
    }


def test_classes_are_named_in_the_scatter_plot(tmp_path: Path) -> None:
    from matplotlib.axes import Axes

    subject = subject_of(np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32), None)
    subject = dataclasses.replace(
        subject, labels=np.arange(9) % 3, class_names=("cat", "dog", "owl")
    )
    named: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Axes, "text", lambda _self, _x, _y, text, **_options: named.append(text))
        scatter.draw(subject, tmp_path / "scatter.png")
    assert named == ["cat", "dog", "owl"]


def test_names_of_classes_keep_their_distance_and_move_no_further_than_needed() -> None:
    from latens_training.figures.scatter import apart

    given = np.array([[0.0, 0.0], [0.0, 0.0], [0.02, 0.0], [5.0, 5.0]])
    placed = apart(given, 0.1)
    gaps = np.linalg.norm(placed[:, None] - placed[None], axis=2) + np.eye(4)
    assert gaps.min() > 0.0999
    assert np.abs(placed - given).max() < 0.2
    np.testing.assert_array_equal(placed[3], given[3])
