"""Paths, folders and Pillow images are accepted instead of arrays, and read when they are sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_client_chunks import drive

from latens import AsyncClient, Client, errors, operations, pictures, wire
from latens.calls import Call
from latens.chunks import ModelRef
from latens.plans import Plans
from latens.v1 import latens_pb2 as pb
from server_process import Server

DIGITS = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five images in a folder and its subfolder, one of them in colour and larger."""
    made = tmp_path / "digits"
    (made / "more").mkdir(parents=True)
    for number, pixels in enumerate(DIGITS[:3]):
        Image.fromarray(pixels).save(made / f"{number}.png")
    Image.fromarray(DIGITS[3]).save(made / "more" / "3.png")
    Image.fromarray(DIGITS[4]).convert("RGB").resize((90, 60)).save(made / "more" / "4.png")
    return made


async def test_a_folder_is_encoded_as_its_pixels_are(server: Server, folder: Path) -> None:
    last = pictures.with_channels(pictures.read(folder / "more" / "4.png"), 1)
    pixels = np.stack([*DIGITS[:4], pictures.fitted(last, 28, 28)[0]])
    said: list[tuple[int, int]] = []
    with Client(server.address, rows_per_call=2) as client:
        expected = client.encode(pixels).mean
        found = client.encode(folder, progress=lambda done, of: said.append((done, of))).mean
        by_text = client.encode(str(folder)).mean
        two: list[Any] = [folder / "0.png", Image.fromarray(DIGITS[1])]
        listed = client.encode(two).mean
    assert np.array_equal(found, expected)
    assert said == [(2, 5), (4, 5), (5, 5)]
    assert np.array_equal(by_text, expected)
    assert np.array_equal(listed, expected[:2])
    async with AsyncClient(server.address, rows_per_call=2) as other:
        assert np.array_equal((await other.encode(folder)).mean, expected)


def test_every_method_that_takes_images_takes_pictures(server: Server, folder: Path) -> None:
    one, two = folder / "0.png", folder / "1.png"
    with Client(server.address) as client:
        assert client.reconstruct(folder).images.shape == (5, 1, 28, 28)
        assert client.score(one).bound.shape == (1,)
        assert client.inpaint([one, two], np.ones((28, 28), bool)).images.shape == (2, 1, 28, 28)
        assert client.interpolate(one, Image.open(two), 3).images.shape == (1, 3, 1, 28, 28)
        assert client.traverse(folder, steps=2).images.shape == (5, 2, 2, 1, 28, 28)


def test_pictures_are_read_when_their_call_is_sent(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    read = pictures.read

    def watched(source: Any) -> pictures.Pixels:
        events.append(source.name)
        return read(source)

    def answer(call: Call) -> bytes:
        call.payload(2**20)
        if call.method.name == "GetModel":
            limits = pb.ModelLimits(max_rows=2, max_message_bytes=2**20)
            model = pb.Model(image_shape=[1, 28, 28], latent_shape=[2], limits=limits)
            return pb.GetModelResponse(model=model).SerializeToString()
        events.append("sent")
        mean = np.zeros((len(call.arrays["images"]), 2), np.float32)
        return wire.serialize(pb.EncodeResponse(), {"mean": mean})

    monkeypatch.setattr(pictures, "read", watched)
    encode = operations.Encode(folder, False, None)
    assert drive(Plans(2**20, None).run(encode, ModelRef(), None), answer).mean.shape == (5, 2)
    assert events == ["0.png", "1.png", "sent", "2.png", "3.png", "sent", "4.png", "sent"]


def test_what_cannot_be_read_names_the_file(server: Server, folder: Path) -> None:
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "empty").mkdir()
    with Client(server.address) as client:
        for value, said in (
            (folder, "broken.png: not a readable picture"),
            (folder / "none.png", "no such file or folder"),
            (folder / "empty", "no pictures in"),
            ([], "real numbers|images"),
        ):
            with pytest.raises(errors.InvalidInputError, match=said) as raised:
                client.encode(value)  # type: ignore[arg-type]
            assert raised.value.field_violations[0].field.startswith("images")
