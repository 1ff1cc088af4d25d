"""docs/bulk.md tells the truth: marked blocks are run in order, others are checked."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from environments import environment
from grid_bundle import write_grid_bundle
from latens_bulk.settings import EncodeSettings
from latens_serving import Encoder

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "bulk.md").read_text()
BLOCK = re.compile(r"(?:<!-- run: ([\w-]+) -->\n)?```(\w+)\n(.*?)```", re.DOTALL)
ROWS = 60_000


@pytest.fixture(scope="module")
def followed(model_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all marked blocks have been run."""
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(model_repository / "mnist-2d", folder / "models" / "mnist-2d")
    write_grid_bundle(folder / "models" / "grid")
    (folder / "photos").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "photos" / "one.jpg")
    (folder / "latens-bulk").write_text(f'#!/bin/sh\nexec {sys.executable} -m latens_bulk "$@"\n')
    (folder / "latens-bulk").chmod(0o755)
    environment = os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    programs = {"shell": ["bash", "-euxc"], "python": [sys.executable, "-c"]}
    for how, _, text in BLOCK.findall(PAGE):
        if how:
            done = subprocess.run(
                [*programs[how], text],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
    return folder


def test_the_first_data_set_is_whole_and_drawn(followed: Path) -> None:
    manifest = json.loads((followed / "latents" / "manifest.json").read_text())
    assert manifest["rows"] == ROWS
    with Image.open(followed / "scatter.png") as picture:
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 10


def test_the_other_outputs_are_there(followed: Path) -> None:
    photos = json.loads((followed / "photo-latents" / "manifest.json").read_text())
    assert photos["description"]["latents"][2:] == ["mean_mirrored", "log_var_mirrored"]
    second = json.loads((followed / "second" / "manifest.json").read_text())
    assert second["rows"] == ROWS


def test_every_option_on_the_page_is_a_setting() -> None:
    known = {
        name.replace("_", "-").replace("json-output", "json")
        for name in EncodeSettings.model_fields
    }
    named = set(re.findall(r"--([a-z][a-z-]+)", PAGE)) - {"build-arg"}
    assert named - known == set()


def spark_recipe(bundle: Path) -> str:
    (recipe,) = [text for _, _, text in BLOCK.findall(PAGE) if "def encode(batches)" in text]
    return str(recipe.replace("/models/mnist", str(bundle)))


@pytest.mark.timeout(900)
@pytest.mark.skipif(
    "LATENS_TEST_SPARK" not in os.environ,
    reason="Spark is a download of 456 MB and needs Java: LATENS_TEST_SPARK=1 runs it",
)
def test_the_recipe_runs_on_spark_itself(model_repository: Path, tmp_path: Path) -> None:
    pins = [f"-r{ROOT / 'requirements' / 'serve-cpu.txt'}"]
    python = environment("spark", ["pyspark", "pandas", "pyarrow", *pins])
    images = np.random.default_rng(0).integers(0, 256, (500, 1, 28, 28), np.uint8)
    np.save(tmp_path / "images.npy", images)
    (tmp_path / "recipe.py").write_text(spark_recipe(model_repository / "mnist-2d"))
    script = Path(__file__).parent / "spark_recipe.py"
    output = tmp_path / "out.npz"
    paths = [str(ROOT / name) for name in ("clients/python", "serving")]
    done = subprocess.run(
        [python, script, tmp_path / "recipe.py", tmp_path / "images.npy", output],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYSPARK_PYTHON": str(python)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    direct = Encoder(model_repository / "mnist-2d", device="cpu")(images)
    with np.load(output) as encoded:
        assert encoded["ids"].tolist() == list(range(500))
        for head in ("mean", "log_var"):
            np.testing.assert_array_equal(encoded[head], direct[head])


def test_the_recipe_for_spark_encodes(model_repository: Path) -> None:
    """Without Spark: with what it calls, and with the few things of pandas that are used."""
    bundle = model_repository / "mnist-2d"
    names: dict[str, Any] = {"frame": SimpleNamespace(mapInPandas=lambda *_: None)}
    exec(spark_recipe(bundle), names)
    images = np.random.default_rng(0).integers(0, 256, (5, 1, 28, 28), np.uint8)

    class Frame(dict):
        def __getitem__(self, key: object) -> object:
            if isinstance(key, list):
                return Frame({name: self[name] for name in key})
            return super().__getitem__(key)

        def assign(self, **columns: object) -> Frame:
            return Frame(self | columns)

    batch = Frame(id=list("abcde"), image=[image.tobytes() for image in images])
    (encoded,) = names["encode"]([batch])
    direct = Encoder(bundle, device="cpu")(images)
    np.testing.assert_array_equal(np.stack(encoded["mean"]), direct["mean"])
    assert encoded["id"] == list("abcde")
