"""Which weights a run keeps: those of the last epoch, or those that are best on held-out images."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from latens_training.metrics.evaluation import evaluate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from latens_training.data.types import Images, Split
    from latens_training.trainer import Trainer

SCORE = "validation_score"
"""The ELBO of the held-out images, nats per image; without a prior, minus the reconstruction."""


class Parts(NamedTuple):
    """The training images, and those held out."""

    train: Split
    held_out: Split | None


def split_off(split: Split, share: float) -> Parts:
    """Holds evenly spaced images out.

    Args:
        split: the images, perhaps with labels.
        share: of the images to hold out; at least one image unless it is 0.
    """
    if not share:
        return Parts(split, None)
    count = len(split)
    held = torch.linspace(0, count - 1, max(1, round(share * count))).round().long()
    rest = torch.ones(count, dtype=torch.bool)
    rest[held] = False
    return Parts(split.part(rest), split.part(~rest))


@dataclass(frozen=True)
class Choice:
    """The weights of an epoch to keep, and how good they are."""

    average: bool
    """Whether they are the moving average."""
    score: float


def choose(trainer: Trainer, held_out: Images, labels: Tensor | None = None) -> Choice:
    """The better of the present weights and their moving average, if there is one.

    Args:
        trainer: has both.
        held_out: the images that they are judged on.
        labels: of those images; read for a conditional model alone.
    """
    choice = Choice(average=False, score=_score(trainer, held_out, labels))
    if trainer.average is None:
        return choice
    with trainer.average.in_place():
        averaged = Choice(average=True, score=_score(trainer, held_out, labels))
    return max(choice, averaged, key=lambda one: one.score)


def weights_of(trainer: Trainer, choice: Choice | None) -> contextlib.AbstractContextManager[None]:
    """A context within which the model has the chosen weights."""
    if choice is None or not choice.average or trainer.average is None:
        return contextlib.nullcontext()
    return trainer.average.in_place()


def is_best(history: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the last epoch is the best so far; always so without held-out images."""
    if not history or SCORE not in history[-1]:
        return True
    return all(record[SCORE] < history[-1][SCORE] for record in history[:-1])


def is_exhausted(history: Sequence[Mapping[str, Any]], patience: int) -> bool:
    """Whether the best epoch is `patience` epochs ago; never with a patience of 0."""
    if not patience or not history or SCORE not in history[-1]:
        return False
    best = max(range(len(history)), key=lambda place: history[place][SCORE])
    return len(history) - 1 - best >= patience


def _score(trainer: Trainer, held_out: Images, labels: Tensor | None) -> float:
    model = trainer.model.eval()
    metrics = evaluate(model, held_out, labels, draws=1).metrics(model.posterior)
    return metrics["elbo"] if "elbo" in metrics else -metrics["reconstruction"]
