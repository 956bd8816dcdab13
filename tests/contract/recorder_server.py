"""The recorder over real HTTP, in a thread of the tests' own process."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette

from airflow_provider_atlan_meta.testing.recorder import Recorder, build_app


@contextlib.contextmanager
def serving() -> Iterator[tuple[str, Recorder]]:
    """Its address, and the recorder itself; stopped at the end."""
    app: Starlette = build_app()
    config = uvicorn.Config(app, log_level="critical", access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + 20
        while not server.started:
            if time.monotonic() > deadline or not thread.is_alive():
                raise RuntimeError("the recorder did not start")
            thread.join(0.01)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", app.state.recorder
        finally:
            server.should_exit = True
            thread.join(20)
