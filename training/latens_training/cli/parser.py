"""The parser of every command: a command line becomes a settings object, or a one-line error."""

from __future__ import annotations

import argparse
import inspect
import os
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import CliSettingsSource, SettingsError

from latens_training.cli.settings import ENV_PREFIX, CommandSettings, TrainSettings
from latens_training.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

S = TypeVar("S", bound=CommandSettings)

_ENVIRONMENT = f"""\
Each flag is also an environment variable: --latent-size is {ENV_PREFIX}LATENT_SIZE.
"""


def parse(settings: type[S], arguments: Sequence[str], program: str, epilog: str = "") -> S:
    """Parses a command's arguments, which take precedence over the environment variables.

    `--help`, and flags that do not exist, exit as argparse does (0 and 2).

    Raises:
        UsageError: a value is invalid, or an environment variable with our prefix is unknown.
    """
    _refuse_unknown_environment(settings)
    parser = argparse.ArgumentParser(
        prog=program,
        description=inspect.cleandoc(settings.__doc__ or ""),
        epilog=epilog + _ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    try:
        source = CliSettingsSource[Any](
            settings,
            cli_prog_name=program,
            cli_parse_args=list(arguments),
            root_parser=parser,
            parse_args_method=argparse.ArgumentParser.parse_args,
            add_argument_method=_add_argument,
        )
        return settings(_cli_settings_source=source)
    except ValidationError as error:
        raise UsageError(_first_mistake(error)) from error
    except SettingsError as error:
        raise UsageError(str(error)) from error


def _refuse_unknown_environment(settings: type[CommandSettings]) -> None:
    """Refuses a variable with our prefix that no command reads, which is probably misspelt."""
    fields = settings.model_fields.keys() | TrainSettings.model_fields.keys()
    known = {ENV_PREFIX + name.upper() for name in fields}
    unknown = sorted(
        name for name in os.environ if name.startswith(ENV_PREFIX) and name not in known
    )
    if unknown:
        raise UsageError(f"{unknown[0]}: an environment variable that names no setting")


def _add_argument(parser: argparse.ArgumentParser, *names: str, **options: Any) -> Any:
    """Shows a flag as `--name NAME` without its Python type, and hides trivial defaults."""
    if isinstance(options.get("metavar"), str) and not options["metavar"].startswith("{"):
        longest = max(names, key=len)
        options["metavar"] = longest.lstrip("-").replace("_", "-").rpartition("-")[2].upper()
    if any(name.startswith("--no-") for name in names):
        options["help"] = f"do not {options.get('help', '')}"
    for noise in (" (default: None)", " (default: False)", " (default: True)", " (default: ())"):
        options["help"] = options.get("help", "").replace(noise, "")
    return argparse.ArgumentParser.add_argument(parser, *names, **options)


def _first_mistake(error: ValidationError) -> str:
    first = error.errors()[0]
    place = first["loc"]
    flag = str(place[0]).replace("_", "-") if place else "settings"
    message = first["msg"][:1].lower() + first["msg"][1:]
    return f"{flag}: {message} (got {first['input']!r})"
