"""The engine of a device pads, binds and overlaps runs, with the plain engine's results."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from latens_serving.bundle.files import read_manifest, verified_bytes
from latens_serving.engine import factory as engine_choice
from latens_serving.engine.batch_sizes import BatchSizes
from latens_serving.engine.cuda import availability as cuda
from latens_serving.engine.cuda.driver_memory import CudaMemory
from latens_serving.engine.cuda.engine import DeviceEngine
from latens_serving.engine.cuda.memory import HostMemory
from latens_serving.engine.errors import DeviceMemoryError, DeviceUnavailableError, EngineError
from latens_serving.engine.factory import open_engine
from latens_serving.engine.onnx import (
    Device,
    EngineSettings,
    OnnxEngine,
    open_session,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnxruntime as ort

ON_CPU = EngineSettings(device=Device.CPU)
SIZES = BatchSizes((1, 2, 4, 8))
# A processor may sum a row in another order in a batch of another size. Latents reach 8, where one
# step of float32 is 9.5e-7.
ROUNDING = 1e-5


@pytest.fixture(scope="module")
def encoder(model_repository: Path) -> bytes:
    directory = model_repository / "mnist-2d" / "1"
    return verified_bytes(directory, read_manifest(directory).encoder)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).random((40, 1, 28, 28), np.float32)


@pytest.fixture(scope="module")
def expected(encoder: bytes, images: np.ndarray) -> tuple[np.ndarray, ...]:
    return OnnxEngine(encoder, ON_CPU).run(images)


def session(graph: bytes) -> ort.InferenceSession:
    return open_session(graph, ON_CPU)[0]


def device_engine(graph: bytes, memory: HostMemory | None = None) -> DeviceEngine:
    return DeviceEngine(session(graph), memory or HostMemory(), SIZES, stream=0)


class TracedMemory(HostMemory):
    """Records its calls; copies to the host arrive when they are awaited, not earlier."""

    def __init__(self) -> None:
        super().__init__()
        self.diary: list[str] = []
        self._handles = 0
        self._late: dict[int, list[tuple[int, bytes]]] = {}
        self._recorded: dict[int, int] = {}

    def new_stream(self) -> int:
        self._handles += 1
        return self._handles

    new_event = new_stream

    def copy_in(self, target: int, source: int, size: int, stream: int) -> None:
        self.diary.append(f"in:{size // 3136}")
        super().copy_in(target, source, size, stream)

    def copy_out(self, target: int, source: int, size: int, stream: int) -> None:
        self._late.setdefault(stream, []).append((target, ctypes.string_at(source, size)))

    def record(self, event: int, stream: int) -> None:
        self.diary.append(f"record:{event}@{stream}")
        self._recorded[event] = stream

    def wait(self, stream: int, event: int) -> None:
        self.diary.append(f"wait:{event}@{stream}")

    def synchronize(self, event: int) -> None:
        self.diary.append(f"sync:{event}")
        for target, late in self._late.pop(self._recorded[event], []):
            ctypes.memmove(target, late, len(late))


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 8, 9, 16, 17, 31, 40])
def test_a_batch_of_any_size_gets_the_plain_engine_s_answers(
    encoder: bytes, images: np.ndarray, expected: tuple[np.ndarray, ...], rows: int
) -> None:
    engine = device_engine(encoder)
    for found, wanted in zip(engine.run(images[:rows]), expected, strict=True):
        assert found.shape == (rows, 2)
        np.testing.assert_allclose(found, wanted[:rows], rtol=0, atol=ROUNDING)


def test_rows_of_an_earlier_batch_never_leak_into_a_later_one(
    encoder: bytes, images: np.ndarray, expected: tuple[np.ndarray, ...]
) -> None:
    engine = device_engine(encoder)
    engine.run(np.full((40, 1, 28, 28), np.nan, np.float32))
    found = engine.run(images[:5])
    np.testing.assert_allclose(found[0], expected[0][:5], rtol=0, atol=ROUNDING)


def test_answers_do_not_change_in_later_runs(encoder: bytes, images: np.ndarray) -> None:
    engine = device_engine(encoder)
    first = engine.run(images[:4])
    kept = [array.copy() for array in first]
    engine.run(images[4:8])
    for array, copy in zip(first, kept, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_two_runs_overlap_and_results_are_awaited(
    encoder: bytes, images: np.ndarray, expected: tuple[np.ndarray, ...]
) -> None:
    memory = TracedMemory()
    engine = device_engine(encoder, memory)
    memory.diary.clear()
    found = engine.run(images)  # five runs of eight
    np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=ROUNDING)
    course = [entry.split(":")[0] for entry in memory.diary if entry.startswith(("in", "sync"))]
    assert course == ["in", "in", "sync", "in", "sync", "in", "sync", "in", "sync", "sync"]


def test_a_run_waits_for_its_rows_and_their_return_for_the_run(
    encoder: bytes, images: np.ndarray
) -> None:
    memory = TracedMemory()
    engine = DeviceEngine(session(encoder), memory, SIZES, stream=99)
    memory.diary.clear()
    engine.run(images[:1])
    copied, loaded, awaited, computed, returned, fetched, waited = memory.diary
    assert copied == "in:1"
    assert awaited == f"wait:{event_of(loaded)}@99"
    assert computed.endswith("@99")
    assert returned == f"wait:{event_of(computed)}@{stream_of(fetched)}"
    assert waited == f"sync:{event_of(fetched)}"
    assert len({stream_of(loaded), "99", stream_of(fetched)}) == 3


def event_of(entry: str) -> str:
    return entry.partition(":")[2].partition("@")[0]


def stream_of(entry: str) -> str:
    return entry.partition("@")[2]


def test_every_size_is_run_while_the_engine_opens(encoder: bytes) -> None:
    memory = TracedMemory()
    device_engine(encoder, memory)
    met = [entry for entry in memory.diary if entry.startswith("in")]
    assert met == [f"in:{step}" for step in (8, 4, 2, 1) for _ in range(6)]


@pytest.mark.parametrize(
    "inputs",
    [
        np.zeros((2, 1, 28, 28), np.float64),
        np.zeros((2, 1, 28, 28), np.uint8),
        np.zeros((2, 784), np.float32),
        np.zeros((2, 1, 28, 27), np.float32),
    ],
)
def test_inputs_that_do_not_fit_are_refused_and_the_next_run_works(
    encoder: bytes, images: np.ndarray, inputs: np.ndarray
) -> None:
    engine = device_engine(encoder)
    with pytest.raises(EngineError, match="does not fit"):
        engine.run(inputs)
    assert engine.run(images[:2])[0].shape == (2, 2)


def test_a_failed_run_is_reported_and_the_next_one_is_correct(
    encoder: bytes, images: np.ndarray, expected: tuple[np.ndarray, ...]
) -> None:
    class Failing(HostMemory):
        broken = False

        def copy_out(self, target: int, source: int, size: int, stream: int) -> None:
            if self.broken:
                raise RuntimeError("CUDA failure 2: out of memory")
            super().copy_out(target, source, size, stream)

    memory = Failing()
    engine = device_engine(encoder, memory)
    memory.broken = True
    with pytest.raises(DeviceMemoryError):
        engine.run(images)
    memory.broken = False
    np.testing.assert_allclose(engine.run(images)[0], expected[0], rtol=0, atol=ROUNDING)


def test_many_threads_may_call_at_once(
    encoder: bytes, images: np.ndarray, expected: tuple[np.ndarray, ...]
) -> None:
    engine = device_engine(encoder)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda row: engine.run(images[row : row + 3])[0], range(37)))
    for row, answer in enumerate(answers):
        np.testing.assert_allclose(answer, expected[0][row : row + 3], rtol=0, atol=ROUNDING)


def test_a_closed_engine_refuses_to_run(encoder: bytes, images: np.ndarray) -> None:
    engine = device_engine(encoder)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.run(images[:1])


class StubbedCuda(CudaMemory):
    """The driver's interface over host memory, which a session of the CPU can be bound to."""

    kind = "cpu"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    library = tmp_path_factory.mktemp("driver") / "driver.so"
    source = Path(__file__).parent / "cuda_driver.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    return ctypes.CDLL(str(library))


@pytest.fixture
def nothing_held(driver: ctypes.CDLL) -> Iterator[ctypes.CDLL]:
    held = ctypes.c_int.in_dll(driver, "held")
    assert held.value == 0
    yield driver
    ctypes.c_int.in_dll(driver, "fail_allocations").value = 0
    assert held.value == 0


def test_the_driver_is_called_as_its_header_declares_and_everything_is_freed(
    nothing_held: ctypes.CDLL,
    encoder: bytes,
    images: np.ndarray,
    expected: tuple[np.ndarray, ...],
) -> None:
    memory = StubbedCuda(nothing_held, 0)
    engine = DeviceEngine(session(encoder), memory, SIZES, stream=memory.new_stream())
    np.testing.assert_allclose(engine.run(images)[0], expected[0], rtol=0, atol=ROUNDING)
    engine.close()
    assert ctypes.c_int.in_dll(nothing_held, "waits").value > 0


def test_a_device_without_memory_is_reported_and_nothing_is_kept(
    nothing_held: ctypes.CDLL, encoder: bytes
) -> None:
    memory = StubbedCuda(nothing_held, 0)
    stream = memory.new_stream()
    ctypes.c_int.in_dll(nothing_held, "fail_allocations").value = 1
    with pytest.raises(DeviceMemoryError, match="out of memory"):
        DeviceEngine(session(encoder), memory, SIZES, stream=stream)
    memory.close()


def test_a_gpu_that_onnx_runtime_cannot_use_is_released(
    nothing_held: ctypes.CDLL, encoder: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    if cuda.why_unavailable(0) is None:
        pytest.skip("this machine has a GPU")
    monkeypatch.setattr(cuda, "driver", lambda: nothing_held)
    monkeypatch.setattr(engine_choice, "CudaMemory", StubbedCuda)
    with pytest.raises(DeviceUnavailableError):
        open_engine(encoder, EngineSettings(device=Device.CUDA))
    fallback = open_engine(encoder, EngineSettings(device=Device.AUTO))
    assert fallback.device_fallback


def test_the_cpu_gets_the_plain_engine(encoder: bytes) -> None:
    assert isinstance(open_engine(encoder, ON_CPU), OnnxEngine)
