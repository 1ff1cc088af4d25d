"""Registries: the models, objectives, data sets and likelihoods that a run can name.

A name is one of an entry that Latens has, of an entry point that an installed package declares in
the group `latens_training.models`, `.objectives`, `.datasets` or `.likelihoods`, or `module:name`
of anything importable. The keyword-only parameters of an entry are its options: a run gives each
one by a flag, and their annotations say what is accepted.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.fields import FieldInfo

from latens_training.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_SEPARATOR = ":"

F = TypeVar("F", bound="Callable[..., Any]")


@dataclass(frozen=True)
class Entry:
    """Something that a registry makes, and the options it takes."""

    kind: str
    name: str
    factory: Callable[..., Any]
    shared: frozenset[str]
    """Settings of every run that an entry of this kind may take as a keyword parameter."""
    is_external: bool = False

    @cached_property
    def parameters(self) -> frozenset[str]:
        """The names of all keyword-only parameters."""
        return frozenset(parameter.name for parameter in self._keywords())

    @cached_property
    def options(self) -> dict[str, tuple[Any, FieldInfo]]:
        """Type and field of each option of its own, by name.

        Raises:
            UsageError: an annotation names something that does not exist.
        """
        return {
            parameter.name: self._option(parameter)
            for parameter in self._keywords()
            if parameter.name not in self.shared
        }

    def complete(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The values of all options: those given, checked, and the defaults of the others.

        Raises:
            UsageError: an option is unknown, missing or has a value of another type or range.
        """
        unknown = sorted(given.keys() - self.options.keys())
        if unknown:
            raise UsageError(
                f"{_flag(unknown[0])}: has no effect here: {self.kind} {self.name} has "
                + (f"the options {', '.join(map(_flag, self.options))}" if self.options
                   else "no options")
            )  # fmt: skip
        try:
            return self._model.model_validate(dict(given)).model_dump()
        except ValidationError as error:
            first = error.errors()[0]
            message = first["msg"][:1].lower() + first["msg"][1:]
            name = str(first["loc"][0])
            raise UsageError(f"{_flag(name)}: {message} (got {first['input']!r})") from error

    def arguments(self, shared: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
        """The keyword arguments of the factory: the shared settings it takes, and its options.

        Raises:
            UsageError: see `complete`.
        """
        taken = {name: shared[name] for name in self.parameters & shared.keys()}
        return taken | self.complete(options)

    @cached_property
    def _model(self) -> type[BaseModel]:
        fields: dict[str, Any] = dict(self.options)
        return create_model(self.name, __config__=ConfigDict(extra="forbid"), **fields)

    def _keywords(self) -> list[inspect.Parameter]:
        parameters = inspect.signature(self.factory).parameters.values()
        return [one for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY]

    def _option(self, parameter: inspect.Parameter) -> tuple[Any, FieldInfo]:
        annotation = self._annotation(parameter)
        required = parameter.default is inspect.Parameter.empty
        default: Any = ... if required else parameter.default
        field = FieldInfo.from_annotated_attribute(annotation, Field(default))
        return annotation, field

    def _annotation(self, parameter: inspect.Parameter) -> Any:
        if parameter.annotation is inspect.Parameter.empty:
            return Any
        function = inspect.unwrap(self.factory)
        owner = function.__init__ if inspect.isclass(function) else function
        alone = SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
        names = getattr(owner, "__globals__", {})
        try:
            return get_type_hints(alone, names, include_extras=True)[parameter.name]
        except NameError as error:
            raise UsageError(
                f"{self.kind} {self.name}: the annotation of {parameter.name}: {error}"
            ) from error


class Registry:
    """The entries of one kind by name."""

    def __init__(self, kind: str, shared: Iterable[str] = ()) -> None:
        self.kind = kind
        self.group = f"latens_training.{kind}s"
        self.shared = frozenset(shared)
        self._entries: dict[str, Entry] = {}

    def register(self, name: str) -> Callable[[F], F]:
        """Adds what it decorates under a name."""

        def add(factory: F) -> F:
            self._entries[name] = Entry(self.kind, name, factory, self.shared)
            return factory

        return add

    def names(self) -> list[str]:
        """The names of all entries, ours first, then those of installed packages."""
        return [*self._entries, *(point.name for point in entry_points(group=self.group))]

    def find(self, name: str) -> Entry:
        """The entry of a name, or what `module:name` names.

        Raises:
            NotFoundError: there is none, or its module cannot be imported.
        """
        if name in self._entries:
            return self._entries[name]
        for point in entry_points(group=self.group, name=name):
            return self._external(name, _import(self.kind, point.value))
        if _SEPARATOR in name:
            return self._external(name, _import(self.kind, name))
        raise NotFoundError(
            f"{self.kind}: no such {self.kind}: {name}; there are {', '.join(self.names())}, or "
            "write package.module:name for one of your own"
        )

    def takers(self, setting: str) -> list[str]:
        """The names of our entries that take a shared setting."""
        return [name for name, entry in self._entries.items() if setting in entry.parameters]

    def _external(self, name: str, found: Any) -> Entry:
        if not callable(found):
            raise NotFoundError(f"{self.kind}: {name} is {type(found).__name__}, not a function")
        return Entry(self.kind, name, found, self.shared, is_external=True)


def reference(thing: Any) -> str:
    """`module:name` of a class or function, by which a later process finds it again.

    Raises:
        UsageError: it has no such name, as a lambda or a function within a function.
    """
    name = getattr(thing, "__qualname__", "<none>")
    if "<" in name:
        raise UsageError(f"{name}: expected a class or function of a module")
    return f"{thing.__module__}{_SEPARATOR}{name}"


def _import(kind: str, name: str) -> Any:
    """What `module:name` names; modules of the working directory are found too."""
    module, _, attribute = name.partition(_SEPARATOR)
    working_directory = str(Path.cwd())
    if working_directory not in sys.path:
        sys.path.append(working_directory)
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise NotFoundError(f"{kind}: {name}: {error}") from error
    return found


def _flag(name: str) -> str:
    return name.replace("_", "-")
