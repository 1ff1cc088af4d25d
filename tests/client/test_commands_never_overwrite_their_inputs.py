"""No command writes over a file that it reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from command_line import GREY, Run, command_line, ok
from server_process import Server


@pytest.fixture
def run(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Run:
    return command_line(server.address, tmp_path, monkeypatch, capfd)


OVERWRITING = {
    "a base": ["traverse", "--image", "a.png", "-o", "a.png"],
    "a base by another path": ["traverse", "--image", "a.png", "-o", "folder/../a.png"],
    "a base by a link": ["traverse", "--image", "a.png", "-o", "link.png"],
    "an image": ["reconstruct", "a.png", "-o", "a.png"],
    "an image of a folder": ["reconstruct", "folder", "-o", "folder/0.png"],
    "the folder of the images": ["reconstruct", "folder", "-o", "folder/"],
    "an image to complete": ["inpaint", "a.png", "--hide", "top", "-o", "a.png"],
    "a mask": ["inpaint", "a.png", "--mask", "mask.png", "-o", "mask.png"],
    "latents": ["decode", "codes.npy", "-o", "codes.npy"],
    "images to encode": ["encode", "images.npy", "-o", "images.npy"],
    "images to score": ["score", "images.npy", "-o", "images.npy"],
    "a start": ["interpolate", "a.png", "mask.png", "-o", "a.png"],
    "an end": ["interpolate", "a.png", "mask.png", "-o", "mask.png"],
}


@pytest.mark.parametrize("what", OVERWRITING)
def test_an_output_that_is_an_input_is_refused(run: Run, what: str) -> None:
    Path("folder").mkdir()
    for name in ("a.png", "mask.png", "folder/0.png"):
        GREY.save(name)
    Path("link.png").symlink_to("a.png")
    np.save("codes.npy", np.zeros((2, 2), np.float32))
    np.save("images.npy", np.zeros((2, 1, 28, 28), np.float32))
    before = {path: path.read_bytes() for path in Path().rglob("*.*")}
    outcome = run(*OVERWRITING[what])
    assert outcome.code == 2
    assert "the input" in outcome.err
    assert {path: path.read_bytes() for path in Path().rglob("*.*")} == before


def test_other_files_may_be_overwritten(run: Run) -> None:
    GREY.save("a.png")
    GREY.save("old.png")
    ok(run("traverse", "--image", "a.png", "-o", "old.png"))
    assert Path("old.png").read_bytes() != Path("a.png").read_bytes()
