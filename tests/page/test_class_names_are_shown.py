"""The names of a data set's classes reach the client and the page."""

from __future__ import annotations

from pathlib import Path

import torch

from browser import explorer, running_browser
from latens import Client
from latens_training import Dataset, ModelConfig, RunConfig, Split, TrainConfig, train
from server_process import running_server

NAMES = ("cat", "dog", "owl")


def test_class_names_of_the_data_set_are_shown(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(256, (60, 1, 8, 8), dtype=torch.uint8, generator=draw)
    labels = torch.arange(60) % 3
    data = Dataset(
        "animals",
        Split(images[:48], labels[:48]),
        Split(images[48:], labels[48:]),
        class_names=NAMES,
    )
    model = ModelConfig(architecture="vae-mlp", latent_size=2, hidden=(16,))
    config = RunConfig(model=model, train=TrainConfig(epochs=1, batch_size=16))
    run = train(config, dataset=data, out=tmp_path / "run", quiet=True)
    run.export(tmp_path / "models", "animals")
    with running_server(tmp_path / "models") as server:
        with Client(server.address) as client:
            assert client.model().label_names == NAMES
        with running_browser() as browser, explorer(browser, server.http_address) as page:
            page.open()
            page.until_count("#legend .chip", 3)
            assert page.page.locator("#legend .chip").all_inner_texts() == list(NAMES)
            page.until_count("#neighbours button", 7)
            shown = page.page.locator("#neighbours button span").all_inner_texts()
            assert set(shown) <= set(NAMES)
