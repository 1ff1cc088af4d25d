"""The errors of training, each with a one-line message and an exit code."""

from __future__ import annotations


class TrainingError(Exception):
    """A failure whose message is one line that names the file or the setting at fault."""

    exit_code = 1


class UsageError(TrainingError):
    """A setting that is invalid or contradicts another."""

    exit_code = 2


class NotFoundError(TrainingError):
    """A run, a data set or a preset does not exist."""

    exit_code = 3


class DataError(TrainingError):
    """A file whose content cannot be used."""

    exit_code = 5


class CheckpointError(DataError):
    """A run that cannot be read; the message names the file and what is wrong."""


class RunNotFoundError(CheckpointError):
    """There is no run in the directory."""

    exit_code = 3
