"""Progress of ``sandbox up`` on stderr: a live line per server on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

_FINAL = ("ready", "stopped", "killed", "left out")
# Counters are for eyes; a log wants the steps only.
_COUNTER = "downloaded "


@contextmanager
def shown_progress() -> Iterator[Callable[[str, str], None]]:
    """A ``report(member, text)`` whose lines are shown while the block runs."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _plain()
        return
    columns = (SpinnerColumn(finished_text="✓"), TextColumn("{task.fields[member]:<11}"), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.description}"), console=console) as progress:
        yield _live(progress)


def _plain() -> Callable[[str, str], None]:
    begun = time.monotonic()
    lock = threading.Lock()

    def report(member: str, text: str) -> None:
        if not text.startswith(_COUNTER):
            with lock:
                print(f"{time.monotonic() - begun:6.1f} s  {member:<11} {text}", file=sys.stderr, flush=True)

    return report


def _live(progress: Progress) -> Callable[[str, str], None]:
    tasks: dict[str, TaskID] = {}
    lock = threading.Lock()

    def report(member: str, text: str) -> None:
        with lock:
            if member not in tasks:
                tasks[member] = progress.add_task("", total=1, member=member)
            progress.update(tasks[member], description=text, completed=int(text.startswith(_FINAL)))

    return report
