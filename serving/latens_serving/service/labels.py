"""The classes of the rows of a call to a conditional model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latens.tensors import TensorError, to_array
from latens_serving.bundle import conditional
from latens_serving.errors import InvalidInputError
from latens_serving.models.model import Labels, LoadedModel
from latens_serving.service import validation


def labels_of(
    given: Sequence[int], rows: int, model: LoadedModel, field: str = "labels"
) -> Labels | None:
    """The class of each row, `[rows]`; None for a model that is not conditional.

    Args:
        given: as the request has them: one per row, or one for all.
        rows: how many there are.
        model: whose classes they are.
        field: of the request.

    Raises:
        InvalidInputError: they are missing, too many, none of the model's classes, or the model
            takes none.
    """
    count = model.spec.label_count
    if count is None:
        if given:
            raise InvalidInputError.at(field, f"model {model.name} is not conditional: none taken")
        return None
    if len(given) not in (1, rows):
        expected = f"expected the class of each of {rows} rows, or one for all"
        raise InvalidInputError.at(field, f"{expected}, got {len(given) or 'none'}")
    labels = np.fromiter(given, np.int64, len(given))
    _check_range(labels, count, field)
    return np.repeat(labels, rows) if len(given) != rows else labels


def labels_in_turn(first_row: int, rows: int, label_count: int) -> Labels:
    """The classes 0, 1, ... over and over, from the place of a row of that number."""
    return (first_row % label_count + np.arange(rows, dtype=np.int64)) % label_count


def labels_apart(
    given: validation.Given, field: str, model: LoadedModel, row_shape: Sequence[int]
) -> tuple[NDArray[Any], Labels]:
    """Rows that are joined with their labels as the graphs take them, apart.

    Args:
        given: the tensor of a request.
        field: of the request.
        model: a conditional one.
        row_shape: of a row with its label.

    Raises:
        InvalidInputError: the tensor contradicts itself or has other rows, or a label is none of
            the model's classes.
    """
    try:
        both = given if isinstance(given, np.ndarray) else to_array(given)
    except TensorError as error:
        raise InvalidInputError.at(f"{field}.{error.field}", str(error)) from error
    if not both.size or both.shape[1:] != tuple(row_shape):
        expected = f"expected [n, {', '.join(map(str, row_shape))}], each row with its label"
        raise InvalidInputError.at(f"{field}.shape", f"{expected}, got {list(both.shape)}")
    if not np.isfinite(both[:, -1]).all():
        raise InvalidInputError.at(f"{field}.data", "expected finite labels")
    labels = conditional.labels_of(both)
    assert model.spec.label_count is not None
    _check_range(labels, model.spec.label_count, field)
    return np.ascontiguousarray(both[:, :-1]), labels


def _check_range(labels: Labels, count: int, field: str) -> None:
    least, most = int(labels.min()), int(labels.max())
    if least < 0 or most >= count:
        wrong = least if least < 0 else most
        raise InvalidInputError.at(field, f"expected classes from 0 to {count - 1}, got {wrong}")
