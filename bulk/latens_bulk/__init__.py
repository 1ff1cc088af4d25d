"""Latents of whole data sets: encoded once, resumable, read back for training."""

from __future__ import annotations

from latens_bulk.dataset import LatentDataset

__all__ = ["LatentDataset"]
