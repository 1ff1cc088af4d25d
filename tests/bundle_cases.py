"""Hostile bundles: with any of them, the good model answers and memory does not grow.

`python tests/bundle_cases.py --repository models` starts a server over a copy of a
repository, puts one bad version after another beside `mnist-2d`, and prints a table.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import onnx

from bad_bundles import rewritten
from latens.admin.v1 import admin_pb2, admin_pb2_grpc
from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc
from latens_serving.bundle.files import record_of
from model_folders import add_version
from process_figures import memory_of
from server_process import Server, running_server

MODEL = "mnist-2d"
_MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class BundleCase:
    """A hostile bundle."""

    name: str
    change: Callable[[Path], None]
    """Changes the directory of a good version before the server sees it."""
    said: str
    """A part of the reason that callers are told."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The reason that a server gave for one case, and its state afterwards."""

    case: BundleCase
    state: int
    reason: str
    answers: bool
    """Whether the good version still answered."""
    growth: int
    """Resident bytes above those before the first case."""
    peak: int
    """The most resident bytes so far above those before the first case."""


def _change_spec(directory: Path, old: str, new: str) -> None:
    path = directory / "bundle.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def _tolerance(value: str) -> Callable[[Path], None]:
    return lambda directory: _change_spec(directory, '"tolerance": 0.0001', f'"tolerance": {value}')


def _replaced_by_link(name: str, target: str) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        (directory / name).unlink()
        (directory / name).symlink_to(target)

    return change


def _replaced_by_fifo(name: str) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        (directory / name).unlink()
        os.mkfifo(directory / name)

    return change


def _outside(directory: Path) -> None:
    """A link to a good file that lies outside of the repository."""
    outside = Path(tempfile.mkdtemp()) / "encoder.onnx"
    shutil.copy(directory / "encoder.onnx", outside)
    _replaced_by_link("encoder.onnx", str(outside))(directory)


def _sparse(name: str) -> Callable[[Path], None]:
    """A sparse file of 8 GiB."""

    def change(directory: Path) -> None:
        with (directory / name).open("r+b") as file:
            file.truncate(8 << 30)

    return change


def _npy_header(descr: str, shape: str) -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def _zip_of(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression, compresslevel=1) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


def _bomb(part: str, rows: int) -> Callable[[Path], None]:
    """An archive of `count` empty images, compressed to a hundredth."""

    def change(directory: Path) -> None:
        images = _npy_header("'|u1'", f"({rows}, 1, 28, 28)") + bytes(rows * 784)
        rewritten(directory, part, _zip_of({"images.npy": images}))

    return change


def _probe(content: Callable[[], bytes]) -> Callable[[Path], None]:
    return lambda directory: rewritten(directory, "probe", content())


def _lying_header() -> bytes:
    return _zip_of({"images.npy": _npy_header("'<f4'", "(1000000000000, 1, 28, 28)")})


def _unclosed_header() -> bytes:
    return _zip_of({"images.npy": _npy_header("(((", "(1,)")})


def _damaged(compression: int) -> Callable[[], bytes]:
    def content() -> bytes:
        packed = bytearray(_zip_of({"images.npy": os.urandom(5000)}, compression))
        packed[50:2000] = bytes(1950)
        return bytes(packed)

    return content


def _patched(offset_local: int, offset_central: int, value: int) -> Callable[[], bytes]:
    """An archive with a 16-bit field changed in both of its headers."""

    def content() -> bytes:
        packed = bytearray(_zip_of({"images.npy": _npy_header("'<f4'", "(0,)")}))
        struct.pack_into("<H", packed, offset_local, value)
        struct.pack_into("<H", packed, packed.index(b"PK\x01\x02") + offset_central, value)
        return bytes(packed)

    return content


def _moved_out(tensor: onnx.TensorProto) -> None:
    """Moves the values of a tensor to a file of the working directory."""
    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "weights.bin"


def _external_data(directory: Path) -> None:
    model = onnx.load(directory / "encoder.onnx")
    _moved_out(model.graph.initializer[0])
    rewritten(directory, "encoder", model.SerializeToString())


def _external_data_in_a_node(directory: Path) -> None:
    model = onnx.load(directory / "encoder.onnx")
    tensor = onnx.TensorProto(name="hidden", dims=[1], data_type=onnx.TensorProto.FLOAT)
    _moved_out(tensor)
    model.graph.node.append(onnx.helper.make_node("Constant", [], ["unused"], value=tensor))
    rewritten(directory, "encoder", model.SerializeToString())


def _garbage_graph(directory: Path) -> None:
    rewritten(directory, "decoder", os.urandom(100_000))


def _image_of_terabytes(directory: Path) -> None:
    path = directory / "bundle.json"
    manifest = json.loads(path.read_text())
    for axis in manifest["spec"]["data_axes"][1:]:
        axis["size"] = 1_000_000
    path.write_text(json.dumps(manifest))


def _deep_manifest(directory: Path) -> None:
    (directory / "bundle.json").write_text("[" * 1_000_000)


def _rewritten_embeddings(directory: Path, content: bytes) -> None:
    manifest = json.loads((directory / "bundle.json").read_text())
    (directory / "atlas.npz").write_bytes(content)
    manifest["test_embeddings"] = record_of("atlas.npz", content).model_dump()
    (directory / "bundle.json").write_text(json.dumps(manifest))


def _embeddings_of_pickles(directory: Path) -> None:
    content = io.BytesIO()
    np.savez(content, images=np.array([{}], dtype=object))
    _rewritten_embeddings(directory, content.getvalue())


CASES = (
    BundleCase("encoder: endless device", _replaced_by_link("encoder.onnx", "/dev/zero"), "leaves"),
    BundleCase("manifest: endless device", _replaced_by_link("bundle.json", "/dev/zero"), "leaves"),
    BundleCase("encoder: link out of the repository", _outside, "leaves the repository"),
    BundleCase(
        "encoder: link to itself", _replaced_by_link("encoder.onnx", "encoder.onnx"), "link"
    ),
    BundleCase("probe: FIFO", _replaced_by_fifo("probe.npz"), "expected a regular file"),
    BundleCase("manifest: FIFO", _replaced_by_fifo("bundle.json"), "expected a regular file"),
    BundleCase("encoder: 8 GiB", _sparse("encoder.onnx"), "the manifest says"),
    BundleCase("manifest: 8 GiB", _sparse("bundle.json"), "at most"),
    BundleCase("manifest: a million brackets", _deep_manifest, "bundle.json"),
    BundleCase("probe: zip bomb", _bomb("probe", 700_000), "unpacked, at most"),
    BundleCase("test embeddings: zip bomb", _bomb("test_embeddings", 700_000), "unpacked, at most"),
    BundleCase("test embeddings: pickles", _embeddings_of_pickles, "holds objects"),
    BundleCase("probe: header of terabytes", _probe(_lying_header), "the header says"),
    BundleCase("probe: unclosed header", _probe(_unclosed_header), "not a readable archive"),
    BundleCase("probe: damaged deflate", _probe(_damaged(zipfile.ZIP_DEFLATED)), "not a readable"),
    BundleCase("probe: damaged LZMA", _probe(_damaged(zipfile.ZIP_LZMA)), "not a readable"),
    BundleCase("probe: unknown compression", _probe(_patched(8, 10, 99)), "not a readable"),
    BundleCase("probe: encrypted", _probe(_patched(6, 8, 1)), "not a readable archive"),
    BundleCase("graph: external data", _external_data, "external data"),
    BundleCase("graph: external data in a node", _external_data_in_a_node, "external data"),
    BundleCase("graph: garbage", _garbage_graph, "ONNX graph"),
    BundleCase("spec: image of terabytes", _image_of_terabytes, "probe"),
    BundleCase("spec: tolerance 1e30", _tolerance("1e30"), "at most 0.01"),
    BundleCase("spec: tolerance Infinity", _tolerance("Infinity"), "finite"),
    BundleCase("spec: tolerance NaN", _tolerance("NaN"), "finite"),
)


def run_cases(repository: Path, cases: tuple[BundleCase, ...] = CASES) -> Iterator[Outcome]:
    """Runs each case against one server over a copy of a repository, one version at a time."""
    rounds = ("--watch-seconds=0", "--canary-seconds=0", "--drift-seconds=0", "--admin-port=0")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "models"
        shutil.copytree(repository / MODEL, copy / MODEL)
        with running_server(copy, *rounds) as server, _stubs(server) as (latents, admin):
            _answers(latents)
            before = memory_of(server.pid)
            for version, case in enumerate(cases, 2):
                directory = add_version(copy, version, case.change)
                answer = admin.ReloadRepository(admin_pb2.ReloadRepositoryRequest(), timeout=120)
                found = next(model for model in answer.models if model.version == str(version))
                shutil.rmtree(directory)
                yield Outcome(
                    case,
                    found.state,
                    found.state_reason,
                    _answers(latents),
                    memory_of(server.pid) - before,
                    _peak_of(server.pid) - before,
                )


def _peak_of(pid: int) -> int:
    """The peak of the resident bytes of a process."""
    (line,) = re.findall(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.M)
    return int(line) << 10


@contextlib.contextmanager
def _stubs(
    server: Server,
) -> Iterator[tuple[latens_pb2_grpc.LatentServiceStub, admin_pb2_grpc.AdminServiceStub]]:
    with (
        grpc.insecure_channel(server.address) as public,
        grpc.insecure_channel(server.wait_for("serving")["admin_address"]) as private,
    ):
        yield (
            latens_pb2_grpc.LatentServiceStub(public),
            admin_pb2_grpc.AdminServiceStub(private),
        )


def _answers(stub: latens_pb2_grpc.LatentServiceStub) -> bool:
    answer = stub.Sample(pb.SampleRequest(model=MODEL, count=1, seed=1), timeout=60)
    return answer.version == "1"


def main() -> None:
    """Runs every case and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", type=Path, default=Path("models"))
    chosen = parser.parse_args()
    print(f"{'case':36} {'state':7} {'good one answers':17} {'memory MiB':11} peak MiB")
    for outcome in run_cases(chosen.repository):
        state = pb.ModelState.Name(outcome.state).removeprefix("MODEL_STATE_").lower()
        growth, peak = outcome.growth / _MEBIBYTE, outcome.peak / _MEBIBYTE
        print(
            f"{outcome.case.name:36} {state:7} {outcome.answers!s:17} {growth:<+11.0f} {peak:+.0f}"
        )


if __name__ == "__main__":
    main()
