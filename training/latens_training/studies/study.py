"""A study: the same model trained at several betas and seeds, scored and compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from latens_training import checkpoint
from latens_training import run as runs
from latens_training.checkpoint import MODEL_FILE, SCORES_FILE, Checkpoint
from latens_training.config import RunConfig
from latens_training.data.sprite_sets import GRIDS
from latens_training.data.sprites import Sprites
from latens_training.devices import Placement
from latens_training.errors import RunNotFoundError, UsageError
from latens_training.metrics.disentanglement.protocol import Protocol, encode_grid
from latens_training.metrics.disentanglement.scores import all_scores
from latens_training.progress import Reporter
from latens_training.resume import STATE_FILE, load_state
from latens_training.run_directory import StopSignal, write_whole

RESULTS_FILE = "results.json"


@dataclass(frozen=True)
class Result:
    """One model of a study: its settings, test metrics and, if factors are known, scores."""

    run: Path
    beta: float
    seed: int
    metrics: dict[str, float]
    """Metrics of the test set, nats per image."""
    scores: dict[str, float]
    """By name (`metrics.disentanglement.scores`); empty for images without known factors."""

    def as_record(self) -> dict[str, Any]:
        return {
            "run": str(self.run),
            "beta": self.beta,
            "seed": self.seed,
            "metrics": self.metrics,
            "scores": self.scores,
        }


@dataclass(frozen=True)
class Study:
    """The settings that all models share, and those in which they differ."""

    config: RunConfig
    betas: tuple[float, ...]
    seeds: int
    directory: Path

    def members(self) -> Iterator[tuple[Path, RunConfig]]:
        """The run directory and the settings of each model, by seed, then by beta."""
        for seed in range(self.seeds):
            for beta in self.betas:
                loss = self.config.loss.model_copy(update={"beta": beta})
                train = self.config.train.model_copy(update={"seed": seed})
                config = self.config.model_copy(update={"loss": loss, "train": train})
                yield self.directory / f"beta-{beta:g}-seed-{seed}", config


def carry_out(
    study: Study,
    placement: Placement,
    stop: StopSignal,
    say: Callable[[str], None],
    protocol: Protocol | None = None,
) -> list[Result]:
    """Trains and scores every missing model; each is stored when it is finished.

    Raises:
        UsageError: the directory contains models with other settings.
        Interrupted: a signal arrived; finished models are kept, and the same study can continue.
    """
    members = list(study.members())
    for run, config in members:
        _require_same(run, config)
    results = []
    for number, (run, config) in enumerate(members, 1):
        say(f"{number}/{len(members)}: beta {config.loss.beta:g}, seed {config.train.seed}")
        trained = _finished(run, config) or _train(run, config, placement, stop)
        results.append(_scored(trained, placement, protocol or Protocol()))
    write_whole(
        study.directory / RESULTS_FILE,
        (json.dumps([result.as_record() for result in results], indent=2) + "\n").encode(),
    )
    return results


def _existing(run: Path) -> Checkpoint | None:
    try:
        return checkpoint.load(run)
    except RunNotFoundError:
        return None


def _require_same(run: Path, config: RunConfig) -> None:
    found = _existing(run)
    if found is not None and _identity(found.config) != _identity(config):
        raise UsageError(f"out: {run} has a model with other settings; choose another --out")


def _identity(config: RunConfig) -> dict[str, Any]:
    """The settings that determine a model, without those of the machine."""
    return config.model_dump(mode="json", exclude={"machine"})


def _finished(run: Path, config: RunConfig) -> Checkpoint | None:
    """The run's model, if it has all its epochs and its last evaluation."""
    found = _existing(run)
    if found is None or found.record.epoch < config.train.epochs or not found.latent_dims:
        return None
    return found


def _train(run: Path, config: RunConfig, placement: Placement, stop: StopSignal) -> Checkpoint:
    """Trains the model, or resumes its training."""
    state = load_state(run) if (run / STATE_FILE).exists() else None
    if state is not None and _identity(state.config) != _identity(config):
        raise UsageError(f"out: {run} was begun with other settings; choose another --out")
    with Reporter(config.train.epochs, json_lines=False, silent=True) as reporter:
        return runs.train(runs.prepare(config, run, placement, state), reporter, stop)


def _scored(trained: Checkpoint, placement: Placement, protocol: Protocol) -> Result:
    """The model's scores: the stored ones if they match the model and the protocol, or new ones."""
    config, path = trained.config, trained.path / SCORES_FILE
    scores: dict[str, float] = {}
    if config.data.dataset in GRIDS:
        of = {"model_sha256": _digest(trained.path / MODEL_FILE), "protocol": asdict(protocol)}
        scores = _scores_on_file(path, of) or _new_scores(trained, placement, protocol)
        write_whole(path, (json.dumps(of | {"scores": scores}, indent=2) + "\n").encode())
    return Result(trained.path, config.loss.beta, config.train.seed, trained.metrics, scores)


def _new_scores(trained: Checkpoint, placement: Placement, protocol: Protocol) -> dict[str, float]:
    sprites = Sprites.of(GRIDS[trained.config.data.dataset]).to(placement.device)
    codes, factors = encode_grid(trained.model.to(placement.device), sprites)
    trained.model.to("cpu")
    return all_scores(codes, factors, protocol)


def _scores_on_file(path: Path, of: dict[str, Any]) -> dict[str, float] | None:
    """The scores in a file, if they match the model and the protocol."""
    try:
        document = json.loads(path.read_text())
        if all(document[key] == value for key, value in of.items()):
            scores: dict[str, float] = document["scores"]
            return scores
    except (OSError, ValueError, KeyError, TypeError):
        return None  # the file is missing, damaged, or of an older version
    return None


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
