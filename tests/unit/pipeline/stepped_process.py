"""A process of the product that takes one step at a time, in the order a test decides."""

from __future__ import annotations

import threading
from collections.abc import Callable

from airflow_provider_atlan_meta.core.errors import TransientError


class Killed(BaseException):
    """The process is gone: nothing of it runs any more, not even a ``finally`` that reaches a server."""


class Process:
    """Runs ``work`` on a thread that moves only when it is told; ``is_done`` once it has ended, however it did."""

    def __init__(self, work: Callable[[Process], None]) -> None:
        self._work = work
        self._go = threading.Semaphore(0)
        self._arrived = threading.Semaphore(0)
        self._how = 0
        self._dead = False
        self.step = ""
        self.is_done = False
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._arrived.acquire()

    def _run(self) -> None:
        try:
            self.wait("start")
            self._work(self)
        except (Killed, TransientError):
            pass
        except BaseException as error:
            self.failure = error
        self.is_done = True
        self._arrived.release()

    def wait(self, step: str) -> int:
        """Called by the process: here it stands until it is told how to go on."""
        if self._dead:
            raise Killed
        self.step = step
        self._arrived.release()
        self._go.acquire()
        if self._dead:
            raise Killed
        return self._how

    def go(self, how: int = 0) -> None:
        """Called by the schedule: takes the step, and stands before the next one."""
        self._how = how
        self._go.release()
        self._arrived.acquire()
        if self.failure is not None:
            raise self.failure

    def kill(self) -> None:
        if not self.is_done:
            self._dead = True
            self.go()
