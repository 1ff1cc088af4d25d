"""The memory of a CUDA device, through the CUDA Driver API.

ONNX Runtime's Python interface has neither page-locked memory nor copies that overlap with runs.
The driver is installed wherever there is a GPU, and its interface does not change with the version
of CUDA.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint, c_void_p

import numpy as np

from latens_serving.engine.cuda.memory import Bytes
from latens_serving.engine.onnx import classified

_NON_BLOCKING_STREAM = 1
_EVENT_WITHOUT_TIMING = 2

# The parameters of each function, from cuda.h; the suffix is that of the interface since CUDA 4.
_SIGNATURES: dict[str, list[object]] = {
    "cuInit": [c_uint],
    "cuDeviceGet": [POINTER(c_int), c_int],
    "cuDevicePrimaryCtxRetain": [POINTER(c_void_p), c_int],
    "cuDevicePrimaryCtxRelease_v2": [c_int],
    "cuCtxSetCurrent": [c_void_p],
    "cuCtxSynchronize": [],
    "cuMemAlloc_v2": [POINTER(c_void_p), c_size_t],
    "cuMemFree_v2": [c_void_p],
    "cuMemsetD8_v2": [c_void_p, ctypes.c_ubyte, c_size_t],
    "cuMemHostAlloc": [POINTER(c_void_p), c_size_t, c_uint],
    "cuMemFreeHost": [c_void_p],
    "cuMemcpyHtoDAsync_v2": [c_void_p, c_void_p, c_size_t, c_void_p],
    "cuMemcpyDtoHAsync_v2": [c_void_p, c_void_p, c_size_t, c_void_p],
    "cuStreamCreate": [POINTER(c_void_p), c_uint],
    "cuStreamDestroy_v2": [c_void_p],
    "cuStreamWaitEvent": [c_void_p, c_void_p, c_uint],
    "cuEventCreate": [POINTER(c_void_p), c_uint],
    "cuEventDestroy_v2": [c_void_p],
    "cuEventRecord": [c_void_p, c_void_p],
    "cuEventSynchronize": [c_void_p],
    "cuGetErrorString": [c_int, POINTER(c_char_p)],
}


class CudaMemory:
    """The `DeviceMemory` of a CUDA device. Raises EngineError if the driver fails."""

    kind = "cuda"

    def __init__(self, driver: ctypes.CDLL, device_id: int) -> None:
        """Retains the device's primary context, which ONNX Runtime also uses."""
        self.device_id = device_id
        self._driver = driver
        for name, parameters in _SIGNATURES.items():
            function = getattr(driver, name)
            function.argtypes, function.restype = parameters, c_int
        self._call("cuInit", 0)
        device = c_int()
        self._call("cuDeviceGet", byref(device), device_id)
        self._device = device.value
        self._context = self._made("cuDevicePrimaryCtxRetain", self._device)
        self._releases: list[tuple[str, int]] = []
        self.activate()

    def activate(self) -> None:
        self._call("cuCtxSetCurrent", self._context)

    def host_buffer(self, size: int) -> Bytes:
        address = self._made("cuMemHostAlloc", size, 0)
        self._releases.append(("cuMemFreeHost", address))
        memory = (ctypes.c_ubyte * size).from_address(address)
        buffer: Bytes = np.ctypeslib.as_array(memory)
        buffer[:] = 0
        return buffer

    def device_buffer(self, size: int) -> int:
        address = self._made("cuMemAlloc_v2", size)
        self._releases.append(("cuMemFree_v2", address))
        self._call("cuMemsetD8_v2", address, 0, size)
        return address

    def new_stream(self) -> int:
        stream = self._made("cuStreamCreate", _NON_BLOCKING_STREAM)
        self._releases.append(("cuStreamDestroy_v2", stream))
        return stream

    def new_event(self) -> int:
        event = self._made("cuEventCreate", _EVENT_WITHOUT_TIMING)
        self._releases.append(("cuEventDestroy_v2", event))
        return event

    def copy_in(self, target: int, source: int, size: int, stream: int) -> None:
        self._call("cuMemcpyHtoDAsync_v2", target, source, size, stream)

    def copy_out(self, target: int, source: int, size: int, stream: int) -> None:
        self._call("cuMemcpyDtoHAsync_v2", target, source, size, stream)

    def record(self, event: int, stream: int) -> None:
        self._call("cuEventRecord", event, stream)

    def wait(self, stream: int, event: int) -> None:
        self._call("cuStreamWaitEvent", stream, event, 0)

    def synchronize(self, event: int) -> None:
        self._call("cuEventSynchronize", event)

    def close(self) -> None:
        """Waits for all work and frees everything. Does nothing if the device is lost."""
        self._driver.cuCtxSetCurrent(self._context)
        self._driver.cuCtxSynchronize()
        while self._releases:
            name, handle = self._releases.pop()
            getattr(self._driver, name)(handle)
        if self._context:
            self._driver.cuDevicePrimaryCtxRelease_v2(self._device)
            self._context = 0

    def _made(self, name: str, *arguments: int) -> int:
        """Calls a function that returns a handle or an address through its first parameter."""
        handle = c_void_p()
        self._call(name, byref(handle), *arguments)
        return handle.value or 0

    def _call(self, name: str, *arguments: object) -> None:
        status = getattr(self._driver, name)(*arguments)
        if status:
            text = c_char_p()
            self._driver.cuGetErrorString(status, byref(text))
            reason = (text.value or b"unknown error").decode()
            raise classified(RuntimeError(f"CUDA failure {status}: {reason} ({name})"))
