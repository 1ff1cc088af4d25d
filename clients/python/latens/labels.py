"""The classes that calls of a conditional model carry: numbers, or names that the model knows."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from latens.errors import invalid
from latens.models import Model

Label: TypeAlias = int | str
"""A class by number, or by its name in `Model.label_names`."""
Labels: TypeAlias = Label | Sequence[Label] | NDArray[np.integer[Any]]
"""One class for all rows, or one for each."""

_MOST_NAMED = 12


def label_rows(given: Labels | None, model: Model, count: int) -> Sequence[int]:
    """The class of each of `count` rows by number; none for None.

    Raises:
        InvalidInputError: there are more or fewer, or the model has no such class.
    """
    if given is None:
        return ()
    if isinstance(given, int | str | np.integer):
        return [_number(given, model)] * count
    numbers = [_number(label, model) for label in np.asarray(given).reshape(-1).tolist()]
    if len(numbers) != count:
        raise invalid("labels", f"expected one class, or {count}, got {len(numbers)}")
    return numbers


def labels_of_points(rows: Sequence[int], points: int) -> list[int] | None:
    """The classes of rows that each have so many points, as the argument of a method."""
    return np.repeat(rows, points).tolist() if rows else None


def _number(label: Any, model: Model) -> int:
    if isinstance(label, str):
        names = model.label_names
        if label in names:
            return names.index(label)
        if label.isdecimal():
            return int(label)
        known = ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")
        raise invalid("labels", f"expected a class of the model ({known}), got {label[:40]!r}")
    try:
        number = operator.index(label)
    except TypeError:
        raise invalid("labels", f"expected numbers or names of classes, got {label!r}") from None
    if not 0 <= number < 1 << 31:
        raise invalid("labels", f"expected classes from 0 up, got {number}")
    return number
