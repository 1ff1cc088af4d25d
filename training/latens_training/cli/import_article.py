"""The command `import-article`: makes a run from the article's published weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import CliPositionalArg

from latens_training.cli.settings import CommandSettings
from latens_training.errors import UsageError


class ImportArticleSettings(CommandSettings):
    """Makes a run from a .ht file of the article, so that it can be measured, drawn and exported.

    The files are TorchScript archives: import only those that you trust.
    """

    file: CliPositionalArg[
        Annotated[Path, Field(description="the .ht file, e.g. VAE-Aug2022-beta_1.ht")]
    ]
    beta: Annotated[
        float | None,
        Field(
            ge=0,
            allow_inf_nan=False,
            description="the KL weight of its training; default: the one in the file's name",
        ),
    ] = None
    out: Annotated[Path | None, Field(description="run directory; default runs/FILE")] = None
    figures: Annotated[bool, Field(description="draw the pictures")] = True
    json_lines: Annotated[bool, Field(description="print the result as JSON")] = False


def run(settings: ImportArticleSettings) -> int:
    """Imports as the settings say; returns the exit code.

    Raises:
        TrainingError: the file cannot be used, or the run directory has a run.
    """
    from latens_training import article
    from latens_training.checkpoint import FIGURES, MODEL_FILE
    from latens_training.data import datasets

    beta = article.beta_in(settings.file) if settings.beta is None else settings.beta
    out = settings.out or Path("runs") / f"article-{settings.file.stem}"
    if (out / MODEL_FILE).exists():
        raise UsageError(f"out: {out} contains a run; choose another --out")
    dataset = datasets.load("mnist")
    imported = article.import_weights(settings.file, beta, dataset, out)
    if settings.figures:
        from latens_training.figures import write_all

        write_all(imported, dataset, out / FIGURES)
    if settings.json_lines:
        print(json.dumps({"run": str(out), "metrics": imported.metrics}))
        return 0
    print(f"{out}: imported from {settings.file}" + (f", beta {beta:g}" if beta else ""))
    if imported.model.posterior == "deterministic":
        print("  note: the ReLU on its code kills units: expect fewer active than there are")
    for name, value in imported.metrics.items():
        print(f"  {name:<30} {value:10.3f}")
    return 0
