"""Compares a model's graphs with the probe: their inputs, expected outputs and tolerances.

Graphs for bytes are compared with the framework's outputs for the same pixels, as the others are.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from latens_serving.bundle.probe import Probe
from latens_serving.bundle.schema import BundleError
from latens_serving.engine.onnx import Engine
from latens_serving.models.pixels import as_bytes

DIFFERING_CODES = 0.05
"""The largest share of the probe's codes that may differ."""

_LONGEST_CHECK_SECONDS = 1.0


class Question(NamedTuple):
    """Rows for one graph, and the training framework's outputs for them."""

    given: NDArray[Any]
    wanted: dict[str, NDArray[Any]]
    """By output, in the graph's order."""
    allowed: float
    """The largest difference, in the unit of the outputs; of codes, the largest share."""


def questions(probe: Probe, tolerance: float) -> dict[str, Question]:
    """The question for each graph that a bundle may have, by the graph's name."""
    posterior = {"mean": probe.mean}
    if probe.log_var is not None:
        posterior["log_var"] = probe.log_var
    encoding = DIFFERING_CODES if probe.mean.dtype == np.int64 else tolerance
    grey_levels = probe.decoded * np.float32(255)
    encoder = Question(probe.images, posterior, encoding)
    decoder = Question(probe.latents, {"images": probe.decoded}, tolerance)
    return {
        "encoder": encoder,
        "decoder": decoder,
        "encoder_float32": encoder,
        "decoder_float32": decoder,
        "encoder_uint8": Question(as_bytes(probe.images), posterior, encoding),
        "decoder_uint8": Question(
            probe.latents,
            {"images": grey_levels},
            0.5 + 255 * tolerance,  # rounding, and the tolerance in grey levels
        ),
    }


def check_probe(probe: Probe, engines: Mapping[str, Engine], tolerance: float) -> None:
    """Runs the probe on the device that will serve, and compares the outputs.

    One row is run of each graph, and then as many as are expected to take a second.

    Raises:
        BundleError: an output differs by more than it may, or is not finite.
    """
    asked = questions(probe, tolerance)
    for graph, engine in engines.items():
        question = asked[graph]
        begun = time.monotonic()
        _check_rows(engine, graph, question, slice(1))
        seconds = time.monotonic() - begun
        more = int(_LONGEST_CHECK_SECONDS / max(seconds, 1e-6))
        if more and len(question.given) > 1:
            _check_rows(engine, graph, question, slice(1, 1 + more))


def _check_rows(engine: Engine, graph: str, question: Question, rows: slice) -> None:
    answers = engine.run(question.given[rows])
    for (name, wanted), got in zip(question.wanted.items(), answers, strict=True):
        _compare(f"{graph}: {name}", wanted[rows], got, question.allowed)


def largest_difference(wanted: NDArray[Any], got: NDArray[Any]) -> float:
    """The largest difference of two arrays; of codes, the share that differs, but for one.

    Where two codes of a codebook are nearly equally near, rounding decides, which differs between
    processors.
    """
    if wanted.dtype == np.int64:
        return max(int((wanted != got).sum()) - 1, 0) / max(wanted.size, 1)
    return float(np.abs(wanted - got).max(initial=0))


def _compare(what: str, wanted: NDArray[Any], got: NDArray[Any], allowed: float) -> None:
    if wanted.shape != got.shape:
        raise BundleError(
            f"probe: {what}: expected an array of {wanted.shape}, the graph gave {got.shape}"
        )
    difference = largest_difference(wanted, got)
    if not difference <= allowed:  # also when it is NaN
        raise BundleError(
            f"probe: {what}: differs from the training framework by {difference:.3g}, "
            f"the bundle's tolerance is {allowed:.3g}"
        )
