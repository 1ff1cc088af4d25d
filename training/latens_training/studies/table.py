"""A study's results as a table: one row per kind of model, mean and interval over the seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from latens_training.metrics.disentanglement.scores import TITLES
from latens_training.studies.study import Result

_METRICS = {
    "elbo": "ELBO",
    "reconstruction": "reconstruction",
    "kl": "KL",
    "active_units": "active",
}
_CONFIDENCE = 0.95


def as_markdown(results: Sequence[Result]) -> str:
    """The table; it has columns of scores only if the images' factors are known.

    An interval is that of the mean with 95% confidence, from Student's distribution.
    """
    columns = [(name, title, 2) for name, title in _METRICS.items()]
    columns += [(name, title, 3) for name, title in TITLES.items()]
    every = [result.metrics | result.scores for result in results]
    columns = [column for column in columns if all(column[0] in values for values in every)]
    rows = [["model", "seeds", *(title for _, title, _ in columns)]]
    for kind in dict.fromkeys(result.kind for result in results):
        known = [result.metrics | result.scores for result in results if result.kind == kind]
        cells = [
            interval([values[name] for values in known], digits) for name, _, digits in columns
        ]
        rows.append([kind, str(len(known)), *cells])
    return _aligned(rows)


def interval(values: Sequence[float], digits: int) -> str:
    """The mean and the half width of its interval, `-152.45 ± 0.31`; of one value the mean."""
    from scipy.stats import t

    mean = f"{statistics.mean(values):.{digits}f}"
    count = len(values)
    if count < 2:
        return mean
    quantile = float(t.ppf((1 + _CONFIDENCE) / 2, count - 1))
    return f"{mean} ± {quantile * statistics.stdev(values) / math.sqrt(count):.{digits}f}"


def _aligned(rows: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])
