"""A study: the same model trained at several betas, objectives and seeds, scored and compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from latens_training import checkpoint
from latens_training.checkpoint import MODEL_FILE, SCORES_FILE, Checkpoint
from latens_training.config import RunConfig
from latens_training.data import datasets
from latens_training.data.types import Dataset
from latens_training.devices import Placement
from latens_training.effects import completed
from latens_training.errors import RunNotFoundError, UsageError
from latens_training.metrics.disentanglement.labelled import factor_names, scores_on
from latens_training.metrics.disentanglement.protocol import Protocol
from latens_training.objectives.registry import OBJECTIVES
from latens_training.runs.directory import StopSignal, write_whole
from latens_training.studies.training import identity, train_members

RESULTS_FILE = "results.json"


class Member(NamedTuple):
    """One model of a study: where it is, and what it is."""

    run: Path
    kind: str
    """What tells it from models of the same seed, as `β = 4`."""
    config: RunConfig


@dataclass(frozen=True)
class Result:
    """One model of a study: its settings, test metrics and, if factors are known, scores."""

    run: Path
    kind: str
    objective: str
    beta: float | None
    """None for an objective without one."""
    seed: int
    metrics: dict[str, float]
    """Metrics of the test set, nats per image."""
    scores: dict[str, float]
    """By name (`metrics.disentanglement.scores`); empty for images without known factors."""

    def as_record(self) -> dict[str, Any]:
        return asdict(self) | {"run": str(self.run)}


@dataclass(frozen=True)
class Study:
    """The settings that all models share, and those in which they differ."""

    config: RunConfig
    betas: tuple[float, ...]
    objectives: tuple[str, ...]
    seeds: int
    directory: Path

    def members(self) -> list[Member]:
        """The models, by seed, then by objective and beta.

        Raises:
            NotFoundError: an objective does not exist.
        """
        first = self.config.train.seed
        return [
            member
            for seed in range(first, first + self.seeds)
            for objective in self.objectives
            for member in self._of_objective(objective, seed)
        ]

    def _of_objective(self, objective: str, seed: int) -> list[Member]:
        loss = self.config.loss
        if objective != loss.objective:
            loss = loss.model_copy(update={"objective": objective, "objective_options": {}})
        has_beta = "beta" in OBJECTIVES.find(objective).parameters
        found = []
        for beta in self.betas if has_beta else (None,):
            train = self.config.train.model_copy(update={"seed": seed})
            loss = loss.model_copy(update={"beta": 1.0 if beta is None else beta})
            config = completed(self.config.model_copy(update={"loss": loss, "train": train}))
            words = [objective] if len(self.objectives) > 1 or beta is None else []
            words += [] if beta is None else [f"β = {beta:g}"]
            parts = [objective.replace(":", "-")] if len(words) > 1 or beta is None else []
            parts += [] if beta is None else [f"beta-{beta:g}"]
            name = "-".join([*parts, f"seed-{seed}"])
            found.append(Member(self.directory / name, " ".join(words), config))
        return found


def carry_out(
    study: Study,
    placement: Placement,
    stop: StopSignal,
    say: Callable[[str], None],
    protocol: Protocol | None = None,
    *,
    jobs: int = 1,
) -> list[Result]:
    """Trains and scores every missing model; each is stored when it is finished.

    Raises:
        UsageError: the directory contains models with other settings.
        Interrupted: a signal arrived; finished models are kept, and the same study can continue.
    """
    members = study.members()
    for member in members:
        _require_same(member)
    missing = [member for member in members if _finished(member) is None]
    say(f"{len(members)} models, {len(members) - len(missing)} of them trained already")
    train_members([(one.run, one.config) for one in missing], placement, stop, say, jobs)
    dataset = datasets.load_configured(study.config.data)
    results = [_scored(member, placement, protocol or Protocol(), dataset) for member in members]
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


def _require_same(member: Member) -> None:
    found = _existing(member.run)
    if found is not None and identity(completed(found.config)) != identity(member.config):
        raise UsageError(f"out: {member.run} has a model with other settings; choose another --out")


def _finished(member: Member) -> Checkpoint | None:
    """The run's model, if it had its last evaluation."""
    found = _existing(member.run)
    return found if found is not None and found.latent_dims else None


def _scored(member: Member, placement: Placement, protocol: Protocol, dataset: Dataset) -> Result:
    """The model's scores: the stored ones if they match the model and the protocol, or new ones."""
    trained = checkpoint.load(member.run)
    path = trained.path / SCORES_FILE
    scores: dict[str, float] = {}
    if len(factor_names(dataset)) > 1:
        of = {"model_sha256": _digest(trained.path / MODEL_FILE), "protocol": asdict(protocol)}
        scores = _scores_on_file(path, of) or scores_on(
            trained.model, dataset, protocol, placement.device
        )
        write_whole(path, (json.dumps(of | {"scores": scores}, indent=2) + "\n").encode())
    loss = member.config.loss
    beta = loss.beta if "beta" in OBJECTIVES.find(loss.objective).parameters else None
    return Result(
        trained.path,
        member.kind,
        loss.objective,
        beta,
        member.config.train.seed,
        trained.metrics,
        scores,
    )


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
