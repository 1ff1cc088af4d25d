"""A study's results as a table: one row per beta, mean and standard deviation over the seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from latens_training.metrics.disentanglement.scores import NAMES
from latens_training.studies.study import Result

_METRICS = ("elbo", "reconstruction", "kl", "active_units")
_TITLES = {
    "elbo": "ELBO",
    "reconstruction": "reconstruction",
    "kl": "KL",
    "active_units": "active",
    "mig": "MIG",
    "factor_vae": "FactorVAE",
    "dci_disentanglement": "DCI",
    "sap": "SAP",
}


def as_markdown(results: Sequence[Result]) -> str:
    """The table; it has columns of scores only if the images' factors are known."""
    scored = [name for name in NAMES if all(name in result.scores for result in results)]
    columns = [(name, 2) for name in _METRICS] + [(name, 3) for name in scored]
    rows = [["beta", "seeds", *(_TITLES[name] for name, _ in columns)]]
    for beta in sorted({result.beta for result in results}):
        members = [result for result in results if result.beta == beta]
        known = [member.metrics | member.scores for member in members]
        cells = [_spread([values[name] for values in known], digits) for name, digits in columns]
        rows.append([f"{beta:g}", str(len(members)), *cells])
    return _aligned(rows)


def _spread(values: Sequence[float], digits: int) -> str:
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def _aligned(rows: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])
