"""Answers that are not finite: rows that float16 could not hold, computed again in float32."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latens_serving.engine.batcher import Batcher
from latens_serving.errors import InvalidInputError
from latens_serving.models.pixels import as_floats

Outputs = tuple[NDArray[Any], ...]


class OverflowGuard:
    """Lets no answer of a graph out that is not finite.

    A network in float16 may exceed its range (65,504) for some inputs. Where the bundle has the
    graph in float32 as well, those rows are computed again.
    """

    def __init__(
        self,
        graph: str,
        field: str,
        precision: str,
        fallback: Batcher | None,
        recomputed: Callable[[str, int], None],
    ) -> None:
        """Takes what a graph needs.

        Args:
            graph: `encoder` or `decoder`.
            field: of a request, which holds the graph's inputs.
            precision: of the graph.
            fallback: the graph in float32; None if the bundle has none.
            recomputed: called with the graph and a number of rows, when they are computed again.
        """
        self._graph = graph
        self._field = field
        self._precision = "float16" if precision == "float16" else "float32"
        self._fallback = fallback
        self._recomputed = recomputed

    async def finite(
        self, outputs: Outputs, inputs: NDArray[Any], deadline: float | None
    ) -> Outputs:
        """The outputs, rows that are not finite replaced.

        Args:
            outputs: of the graph, `[n, ...]` each.
            inputs: what they were computed from, `[n, ...]`.
            deadline: of the call.

        Raises:
            InvalidInputError: float32 cannot hold them either, or the bundle has no such graph.
        """
        if not has_overflow(outputs):
            return outputs
        if self._fallback is None:
            raise self._error(self._precision)
        rows = overflowing_rows(outputs)
        self._recomputed(self._graph, int(rows.sum()))
        again = await self._fallback.submit(as_floats(inputs[rows]), deadline)
        if has_overflow(again):
            raise self._error("float32")
        mended = tuple(output.copy() for output in outputs)
        for whole, part in zip(mended, again, strict=True):
            whole[rows] = part
        return mended

    def _error(self, precision: str) -> InvalidInputError:
        return InvalidInputError.at(
            self._field, f"the {self._graph} overflows {precision} at these values"
        )


def has_overflow(outputs: Outputs) -> bool:
    """Whether an element is not finite."""
    return any(_is_overflowing(output) for output in outputs)


def overflowing_rows(outputs: Outputs) -> NDArray[np.bool_]:
    """Which rows have an element that is not finite, `[n]`."""
    finite = [np.isfinite(output).reshape(len(output), -1).all(1) for output in outputs]
    rows: NDArray[np.bool_] = ~np.logical_and.reduce(finite)
    return rows


def _is_overflowing(array: NDArray[Any]) -> bool:
    if array.dtype.kind != "f":
        return False
    # The sum of squares is not finite when an element is not, and BLAS computes it fast. It may
    # also overflow by itself; then each element is checked.
    return not math.isfinite(np.vdot(array, array)) and not np.isfinite(array).all()
