"""`latens-export onnx` takes an encoder and a decoder that are ONNX files already."""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
import yaml
from onnx import TensorProto, helper
from torch import Tensor, nn

from latens_export.cli import main
from latens_serving.bundle.files import read_manifest, verified_bytes
from latens_serving.bundle.spec import Posterior, Scaling

if TYPE_CHECKING:
    from pathlib import Path

CARD: dict[str, Any] = {
    "data": {
        "channels": 3,
        "height": {"multiple": 4, "maximum": 256, "usual": 64},
        "width": {"multiple": 4, "maximum": 256, "usual": 64},
    },
    "latent": {"channels": 4, "height": "height/4", "width": "width/4"},
    "graph_range": [-1, 1],
    "scaling": {"scale": 0.5, "shift": 0.25},
}


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 8, 4, 4)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_var = self.layer(images).chunk(2, dim=1)
        return mean, log_var


class Sampling(Encoder):
    def forward(self, images: Tensor) -> Tensor:  # type: ignore[override]  # one tensor
        mean, _ = super().forward(images)
        return mean + torch.randn_like(mean)


def write(module: nn.Module, example: Tensor, path: Path, free: dict[int, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(), (example,), str(path), dynamic_shapes=(free,), dynamo=True, verbose=False
        )


def modules() -> tuple[nn.Module, nn.Module]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Encoder().eval(), nn.ConvTranspose2d(4, 3, 4, 4).eval()


def dims(*axes: int) -> dict[int, Any]:
    return dict.fromkeys(axes, torch.export.Dim.DYNAMIC)


def write_pair(folder: Path) -> tuple[nn.Module, nn.Module]:
    """A folder as optimum writes it."""
    encoder, decoder = modules()
    write(encoder, torch.zeros(2, 3, 32, 48), folder / "vae_encoder/model.onnx", dims(0, 2, 3))
    write(decoder, torch.zeros(2, 4, 8, 12), folder / "vae_decoder/model.onnx", dims(0, 2, 3))
    return encoder, decoder


def card(folder: Path, **changes: Any) -> list[str]:
    fields = {name: value for name, value in {**CARD, **changes}.items() if value is not None}
    (folder / "card.yaml").write_text(yaml.safe_dump(fields))
    return ["--card", str(folder / "card.yaml")]


def refused(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == code
    return capsys.readouterr().err.splitlines()[-1]


def run(path: Path, part: str, values: np.ndarray) -> list[np.ndarray]:
    graph = verified_bytes(path, read_manifest(path).graphs[part])
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    found: list[np.ndarray] = session.run(None, {session.get_inputs()[0].name: values})
    return found


@pytest.mark.parametrize("as_folder", [True, False])
def test_two_graphs_are_folded_as_modules_are(as_folder: bool, tmp_path: Path) -> None:
    encoder, decoder = write_pair(tmp_path)
    files = [str(tmp_path / part / "model.onnx") for part in ("vae_encoder", "vae_decoder")]
    paths = [str(tmp_path)] if as_folder else files
    repository = ["--repository", str(tmp_path / "models"), "--name", "m"]
    assert main(["onnx", *paths, *card(tmp_path), *repository]) == 0
    path = tmp_path / "models" / "m" / "1"
    spec = read_manifest(path).spec
    assert spec.posterior is Posterior.DIAGONAL_GAUSSIAN
    assert spec.scaling == Scaling(scale=0.5, shift=0.25)
    assert spec.parameter_count == 8 * 3 * 16 + 8 + 4 * 3 * 16 + 3
    for size in ((64, 64), (4, 8), (120, 36)):
        pixels = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            mean, log_var = encoder(2 * pixels - 1)
            images = (decoder(mean) / 2 + 0.5).clamp(0, 1)
        expected = ((mean - 0.25) * 0.5, log_var + 2 * np.log(0.5))
        found = run(path, "encoder", pixels.numpy())
        for array, wanted in zip(found, expected, strict=True):
            np.testing.assert_allclose(array, wanted.numpy(), atol=2e-5)
        np.testing.assert_allclose(run(path, "decoder", found[0])[0], images.numpy(), atol=2e-5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": None}, "card: data: expected a value: the axes of one row of data"),
        ({"latent": None}, "card: latent: expected a value: the axes of one latent"),
        ({"graph_range": None}, "card: graph_range: expected a value"),
        (
            {"latent": {"channels": 4, "height": "height/2", "width": "width/4"}},
            "the spec says [4, 32, 16]",
        ),
        (
            {
                "data": {
                    "channels": 3,
                    "height": {"multiple": 2, "maximum": 64, "usual": 32},
                    "width": 32,
                },
                "latent": {"channels": 4, "height": "height/2", "width": 8},
            },
            "the spec says [4, 16, 8]",
        ),
        (
            {"posterior": "deterministic"},
            "the encoder gives a log_var, the spec says deterministic",
        ),
    ],
)
def test_a_card_that_is_missing_or_wrong_is_refused(
    changes: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pair(tmp_path)
    code = 2 if said.startswith("card") else 5
    line = refused(["onnx", str(tmp_path), "--name", "m", *card(tmp_path, **changes)], code, capsys)
    assert said in line


def test_a_graph_with_a_fixed_batch_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pair(tmp_path)
    file = tmp_path / "vae_encoder/model.onnx"
    write(modules()[0], torch.zeros(2, 3, 32, 48), file, dims(2, 3))
    line = refused(["onnx", str(tmp_path), "--name", "m", *card(tmp_path)], 5, capsys)
    assert "encoder: the graph fixes its batch size to 2; export it with a free axis 0" in line


def test_an_encoder_graph_that_draws_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pair(tmp_path)
    file = tmp_path / "vae_encoder/model.onnx"
    write(Sampling(), torch.zeros(2, 3, 32, 48), file, dims(0, 2, 3))
    line = refused(["onnx", str(tmp_path), "--name", "m", *card(tmp_path)], 5, capsys)
    assert "the encoder draws random numbers (RandomNormal" in line


def test_external_data_outside_the_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pair(tmp_path / "pair")
    (tmp_path / "secret").write_bytes(bytes(4 * 4 * 3 * 16))
    file = tmp_path / "pair/vae_decoder/model.onnx"
    graph = onnx.load(str(file))
    (weight,) = [tensor for tensor in graph.graph.initializer if len(tensor.dims) == 4]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", "../../secret"
    file.write_bytes(graph.SerializeToString())
    line = refused(["onnx", str(tmp_path / "pair"), "--name", "m", *card(tmp_path)], 5, capsys)
    assert "vae_decoder/model.onnx" in line
    assert "secret" in line


def test_what_is_no_graph_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.onnx").write_bytes(b"not a graph")
    file = str(tmp_path / "a.onnx")
    assert "a.onnx" in refused(["onnx", file, file, "--name", "m"], 5, capsys)
    missing = str(tmp_path / "b.onnx")
    assert "no such file" in refused(["onnx", file, missing, "--name", "m"], 3, capsys)
    assert "or a folder with vae_encoder/" in refused(["onnx", file, "--name", "m"], 2, capsys)


def test_an_old_opset_is_converted(tmp_path: Path) -> None:
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])
    latent = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 3, "h4", "w4"])
    pool = helper.make_node("AveragePool", ["x"], ["z"], kernel_shape=[4, 4], strides=[4, 4])
    old = helper.make_model(
        helper.make_graph([pool], "pool", [image], [latent]),
        opset_imports=[helper.make_opsetid("", 11)],
        ir_version=8,
    )
    onnx.save(old, str(tmp_path / "encoder.onnx"))
    up = nn.Upsample(scale_factor=4)
    write(up, torch.zeros(2, 3, 8, 12), tmp_path / "decoder.onnx", dims(0, 2, 3))
    files = [str(tmp_path / "encoder.onnx"), str(tmp_path / "decoder.onnx")]
    said = card(tmp_path, latent={"channels": 3, "height": "height/4", "width": "width/4"})
    repository = ["--repository", str(tmp_path / "models"), "--name", "m"]
    assert main(["onnx", *files, *said, *repository]) == 0
    spec = read_manifest(tmp_path / "models" / "m" / "1").spec
    assert spec.posterior is Posterior.DETERMINISTIC


def test_float16_of_onnx_files_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pair(tmp_path)
    given = ["onnx", str(tmp_path), "--name", "m", "--precision", "float16", *card(tmp_path)]
    assert "float16 needs the network as a torch module" in refused(given, 2, capsys)
