"""Options before or after the verb: `latens --json models` and `latens models --json` are one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

NEGATIVE = re.compile(r"-\.?\d")
"""The start of a negative number, which is no option."""

TakesValue = Mapping[str, bool]
"""Options by name, each with whether a value follows it."""


def options_of(parameters: Iterable[Any]) -> dict[str, bool]:
    """The options among the parameters of a command."""
    return {
        name: not getattr(parameter, "is_flag", False)
        for parameter in parameters
        if parameter.param_type_name == "option"
        for name in (*parameter.opts, *parameter.secondary_opts)
    }


def placed(
    arguments: Sequence[str], shared: TakesValue, verbs: Mapping[str, TakesValue]
) -> list[str]:
    """The arguments with the shared options before the verb, and the others after it.

    Args:
        arguments: of the command line.
        shared: the options that belong before the verb.
        verbs: the options of each verb.
    """
    every = {name: takes for options in verbs.values() for name, takes in options.items()}
    groups = list(_groups(arguments, {**every, **shared}))
    place = next((at for at, group in enumerate(groups) if not _is_option(group[0])), None)
    if place is None or groups[place][0] not in verbs:
        return list(arguments)
    verb = groups[place][0]
    known = {**verbs[verb], **shared}
    tail = [word for group in groups[place + 1 :] for word in group]
    rest = [*groups[:place], *_groups(tail, known)]
    before = [word for group in rest if _name(group[0]) in shared for word in group]
    after = [word for group in rest if _name(group[0]) not in shared for word in group]
    return [*before, verb, *after]


def _groups(arguments: Sequence[str], options: TakesValue) -> Iterator[list[str]]:
    """The arguments, each option together with its value; all after `--` as one group."""
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            yield [argument, *rest]
            return
        name = _name(argument)
        has_value = "=" in argument or (len(argument) > 2 and not argument.startswith("--"))
        if _is_option(argument) and options.get(name, False) and not has_value:
            yield [argument, *(value for value in [next(rest, None)] if value is not None)]
        else:
            yield [argument]


def _is_option(argument: str) -> bool:
    return argument.startswith("-") and argument != "-" and not NEGATIVE.match(argument)


def _name(argument: str) -> str:
    """The name of an option without an attached value: `-n16`, `--count=16`."""
    if not _is_option(argument):
        return ""
    return argument.partition("=")[0] if argument.startswith("--") else argument[:2]
