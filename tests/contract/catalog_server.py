"""The fake catalog over real HTTP, in a thread of the tests' own process."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import uvicorn

from airflow_provider_atlan_meta.testing.atlas_server import FakeAtlas, build_app


@contextlib.contextmanager
def serving(fake: FakeAtlas) -> Iterator[str]:
    """Its address; stopped at the end."""
    server = uvicorn.Server(
        uvicorn.Config(build_app(fake), log_level="critical", access_log=False, lifespan="off")
    )
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + 20
        while not server.started:
            if time.monotonic() > deadline or not thread.is_alive():
                raise RuntimeError("the fake catalog did not start")
            thread.join(0.01)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)
