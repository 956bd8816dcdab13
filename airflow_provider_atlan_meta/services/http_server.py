"""uvicorn with our own signals: SIGTERM and SIGINT drain and return, and the process ends with 0.

uvicorn on its own raises the signal again after its shutdown, which ends the process by signal.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, TypeVar

import uvicorn
from starlette.types import ASGIApp

from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.services.logs import get_logger

PIP_LINE = "pip install 'airflow-provider-atlan-meta[services]'"
_BACKLOG = 2048
_MAX_PORT = 65_535
_KEEP_ALIVE_SECONDS = 75

_log = get_logger(__name__)

Result = TypeVar("Result")


def run_on_fast_loop(main: Coroutine[Any, Any, Result]) -> Result:
    """``asyncio.run`` on uvloop where it is installed; where not, says what it costs."""
    missing = [name for name in ("uvloop", "httptools") if find_spec(name) is None]
    if missing:
        _log.warning("running slower than it could", missing=missing, cure=PIP_LINE)
    factory = None
    if "uvloop" not in missing:
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def listen(host: str, port: int) -> socket.socket:
    """:raises ConfigurationError: the address cannot be had."""
    if not 0 <= port <= _MAX_PORT:
        raise ConfigurationError(f"port {port} is none; choose one up to {_MAX_PORT} with --port")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host}:{port} ({error}); choose another with --host and --port"
        ) from None


class HttpServer:
    """One ASGI application on one socket, until it is stopped."""

    def __init__(self, app: ASGIApp, sock: socket.socket, *, drain_seconds: float) -> None:
        self._socket = sock
        self._server = _Server(
            uvicorn.Config(
                app,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                ws="none",
                backlog=_BACKLOG,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=max(1, round(drain_seconds)),
            )
        )

    async def serve(self, *, on_stop: Callable[[], None] = lambda: None) -> None:
        """Until SIGTERM or SIGINT: then nothing new is accepted, what is under way is answered.

        The loop keeps the handlers: a second signal does not end what comes after the draining.

        :param on_stop: called at the signal, before connections are closed.
        """
        loop = asyncio.get_running_loop()

        def stop() -> None:
            on_stop()
            self._server.should_exit = True

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        await self._server.serve(sockets=[self._socket])


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield
