"""Settings without an effect are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from latens_training.cli.main import main
from latens_training.cli.parser import parse
from latens_training.cli.settings import TrainSettings
from latens_training.effects import without_effect


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--model", "vae-conv", "--activation", "tanh"],
            "activation: has no effect here: it belongs to --model ae-mlp, vae-mlp",
        ),
        (
            ["--model", "vae-conv", "--hidden", "5"],
            "hidden: has no effect here: it belongs to --model ae-mlp, vae-mlp",
        ),
        (["--model", "ae-mlp", "--objective", "iwae"], "objective: has no effect here: ae-mlp"),
        (["--model", "ae-mlp", "--samples", "5"], "samples: has no effect here"),
        (["--model", "ae-mlp", "--beta", "4"], "beta: has no effect here"),
        (["--sigma", "0.1"], "sigma: has no effect here: it belongs to --likelihood gaussian"),
        (["--fit", "crop"], "fit: has no effect here"),
        (["--ema", "0.99"], "ema: has no effect here: it needs held-out images"),
        (["--objective", "beta-tc", "--beta", "4"], "beta: has no effect here: it belongs to"),
        (["--objective", "beta-tc", "--tc-weight", "-1"], "tc-weight: input should be greater"),
        (["--preset", "burda-vae", "--model", "vae-conv"], "activation: has no effect here"),
        (["--image-size", "12"], "image-size: expected a folder of pictures, got mnist"),
    ],
)
def test_a_setting_without_effect_is_one_line(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*flags, "--out", str(tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--objective", "betatc"], "objective: no such objective: betatc; there are elbo, iwae"),
        (["--model", "no.such:Net"], "model: no.such:Net: No module named 'no'"),
        (["--likelihood", "json:dumps.x"], "likelihood: json:dumps.x: "),
        (["--dataset", "nowhere"], "dataset: no such file or data set: nowhere; there are mnist,"),
    ],
)
def test_a_name_without_an_entry_is_one_line(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*flags, "--out", str(tmp_path / "run")]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.parametrize(
    "flags", [["--model", "ae-mlp", "--beta", "1"], ["--likelihood", "gaussian", "--sigma", "0.1"]]
)
def test_an_explicit_default_and_a_setting_with_effect_are_accepted(flags: list[str]) -> None:
    assert without_effect(parse(TrainSettings, flags, "latens-train").run_config()) == {}
