"""All scores of a model by name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latens_training.data.sprites import FACTORS, ORDERED
from latens_training.metrics.disentanglement.dci import dci_scores
from latens_training.metrics.disentanglement.factor_vae import factor_vae_score
from latens_training.metrics.disentanglement.mig import mutual_information_gap
from latens_training.metrics.disentanglement.protocol import (
    Codes,
    Factors,
    Protocol,
    sample,
    two_samples,
)
from latens_training.metrics.disentanglement.sap import separated_predictability

NAMES = ("mig", "factor_vae", "dci_disentanglement", "sap")
"""The scores that a table shows, each from 0 to 1, more is better."""


def all_scores(
    codes: Codes,
    factors: Factors,
    protocol: Protocol | None = None,
    *,
    names: Sequence[str] = FACTORS,
    ordered: Sequence[bool] = ORDERED,
) -> dict[str, float]:
    """MIG, FactorVAE score, DCI's three and SAP; and the first and last by factor.

    Args:
        codes: float `[n, units]`, posterior means of all images.
        factors: int `[n, factors]`, the index of each factor's value.
        protocol: sizes and seed; the published ones if not given.
        names: of the factors.
        ordered: which factors have an order.
    """
    protocol = protocol or Protocol()

    def generator() -> np.random.Generator:
        """Every score draws its images with the same seed."""
        return np.random.default_rng(protocol.seed)

    drawn = sample(codes, factors, protocol.points, generator())
    halves = two_samples(codes, factors, protocol.points, protocol.test_points, generator())
    gaps = mutual_information_gap(*drawn, protocol.bins)
    separations = separated_predictability(*halves, ordered)
    return {
        "mig": float(gaps.mean()),
        "factor_vae": factor_vae_score(codes, factors, protocol),
        **dci_scores(*halves, protocol),
        "sap": float(separations.mean()),
        **{f"mig_{name}": float(value) for name, value in zip(names, gaps, strict=True)},
        **{f"sap_{name}": float(value) for name, value in zip(names, separations, strict=True)},
    }
