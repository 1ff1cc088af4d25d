"""Reports the progress of a run: a bar on a terminal, a line per epoch, TensorBoard."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Protocol

from tqdm import tqdm

from latens_training.errors import UsageError
from latens_training.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from torch.utils.tensorboard import SummaryWriter

    from latens_training.config import RunConfig


TRACKERS = Registry("tracker")
"""Latens has none of its own: a class is named `module:Class`, or by an entry point."""


class Tracker(Protocol):
    """What an experiment tracker such as MLflow or Weights & Biases needs to have.

    Its methods are called in the first process only.
    """

    def begin(self, run: str, config: dict[str, Any]) -> None:
        """A run begins or is resumed; `run` is its directory, `config` its settings."""
        ...

    def log(self, record: Mapping[str, Any]) -> None:
        """An epoch has ended: its record, as in `history.jsonl`."""
        ...

    def end(self) -> None:
        """The run has ended, whether it succeeded or not."""
        ...


class Reporter:
    """Reports a run.

    Progress goes to standard error, the bar only to a terminal. With `json_lines`, each epoch's
    record goes to standard output as one JSON line.
    """

    def __init__(
        self,
        epochs: int,
        *,
        json_lines: bool,
        silent: bool = False,
        tensorboard: Path | None = None,
        tracker: Tracker | None = None,
    ) -> None:
        self._epochs = epochs
        self._json_lines = json_lines
        self._silent = silent
        self._bar: tqdm[Any] | None = None
        self.is_first = True
        self._tracker = tracker
        self._is_tracking = False
        self._tensorboard = tensorboard
        self._writer: SummaryWriter | None = None
        if tensorboard is not None:
            _require_tensorboard()

    def report(self, directory: Path, config: RunConfig, *, is_first: bool) -> None:
        """Begins to report a run; the reporters of further processes are silent."""
        self.is_first = is_first
        if self._tracker is not None and is_first:
            self._tracker.begin(str(directory), config.model_dump(mode="json"))
            self._is_tracking = True
        self._silent = self._silent or not is_first
        if self._tensorboard is not None and not self._silent:
            self._writer = _require_tensorboard()(str(self._tensorboard))

    def __enter__(self) -> Reporter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close_bar()
        if self._writer is not None:
            self._writer.close()
        if self._tracker is not None and self._is_tracking:
            self._tracker.end()

    def begin_epoch(self, epoch: int, step: int, steps: int) -> None:
        """Shows the bar of an epoch (counted from 0), starting at a step."""
        if not self._silent:
            bar: tqdm[Any] = tqdm(
                total=steps,
                initial=step,
                desc=f"epoch {epoch + 1}/{self._epochs}",
                unit="step",
                leave=False,
                disable=not sys.stderr.isatty(),
                file=sys.stderr,
            )
            self._bar = bar

    def step(self) -> None:
        if self._bar is not None:
            self._bar.update()

    def end_epoch(self, record: Mapping[str, Any]) -> None:
        """Reports a complete epoch."""
        self._close_bar()
        if self._tracker is not None and self._is_tracking:
            self._tracker.log(record)
        if self._silent:
            return
        self.say(epoch_line(record, self._epochs))
        if self._json_lines:
            print(json.dumps(record), flush=True)
        if self._writer is not None:
            for name, value in record.items():
                if name != "epoch":
                    self._writer.add_scalar(name.replace("_", "/", 1), value, record["epoch"])

    def say(self, text: str) -> None:
        if not self._silent:
            print(text, file=sys.stderr, flush=True)

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def epoch_line(record: Mapping[str, Any], epochs: int) -> str:
    """An epoch's record in one line: `epoch  3/20  test elbo -160.2 = -(154.8 + 5.4) ...`."""
    parts = [f"epoch {record['epoch']:>{len(str(epochs))}}/{epochs}"]
    if "test_elbo" in record:
        parts.append(
            f"test elbo {record['test_elbo']:.2f} "
            f"(reconstruction {record['test_reconstruction']:.2f}, kl {record['test_kl']:.2f})"
        )
    else:
        parts.append(f"test reconstruction {record['test_reconstruction']:.2f}")
    parts.append(f"{record['seconds']:.1f} s, {record['images_per_second']:,.0f} images/s")
    return "  ".join(parts)


def _require_tensorboard() -> type[SummaryWriter]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError(
            "tensorboard: not installed; pip install 'latens-training[tensorboard]'"
        ) from error
    return SummaryWriter
