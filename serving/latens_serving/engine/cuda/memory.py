"""A device's memory, and copies to and from it that overlap with its work.

Addresses, streams and events are the integers of the driver. `HostMemory` has the same interface
for the memory of the host: its copies are complete when they return, and there is nothing to wait
for.
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
        """Makes the device current in the calling thread."""
        ...

    def host_buffer(self, size: int) -> Bytes:
        """Page-locked memory of the host, which the device reads and writes at full speed."""
        ...

    def device_buffer(self, size: int) -> int:
        """The address of memory on the device."""
        ...

    def new_stream(self) -> int:
        """A queue of work, which is done in order."""
        ...

    def new_event(self) -> int:
        """A mark in a stream that other streams can wait for."""
        ...

    def copy_in(self, target: int, source: int, size: int, stream: int) -> None:
        """Starts to copy bytes from an address of the host to one of the device."""
        ...

    def copy_out(self, target: int, source: int, size: int, stream: int) -> None:
        """Starts to copy bytes from an address of the device to one of the host."""
        ...

    def record(self, event: int, stream: int) -> None:
        """Puts the event behind the work that is in the stream so far."""
        ...

    def wait(self, stream: int, event: int) -> None:
        """Makes later work of the stream wait for the event."""
        ...

    def synchronize(self, event: int) -> None:
        """Blocks until the event has occurred."""
        ...

    def close(self) -> None:
        """Waits for all work and frees everything."""
        ...


class HostMemory:
    """The memory of the host as that of a device: for engines on the CPU, and for tests."""

    kind = "cpu"
    device_id = 0

    def __init__(self) -> None:
        self._buffers: dict[int, Bytes] = {}

    def activate(self) -> None:
        """Does nothing: the host is always current."""

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
        """Does nothing: earlier work is complete."""

    def wait(self, stream: int, event: int) -> None:
        """Does nothing: all work is complete."""

    def synchronize(self, event: int) -> None:
        """Does nothing: all work is complete."""

    def close(self) -> None:
        self._buffers.clear()
