"""Figures of a trained model: one module and one file per kind."""

from __future__ import annotations

from latens_training.figures.album import PICTURE_FILES, write_all

__all__ = ["PICTURE_FILES", "write_all"]
