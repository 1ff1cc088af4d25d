"""Fonts as a set of images: every face found on a machine draws the same characters."""

from __future__ import annotations

from latens_training.data.fonts.collection import Collection, collect, save

__all__ = ["Collection", "collect", "save"]
