"""The model to measure: the article's MLP at L = 20, as a bundle and as an ONNX graph."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1] / "build" / "benchmarks" / "models"
NAME = "mnist"
LATENT_SIZE = 20
IMAGE_SHAPE = (1, 28, 28)


def repository() -> Path:
    """A repository with the model, made once. Its random weights do not affect the speed."""
    if not (REPOSITORY / NAME / "1" / "bundle.json").exists():
        print("making the model (once) ...", file=sys.stderr)
        _make(REPOSITORY)
    return REPOSITORY


def encoder() -> bytes:
    """The encoder's graph."""
    return (repository() / NAME / "1" / "encoder.onnx").read_bytes()


def _make(target: Path) -> None:
    import torch

    from latens_export.cli import main
    from latens_training.checkpoint import save
    from latens_training.config import ModelConfig, RunConfig
    from latens_training.models.build import build
    from latens_training.runs.record import RunRecord

    torch.manual_seed(0)
    config = ModelConfig(latent_size=LATENT_SIZE)
    run = target.parent / "run"
    record = RunRecord(config=RunConfig(model=config), image_shape=IMAGE_SHAPE)
    save(run, build(config, IMAGE_SHAPE).eval(), record)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = main([str(run), "--repository", str(target), "--name", NAME])
    if code:
        raise RuntimeError(f"the export failed: {printed.getvalue()}")
