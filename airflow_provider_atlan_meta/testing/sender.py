"""Posts a plan of webhooks at a fixed rate and keeps the books: when it left, its answer, its event ids."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from airflow_provider_atlan_meta.testing.manifest import Manifest, SentPost
from airflow_provider_atlan_meta.testing.webhooks import PlannedPost

# Longer than the producer waits for Kafka (30 s): its own answer should come first.
ANSWER_TIMEOUT_SECONDS = 40.0
_CONNECT_SECONDS = 5.0

# One post: its status and body. It raises OSError or TimeoutError where no whole answer came.
Poster = Callable[[PlannedPost], Awaitable[tuple[int, bytes]]]


@asynccontextmanager
async def http_poster(url: str, concurrency: int) -> AsyncIterator[Poster]:
    """Posts over at most ``concurrency`` kept-alive connections; a POST is never repeated on its own account."""
    timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_SECONDS, sock_connect=_CONNECT_SECONDS)
    connector = aiohttp.TCPConnector(limit=concurrency)
    async with aiohttp.ClientSession(url, timeout=timeout, connector=connector) as session:

        async def post(planned: PlannedPost) -> tuple[int, bytes]:
            path = f"/v1/{planned.tenant}/montecarlo"
            try:
                async with session.post(path, data=planned.body, headers=planned.headers) as answer:
                    return answer.status, await answer.read()
            except aiohttp.ClientError as error:
                raise OSError(f"{type(error).__name__}: {error}") from error

        yield post


@dataclass(frozen=True)
class SendSummary:
    """:param answers: status -> how often; "none" stands for posts without an answer."""

    sent: int
    answers: dict[str, int]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class WebhookSender:
    """Sends plans to one producer.

    Posts of one subject go out one after the other, each after the former's answer; nothing is sent twice
    on its own account.

    :param url: the producer's address, e.g. ``http://127.0.0.1:8088``.
    :param run: name of the pass, written beside every post.
    :param on_post: told of every post when its answer is there.
    """

    url: str
    manifest: Path
    run: str = ""
    concurrency: int = 64
    on_post: Callable[[SentPost], None] = field(default=lambda _: None)
    connect: Callable[[str, int], AbstractAsyncContextManager[Poster]] = http_poster

    def send(self, plan: Sequence[PlannedPost], *, rate: float | None = None) -> SendSummary:
        """:param rate: posts per second; None: as fast as ``concurrency`` allows."""
        return asyncio.run(self.send_async(plan, rate=rate))

    async def send_async(self, plan: Sequence[PlannedPost], *, rate: float | None = None) -> SendSummary:
        """As :meth:`send`, inside a running loop."""
        started = time.monotonic()
        slots = asyncio.Semaphore(self.concurrency)
        last: dict[str, asyncio.Event] = {}
        with Manifest(self.manifest) as manifest:
            async with self.connect(self.url, self.concurrency) as poster, asyncio.TaskGroup() as tasks:
                books = _Books(poster, slots, manifest, Counter())
                for seq, planned in enumerate(plan):
                    if rate is not None:
                        await asyncio.sleep(started + seq / rate - time.monotonic())
                    done = asyncio.Event()
                    before = last.get(planned.subject) if planned.subject is not None else None
                    if planned.subject is not None:
                        last[planned.subject] = done
                    tasks.create_task(self._in_turn(books, before, done, seq, planned))
        return SendSummary(len(plan), dict(books.answers), time.monotonic() - started)

    async def _in_turn(
        self, books: _Books, before: asyncio.Event | None, done: asyncio.Event, seq: int, planned: PlannedPost
    ) -> None:
        if before is not None:
            await before.wait()
        try:
            async with books.slots:
                post = await self._post(books.poster, seq, planned)
            books.manifest.append(post)
            books.answers[str(post.status) if post.status is not None else "none"] += 1
            self.on_post(post)
        finally:
            done.set()

    async def _post(self, poster: Poster, seq: int, planned: PlannedPost) -> SentPost:
        outcome: dict[str, Any]
        sent_at = time.time()
        try:
            status, body = await poster(planned)
            outcome = {"status": status, "answered_at": time.time(), "ids": _ids(status, body)}
        except (OSError, TimeoutError) as error:
            outcome = {"error": f"{type(error).__name__}: {error}"[:200]}
        return SentPost(
            run=self.run,
            seq=seq,
            tenant=planned.tenant,
            kind=planned.kind,
            subject=planned.subject,
            body=planned.body,
            expected_status=planned.expected_status,
            sent_at=sent_at,
            **outcome,
        )


@dataclass(frozen=True)
class _Books:
    """What the posts of one plan share."""

    poster: Poster
    slots: asyncio.Semaphore
    manifest: Manifest
    answers: Counter[str]


def _ids(status: int, body: bytes) -> tuple[str, ...]:
    if status != 202:
        return ()
    try:
        return tuple(str(event_id) for event_id in json.loads(body)["ids"])
    except (ValueError, KeyError, TypeError):
        return ()
