"""SIGTERM: nothing new is accepted, what is under way is answered, the call returns. On a real loopback socket."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.services.answers import problem
from airflow_provider_atlan_meta.services.http_server import HttpServer, listen

REQUEST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"


class App:
    """Answers 413 unread when told so, else 202 once the gate is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.begun = asyncio.Event()
        self.cancelled = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/large":
            await problem(413, "too large").closing().send(send)
            return
        await receive()
        self.begun.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def serving(
    app: App, drain_seconds: float = 5
) -> AsyncIterator[tuple[Callable[[], Coroutine[Any, Any, Any]], asyncio.Task[None], list[str]]]:
    sock = listen("127.0.0.1", 0)
    port = sock.getsockname()[1]
    told: list[str] = []
    task = asyncio.create_task(
        HttpServer(app, sock, drain_seconds=drain_seconds).serve(on_stop=lambda: told.append("stop"))
    )
    yield lambda: asyncio.open_connection("127.0.0.1", port), task, told
    if not task.done():
        os.kill(os.getpid(), signal.SIGTERM)
    await task


async def status(reader: asyncio.StreamReader) -> bytes:
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    return head.split(b" ", 2)[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_under_way_is_answered_and_connections_that_wait_are_closed(number: signal.Signals) -> None:
    async def scenario() -> None:
        app = App()
        async with serving(app) as (connect, task, told):
            reader, writer = await connect()
            idle_reader, idle_writer = await connect()
            writer.write(REQUEST)
            await app.begun.wait()
            os.kill(os.getpid(), number)
            assert await asyncio.wait_for(idle_reader.read(), 5) == b""
            with pytest.raises(ConnectionRefusedError):
                await connect()
            assert not task.done()
            app.gate.set()
            assert await status(reader) == b"202"
            assert await reader.read() == b""
            await asyncio.wait_for(task, 5)
            assert told == ["stop"]
            for open_writer in (writer, idle_writer):
                open_writer.close()

    asyncio.run(scenario())


def test_what_takes_longer_than_the_drain_is_given_up_and_the_call_still_returns() -> None:
    async def scenario() -> None:
        app = App()
        async with serving(app, drain_seconds=1) as (connect, task, _):
            reader, writer = await connect()
            writer.write(REQUEST)
            await app.begun.wait()
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(task, 5)
            assert app.cancelled
            writer.close()
            assert b"202" not in await reader.read()

    asyncio.run(scenario())


def test_a_sender_that_has_not_finished_sending_hears_why_it_is_refused() -> None:
    async def scenario() -> None:
        async with serving(App()) as (connect, _, __):
            reader, writer = await connect()
            writer.write(
                b"POST /large HTTP/1.1\r\nhost: x\r\ncontent-length: 9000000\r\n\r\n" + b"x" * 100_000
            )
            assert await status(reader) == b"413"
            writer.close()

    asyncio.run(scenario())


def test_an_address_in_use_is_a_configuration_error_that_names_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"127\.0\.0\.1:{port}"):
            listen("127.0.0.1", port)
    with pytest.raises(ConfigurationError, match="--port"):
        listen("127.0.0.1", 99_999)
