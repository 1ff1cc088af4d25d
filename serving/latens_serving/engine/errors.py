"""Failures of an engine, by what an operator can do about them."""

from __future__ import annotations


class EngineError(Exception):
    """A graph could not be loaded or run."""


class DeviceUnavailableError(EngineError):
    """The device that was asked for cannot be used; the text says why, and what to do."""


class DeviceMemoryError(EngineError):
    """The device has too little memory for this batch. A smaller one may fit."""


class DeviceLostError(EngineError):
    """The device stopped answering. No later run of this process can succeed."""
