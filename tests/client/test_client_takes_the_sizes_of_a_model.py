"""Where a model leaves sizes free, the client takes them all, and says which would do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from command_line import Run, command_line, ok
from latens import Client
from latens.chunks import CallBudget
from latens.errors import InvalidInputError
from latens.models import Limits, from_message
from latens.operations import Encode
from latens.v1 import latens_pb2 as pb
from server_process import Server, running_server
from toy_bundles import decoded, encoded, random_images, side, spatial_spec, write_spatial

SIZES = ((8, 8), (16, 64), (32, 12))
LARGEST = 1 << 10


@pytest.fixture(scope="module")
def spatial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("models")
    write_spatial(root)
    sides = (side("height", maximum=LARGEST), side("width", maximum=LARGEST))
    write_spatial(root, "large", spatial_spec(data_axes=(spatial_spec().data_axes[0], *sides)))
    write_spatial(root, "plain", spatial_spec(posterior="deterministic", prior="none"))
    flags = ("--default-model=spatial", f"--max-message-bytes={1 << 21}", "--log-calls=none")
    with running_server(root, *flags) as server:
        yield server


@pytest.fixture(scope="module")
def client(spatial: Server) -> Iterator[Client]:
    with Client(spatial.address) as client:
        yield client


def test_each_size_is_encoded_decoded_and_walked(client: Client) -> None:
    for height, width in SIZES:
        images = random_images(2, height, width)
        mean = client.encode(images).mean
        np.testing.assert_allclose(mean, encoded(images), atol=1e-5)
        np.testing.assert_allclose(client.decode(mean).images, decoded(mean), atol=1e-5)
        path = client.interpolate(images, images[::-1], 3, mode="spherical", ends_are="images")
        assert path.images.shape == (2, 3, 3, height, width)
        assert client.traverse(mean, axes=[0], steps=2).images.shape == (2, 1, 2, 3, height, width)
        assert client.sample(3, latent_shape=mean.shape[1:]).images.shape == (3, 3, height, width)
        assert client.reconstruct(images).kl is None


def test_a_batch_is_split_by_the_bytes_of_its_own_rows(client: Client) -> None:
    done: list[tuple[int, int]] = []

    def progress(part: int, whole: int) -> None:
        done.append((part, whole))

    images = random_images(7, 200, 200)
    answer = client.reconstruct(images, model="large", progress=progress)
    np.testing.assert_allclose(answer.images, decoded(encoded(images)), atol=1e-5)
    assert done == [(3, 7), (6, 7), (7, 7)]
    done.clear()
    client.reconstruct(random_images(7, 16, 16), model="large", progress=progress)
    assert done == [(7, 7)]


def test_the_client_counts_rows_as_the_server_does() -> None:
    free = pb.Axis(multiple=4, minimum=4, maximum=400, usual=8)
    image = [pb.Axis(name="channels", size=3), pb.Axis(name="height"), pb.Axis(name="width")]
    latent = [pb.Axis(name="channels", size=4), pb.Axis(name="h"), pb.Axis(name="w")]
    for axis in (*image[1:], *latent[1:]):
        axis.MergeFrom(free)
    for axis, of in zip(latent[1:], ("height", "width"), strict=True):
        axis.of, axis.stride = of, 4
    model = from_message(pb.Model(image_shape=[3, 0, 0], image_axes=image, latent_axes=latent))
    encode = Encode(np.zeros((9, 3, 8, 8), np.uint8), False, None).spec(model)
    assert encode.row_bytes == 4 * (3 * 8 * 8 + 2 * 4 * 2 * 2)
    limits = Limits(max_rows=1000, max_message_bytes=4096 + 5 * encode.row_bytes)
    assert CallBudget(limits, 1 << 30).items_per_call(encode) == 5


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((1, 3, 18, 8), "height: expected a multiple of 4 from 8 to 64, got 18; the nearest "),
        ((1, 3, 8, 99), "got 99; the nearest allowed size is 64"),
        ((1, 1, 8, 8), "channels: expected 3, got 1"),
    ],
)
def test_a_size_that_the_model_does_not_take_is_refused_with_the_nearest(
    client: Client, shape: tuple[int, ...], said: str
) -> None:
    with pytest.raises(InvalidInputError, match=said):
        client.encode(np.zeros(shape, np.float32))


def test_a_picture_is_neither_padded_nor_cut_unsaid(client: Client, tmp_path: Path) -> None:
    path = picture(tmp_path / "photo.png", 30, 18)
    with pytest.raises(InvalidInputError, match="got 18; the nearest allowed size is 20"):
        client.encode(str(path))
    fitting = picture(tmp_path / "fitting.png", 32, 20)
    assert client.encode(str(fitting)).mean.shape == (1, 3, 5, 8)
    other = picture(tmp_path / "other.png", 32, 24)
    with pytest.raises(InvalidInputError, match="pictures of one size, 32 x 20 as the first"):
        client.encode([fitting, other])


def test_a_model_is_described_with_its_sizes(client: Client) -> None:
    model = client.model()
    assert model.is_free
    assert model.usual_sizes.image == (3, 16, 16)
    assert model.usual_sizes.latent == (3, 4, 4)
    assert (model.prior, model.likelihood, model.modality) == ("STANDARD_NORMAL", "NONE", "IMAGE")
    assert model.image_axes[1].nearest(18) == 20
    assert client.model("plain").prior == "NONE"


def picture(path: Path, width: int, height: int) -> Path:
    pixels = np.arange(width * height * 3).reshape(height, width, 3) % 256
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


@pytest.fixture
def run(
    spatial: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Run:
    return command_line(spatial.address, tmp_path, monkeypatch, capfd)


def test_the_command_refuses_a_picture_that_does_not_fit_and_fits_it_as_it_is_told(
    run: Run, tmp_path: Path
) -> None:
    photo = picture(tmp_path / "photo.png", 30, 18)
    refused = run("encode", photo, "-o", "codes.npz")
    assert refused.code == 5
    assert "got 18; the nearest allowed size is 20; --fit crop" in refused.err
    for fit in ("crop", "pad", "resize"):
        outcome = ok(run("encode", photo, "--fit", fit, "-o", "codes.npz"))
        assert "fitted to the model: 32 x 20" in outcome.err
        assert np.load("codes.npz")["mean"].shape == (1, 3, 5, 8)
    ok(run("encode", photo, "--fit", "crop", "--size", "16x8", "-o", "codes.npz"))
    assert np.load("codes.npz")["mean"].shape == (1, 3, 2, 4)
    refused = run("encode", photo, "--fit", "crop", "--size", "16x9", "-o", "codes.npz")
    assert "--size: height: " in refused.err


def test_the_command_samples_and_decodes_at_a_size(run: Run) -> None:
    ok(run("sample", "-n", 2, "--size", "32x16", "-o", "drawn.npz"))
    assert np.load("drawn.npz")["images"].shape == (2, 3, 16, 32)
    ok(run("sample", "-n", 2, "-o", "usual.npz"))
    assert np.load("usual.npz")["images"].shape == (2, 3, 16, 16)
    ok(run("decode", "drawn.npz", "--size", "32x16", "-o", "again.npy"))
    assert np.load("again.npy").shape == (2, 3, 16, 32)
    wrong = run("decode", "drawn.npz", "--size", "16x32", "-o", "again.npy")
    assert (wrong.code, "--size: expected latents [3, 8, 4]" in wrong.err) == (5, True)
    at = ",".join(["0.5"] * 12)
    ok(run("decode", "--at", at, "--size", "8x8", "-o", "point.npy"))
    assert np.load("point.npy").shape == (1, 3, 8, 8)


def test_the_command_shows_the_sizes_that_a_model_takes(run: Run) -> None:
    assert "3 x height x width" in ok(run("models")).out
    described = ok(run("models", "spatial")).out
    assert "a multiple of 4 from 8 to 64, usually 16" in described
    assert "3 x height/4 x width/4" in described
    assert "no likelihood" in described


def test_a_model_without_prior_says_what_to_do(run: Run) -> None:
    outcome = run("sample", "-n", 1, "--model", "plain", "-o", "drawn.png")
    assert outcome.code != 0
    assert "--fit-prior" in outcome.err
