"""``/healthz``, ``/readyz`` and ``/metrics`` of a service that is no web server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from airflow_provider_atlan_meta.core.errors import ConfigurationError

Exposition = Callable[[str], tuple[bytes, str]]


@contextmanager
def health_server(
    host: str, port: int, *, is_ready: Callable[[], bool], exposition: Exposition, setting: str
) -> Iterator[None]:
    """Answers from a daemon thread while the context is open; port 0 is off.

    :param setting: where the port comes from.
    :raises ConfigurationError: the port is taken.
    """
    if port == 0:
        yield
        return
    try:
        server = ThreadingHTTPServer((host, port), _handler(is_ready, exposition))
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host}:{port} for /metrics ({error.strerror}); set [atlan_meta] {setting}"
        ) from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="health", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(is_ready: Callable[[], bool], exposition: Exposition) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            if self.path == "/healthz":
                self._answer(200, b"alive\n")
            elif self.path == "/readyz":
                self._answer(200, b"ready\n") if is_ready() else self._answer(503, b"not connected yet\n")
            elif self.path == "/metrics":
                body, content_type = exposition(self.headers.get("Accept", ""))
                self._answer(200, body, content_type)
            else:
                self._answer(404, b"there are /healthz, /readyz and /metrics\n")

        def _answer(self, status: int, body: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Scrapes are not news."""

    return Handler
