"""docs/notebooks/walk.ipynb runs as it is printed, and was run before it was committed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server_process import Server

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebooks" / "walk.ipynb"


@pytest.fixture(scope="module")
def cells() -> list[dict[str, Any]]:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_every_cell_runs(cells: list[dict[str, Any]], server: Server) -> None:
    names: dict[str, Any] = {}
    for cell in cells:
        text = "".join(cell["source"]).replace('"127.0.0.1:50051"', repr(server.address))
        exec(text.replace('"mnist"', '"mnist-2d"'), names)
    assert names["digits"].images.shape == (36, 1, 28, 28)
    assert np.isfinite(names["scores"].bound).all()


def test_the_committed_outputs_are_those_of_all_cells_in_order(
    cells: list[dict[str, Any]],
) -> None:
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert all(output["output_type"] != "error" for output in outputs)
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 5
