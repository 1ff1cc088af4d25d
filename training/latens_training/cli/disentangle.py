"""The command `disentangle`: compares betas, by scores if the factors are known."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from latens_training.cli.settings import CommandSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from latens_training.config import RunConfig
    from latens_training.studies.study import Result

_EPOCHS = {"dsprites-small": 60, "dsprites": 26, "mnist": 20}
_FEWEST_EPOCHS = 20
_TITLES = {
    "mig": "MIG",
    "factor_vae": "FactorVAE score",
    "dci_disentanglement": "DCI disentanglement",
    "sap": "SAP",
}


class DisentangleSettings(CommandSettings):
    """Trains the same VAE at several betas and seeds, and compares them in a table and figures.

    On dsprites and dsprites-small, the MIG, FactorVAE score, DCI and SAP of each model are
    computed; on other sets only the terms of the ELBO, and the traversals are drawn. Each model has
    its own run directory under --out. If the command is stopped, repeat it to continue.
    """

    betas: Annotated[
        tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...],
        Field(min_length=1, description="weights of the KL term, as 1,4"),
    ] = (1.0, 4.0)
    seeds: Annotated[int, Field(ge=1, description="models per beta, with seeds 0, 1, ...")] = 5
    dataset: Annotated[
        str,
        Field(
            min_length=1,
            description="dsprites-small (minutes on a CPU), dsprites (a GPU's work), or any "
            "other image set",
        ),
    ] = "dsprites-small"
    latent_size: Annotated[int, Field(ge=1, description="number of latent dimensions")] = 10
    hidden: Annotated[
        tuple[Annotated[int, Field(ge=1)], ...],
        Field(min_length=1, description="sizes of the MLP's hidden layers"),
    ] = (400,)
    epochs: Annotated[
        int | None, Field(ge=1, description="passes over the training set; default by data set")
    ] = None
    batch_size: Annotated[int, Field(ge=1, description="images a step")] = 128
    learning_rate: Annotated[
        float, Field(gt=0, allow_inf_nan=False, description="Adam's step size")
    ] = 1e-3
    dci_classifier: Annotated[
        Literal["boosted-trees", "random-forest"],
        Field(
            description="DCI's classifier: boosted-trees, the published protocol, minutes per "
            "model; or random-forest, seconds, with lower figures"
        ),
    ] = "boosted-trees"
    device: Annotated[
        str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$", description="auto, cpu, cuda or mps")
    ] = "auto"
    threads: Annotated[int, Field(ge=0, description="CPU threads; 0: as torch chooses")] = 0
    out: Annotated[
        Path | None, Field(description="folder of the study; default runs/disentangle-DATASET")
    ] = None
    json_lines: Annotated[bool, Field(description="print the results as JSON")] = False

    def run_config(self) -> RunConfig:
        """The settings that all models of the study share."""
        from latens_training.cli.settings import sectioned
        from latens_training.config import RunConfig

        epochs = self.epochs or _EPOCHS.get(self.dataset, _FEWEST_EPOCHS)
        names = ("dataset", "latent_size", "hidden", "batch_size", "learning_rate", "device")
        values = {name: getattr(self, name) for name in (*names, "threads")}
        return RunConfig.model_validate(sectioned(values | {"epochs": epochs}))


def run(settings: DisentangleSettings) -> int:
    """Carries out the study that the arguments describe; the exit code.

    Raises:
        TrainingError: the data or the device cannot be used, or the folder contains another study.
    """
    from latens_training.devices import placed
    from latens_training.metrics.disentanglement.protocol import Protocol
    from latens_training.run_directory import make_directory, stop_on_signals, write_whole
    from latens_training.studies.study import Study, carry_out
    from latens_training.studies.table import as_markdown

    out = settings.out or Path("runs") / f"disentangle-{Path(settings.dataset).stem}"
    betas = tuple(dict.fromkeys(settings.betas))
    study = Study(settings.run_config(), betas, settings.seeds, out)
    protocol = Protocol(dci_classifier=settings.dci_classifier)
    make_directory(out)
    with placed(study.config.machine) as placement, stop_on_signals() as stop:
        results = carry_out(study, placement, stop, _say, protocol)
    table = as_markdown(results)
    write_whole(out / "table.md", (table + "\n").encode())
    pictures = _draw(results, settings, out)
    if settings.json_lines:
        print(json.dumps([result.as_record() for result in results]))
        return 0
    print(table)
    for path in pictures:
        print(path)
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _draw(results: Sequence[Result], settings: DisentangleSettings, out: Path) -> list[Path]:
    """The scores, and the traversals of the first seed of each beta."""
    from latens_training import checkpoint
    from latens_training.data import datasets
    from latens_training.figures import scores, traversals
    from latens_training.figures.album import subject_of

    drawn = []
    if all(result.scores for result in results):
        caption = f"{settings.dataset} · L = {settings.latent_size} · {settings.seeds} seeds"
        panels: dict[str, dict[float, list[float]]] = {title: {} for title in _TITLES.values()}
        for result in results:
            for name, title in _TITLES.items():
                panels[title].setdefault(result.beta, []).append(result.scores[name])
        drawn.append(scores.draw(panels, caption, out / "scores.png"))
    dataset: Any = datasets.load(settings.dataset)
    for result in results:
        if result.seed == 0:
            subject = subject_of(checkpoint.load(result.run), dataset)
            path = out / f"traversals-beta-{result.beta:g}.png"
            drawn.append(traversals.draw(subject, path))
    return drawn
