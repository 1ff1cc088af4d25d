"""docs/http.md tells the truth: its curl commands run, and its table has every parameter."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from latens_serving.transports.rest import operations
from server_process import running_server

PAGE = (Path(__file__).parents[4] / "docs" / "http.md").read_text()
BLOCKS = dict(re.findall(r"<!-- run: (\w+) -->\n```\w+\n(.*?)```", PAGE, re.DOTALL))
SIZES = {"digits.png": 4 * 28 + 3, "digit.png": 28, "again.png": 8 * 28, "mean.png": 28}


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_commands_run(model_repository: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(model_repository / "mnist-2d", models / "mnist-2d")
    with running_server(models) as server:
        environment = os.environ | {"LATENS": f"http://{server.http_address}"}
        for block in ("curl", "rpc"):
            command = ["bash", "-euc", BLOCKS[block]]
            subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=60)
    for name, size in SIZES.items():
        with Image.open(tmp_path / name) as picture:
            assert picture.size == (size, size)
    assert len(json.loads((tmp_path / "code.json").read_text())["mean"][0]) == 2
    assert "images" in json.loads((tmp_path / "mean.json").read_text())
    assert "images" in json.loads((tmp_path / "sample.json").read_text())


@pytest.mark.parametrize("name", ["ENCODE", "DECODE", "RECONSTRUCT", "SAMPLE", "INTERPOLATE"])
def test_the_table_names_every_parameter(name: str) -> None:
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| `/v1/{name.lower()}`")]
    named = set(re.findall(r"`(\w+)`", line.rpartition(" | ")[2])) | {"model", "version"}
    assert named == set(getattr(operations, name))
