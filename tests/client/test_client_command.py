"""The verbs of the command `latens`."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence

from command_line import GREY, Run, command_line, ok
from latens import Client
from server_process import Server


@pytest.fixture
def run(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Run:
    return command_line(server.address, tmp_path, monkeypatch, capfd)


def test_one_short_command_makes_a_sheet_of_sampled_digits(run: Run) -> None:
    outcome = ok(run("sample", "-o", "digits.png"))
    assert "wrote digits.png" in outcome.err
    assert "seed" in outcome.err
    with Image.open("digits.png") as sheet:
        assert sheet.size == (462, 462)
        assert np.asarray(sheet).max() > 128


def test_the_same_seed_writes_the_same_file_and_the_seed_is_printed(run: Run) -> None:
    facts = json.loads(ok(run("sample", "-n", 4, "-o", "a.npy", "--json")).out)
    ok(run("sample", "-n", 4, "-o", "b.npy", "--seed", facts["seed"]))
    assert Path("a.npy").read_bytes() == Path("b.npy").read_bytes()
    assert facts["output"] == "a.npy"
    assert np.load("a.npy").shape == (4, 1, 28, 28)


@pytest.mark.parametrize("before", [True, False])
def test_the_address_is_given_before_or_after_the_verb(
    run: Run, server: Server, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    monkeypatch.setenv("LATENS_ADDRESS", "127.0.0.1:1")
    there = ("--address", server.address)
    outcome = ok(run(*there, "health") if before else run("health", *there))
    assert outcome.out == "SERVING\n"


def test_models_are_listed_and_described(run: Run) -> None:
    listed = ok(run("models")).out
    assert "mnist-2d *" in listed
    assert "ae-mlp" in listed
    described = ok(run("models", "mnist-2d/1")).out
    assert "1 x 28 x 28" in described
    assert "philox" in described
    assert re.search(r"test elbo +-\d+\.\d\d nats per image", described)
    assert re.search(r"test active_units +[0-2] *$", described, re.MULTILINE)  # a count
    facts = json.loads(ok(run("models", "--json")).out)
    assert facts["default"] == "mnist-2d"
    assert {model["name"] for model in facts["models"]} == {"mnist-2d", "point"}


def test_a_folder_of_pictures_is_encoded_and_decoded_again(run: Run) -> None:
    ok(run("sample", "-n", 3, "-o", "digits/", "--seed", 1))
    assert sorted(path.name for path in Path("digits").iterdir()) == ["0.png", "1.png", "2.png"]
    table = ok(run("encode", "digits")).out
    assert "digits/2.png" in table
    ok(run("encode", "digits", "-o", "codes.npz", "--draw"))
    with np.load("codes.npz") as codes:
        assert {name: codes[name].shape for name in codes.files} == {
            "mean": (3, 2),
            "log_var": (3, 2),
            "latents": (3, 2),
        }
    ok(run("encode", "digits", "-o", "means.npy"))
    ok(run("decode", "means.npy", "-o", "again.npz"))
    ok(run("reconstruct", "digits", "-o", "pairs.npz"))
    with np.load("again.npz") as again, np.load("pairs.npz") as pairs:
        np.testing.assert_allclose(again["images"], pairs["images"], atol=1e-5)
    ok(run("reconstruct", "digits", "-o", "pairs.png"))
    with Image.open("pairs.png") as sheet:
        assert sheet.size == (2 * (3 * 29 - 1), 2 * (2 * 29 - 1))


def test_the_command_encodes_as_the_client_does(run: Run, server: Server) -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 1, 28, 28), np.uint8)
    Image.fromarray(image[0, 0]).save("one.png")
    np.save("one.npy", image)
    with Client(server.address) as client:
        expected = client.encode(image).mean
    for name in ("one.png", "one.npy"):
        facts = json.loads(ok(run("encode", name, "--json")).out)
        np.testing.assert_allclose(facts["mean"], expected, atol=1e-6)


def test_coordinates_can_be_given_as_numbers(run: Run) -> None:
    ok(run("decode", "--at=-1,0.5", "--at", "0,0", "-o", "pair.npy"))
    assert np.load("pair.npy").shape == (2, 1, 28, 28)
    ok(run("interpolate", "--steps", 5, "-o", "strip.png", "--", "-1,0", "1,0"))
    with Image.open("strip.png") as strip:
        assert strip.size == (2 * (5 * 29 - 1), 2 * 28)


def test_an_interpolation_is_an_animation_forwards_and_backwards(run: Run) -> None:
    ok(run("interpolate", "-o", "morph.gif", "--steps", 6, "-n", 4, "--seed", 3))
    with Image.open("morph.gif") as animation:
        assert sum(1 for _ in ImageSequence.Iterator(animation)) == 10
        assert animation.info["loop"] == 0


def test_an_interpolation_goes_from_one_picture_to_the_other(run: Run) -> None:
    ok(run("sample", "-n", 2, "-o", "ends/", "--seed", 5))
    ok(run("interpolate", "ends/0.png", "ends/1.png", "-o", "path.npz", "--mode", "spherical"))
    ok(run("encode", "ends", "-o", "means.npy"))
    with np.load("path.npz") as path:
        assert path["images"].shape == (1, 12, 1, 28, 28)
        np.testing.assert_allclose(path["latents"][0, [0, -1]], np.load("means.npy"), atol=1e-5)


def test_coordinates_may_begin_with_a_minus(run: Run) -> None:
    ok(run("interpolate", "-1,0.5", "-.5,-2", "--steps", 3, "-o", "path.npz"))
    with np.load("path.npz") as path:
        assert np.allclose(path["latents"][0], [[-1, 0.5], [-0.75, -0.75], [-0.5, -2]])


def test_a_grid_shows_the_latent_plane(run: Run) -> None:
    ok(run("grid", "-o", "map.png"))
    with Image.open("map.png") as sheet:
        assert sheet.size == (21 * 28, 21 * 28)
    ok(run("grid", "--size", 3, "--range", 2, "-o", "map.npz"))
    with np.load("map.npz") as grid:
        corners = grid["latents"][[0, 2, 4, 6, 8]]
    assert corners.tolist() == [[-2, 2], [2, 2], [0, 0], [-2, -2], [2, -2]]


def test_a_traversal_has_one_line_per_coordinate(run: Run) -> None:
    lines = ("traverse", "-m", "point", "--steps", 3, "--json", "-o", "lines.npz")
    facts = json.loads(ok(run(*lines, "--coordinates", "3,z1")).out)
    assert facts["axes"] == ["z3", "z1"]  # numbered from 1, as in figures and on the page
    with np.load("lines.npz") as lines:
        assert lines["latents"].reshape(2, 3, 3)[0, :, 2].tolist() == [-3, 0, 3]
        assert lines["latents"].reshape(2, 3, 3)[1, :, 0].tolist() == [-3, 0, 3]
        assert np.count_nonzero(lines["latents"]) == 4


def test_a_reconstruction_reports_its_error_in_nats(run: Run) -> None:
    ok(run("sample", "-n", 2, "-o", "digits/"))
    facts = json.loads(ok(run("reconstruct", "digits", "-o", "pairs.png", "--json")).out)
    assert facts["count"] == 2
    assert facts["reconstruction"] > facts["kl"] > 0


def test_images_are_scored_and_the_least_probable_ones_shown(run: Run) -> None:
    ok(run("sample", "-n", 2, "-o", "images/", "--seed", 1))
    noise = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    Image.fromarray(noise).save("images/noise.png")
    scored = json.loads(ok(run("score", "images", "--json", "--seed", 1)).out)["images"]
    worst = min(scored, key=lambda row: row["bound"])
    assert worst["image"] == "images/noise.png"
    few = ok(run("score", "images", "--below", worst["bound"] + 1, "--seed", 1)).out
    assert [line.split()[0] for line in few.splitlines()[1:]] == ["images/noise.png"]
    ok(run("score", "images", "-o", "scores.npz"))
    with np.load("scores.npz") as scores:
        assert {scores[name].shape for name in scores} == {(3,)}
        assert set(scores) == {"bound", "standard_error", "effective_samples"}


def test_a_score_dominated_by_one_sample_has_a_warning(run: Run) -> None:
    ok(run("sample", "-n", 2, "-o", "images/", "--seed", 1))
    few = ok(run("score", "images", "-n", 2, "--seed", 1))
    assert "effective samples" in few.out
    assert "one sample outweighs the rest for 2 of 2 images" in few.err
    assert "outweighs" not in ok(run("score", "images", "-n", 5000, "--seed", 1)).err


@pytest.mark.parametrize("missing", [["--hide", "top"], ["--mask", "hole.png"]])
def test_missing_pixels_are_filled_in(run: Run, missing: list[str]) -> None:
    hole = np.zeros((28, 28), np.uint8)
    hole[:14] = 255
    Image.fromarray(hole).save("hole.png")
    ok(run("sample", "-n", 2, "-o", "digits/"))
    command = ["inpaint", "digits", *missing, "--iterations", "5", "--seed", "1"]
    ok(run(*command, "-o", "filled.npz"))
    with np.load("filled.npz") as filled:
        known = filled["originals"][:, :, 14:] / 255
        np.testing.assert_allclose(filled["images"][:, :, 14:], known, atol=1e-6)
        assert filled["images"][:, :, :14].any()
    ok(run(*command, "-o", "filled.png"))
    with Image.open("filled.png") as sheet:
        assert sheet.size == (2 * (2 * 29 - 1), 2 * (2 * 29 - 1))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "1", "I;16"])
def test_a_picture_of_any_size_and_kind_is_fitted_with_a_note(run: Run, mode: str) -> None:
    picture = GREY.resize((90, 60)) if mode != "I;16" else Image.new("I;16", (90, 60), 30_000)
    (picture.convert(mode) if mode != "I;16" else picture).save("large.png")
    outcome = ok(run("encode", "large.png", "--json"))
    assert "large.png fitted to the model: 28 x 28, grey" in outcome.err
    assert len(json.loads(outcome.out)["mean"]) == 1


def test_sixteen_bits_a_pixel_are_scaled_and_not_clipped(run: Run) -> None:
    Image.new("I;16", (28, 28), 257 * 100).save("deep.png")
    Image.new("L", (28, 28), 100).save("flat.png")
    deep, flat = (
        json.loads(ok(run("encode", f"{name}.png", "--json")).out) for name in ("deep", "flat")
    )
    assert deep["mean"] == flat["mean"]


def test_dark_ink_on_white_paper_can_be_inverted(run: Run) -> None:
    digit = np.zeros((28, 28), np.uint8)
    digit[5:20, 12:15] = 255
    Image.fromarray(digit).save("light.png")
    Image.fromarray(255 - digit).save("dark.png")
    light = json.loads(ok(run("encode", "light.png", "--json")).out)
    dark = json.loads(ok(run("encode", "dark.png", "--invert", "--json")).out)
    assert light["mean"] == dark["mean"]


@pytest.mark.parametrize(
    "verb",
    [
        *("", "models", "health", "encode", "decode", "sample", "interpolate", "reconstruct"),
        *("grid", "traverse", "score", "inpaint"),
    ],
)
def test_help_shows_examples(run: Run, verb: str) -> None:
    out = ok(run(*filter(None, [verb, "--help"]))).out
    assert "Examples" in out
    assert f"latens {verb}".strip() in out


def test_help_has_the_exit_codes(run: Run) -> None:
    out = " ".join(ok(run("--help")).out.split())
    for code in ("2 usage", "3 not found", "4 unavailable", "5 bad data", "130 interrupted"):
        assert code in out


def test_progress_is_shown_on_stderr_only(run: Run, monkeypatch: Any) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = Terminal()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", shown)
        patched.setenv("TERM", "xterm")
        outcome = ok(run("sample", "-n", 3000, "-o", "many.npy", "--json"))
    assert "sample" in shown.getvalue()
    assert json.loads(outcome.out)["count"] == 3000
