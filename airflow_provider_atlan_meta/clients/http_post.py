"""POST to one address over kept HTTP/1.1 connections, and nothing else: a quarter of what a general client costs.

A call is made once, no redirect is followed, and of an answer only the status and ``Retry-After`` are looked at; its
body is passed over so that the connection can be used again, up to 64 KiB, else the connection is closed.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import time
from collections.abc import Mapping
from functools import cache
from urllib.parse import quote, urlsplit

from aiohappyeyeballs import start_connection

from airflow_provider_atlan_meta.core.sending import SendOutcome, outcome_of_status

# Of an answer, head and body together.
ANSWER_MAX_BYTES = 64 * 1024
_CONNECTIONS = 64
_KEEP_ALIVE_SECONDS = 15.0
_CLOSE_SECONDS = 2.0
_NEXT_ADDRESS_SECONDS = 0.25
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?=[ \r])")
_HEADERS = re.compile(
    rb"\r\n(content-length|transfer-encoding|connection|retry-after)[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE
)
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")
_NO_BODY = (204, 304)
# what a path and a query may hold as they are, besides letters and digits
_TARGET = "/?%:@!$&'()*+,;=-._~[]"


class PostEndpoint:
    """Used as an async context manager, by one loop.

    :param url: checked: scheme ``http`` or ``https``, a host, no login.
    :param headers: sent with every call.
    :param total_seconds: for all of a call, the connecting included.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        connect_seconds: float,
        total_seconds: float,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        is_tls = parts.scheme == "https"
        self._port = parts.port or (443 if is_tls else 80)
        self._tls = (tls or _usual_tls()) if is_tls else None
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        every = {"host": _host_header(self._host, parts.port)} | dict(headers)
        self._head = f"POST {quote(target, safe=_TARGET)} HTTP/1.1\r\n{_lines(every)}"
        self._connect_seconds, self._total_seconds = connect_seconds, total_seconds
        self._slots = asyncio.Semaphore(_CONNECTIONS)
        self._idle: list[tuple[float, _Connection]] = []
        self._open: set[_Connection] = set()
        self._is_entered = False

    async def __aenter__(self) -> PostEndpoint:
        self._is_entered = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_entered = False
        connections = list(self._open)
        for one in connections:
            one.abort()
        if connections:
            await asyncio.wait([one.lost for one in connections], timeout=_CLOSE_SECONDS)
        self._idle.clear()

    async def post(self, body: bytes, headers: Mapping[str, str]) -> SendOutcome:
        """:param headers: of this call; without line ends."""
        if not self._is_entered:
            raise RuntimeError("PostEndpoint is used as an async context manager")
        request = f"{self._head}{_lines(headers)}content-length: {len(body)}\r\n\r\n".encode("latin-1") + body
        async with self._slots:
            ends_at = time.monotonic() + self._total_seconds
            connection = self._kept() or await self._connected()
            if isinstance(connection, SendOutcome):
                return connection
            outcome = await connection.exchange(request, ends_at - time.monotonic())
            if connection.is_reusable:
                self._idle.append((time.monotonic(), connection))
            return outcome

    def _kept(self) -> _Connection | None:
        """The one used last; those not used for long are closed."""
        oldest = time.monotonic() - _KEEP_ALIVE_SECONDS
        while self._idle:
            since, connection = self._idle.pop()
            if connection.is_reusable and since > oldest:
                return connection
            connection.abort()
        return None

    async def _connected(self) -> _Connection | SendOutcome:
        """Nothing of the call has left this machine while this fails."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_seconds):
                found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
                # an IPv6 that leads nowhere costs a quarter of a second; uvloop's own connecting would wait for it
                sock = await start_connection(found, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS, loop=loop)
                _, connection = await loop.create_connection(
                    lambda: _Connection(self._open),
                    sock=sock,
                    ssl=self._tls,
                    server_hostname=self._host if self._tls else None,
                )
        except (OSError, TimeoutError, UnicodeError) as error:
            return SendOutcome(result="retry", detail=f"not reached ({type(error).__name__})")
        return connection


class _Connection(asyncio.Protocol):
    """One call at a time.

    :ivar is_reusable: open, and nothing of the last answer is still to come.
    :ivar lost: done once the connection is closed.
    """

    def __init__(self, register: set[_Connection]) -> None:
        self.is_reusable = False
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._register = register
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[SendOutcome] | None = None
        self._buffer = bytearray()
        self._outcome: SendOutcome | None = None
        self._keeps = False
        # where the body begins, and ends; None: in chunks
        self._at = 0
        self._end: int | None = 0

    async def exchange(self, request: bytes, seconds: float) -> SendOutcome:
        loop = asyncio.get_running_loop()
        if self._transport is None:
            raise RuntimeError("not connected")
        self._buffer.clear()
        self.is_reusable, self._outcome = False, None
        self._answer = loop.create_future()
        timer = loop.call_later(seconds, self._give_up, "TimeoutError")
        self._transport.write(request)
        try:
            return await self._answer
        finally:
            timer.cancel()
            self._answer = None
            if not self.is_reusable:
                self.abort()

    def abort(self) -> None:
        self.is_reusable = False
        if self._transport is not None:
            self._transport.abort()

    # ---- as the loop calls it ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._register.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_reusable = False
        self._register.discard(self)
        if not self.lost.done():
            self.lost.set_result(None)
        self._give_up(type(error).__name__ if error else "disconnected")

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self.abort()  # nothing was asked
            return
        self._buffer += data
        if self._outcome is None and not self._has_head():
            return
        if self._outcome is not None and self._has_body():
            self._end_answer(self._outcome)
        elif len(self._buffer) > ANSWER_MAX_BYTES:
            self._keeps = False
            self._give_up("an answer without an end")

    # ---- the answer --------------------------------------------------------------------------------------------------

    def _has_head(self) -> bool:
        """Reads the head once it is there whole; what only announces an answer (1xx) is passed over."""
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            status_line = _STATUS.match(self._buffer)
            status = int(status_line[2]) if status_line else 0
            if status_line is None or status == 101:
                self._keeps = False
                self._give_up("no HTTP answer")
                return False
            if status < 200:
                del self._buffer[: end + 4]
                continue
            found = {name.lower(): value for name, value in _HEADERS.findall(self._buffer, 0, end + 2)}
            retry_after = found.get(b"retry-after")
            self._outcome = outcome_of_status(
                status, None if retry_after is None else retry_after.decode("latin-1")
            )
            self._frame(status, end + 4, found, is_old=status_line[1] == b"0")
            return True
        if len(self._buffer) > ANSWER_MAX_BYTES:
            self._keeps = False
            self._give_up("an answer without an end")
        return False

    def _frame(self, status: int, at: int, found: Mapping[bytes, bytes], *, is_old: bool) -> None:
        """Where the body ends. One that ends with the connection is not waited for."""
        words = found.get(b"connection", b"").lower()
        self._keeps = b"keep-alive" in words if is_old else b"close" not in words
        self._at = at
        length = found.get(b"content-length", b"").strip()
        if status in _NO_BODY:
            self._end = at
        elif b"transfer-encoding" in found:
            self._end = None
            self._keeps = self._keeps and found[b"transfer-encoding"].strip().lower() == b"chunked"
        elif length.isdigit() and len(length) < 10:
            self._end = at + int(length)
        else:
            self._keeps = False
        if self._end is not None and self._end - at > ANSWER_MAX_BYTES:
            self._keeps = False

    def _has_body(self) -> bool:
        """Whether the body is over, or not worth waiting for."""
        if not self._keeps:
            return True
        while self._end is None:
            chunk = _CHUNK.match(self._buffer, self._at)
            if chunk is None:
                self._keeps = len(self._buffer) - self._at < 4096  # still to come, or no chunk at all
                return not self._keeps
            size = int(chunk[1], 16)
            if not size:
                last = self._buffer.find(b"\r\n\r\n", chunk.end() - 2)
                if last < 0:
                    return False
                self._end = last + 4
            elif len(self._buffer) < chunk.end() + size + 2:
                return False
            else:
                self._at = chunk.end() + size + 2
        return len(self._buffer) >= self._end

    def _end_answer(self, outcome: SendOutcome) -> None:
        is_whole = self._keeps and self._end == len(self._buffer)
        transport = self._transport
        # what answers before it has heard everything may not listen any more
        is_sent = (
            transport is not None and not transport.is_closing() and not transport.get_write_buffer_size()
        )
        self.is_reusable = is_whole and is_sent
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(outcome)

    def _give_up(self, why: str) -> None:
        """No more comes: a status that is known counts, else nobody knows what became of the call."""
        if self._answer is not None and not self._answer.done():
            unknown = SendOutcome(result="unknown", detail=f"no answer ({why})")
            self._answer.set_result(self._outcome or unknown)


@cache
def _usual_tls() -> ssl.SSLContext:
    """The system's authorities: tens of milliseconds to read, so once for all endpoints."""
    return ssl.create_default_context()


def _host_header(host: str, port: int | None) -> str:
    name = f"[{host}]" if ":" in host else host.encode("idna").decode()
    return f"{name}:{port}" if port else name


def _lines(headers: Mapping[str, str]) -> str:
    return "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
