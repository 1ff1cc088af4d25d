"""Checks the models before a server reports SERVING."""

from __future__ import annotations

from pathlib import Path

from latens_serving.models.repository import Repository, State


class NothingToServeError(Exception):
    """The repository contains no model, or none that can be served."""

    def __init__(self, message: str, *, refused: bool) -> None:
        super().__init__(message)
        self.refused = refused


class UnknownDefaultModelError(Exception):
    """The repository does not contain the model of `--default-model`."""


def check_models(models: Repository, root: Path) -> None:
    """Checks that a model is ready, and that the default model exists.

    Raises:
        NothingToServeError: the repository contains no model, or none that can be served.
        UnknownDefaultModelError: the default model is not among its models.
    """
    entries = models.entries()
    if not entries:
        raise NothingToServeError(
            f"no model in {root}: export one with latens-export RUN --repository {root}",
            refused=False,
        )
    if not any(entry.state is State.READY for entry in entries):
        reasons = "\n".join(f"  {e.name}/{e.version}: {e.reason}" for e in entries)
        raise NothingToServeError(f"every model in {root} was refused:\n{reasons}", refused=True)
    names = sorted({entry.name for entry in entries})
    if models.default_name not in names:
        raise UnknownDefaultModelError(
            f"--default-model: no model {models.default_name!r} in {root}; "
            f"there is {', '.join(names)}"
        )
