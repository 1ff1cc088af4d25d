"""Disentanglement: exact factors, scores of ordered and mixed codes, and resumable studies."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingClassifier

from latens_training import checkpoint
from latens_training.cli.main import main
from latens_training.data import datasets
from latens_training.data import sprite_sets as sprite_sets
from latens_training.data.sprites import FACTORS as NAMES_OF_FACTORS
from latens_training.data.sprites import FULL, ORDERED, REDUCED, Grid, Sprites, draw_canvases
from latens_training.metrics.disentanglement import factor_vae, mig, sap
from latens_training.metrics.disentanglement import scores as scores_module
from latens_training.metrics.disentanglement.dci import concentration, dci_scores
from latens_training.metrics.disentanglement.protocol import (
    Protocol,
    encode_grid,
    gap,
    two_samples,
)
from latens_training.metrics.disentanglement.scores import NAMES
from latens_training.studies import study as study_module
from latens_training.studies.table import interval

QUICK = Protocol(
    points=1500,
    test_points=700,
    votes=800,
    test_votes=400,
    dci_classifier="random-forest",
    dci_trees=4,
)
FACTORS = REDUCED.factors(np.arange(len(REDUCED)))


def all_scores(
    codes: NDArray[np.float64], factors: NDArray[np.int64], protocol: Protocol
) -> dict[str, float]:
    return scores_module.all_scores(
        codes, factors, protocol, names=NAMES_OF_FACTORS, ordered=ORDERED
    )


@pytest.fixture(scope="module")
def reduced() -> Sprites:
    return Sprites.of(REDUCED)


@pytest.fixture(scope="module")
def factors() -> NDArray[np.float64]:
    """Every image's factors, each scaled to variance 1."""
    values = REDUCED.factors(np.arange(len(REDUCED))).astype(float)
    return (values - values.mean(0)) / values.std(0)


def test_the_full_grid_has_the_factors_of_dsprites() -> None:
    assert len(FULL) == 737_280
    assert FULL.sizes == (3, 6, 40, 32, 32)
    assert FULL.scales == pytest.approx(np.linspace(0.5, 1, 6))
    assert FULL.orientations[0] == 0
    assert FULL.orientations[-1] == 2 * math.pi
    np.testing.assert_array_equal(FULL.factors(np.array([737_279]))[0], [2, 5, 39, 31, 31])


def test_a_step_in_x_or_y_moves_the_sprite_by_one_pixel(reduced: Sprites) -> None:
    places = REDUCED.positions
    origin = 5 * places**2 + 3 * places + 4
    here, right, down = reduced[torch.tensor([origin, origin + places, origin + 1])]
    assert torch.equal(right[:, :, 1:], here[:, :, :-1])
    assert torch.equal(down[:, 1:], here[:, :-1])
    assert here.any()


def test_every_sprite_is_whole_and_every_picture_of_the_small_grid_differs(
    reduced: Sprites,
) -> None:
    images = reduced[torch.arange(len(reduced))].flatten(1).numpy()
    assert len({image.tobytes() for image in images}) == len(REDUCED)
    ink = (images > 0).sum(axis=1).reshape(-1, REDUCED.positions**2)
    assert (ink == ink[:, :1]).all()


def test_shapes_are_as_large_as_their_scale_says() -> None:
    grid = Grid(("square",), (0.5, 1.0), (0.0, 2 * math.pi), positions=2, side=64, radius=10)
    canvases = draw_canvases(grid).numpy()
    assert [int((canvas > 0).sum()) for canvas in canvases] == [100, 100, 400, 400]
    assert (canvases[0] == canvases[1]).all()


def test_a_gather_gives_the_same_images_as_torchs_own_indexing(reduced: Sprites) -> None:
    index = torch.randint(len(reduced), (50,), generator=torch.Generator().manual_seed(0))
    side, places, last = REDUCED.side, REDUCED.positions, REDUCED.positions - 1
    windows = reduced.canvases.unfold(1, side, 1).unfold(2, side, 1)
    expected = windows[index // places**2, last - index % places, last - index // places % places]
    assert torch.equal(reduced[index], expected.unsqueeze(1))


def test_the_set_is_one_that_training_takes_with_all_factors_as_attributes() -> None:
    loaded = datasets.load("sprites-small")
    assert len(loaded.train) + len(loaded.test) == len(REDUCED)
    assert len(loaded.test) == len(REDUCED) // 10
    assert list(loaded.train.attributes) == ["shape", "scale", "orientation", "x", "y"]
    picture = loaded.test.images[torch.tensor([7])]
    assert picture.dtype == torch.uint8
    assert picture.shape == (1, 1, 32, 32)
    assert loaded.digest() == datasets.load("sprites-small").digest()


def test_units_that_are_the_factors_score_best(factors: NDArray[np.float64]) -> None:
    idle = np.zeros((len(factors), 3))
    scores = all_scores(np.concatenate([factors, idle], axis=1), FACTORS, QUICK)
    assert scores["mig"] > 0.97
    assert scores["factor_vae"] == 1.0
    assert scores["dci_disentanglement"] > 0.98
    assert scores["dci_completeness"] > 0.98
    assert scores["sap"] > 0.85


def test_a_rotation_of_the_factors_scores_lower_everywhere(factors: NDArray[np.float64]) -> None:
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((5, 5)))[0]
    apart = all_scores(factors, FACTORS, QUICK)
    mixed = all_scores(factors @ rotation, FACTORS, QUICK)
    assert all(mixed[name] < apart[name] - 0.02 for name in NAMES)
    assert mixed["mig"] < 0.3


def test_noise_and_inactive_coordinates_score_at_chance(factors: NDArray[np.float64]) -> None:
    noise = np.random.default_rng(0).standard_normal((len(factors), 4))
    for means in (noise, np.zeros_like(noise)):
        scores = all_scores(means, FACTORS, QUICK)
        assert scores["mig"] < 0.02
        assert scores["sap"] < 0.03
        assert scores["factor_vae"] < 0.35


def test_a_score_is_the_same_each_time(factors: NDArray[np.float64]) -> None:
    codes = factors[:, :4] + factors[:, 1:]
    assert all_scores(codes, FACTORS, QUICK) == all_scores(codes, FACTORS, QUICK)


def test_the_information_gap_of_a_code_that_is_a_factor_is_one() -> None:
    values = np.tile(np.arange(4), 100)
    other = np.repeat(np.arange(4), 100)
    codes = np.stack([values * 1.0, np.zeros(400)], axis=1)
    gaps = mig.mutual_information_gap(codes, np.stack([values, other], axis=1))
    np.testing.assert_allclose(gaps, [1, 0], atol=1e-12)


def test_bins_are_of_equal_width_and_hold_both_ends() -> None:
    values = np.array([0.0, 0.9, 1.1, 2.0, 10.0])
    assert mig.in_equal_bins(values, 10).tolist() == [0, 0, 1, 2, 9]


def test_the_gap_is_between_the_two_best_units() -> None:
    scores = np.array([[0.9, 0.2], [0.5, 0.1], [0.1, 0.8]])
    np.testing.assert_allclose(gap(scores), [0.4, 0.6])


def test_concentration_is_one_for_one_factor_a_unit_and_zero_for_all_alike() -> None:
    assert concentration(np.eye(3)) == pytest.approx(1.0, abs=1e-6)
    assert concentration(np.ones((4, 3))) == pytest.approx(0.0, abs=1e-6)
    assert concentration(np.zeros((4, 3))) == 0.0


def test_one_unit_alone_has_a_score_that_json_can_hold(factors: NDArray[np.float64]) -> None:
    """The entropy of one entry over its largest is 0 / 0."""
    scores = all_scores(factors[:, 4:], FACTORS, QUICK)
    assert scores["dci_completeness"] == 1.0
    json.dumps(scores, allow_nan=False)


def test_dci_is_by_default_that_of_a_hundred_boosted_trees() -> None:
    """As disentanglement_lib computes it: scikit-learn's gradient boosting on all units."""
    generator = np.random.default_rng(0)
    factors = np.stack([generator.integers(2, size=300), generator.integers(3, size=300)], axis=1)
    codes = factors + generator.normal(0, 0.4, (300, 2))
    halves = two_samples(codes, factors, 200, 100, np.random.default_rng(0))
    importance = np.stack(
        [
            GradientBoostingClassifier(random_state=0)
            .fit(halves[0], halves[1][:, place])
            .feature_importances_
            for place in range(2)
        ],
        axis=1,
    )
    scores = dci_scores(*halves, Protocol())
    assert scores["dci_disentanglement"] == pytest.approx(concentration(importance))
    forest = dci_scores(*halves, Protocol(dci_classifier="random-forest"))
    assert forest["dci_disentanglement"] != pytest.approx(scores["dci_disentanglement"], abs=0.05)


def test_thresholds_on_one_unit_separate_classes_that_it_separates() -> None:
    classes = np.repeat([0, 1, 2], 50)
    assert sap.separated(classes * 1.0, classes, classes * 1.0, classes) == 1.0
    assert sap.explained(classes * -2.0, classes) == pytest.approx(1.0)


def test_a_vote_fixes_one_factor_and_no_other() -> None:
    kept = np.array([0, 3])
    groups = [factor_vae.images_by_value(values) for values in FACTORS.T]
    index = factor_vae.alike(groups, kept, 400, np.random.default_rng(0))
    for images, still in zip(index, kept, strict=True):
        varied = np.ptp(FACTORS[images], axis=0) > 0
        assert varied.tolist() == [place != still for place in range(5)]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of four models on a grid that takes a second."""
    out = tmp_path_factory.mktemp("study") / "out"
    tiny = Grid(("square", "heart"), (0.6, 1.0), (0.0, 0.4), positions=6, side=20, radius=4)
    patch = pytest.MonkeyPatch()
    patch.setitem(sprite_sets.GRIDS, "sprites-small", tiny)
    patch.setattr(sprite_sets, "REDUCED", tiny)
    try:
        assert main(arguments(out)) == 0
        stamps = {path: path.stat().st_mtime_ns for path in out.rglob("model.safetensors")}
        mark_scores(out)
        (out / "beta-4-seed-1" / "model.safetensors").unlink()
        (out / "beta-4-seed-1" / "training_state.safetensors").unlink()
        assert main(arguments(out)) == 0
        assert marked_scores(out) == 3, "only the model that was trained anew is scored anew"
        kept = [path for path, stamp in stamps.items() if path.stat().st_mtime_ns == stamp]
        assert len(kept) == 3, "the second run trains only what is missing"
        assert main([*arguments(out), "--latent-size=3"]) == 2
    finally:
        patch.undo()
    return out


def mark_scores(out: Path) -> None:
    """Adds an entry to every scores file that a new scoring would not write."""
    for path in out.rglob("scores.json"):
        document = json.loads(path.read_text())
        document["scores"]["mark"] = 0.5
        path.write_text(json.dumps(document))


def marked_scores(out: Path) -> int:
    results = json.loads((out / "results.json").read_text())
    return sum("mark" in result["scores"] for result in results)


def arguments(out: Path) -> list[str]:
    sizes = ["--seeds=2", "--epochs=1", "--hidden=16", "--latent-size=4"]
    sizes.append("--dci-classifier=random-forest")
    return ["compare", "--dataset=sprites-small", "--betas=1,4", *sizes, "--out", str(out)]


def test_a_study_trains_every_beta_and_seed_and_keeps_each_as_a_run(study: Path) -> None:
    results = json.loads((study / "results.json").read_text())
    assert {(r["beta"], r["seed"]) for r in results} == {(1, 0), (1, 1), (4, 0), (4, 1)}
    for result in results:
        loaded = checkpoint.load(Path(result["run"]))
        assert loaded.config.loss.beta == result["beta"]
        assert loaded.config.train.seed == result["seed"]
        assert set(NAMES) <= result["scores"].keys()


def test_scores_on_file_count_for_their_model_and_protocol_only(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    of = {"model_sha256": "abc", "protocol": {"trees": 100}}
    path.write_text(json.dumps(of | {"scores": {"mig": 0.5}}))
    assert study_module._scores_on_file(path, of) == {"mig": 0.5}
    assert study_module._scores_on_file(path, of | {"model_sha256": "def"}) is None
    assert study_module._scores_on_file(path, of | {"protocol": {"trees": 10}}) is None
    path.write_text(json.dumps({"mig": 0.5}))
    assert study_module._scores_on_file(path, of) is None, "as older versions wrote it"


def test_a_study_writes_a_table_and_figures(study: Path) -> None:
    table = (study / "table.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in table] == ["model", "------:", "β = 1", "β = 4"]
    assert "±" in table[2]
    for name in ("scores.png", "comparison.png"):
        assert (study / name).stat().st_size > 1000


@pytest.mark.parametrize("jobs", [1, 2])
def test_objectives_and_betas_are_compared_in_processes_too(
    jobs: int, mnist_subset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    flags = ["--data-dir", str(mnist_subset), "--hidden", "8", "--epochs", "1", "--out", str(out)]
    grid = ["--betas", "0,4", "--objectives", "elbo,beta-tc", "--jobs", str(jobs)]
    assert main(["compare", *flags, *grid, "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert [(r["kind"], r["beta"]) for r in results] == [
        ("elbo β = 0", 0), ("elbo β = 4", 4), ("beta-tc", None),
    ]  # fmt: skip
    assert all(not result["scores"] for result in results)
    assert (out / "comparison.png").stat().st_size > 1000
    assert (out / "elbo-beta-4-seed-0" / "model.safetensors").exists()


def test_intervals_are_students(tmp_path: Path) -> None:
    # Of 5 values, t = 2.776; of their deviation 1.5811, 2.776 * 1.5811 / sqrt(5) = 1.963.
    assert interval([1, 2, 3, 4, 5], 3) == "3.000 ± 1.963"
    assert interval([1.5], 1) == "1.5"


def test_one_model_is_no_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--out", str(tmp_path / "out")]) == 2
    assert "there is one model only" in capsys.readouterr().err


def test_the_codes_of_a_grid_are_the_means_of_its_images_in_order(reduced: Sprites) -> None:
    from latens_training.config import ModelConfig
    from latens_training.models.build import build

    model = build(ModelConfig(latent_size=3, hidden=(8,)), (1, 32, 32)).eval()
    codes, factors = encode_grid(model, reduced)
    index = torch.tensor([0, 5000, len(reduced) - 1])
    with torch.inference_mode():
        mean, _ = model.encode(reduced[index].float() / 255)
    np.testing.assert_allclose(codes[index.numpy()], mean.numpy(), atol=1e-5)
    np.testing.assert_array_equal(factors, FACTORS)


@pytest.mark.parametrize(
    ("given", "code"),
    [(["--betas=-1"], 2), (["--seeds=0"], 2), (["--dataset=nowhere"], 3), (["--epochs=0"], 2)],
)
def test_bad_input_is_one_clear_line(
    given: list[str], code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "--betas=1,4", *given, "--out", str(tmp_path / "out")]) == code
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("latens-train: ")
