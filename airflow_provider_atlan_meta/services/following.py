"""A service that follows a topic until it is told to stop, and starts again after what a retry may cure."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Generic, Protocol, TypeVar

from airflow_provider_atlan_meta.core.errors import TransientError

_MAX_PAUSE_SECONDS = 5.0

OnTrouble = Callable[[TransientError, float], None]


class FollowingEngine(Protocol):
    """What does the work, for as long as nothing goes wrong."""

    @property
    def is_following(self) -> bool: ...

    @property
    def has_committed(self) -> bool: ...

    @property
    def owned(self) -> tuple[int, ...]: ...


Engine = TypeVar("Engine", bound=FollowingEngine)


class FollowingService(Generic[Engine]):
    """:param start: an engine, connected anew every time.
    :param follow: works with it until the second argument says so.
    :param on_trouble: hears of what a retry may cure, and in how many seconds it is made.
    """

    def __init__(
        self,
        start: Callable[[], AbstractContextManager[Engine]],
        follow: Callable[[Engine, Callable[[], bool]], None],
        on_trouble: OnTrouble | None = None,
    ) -> None:
        self._start = start
        self._follow = follow
        self._on_trouble = on_trouble
        self._stop = threading.Event()
        self._engine: Engine | None = None

    @property
    def is_ready(self) -> bool:
        """Whether the engine is connected; it may own nothing while others own all."""
        return self._engine is not None and self._engine.is_following

    @property
    def owned(self) -> tuple[int, ...]:
        """Partitions held right now."""
        return self._engine.owned if self._engine is not None else ()

    def stop(self) -> None:
        """Signal-safe: ``run`` returns when what is under way is written, with every lease released."""
        self._stop.set()

    def run(self) -> None:
        """:raises TerminalError: no retry helps; the text names the cure."""
        pause = 1.0
        while not self._stop.is_set():
            try:
                with self._start() as engine:
                    self._engine = engine
                    self._follow(engine, self._stop.is_set)
            except TransientError as error:
                # trouble after a commit is new trouble: look again soon
                fresh = self._engine is not None and self._engine.has_committed
                pause = 1.0 if fresh else min(_MAX_PAUSE_SECONDS, pause * 2)
                wait = error.retry_after or pause * random.uniform(0.5, 1.0)  # noqa: S311 - spreads replicas
                if self._on_trouble is not None:
                    self._on_trouble(error, wait)
                self._stop.wait(wait)
            finally:
                self._engine = None
