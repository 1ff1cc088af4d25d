"""The command `compare`: trains a grid of models, and compares them in a table and figures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from latens_training.cli.settings import RunSettings
from latens_training.effects import completed, without_effect
from latens_training.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from latens_training.studies.study import Result, Study

Beta = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class CompareSettings(RunSettings):
    """Trains the same model at several betas, objectives and seeds; writes a table and figures.

    All flags of training say what the models share. Each model has its own run directory under
    --out. If the command is stopped, repeat it to continue. On images with known factors, such as
    sprites-small, the disentanglement of each model is scored.
    """

    model_config = SettingsConfigDict()

    betas: Annotated[
        tuple[Beta, ...], Field(description="weights of the KL term, as 0,1,4; default: --beta")
    ] = ()
    objectives: Annotated[
        tuple[str, ...], Field(description="as elbo,beta-tc; default: --objective")
    ] = ()
    seeds: Annotated[
        int, Field(ge=1, description="models of each kind, with seeds --seed, --seed + 1, ...")
    ] = 1
    jobs: Annotated[
        int, Field(ge=1, le=256, description="models to train at a time, each in its own process")
    ] = 1
    dci_classifier: Annotated[
        Literal["boosted-trees", "random-forest"],
        Field(
            description="DCI's classifier: boosted-trees, the published protocol, minutes per "
            "model; or random-forest, seconds, with lower figures"
        ),
    ] = "boosted-trees"
    out: Annotated[
        Path | None, Field(description="folder of the study; default runs/compare-DATASET")
    ] = None
    json_lines: Annotated[bool, Field(description="print the results as JSON")] = False

    def study(self) -> Study:
        """The study that the settings describe.

        Raises:
            UsageError: it has one model only, or a setting has no effect.
        """
        from latens_training.studies.study import Study

        config = completed(self.run_config())
        for name, reason in without_effect(config).items():
            raise UsageError(f"{name.replace('_', '-')}: has no effect here: {reason}")
        study = Study(
            config,
            tuple(dict.fromkeys(self.betas)) or (config.loss.beta,),
            tuple(dict.fromkeys(self.objectives)) or (config.loss.objective,),
            self.seeds,
            self.out or Path("runs") / f"compare-{Path(config.data.dataset).stem}",
        )
        if len(study.members()) < 2:
            raise UsageError("betas: there is one model only; name several --betas, --objectives "
                             "or --seeds")  # fmt: skip
        return study


def run(settings: CompareSettings) -> int:
    """Carries out the study that the arguments describe; the exit code.

    Raises:
        TrainingError: the data or the device cannot be used, or the folder contains another study.
    """
    from latens_training.devices import placed
    from latens_training.metrics.disentanglement.protocol import Protocol
    from latens_training.runs.directory import make_directory, stop_on_signals, write_whole
    from latens_training.studies.study import carry_out
    from latens_training.studies.table import as_markdown

    study = settings.study()
    protocol = Protocol(dci_classifier=settings.dci_classifier)
    make_directory(study.directory)
    with placed(study.config.machine) as placement, stop_on_signals() as stop:
        results = carry_out(study, placement, stop, _say, protocol, jobs=settings.jobs)
    table = as_markdown(results)
    write_whole(study.directory / "table.md", (table + "\n").encode())
    pictures = _draw(study, results)
    if settings.json_lines:
        print(json.dumps([result.as_record() for result in results]))
        return 0
    print(table)
    for path in pictures:
        print(path)
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _draw(study: Study, results: Sequence[Result]) -> list[Path]:
    """The first seeds beside each other, and the scores."""
    from latens_training import checkpoint
    from latens_training.data import datasets
    from latens_training.figures import comparison, scores
    from latens_training.figures.album import subject_of
    from latens_training.metrics.disentanglement.scores import TITLES

    dataset = datasets.load_configured(study.config.data)
    first = [result for result in results if result.seed == study.config.train.seed]
    subjects = {result.kind: subject_of(checkpoint.load(result.run), dataset) for result in first}
    drawn = [comparison.draw(subjects, study.directory / "comparison.png")]
    if all(result.scores for result in results):
        caption = f"{dataset.name} · {study.seeds} seeds"
        panels: dict[str, dict[str, list[float]]] = {title: {} for title in TITLES.values()}
        for result in results:
            for name, title in TITLES.items():
                panels[title].setdefault(result.kind, []).append(result.scores[name])
        drawn.append(scores.draw(panels, caption, study.directory / "scores.png"))
    return drawn
