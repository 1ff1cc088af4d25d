"""All scores of a model by name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latens_training.metrics.disentanglement.beta_vae import beta_vae_score
from latens_training.metrics.disentanglement.dci import dci_scores
from latens_training.metrics.disentanglement.factor_vae import factor_vae_score
from latens_training.metrics.disentanglement.mig import mutual_information_gap
from latens_training.metrics.disentanglement.modularity import modularity
from latens_training.metrics.disentanglement.protocol import (
    Codes,
    Factors,
    Protocol,
    sample,
    two_samples,
)
from latens_training.metrics.disentanglement.sap import separated_predictability

TITLES = {
    "mig": "MIG",
    "factor_vae": "FactorVAE score",
    "beta_vae": "beta-VAE score",
    "dci_disentanglement": "DCI disentanglement",
    "sap": "SAP",
    "modularity": "modularity",
}
"""The scores that tables and figures show, each from 0 to 1, more is better."""
NAMES = tuple(TITLES)


def all_scores(
    codes: Codes,
    factors: Factors,
    protocol: Protocol | None = None,
    *,
    names: Sequence[str] | None = None,
    ordered: Sequence[bool] | None = None,
) -> dict[str, float]:
    """All scores by name, with DCI's three; and MIG and SAP by factor.

    Args:
        codes: float `[n, units]`, posterior means of all images.
        factors: int `[n, factors]`, the index of each factor's value.
        protocol: sizes and seed; the published ones if not given.
        names: of the factors; `factor-1` and so on if not given.
        ordered: which factors have an order; none if not given.
    """
    protocol = protocol or Protocol()
    names = names or [f"factor-{place + 1}" for place in range(factors.shape[1])]
    ordered = ordered or [False] * factors.shape[1]

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
        "beta_vae": beta_vae_score(codes, factors, protocol),
        **dci_scores(*halves, protocol),
        "sap": float(separations.mean()),
        "modularity": modularity(drawn[0], drawn[1], protocol.bins),
        **{f"mig_{name}": float(value) for name, value in zip(names, gaps, strict=True)},
        **{f"sap_{name}": float(value) for name, value in zip(names, separations, strict=True)},
    }
