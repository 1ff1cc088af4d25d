"""The commands of `latens-train`; the module of a command is imported when the command is used.

To add a command, write a module with a settings class and `run(settings) -> exit code`, which
raises `TrainingError` with a message for the user, and add a line to `COMMANDS`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from latens_training.cli.settings import RunSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from latens_training.cli.settings import CommandSettings


class Command(NamedTuple):
    """Where a command is implemented, and what it does in one line."""

    module: str
    settings: str
    summary: str

    def settings_for(self, arguments: Sequence[str]) -> type[CommandSettings]:
        """The settings of the command; those of a run depend on what the arguments choose."""
        found: type[CommandSettings] = getattr(import_module(self.module), self.settings)
        if not issubclass(found, RunSettings):
            return found
        from latens_training.cli.options import with_options

        return with_options(found, arguments)

    @property
    def run(self) -> Callable[[Any], int]:
        function: Callable[[Any], int] = import_module(self.module).run
        return function


DEFAULT = "train"
COMMANDS = {
    "train": Command(
        "latens_training.cli.train", "TrainSettings", "train a model (the default command)"
    ),
    "evaluate": Command(
        "latens_training.cli.evaluate", "EvaluateSettings", "measure a run on its whole test set"
    ),
    "figures": Command(
        "latens_training.cli.figures", "FiguresSettings", "draw a run's figures again"
    ),
    "attributes": Command(
        "latens_training.cli.attributes",
        "AttributesSettings",
        "find directions such as bold from labels",
    ),
    "compare": Command(
        "latens_training.cli.compare",
        "CompareSettings",
        "train several betas, objectives and seeds, and compare them",
    ),
    "data fonts": Command(
        "latens_training.cli.fonts", "FontsSettings", "make an image set from installed fonts"
    ),
    "import-article": Command(
        "latens_training.cli.import_article",
        "ImportArticleSettings",
        "make a run from the article's published weights",
    ),
    "article": Command(
        "latens_training.cli.article",
        "ArticleSettings",
        "list the article's figures with the commands that make ours",
    ),
    "presets": Command(
        "latens_training.cli.presets", "PresetsSettings", "list the named sets of settings"
    ),
}
"""By the words that call them; a name may have two words, such as `data fonts`."""


def find(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The name of the command that the arguments begin with, and the arguments after it."""
    for words in (2, 1):
        name = " ".join(arguments[:words])
        if name in COMMANDS:
            return name, list(arguments[words:])
    return DEFAULT, list(arguments)


def listing() -> str:
    """The list of the commands for the help text."""
    lines = [f"  {name:<16} {command.summary}" for name, command in COMMANDS.items()]
    heading = "commands (details: latens-train COMMAND --help):"
    return "\n".join([heading, *lines]) + "\n\n"
