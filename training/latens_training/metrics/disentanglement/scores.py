"""All scores of a model by name."""

from __future__ import annotations

from latens_training.data.sprites import FACTORS
from latens_training.metrics.disentanglement import dci, factor_vae, mig, sap
from latens_training.metrics.disentanglement.protocol import Codes, Protocol

NAMES = ("mig", "factor_vae", "dci_disentanglement", "sap")
"""The scores that a table shows, each from 0 to 1, more is better."""


def all_scores(codes: Codes, protocol: Protocol | None = None) -> dict[str, float]:
    """MIG, FactorVAE score, DCI's three and SAP; and the first and last by factor."""
    protocol = protocol or Protocol()
    gaps, separations = mig.score(codes, protocol), sap.score(codes, protocol)
    return {
        "mig": float(gaps.mean()),
        "factor_vae": factor_vae.score(codes, protocol),
        **dci.scores(codes, protocol),
        "sap": float(separations.mean()),
        **{f"mig_{name}": float(value) for name, value in zip(FACTORS, gaps, strict=True)},
        **{f"sap_{name}": float(value) for name, value in zip(FACTORS, separations, strict=True)},
    }
