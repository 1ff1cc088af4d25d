"""Pictures of a trained model, one module a kind, each a file that a person reads at a glance."""

from __future__ import annotations

from latens_training.figures.album import write_all

__all__ = ["write_all"]
