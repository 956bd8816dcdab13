"""Posts a plan of webhooks at a fixed rate and keeps the books: when it left, its answer, its event ids."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from airflow_provider_atlan_meta.testing.manifest import Manifest, SentPost
from airflow_provider_atlan_meta.testing.webhooks import PlannedPost

# Longer than the producer waits for Kafka (30 s): its own answer should come first.
ANSWER_TIMEOUT_SECONDS = 40.0


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
    transport: httpx.AsyncBaseTransport | None = None

    def send(self, plan: Sequence[PlannedPost], *, rate: float | None = None) -> SendSummary:
        """:param rate: posts per second; None: as fast as ``concurrency`` allows."""
        return asyncio.run(self.send_async(plan, rate=rate))

    async def send_async(self, plan: Sequence[PlannedPost], *, rate: float | None = None) -> SendSummary:
        """As :meth:`send`, inside a running loop."""
        started = time.monotonic()
        answers: Counter[str] = Counter()
        slots = asyncio.Semaphore(self.concurrency)
        last: dict[str, asyncio.Event] = {}
        limits = httpx.Limits(max_connections=self.concurrency, max_keepalive_connections=self.concurrency)
        timeout = httpx.Timeout(ANSWER_TIMEOUT_SECONDS, connect=5.0)
        client = httpx.AsyncClient(
            base_url=self.url, limits=limits, timeout=timeout, trust_env=False, transport=self.transport
        )
        with Manifest(self.manifest) as manifest:
            async with client, asyncio.TaskGroup() as tasks:
                for seq, planned in enumerate(plan):
                    if rate is not None:
                        await asyncio.sleep(started + seq / rate - time.monotonic())
                    done = asyncio.Event()
                    before = last.get(planned.subject) if planned.subject is not None else None
                    if planned.subject is not None:
                        last[planned.subject] = done
                    tasks.create_task(
                        self._in_turn(client, slots, (before, done), (manifest, answers), seq, planned)
                    )
        return SendSummary(len(plan), dict(answers), time.monotonic() - started)

    async def _in_turn(
        self,
        client: httpx.AsyncClient,
        slots: asyncio.Semaphore,
        turn: tuple[asyncio.Event | None, asyncio.Event],
        books: tuple[Manifest, Counter[str]],
        seq: int,
        planned: PlannedPost,
    ) -> None:
        before, done = turn
        if before is not None:
            await before.wait()
        try:
            async with slots:
                post = await self._post(client, seq, planned)
            manifest, answers = books
            manifest.append(post)
            answers[str(post.status) if post.status is not None else "none"] += 1
            self.on_post(post)
        finally:
            done.set()

    async def _post(self, client: httpx.AsyncClient, seq: int, planned: PlannedPost) -> SentPost:
        outcome: dict[str, Any] = {}
        sent_at = time.time()
        try:
            answer = await client.post(
                f"/v1/{planned.tenant}/montecarlo", content=planned.body, headers=planned.headers
            )
            outcome = {"status": answer.status_code, "answered_at": time.time(), "ids": _ids(answer)}
        except httpx.TransportError as error:
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


def _ids(answer: httpx.Response) -> tuple[str, ...]:
    if answer.status_code != 202:
        return ()
    try:
        return tuple(str(event_id) for event_id in answer.json()["ids"])
    except (ValueError, KeyError, TypeError):
        return ()
