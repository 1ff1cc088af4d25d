"""MIG, modularity, SAP and DCI equal their published formulas, written down a second time here.

Four pairs of codes and factors: codes that are the factors, rotated ones, noise, and the codes of
a trained model.
"""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingClassifier

from latens_training import DataConfig, Dataset, ModelConfig, RunConfig, Split, TrainConfig, train
from latens_training.cli.main import main
from latens_training.metrics.disentanglement.beta_vae import beta_vae_score
from latens_training.metrics.disentanglement.dci import dci_scores
from latens_training.metrics.disentanglement.factor_vae import factor_vae_score
from latens_training.metrics.disentanglement.mig import mutual_information_gap
from latens_training.metrics.disentanglement.modularity import modularity
from latens_training.metrics.disentanglement.protocol import Protocol, encode_all
from latens_training.metrics.disentanglement.sap import separated_predictability

SIZES = (3, 4, 5)
FACTORS = np.array(list(itertools.product(*map(range, SIZES))) * 5, dtype=np.int64)
Codes = NDArray[np.float64]


def pictures() -> Dataset:
    """A bar whose place, length and brightness are the factors."""
    images = torch.zeros(len(FACTORS), 1, 12, 12, dtype=torch.uint8)
    for image, (shade, length, place) in zip(images[:, 0], FACTORS.tolist(), strict=True):
        image[2 * place : 2 * place + 2, : 3 + 2 * length] = 85 * (shade + 1)
    attributes = {f"factor-{n + 1}": torch.from_numpy(FACTORS[:, n]) for n in range(3)}
    split = Split(images, None, attributes)
    return Dataset("bars", split, split)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scores") / "run"
    config = RunConfig(
        data=DataConfig(dataset="bars"),
        model=ModelConfig(latent_size=4, hidden=(32,)),
        train=TrainConfig(epochs=30, batch_size=20, learning_rate=3e-3),
    )
    train(config, dataset=pictures(), out=out, quiet=True)
    return out


@pytest.fixture(scope="module")
def codes_of_a_model(trained: Path) -> Codes:
    from latens_training import Run

    return encode_all(Run.load(trained).model, pictures().train.images)


@pytest.fixture(params=["perfect", "rotated", "noise", "model"])
def codes(request: pytest.FixtureRequest) -> Codes:
    generator = np.random.default_rng(7)
    scaled = (FACTORS - FACTORS.mean(0)) / FACTORS.std(0)
    if request.param == "perfect":
        return np.asarray(scaled)
    if request.param == "rotated":
        return np.asarray(scaled @ np.linalg.qr(generator.standard_normal((3, 3)))[0])
    if request.param == "noise":
        return generator.standard_normal((len(FACTORS), 4))
    found: Codes = request.getfixturevalue("codes_of_a_model")
    return found


def binned(values: Sequence[float], bins: int = 20) -> list[int]:
    low, high = min(values), max(values)
    width = (high - low) / bins
    return [min(bins - 1, math.floor((value - low) / width)) for value in values]


def entropy(values: Sequence[int]) -> float:
    return -sum(n / len(values) * math.log(n / len(values)) for n in Counter(values).values())


def shared(first: Sequence[int], second: Sequence[int]) -> float:
    """I(a; b) = sum p(a, b) log(p(a, b) / (p(a) p(b)))."""
    total = len(first)
    one, other = Counter(first), Counter(second)
    return sum(
        n / total * math.log(n * total / (one[a] * other[b]))
        for (a, b), n in Counter(zip(first, second, strict=True)).items()
    )


def informations(codes: Codes) -> list[list[float]]:
    """Of each unit with each factor."""
    return [
        [shared(binned(unit.tolist()), values.tolist()) for values in FACTORS.T] for unit in codes.T
    ]


def test_mig_is_the_gap_of_information_over_the_entropy(codes: Codes) -> None:
    table = informations(codes)
    expected = []
    for place, values in enumerate(FACTORS.T):
        best, second, *_ = sorted((row[place] for row in table), reverse=True)
        expected.append((best - second) / entropy(values.tolist()))
    found = mutual_information_gap(codes, FACTORS)
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


def test_modularity_is_that_of_ridgeway_and_mozer(codes: Codes) -> None:
    scores = []
    for row in informations(codes):
        squares = sorted((value**2 for value in row), reverse=True)
        ideal = squares[0] * (len(row) - 1)
        scores.append(1 - sum(squares[1:]) / ideal if ideal else 0.0)
    assert modularity(codes, FACTORS) == pytest.approx(sum(scores) / len(scores), abs=1e-6)


def test_sap_is_the_gap_of_the_squared_correlations(codes: Codes) -> None:
    expected = []
    for values in FACTORS.T:
        found = []
        for unit in codes.T:
            covariance = np.mean((unit - unit.mean()) * (values - values.mean()))
            found.append(covariance**2 / (unit.var() * values.var()))
        best, second, *_ = sorted(found, reverse=True)
        expected.append(best - second)
    ordered = [True] * 3
    found_gaps = separated_predictability(codes, FACTORS, codes, FACTORS, ordered)
    assert found_gaps.tolist() == pytest.approx(expected, abs=1e-6)


def test_dci_is_one_minus_the_entropy_of_importances(codes: Codes) -> None:
    protocol = Protocol(dci_trees=5)
    rows = []
    right = []
    for values in FACTORS.T:
        classifier = GradientBoostingClassifier(n_estimators=5, random_state=0).fit(codes, values)
        rows.append(classifier.feature_importances_.tolist())
        right.append(classifier.score(codes, values))

    def purity(lists: list[list[float]]) -> float:
        total = sum(map(sum, lists))
        result = 0.0
        for row in lists:
            weight = sum(row)
            if weight:
                spread = -sum(v / weight * math.log(v / weight, len(row)) for v in row if v)
                result += weight / total * (1 - spread)
        return result

    found = dci_scores(codes, FACTORS, codes, FACTORS, protocol)
    by_unit = [list(column) for column in zip(*rows, strict=True)]
    assert found["dci_disentanglement"] == pytest.approx(purity(by_unit), abs=1e-6)
    assert found["dci_completeness"] == pytest.approx(purity(rows), abs=1e-6)
    assert found["dci_informativeness"] == pytest.approx(sum(right) / 3, abs=1e-6)


def test_the_scores_that_draw_are_one_for_factors_and_lower_for_noise() -> None:
    protocol = Protocol(votes=600, test_votes=300)
    scaled = (FACTORS - FACTORS.mean(0)) / FACTORS.std(0)
    noise = np.random.default_rng(0).standard_normal((len(FACTORS), 4))
    for score in (beta_vae_score, factor_vae_score):
        assert score(scaled, FACTORS, protocol) == 1.0
        assert score(noise, FACTORS, protocol) < 0.5


def test_evaluate_scores_a_run_on_any_labelled_set(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = pictures().train
    file = tmp_path / "labelled.npz"
    attributes = {f"attribute_{name}": values.numpy() for name, values in data.attributes.items()}
    np.savez(file, images=data.images.numpy(), **attributes)  # type: ignore[arg-type]
    flags = ["--factors", str(file), "--dci-classifier", "random-forest", "--json"]
    assert main(["evaluate", str(trained), "--dataset", str(file), *flags]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert scores["mig"] == pytest.approx(np.mean([scores[f"mig_factor-{n}"] for n in (1, 2, 3)]))
    assert 0 < scores["modularity"] < 1
    np.savez(file, images=data.images.numpy())
    assert main(["evaluate", str(trained), "--dataset", str(file), *flags]) == 5
    assert "no factors" in capsys.readouterr().err
