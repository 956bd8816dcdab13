"""Several services under one command: they start together, drain together, and none stays behind."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from types import FrameType

_DONE, _FAILED, _WRONG_USAGE = 0, 1, 2
_PR_SET_PDEATHSIG = 1


def run_children(commands: Mapping[str, tuple[str, ...]], *, quiet: bool = False) -> int:
    """Until SIGTERM or SIGINT, which are passed on, or until one ends by itself: then the others are drained.

    Children get a process group of their own, so that Ctrl-C reaches them once; on Linux they are told to
    drain also when this process is killed.

    :param quiet: what children print is left out; their logs are on stderr.
    :return: 0 when all drained as they were told, 2 when one was configured wrongly, else 1.
    """
    family = _Family(quiet)
    handlers = {number: signal.signal(number, family.on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        for name, command in commands.items():
            family.start(name, command)
        return family.wait()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


class _Family:
    def __init__(self, quiet: bool) -> None:
        self._stdout = subprocess.DEVNULL if quiet else None
        self._running: dict[int, tuple[str, subprocess.Popen[bytes]]] = {}
        self._told: set[int] = set()
        self._stopping = False
        self._outcome = _DONE

    def start(self, name: str, command: tuple[str, ...]) -> None:
        if self._stopping:
            return
        process = subprocess.Popen(  # noqa: S603 - our own command line
            command,
            stdout=self._stdout,
            process_group=0,
            # no threads here that a lock could be held by
            preexec_fn=_drain_with_parent if sys.platform == "linux" else None,
        )
        self._running[process.pid] = (name, process)
        if self._stopping:
            self._drain()

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._drain()

    def wait(self) -> int:
        while self._running:
            pid, status = os.wait()
            if pid not in self._running:
                # a child of somebody else in this process
                continue
            name, process = self._running.pop(pid)
            process.returncode = code = os.waitstatus_to_exitcode(status)
            # told before it listened: it had not begun, so there was nothing to drain
            is_drained = self._stopping and (code == 0 or (code == -signal.SIGTERM and pid in self._told))
            if not is_drained:
                print(f"atlan-meta: {name} ended ({_how(code)}); draining the others", file=sys.stderr)
                self._outcome = self._outcome or (_WRONG_USAGE if code == _WRONG_USAGE else _FAILED)
            self._drain()
        return self._outcome

    def _drain(self) -> None:
        """Once each: a second signal would end a service that is draining."""
        self._stopping = True
        for pid in self._running.keys() - self._told:
            self._told.add(pid)
            os.kill(pid, signal.SIGTERM)


def _how(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _drain_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
