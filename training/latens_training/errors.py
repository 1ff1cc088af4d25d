"""What can go wrong in training, as a person is told of it: one clear line and an exit code."""

from __future__ import annotations


class TrainingError(Exception):
    """A failure whose message is one line that names the file or the setting at fault."""

    exit_code = 1


class UsageError(TrainingError):
    """A setting that is wrong, or that contradicts another."""

    exit_code = 2


class NotFoundError(TrainingError):
    """A run, a data set or a preset that does not exist."""

    exit_code = 3


class DataError(TrainingError):
    """A file whose content cannot be used."""

    exit_code = 5
