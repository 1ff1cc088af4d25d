"""Conditional models as modules of one input, and as modules that know one class alone.

Graphs have one input, so the label rides in it: see `latens_serving.bundle.conditional`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from latens_export.folding import parts_of


class LabelledEncoder(nn.Module):
    """Images that are joined with their labels to the posterior."""

    def __init__(self, model: nn.Module) -> None:
        """Takes a model with `encode(images, labels)`."""
        super().__init__()
        self.model = model

    def forward(self, both: Tensor) -> tuple[Tensor, ...]:
        """[n, c + 1, h, w] to mean and, unless deterministic, log_var."""
        labels = _labels_in(both[:, -1].flatten(1)[:, 0])
        return parts_of(self.model.encode(both[:, :-1], labels))  # type: ignore[operator]


class LabelledDecoder(nn.Module):
    """Latents that are joined with their labels to what the decoder gives."""

    def __init__(self, model: nn.Module) -> None:
        """Takes a model with `decode(latents, labels)`."""
        super().__init__()
        self.model = model

    def forward(self, both: Tensor) -> Any:
        """[n, L + 1] to [n, channels, h, w]."""
        labels = _labels_in(both[:, -1])
        return self.model.decode(both[:, :-1], labels)  # type: ignore[operator]


class EncoderOfFirstClass(nn.Module):
    """A conditional model's encoder of images of the class 0: its shapes are those of any class."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, data: Tensor) -> Any:
        return self.model.encode(data, _zeros(data))  # type: ignore[operator]


class DecoderOfFirstClass(nn.Module):
    """A conditional model's decoder of the class 0."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, latents: Tensor) -> Any:
        return self.model.decode(latents, _zeros(latents))  # type: ignore[operator]


def with_labels(images: Tensor, labels: Tensor) -> Tensor:
    """Images uint8 [n, c, h, w] and labels int64 [n] as the graphs take them."""
    planes = labels.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, *images.shape[2:])
    return torch.cat([images, planes], 1)


def labels_in_turn(images: Tensor, label_count: int) -> Tensor:
    """Labels for images of which none are known: every class over and over."""
    return torch.arange(len(images)) % label_count


def _labels_in(levels: Tensor) -> Tensor:
    return torch.round(levels * 255).long()


def _zeros(rows: Tensor) -> Tensor:
    return torch.zeros(rows.shape[0], dtype=torch.int64, device=rows.device)
