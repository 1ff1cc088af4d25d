"""Whether this process can run CUDA, and if not, why not.

ONNX Runtime loads its CUDA provider late. If that fails, it prints a line to stderr and runs the
session on the CPU. So this module checks the driver, the device and the libraries first, and
reports the reason in one sentence.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import sys

import onnxruntime as ort

PROVIDER = "CUDAExecutionProvider"

_DRIVER_LIBRARY = {"win32": "nvcuda.dll"}.get(sys.platform, "libcuda.so.1")
_CUDA_SUCCESS = 0


def driver() -> ctypes.CDLL:
    """The NVIDIA driver's library.

    Raises:
        OSError: there is no driver.
    """
    try:
        return ctypes.CDLL(_DRIVER_LIBRARY)
    except OSError as error:
        raise OSError(f"no NVIDIA driver here ({_DRIVER_LIBRARY} cannot be loaded)") from error


def device_count() -> int:
    """The number of CUDA devices that the driver shows to this process.

    Raises:
        OSError: there is no NVIDIA driver, or it does not start; the message says which.
    """
    library = driver()
    status = library.cuInit(0)
    if status != _CUDA_SUCCESS:
        raise OSError(f"the NVIDIA driver does not start (cuInit gave {status})")
    count = ctypes.c_int(0)
    status = library.cuDeviceGetCount(ctypes.byref(count))
    if status != _CUDA_SUCCESS:
        raise OSError(f"the NVIDIA driver cannot count its devices (error {status})")
    return count.value


def why_unavailable(device_id: int) -> str | None:
    """Why this process cannot use a CUDA device, or None if it probably can."""
    if PROVIDER not in ort.get_available_providers():
        return "the installed ONNX Runtime has no CUDA provider (onnxruntime-gpu has it)"
    try:
        count = device_count()
    except OSError as error:
        return str(error)
    if device_id >= count:
        return f"there is no CUDA device {device_id} ({count} visible to this process)"
    return None


@functools.cache
def load_libraries() -> str:
    """Loads the CUDA and cuDNN libraries of `latens-serving[gpu]`, or those of the system.

    Returns the library that could not be loaded, or "". This is only a hint: the linker may find
    the library elsewhere.
    """
    said = io.StringIO()
    with contextlib.redirect_stdout(said):  # it prints what is missing, and raises nothing
        ort.preload_dlls()
    missing = [line for line in said.getvalue().splitlines() if line.startswith("Failed to load")]
    return f"{missing[0].split(':')[0]}: install latens-serving[gpu]" if missing else ""
