"""The verbs of `latens-train`. A verb is one function in a module of its own, imported when used.

To add one: a module with `run(arguments) -> exit code`, raising `TrainingError` for what a person
should read, and a line here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Verb(NamedTuple):
    """Where a verb's function is, and what it does in a line."""

    module: str
    summary: str


VERBS = {
    "train": Verb("latens_training.cli.train", "train a model (the verb when none is named)"),
    "evaluate": Verb("latens_training.cli.evaluate", "measure a run on its whole test set"),
    "figures": Verb("latens_training.cli.figures", "draw a run's pictures again"),
    "attributes": Verb(
        "latens_training.cli.attributes", "find directions such as bold from labels"
    ),
    "disentangle": Verb(
        "latens_training.cli.disentangle", "compare betas by disentanglement scores"
    ),
    "data fonts": Verb("latens_training.cli.fonts", "make an image set of the fonts found here"),
    "import-article": Verb(
        "latens_training.cli.import_article", "make a run of the article's own weights"
    ),
    "presets": Verb("latens_training.cli.presets", "list the named sets of settings"),
}
"""By the words that call them; a name may have two, as in `data fonts`."""


def resolve(arguments: Sequence[str]) -> tuple[Callable[[Sequence[str]], int], list[str]]:
    """The function of the verb that the arguments begin with, and the arguments after it."""
    for words in (2, 1):
        name = " ".join(arguments[:words])
        if name in VERBS:
            run: Callable[[Sequence[str]], int] = import_module(VERBS[name].module).run
            return run, list(arguments[words:])
    return import_module(VERBS["train"].module).run, list(arguments)


def listing() -> str:
    """The verbs for the help."""
    lines = [f"  {name:<16} {verb.summary}" for name, verb in VERBS.items()]
    return "verbs (latens-train VERB --help tells more):\n" + "\n".join(lines) + "\n\n"
