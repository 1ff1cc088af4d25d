"""docs/extend.md is followed to the letter: own network, loss and data set, trained and served."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from latens import Client
from latens_training.cli.main import main
from server_process import running_server

PAGE = (Path(__file__).parents[2] / "docs" / "extend.md").read_text()
BLOCK = re.compile(r"<!-- (file|run): (\S+) -->\n```\w+\n(.*?)```", re.DOTALL)
BLOCKS = [(kind, name, text) for kind, name, text in BLOCK.findall(PAGE)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reader's folder, with the file of the page."""
    folder = tmp_path_factory.mktemp("extend")
    parts = [text for kind, name, text in BLOCKS if (kind, name) == ("file", "mine.py")]
    assert len(parts) == 4
    (folder / "mine.py").write_text("\n\n".join(parts))
    return folder


def follow(command: list[str], folder: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def block(name: str) -> str:
    (text,) = (text for kind, found, text in BLOCKS if (kind, found) == ("run", name))
    return str(text)


def test_the_commands_of_the_page_train_resume_evaluate_and_export(folder: Path) -> None:
    printed = follow(["bash", "-euxc", block("shell")], folder)
    lines = (folder / "runs/bars/history.jsonl").read_text().splitlines()
    history = [json.loads(line) for line in lines]
    assert [record["epoch"] for record in history] == [1, 2, 3, 4]
    assert history[-1]["train_roughness"] > 0
    assert history[-1]["test_elbo"] > history[0]["test_elbo"]
    assert "60 test images, nats per image" in printed
    tracked = [json.loads(line) for line in (folder / "tracked.jsonl").read_text().splitlines()]
    assert tracked[0]["run"] == "runs/bars"
    assert tracked[1:] == history[3:], "the epochs after resuming"
    config = json.loads((folder / "runs/bars/config.json").read_text())["config"]
    assert config["model"]["model_options"] == {"width": 8}
    assert config["loss"]["objective_options"] == {"smoothness": 0.1}
    assert config["data"]["dataset_options"] == {"count": 600}
    with running_server(folder / "models") as server, Client(server.address) as client:
        images = client.sample(3, seed=1).images
        assert images.shape == (3, 1, 16, 16)
        codes = client.encode(np.zeros((2, 1, 16, 16), np.float32))
        assert codes.mean.shape == (2, 4)


def test_the_program_of_the_page_does_the_same_from_python(folder: Path) -> None:
    (folder / "program.py").write_text(block("python"))
    printed = follow([sys.executable, "program.py"], folder)
    assert "<Run 'runs/api' mine:small 2 epochs elbo=-" in printed
    assert (folder / "reconstructions.png").stat().st_size > 0
    assert (folder / "models/bars-api/1/bundle.json").exists()


def test_the_help_shows_the_options_of_the_chosen_entries(folder: Path) -> None:
    flags = ["--model", "mine:small", "--objective", "mine:smooth", "--dataset", "mine:bars"]
    printed = " ".join(follow(["latens-train", *flags, "--help"], folder).split())
    assert "--width WIDTH channels of the convolutions (of --model mine:small)" in printed
    assert "--smoothness SMOOTHNESS" in printed
    assert "--count COUNT" in printed
    assert "--kl-warmup" not in printed, "an option of elbo, which is not chosen"


def test_entry_points_of_an_installed_package_are_names(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = tmp_path / "mine-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[latens_training.models]\nsmall = mine:small\n\n"
        "[latens_training.datasets]\nbars = mine:bars\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(folder)
    flags = ["--model", "small", "--dataset", "bars", "--count", "40", "--epochs", "1"]
    assert main([*flags, "--no-figures", "--out", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "model.safetensors").exists()


MISTAKES = """
import torch
from torch import nn
def no_pair(image_shape): return 3
def wrong_decoder(image_shape): return nn.Flatten(), nn.Identity()
def fails(image_shape): return nn.Linear(3, 3), nn.Identity()
def same_name(image_shape, *, epochs: int = 3): return nn.Flatten(), nn.Identity()
def not_a_dataset(): return 3
text = "no function"
"""


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--model", "mistakes:no_pair"], 2, "mistakes:no_pair gave int; expected a pair of"),
        (["--model", "mistakes:wrong_decoder"], 2, "decodes to (784,); the likelihood needs (1, "),
        (["--model", "mistakes:fails"], 2, "mistakes:fails does not take images of 1 x 28 x 28:"),
        (["--model", "mistakes:same_name"], 2, "has an option epochs, which latens-train has too"),
        (["--model", "mistakes:text"], 3, "mistakes:text is str, not a function"),
        (["--model", "mistakes:missing"], 3, "has no attribute 'missing'"),
        (["--dataset", "mistakes:not_a_dataset"], 5, "gave int, expected a Dataset"),
    ],
)
def test_a_mistake_in_an_entry_is_one_line(
    flags: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "mistakes.py").write_text(MISTAKES)
    monkeypatch.syspath_prepend(tmp_path)
    assert main([*flags, "--out", str(tmp_path / "run")]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
