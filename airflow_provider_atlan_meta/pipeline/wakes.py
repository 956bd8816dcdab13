"""Waiting for something to happen, but not for ever."""

from __future__ import annotations

import asyncio
import threading


class Wake:
    """One event loop's own. A ``set`` that nobody waits for is kept for the next ``wait``."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        self._event.set()

    async def wait(self, seconds: float) -> bool:
        """False: the time is over."""
        # not wait_for: before Python 3.12 it may swallow a cancellation
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


class ThreadWake:
    """The same between threads."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    def wait(self, seconds: float) -> bool:
        """False: the time is over."""
        if not self._event.wait(max(0.0, seconds)):
            return False
        self._event.clear()
        return True
