"""`remote_decode` and `remote_encode` of diffusers, unmodified, give what torch gives."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from http_calls import request
from latens_export.cli import main
from server_process import Server, running_server

diffusers = pytest.importorskip("diffusers")
remote = pytest.importorskip("diffusers.utils.remote_utils")

SIZES = ((32, 48), (64, 32), (64, 64))
SCALE, SHIFT = 0.3611, 0.1159
GREY_LEVEL = 1 / 255
PAGE = (Path(__file__).parents[4] / "docs" / "http.md").read_text()


class Setup(NamedTuple):
    server: Server
    vae: Any
    """The network in torch."""

    def url(self, what: str, model: str = "vae") -> str:
        return f"http://{self.server.http_address}/huggingface/{model}/{what}"


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    folder = tmp_path_factory.mktemp("vae")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae = diffusers.AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(8, 16),
            norm_num_groups=4,
            latent_channels=4,
            scaling_factor=SCALE,
            shift_factor=SHIFT,
            mid_block_add_attention=False,
        ).eval()
    vae.save_pretrained(folder / "vae")
    for name, flags in (("vae", ()), ("raw", ("--raw-latents",))):
        arguments = ["diffusers", str(folder / "vae"), "--repository", str(folder / "models")]
        arguments.append("--opset=18")
        assert main([*arguments, "--name", name, *flags]) == 0
    with running_server(folder / "models", "--default-model=vae", "--drift-seconds=0") as server:
        yield Setup(server, vae)


def latents_of(height: int, width: int, rows: int = 1) -> Tensor:
    """Scaled latents, as a pipeline holds them."""
    generator = torch.Generator().manual_seed(height)
    return torch.randn(rows, 4, height // 2, width // 2, generator=generator) * SCALE


@torch.no_grad()
def pixels_of(vae: Any, latents: Tensor) -> Tensor:
    """What a pipeline makes of them: pixels from 0 to 1."""
    images: Tensor = vae.decode(latents / SCALE + SHIFT).sample
    return (images / 2 + 0.5).clamp(0, 1)


def difference(picture: Image.Image, expected: Tensor) -> float:
    pixels = torch.from_numpy(np.asarray(picture, np.float32)).permute(2, 0, 1) / 255
    return float((pixels - expected[0]).abs().max())


@pytest.mark.parametrize("model", ["vae", "raw"])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_decoded_picture_is_that_of_torch(
    setup: Setup, model: str, height: int, width: int
) -> None:
    latents = latents_of(height, width)
    picture = remote.remote_decode(
        endpoint=setup.url("decode", model),
        tensor=latents,
        scaling_factor=SCALE,
        shift_factor=SHIFT,
        image_format="png",
    )
    assert difference(picture, pixels_of(setup.vae, latents)) <= GREY_LEVEL


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_tensors_come_back_in_the_form_that_is_asked_for(setup: Setup, dtype: Any) -> None:
    latents = latents_of(32, 48, rows=2).to(dtype)
    expected = pixels_of(setup.vae, latents.float())
    scaled = {"scaling_factor": SCALE, "shift_factor": SHIFT, "output_type": "pt"}
    url = setup.url("decode")
    signed = remote.remote_decode(url, latents, return_type="pt", **scaled)
    assert ((signed.float() / 2 + 0.5).clamp(0, 1) - expected).abs().max() <= GREY_LEVEL
    pictures = remote.remote_decode(url, latents, partial_postprocess=True, **scaled)
    assert difference(pictures[1], expected[1:]) <= GREY_LEVEL
    processor = diffusers.image_processor.VaeImageProcessor()
    first = remote.remote_decode(url, latents, processor, **scaled)
    assert difference(first, expected) <= GREY_LEVEL
    scaled["output_type"] = "pil"
    both = remote.remote_decode(url, latents, processor, **scaled)
    assert difference(both[1], expected[1:]) <= GREY_LEVEL


def test_latents_without_scaling_are_raw(setup: Setup) -> None:
    latents = latents_of(32, 48)
    picture = remote.remote_decode(
        setup.url("decode"), latents / SCALE + SHIFT, do_scaling=False, image_format="png"
    )
    assert difference(picture, pixels_of(setup.vae, latents)) <= GREY_LEVEL


def test_scaling_can_be_left_to_the_server(setup: Setup) -> None:
    latents = latents_of(32, 48)
    with pytest.warns(FutureWarning, match="do_scaling"):
        picture = remote.remote_decode(setup.url("decode"), latents, image_format="png")
    assert difference(picture, pixels_of(setup.vae, latents)) <= GREY_LEVEL


def test_packed_latents_are_unpacked(setup: Setup) -> None:
    latents = latents_of(32, 48)
    # As FluxPipeline packs them: squares of two by two latents become one token.
    squares = latents.view(1, 4, 8, 2, 12, 2).permute(0, 2, 4, 1, 3, 5)
    packed = squares.reshape(1, 8 * 12, 4 * 4)
    picture = remote.remote_decode(
        setup.url("decode"),
        packed,
        scaling_factor=SCALE,
        shift_factor=SHIFT,
        image_format="png",
        height=32,
        width=48,
    )
    assert difference(picture, pixels_of(setup.vae, latents)) <= GREY_LEVEL


def test_jpeg_is_the_format_of_no_wish(setup: Setup) -> None:
    picture = remote.remote_decode(setup.url("decode"), latents_of(32, 48), scaling_factor=SCALE)
    assert picture.format == "jpeg"
    assert picture.size == (48, 32)


@pytest.mark.parametrize("model", ["vae", "raw"])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_encoded_latents_are_those_of_torch(
    setup: Setup, model: str, height: int, width: int
) -> None:
    values = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    picture = Image.fromarray(values)
    # Contiguous, since diffusers sends the memory of a copy that it has let go of already.
    signed = (torch.from_numpy(values).permute(2, 0, 1)[None].float() / 127.5 - 1).contiguous()
    with torch.no_grad():
        mean = setup.vae.encode(signed).latent_dist.mean
    scaled = {"scaling_factor": SCALE, "shift_factor": SHIFT}
    for image in (picture, signed):
        url = setup.url("encode", model)
        found = remote.remote_encode(url, image, **scaled)
        assert (found - (mean - SHIFT) * SCALE).abs().max() < 1e-4
        raw = remote.remote_encode(url, image)
        assert (raw - mean).abs().max() < 3e-4
    half = remote.remote_encode(setup.url("encode", model), signed.half(), **scaled)
    assert half.dtype == torch.float16


def test_the_page_is_true(setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (program,) = re.findall(r"<!-- run: diffusers -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LATENS", f"http://{setup.server.http_address}")
    names: dict[str, Any] = {}
    exec(program, names)
    assert names["again"].shape == (1, 4, 32, 24)
    with Image.open("picture.jpg") as picture:
        assert picture.size == (48, 64)


REFUSALS = {
    "fewer bytes": ("shape=1&shape=4&shape=8&shape=8", b"1234", "expected 1024 bytes"),
    "a huge shape": ("shape=4611686018427387903&shape=4", b"", "expected 73786976294838206448"),
    "an unknown type": ("shape=1&dtype=int64", b"12345678", "dtype: expected float32"),
    "no latents": ("", b"", "shape: expected 1 to 8 axes"),
    "a video": ("shape=1&output_type=mp4", b"1234", "output_type: expected pt or pil"),
    "a misspelt parameter": ("shape=1&scaling=2", b"1234", "scaling: no such parameter"),
    "no scale": ("shape=1&shape=4&shape=8&shape=8&scaling_factor=0", bytes(1024), "other than 0"),
    "packed": ("shape=1&shape=4&shape=16", bytes(256), "height: expected height and width"),
    "a pickle": ("shape=4", b"\x80\x04K\x01.", "expected 16 bytes"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_are_what_diffusers_shows(setup: Setup, case: str) -> None:
    query, body, said = REFUSALS[case]
    path = f"/huggingface/vae/decode?{query}"
    answer = request(setup.server.http_address, path, "POST", body=body)
    assert answer.status == 400, answer.body
    assert said in json.loads(answer.body)["message"]


def test_a_wrong_size_is_refused_with_the_nearest(setup: Setup) -> None:
    with pytest.raises(RuntimeError, match="nearest allowed size"):
        remote.remote_encode(setup.url("encode"), Image.new("RGB", (33, 32)))
