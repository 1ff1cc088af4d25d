"""Prints results to stdout, notes and progress to stderr; progress only on a terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from latens import chunks


def note(text: str) -> None:
    """One line on stderr."""
    sys.stderr.write(f"latens: {text}\n")


def line(text: str) -> None:
    """One line of the result, on stdout."""
    sys.stdout.write(f"{text}\n")


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def report(target: Path, facts: Mapping[str, Any], *, as_json: bool) -> None:
    """Reports the file written: as JSON on stdout, or as a line on stderr."""
    if as_json:
        print_json({"output": str(target), **facts})
    else:
        shown = ", ".join(f"{name} {value}" for name, value in facts.items() if value is not None)
        note(f"wrote {target} ({shown})")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table; its lines are wrapped on a terminal only."""
    table = Table(
        title=title, title_justify="left", box=None, pad_edge=False, show_header=any(columns)
    )
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else 10_000
    Console(width=width, no_color="NO_COLOR" in os.environ, soft_wrap=width is not None).print(
        table
    )


@contextmanager
def progress(label: str) -> Iterator[chunks.Progress | None]:
    """A progress callback with a bar; None where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    console = Console(stderr=True, no_color="NO_COLOR" in os.environ)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
