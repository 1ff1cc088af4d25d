"""Trains the models of a study, one after the other or several at a time."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import TYPE_CHECKING, Any

from latens_training.devices import Placement, placed
from latens_training.errors import UsageError
from latens_training.progress import Reporter
from latens_training.runs import run as runs
from latens_training.runs.directory import Interrupted, StopSignal, stop_on_signals
from latens_training.runs.resume import STATE_FILE, load_state

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from latens_training.config import RunConfig

Job = tuple["Path", "RunConfig"]


def identity(config: RunConfig) -> dict[str, Any]:
    """The settings that determine a model, without those of the machine."""
    return config.model_dump(mode="json", exclude={"machine"})


def train_members(
    jobs: Sequence[Job],
    placement: Placement,
    stop: StopSignal,
    say: Callable[[str], None],
    processes: int,
) -> None:
    """Trains models, or resumes their training.

    Args:
        jobs: run directories with their settings.
        placement: the device, where the models are trained in this process.
        stop: ends the training.
        say: receives a line when a model begins or ends.
        processes: how many to train at a time.

    Raises:
        UsageError: a run was begun with other settings.
        Interrupted: a signal arrived; finished models are kept.
    """
    if processes > 1 and len(jobs) > 1:
        _train_in_processes(jobs, say, processes)
        return
    for number, (run, config) in enumerate(jobs, 1):
        say(f"{number}/{len(jobs)}: {run.name}")
        _train(run, config, placement, stop)


def _train_in_processes(jobs: Sequence[Job], say: Callable[[str], None], processes: int) -> None:
    """A signal to the process group, as of Ctrl-C, reaches every process; each saves its run."""
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    threads = max(1, (os.cpu_count() or 1) // processes)
    with ProcessPoolExecutor(min(processes, len(jobs)), mp_context=context) as pool:
        running: set[Future[str]] = set()
        try:
            running = {pool.submit(_train_alone, run, config, threads) for run, config in jobs}
            ended = 0
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    ended += 1
                    say(f"{ended}/{len(jobs)}: {future.result()}")
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _train_alone(run: Path, config: RunConfig, threads: int) -> str:
    """Trains one model in a process of its own; returns a line about it."""
    machine = config.machine
    if not machine.threads:
        machine = machine.model_copy(update={"threads": threads})
    config = config.model_copy(update={"machine": machine})
    with placed(machine) as placement, stop_on_signals() as stop:
        _train(run, config, placement, stop)
        if stop.signal is not None:
            raise Interrupted(stop.signal, f"stopped; {run.name} is trained and saved")
    return run.name


def _train(run: Path, config: RunConfig, placement: Placement, stop: StopSignal) -> None:
    state = load_state(run) if (run / STATE_FILE).exists() else None
    if state is not None and identity(state.config) != identity(config):
        raise UsageError(f"out: {run} was begun with other settings; choose another --out")
    with Reporter(config.train.epochs, json_lines=False, silent=True) as reporter:
        runs.train(runs.prepare(config, run, placement, state), reporter, stop)
