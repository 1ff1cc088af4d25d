"""A device's memory, and copies to and from it that overlap with its work.

Addresses, streams and events are plain integers, as a driver hands them out. `HostMemory` is the
processor's own memory by the same interface: copies are done when they return, and there is
nothing to wait for.
"""

from __future__ import annotations

import ctypes
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


class DeviceMemory(Protocol):
    """What an engine needs of a device besides running a graph."""

    @property
    def kind(self) -> str:
        """ONNX Runtime's name of the device: `cuda` or `cpu`."""
        ...

    @property
    def device_id(self) -> int: ...

    def activate(self) -> None:
        """Makes the device the calling thread's own."""
        ...

    def host_buffer(self, size: int) -> Bytes:
        """Memory of the host that the device reads and writes at full speed (page-locked)."""
        ...

    def device_buffer(self, size: int) -> int:
        """The address of memory on the device."""
        ...

    def new_stream(self) -> int:
        """A queue of work: what is put into one is done in order."""
        ...

    def new_event(self) -> int:
        """A mark in a stream, for others to wait for."""
        ...

    def copy_in(self, target: int, source: int, size: int, stream: int) -> None:
        """Begins to copy bytes from an address of the host to one of the device."""
        ...

    def copy_out(self, target: int, source: int, size: int, stream: int) -> None:
        """Begins to copy bytes from an address of the device to one of the host."""
        ...

    def record(self, event: int, stream: int) -> None:
        """Puts the event behind what the stream was given so far."""
        ...

    def wait(self, stream: int, event: int) -> None:
        """Makes the stream's further work wait for the event."""
        ...

    def synchronize(self, event: int) -> None:
        """Waits here until the event has come."""
        ...

    def close(self) -> None:
        """Waits for all work, and gives everything back."""
        ...


class HostMemory:
    """The processor's own memory as a device's: for engines that run on the CPU, and for tests."""

    kind = "cpu"
    device_id = 0

    def __init__(self) -> None:
        self._buffers: dict[int, Bytes] = {}

    def activate(self) -> None:
        """Does nothing: the processor is always there."""

    def host_buffer(self, size: int) -> Bytes:
        return np.zeros(size, np.uint8)

    def device_buffer(self, size: int) -> int:
        buffer = np.zeros(size, np.uint8)
        address = int(buffer.ctypes.data)
        self._buffers[address] = buffer
        return address

    def new_stream(self) -> int:
        return 0

    def new_event(self) -> int:
        return 0

    def copy_in(self, target: int, source: int, size: int, stream: int) -> None:
        ctypes.memmove(target, source, size)

    def copy_out(self, target: int, source: int, size: int, stream: int) -> None:
        ctypes.memmove(target, source, size)

    def record(self, event: int, stream: int) -> None:
        """Does nothing: the work before is done."""

    def wait(self, stream: int, event: int) -> None:
        """Does nothing: what is waited for is done."""

    def synchronize(self, event: int) -> None:
        """Does nothing: what is waited for is done."""

    def close(self) -> None:
        self._buffers.clear()
