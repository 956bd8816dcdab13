"""The sender keeps the books: what left when, what came back, and nothing twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from airflow_provider_atlan_meta.testing.manifest import Manifest, SentPost, read_manifest
from airflow_provider_atlan_meta.testing.sender import Poster, WebhookSender
from airflow_provider_atlan_meta.testing.webhooks import PlannedPost


def post(subject: str | None, number: int) -> PlannedPost:
    body = json.dumps({"n": number}).encode()
    return PlannedPost(tenant="acme", kind="created", subject=subject, body=body, signature="s")


def connected(poster: Poster) -> Callable[[str, int], AbstractAsyncContextManager[Poster]]:
    @asynccontextmanager
    async def connect(_url: str, _concurrency: int) -> AsyncIterator[Poster]:
        yield poster

    return connect


def answering(status: int) -> Callable[[str, int], AbstractAsyncContextManager[Poster]]:
    async def poster(_: PlannedPost) -> tuple[int, bytes]:
        return status, b""

    return connected(poster)


def test_posts_of_one_incident_wait_for_the_answer_before_them_and_others_do_not(tmp_path: Path) -> None:
    seen: list[int] = []
    others = asyncio.Event()

    async def producer(planned: PlannedPost) -> tuple[int, bytes]:
        number = json.loads(planned.body)["n"]
        seen.append(number)
        if number == 0:
            await others.wait()  # the first post of all is answered last
        elif number == 9:
            others.set()
        return 202, json.dumps({"accepted": 1, "ids": [f"id-{number}"]}).encode()

    plan = [post("a", 0), post("a", 1), post("a", 2), post("b", 3), post(None, 9)]
    sender = WebhookSender(url="", manifest=tmp_path / "m", run="one", connect=connected(producer))
    summary = sender.send(plan)
    assert seen == [0, 3, 9, 1, 2]
    assert (summary.sent, summary.answers) == (5, {"202": 5})
    assert {entry.seq: entry.ids for entry in read_manifest(tmp_path / "m")}[2] == ("id-2",)


def test_a_post_without_an_answer_is_written_down_and_never_sent_again(tmp_path: Path) -> None:
    seen = []

    async def cut(planned: PlannedPost) -> tuple[int, bytes]:
        seen.append(planned.body)
        raise OSError("connection reset")

    sender = WebhookSender(url="", manifest=tmp_path / "m", connect=connected(cut))
    summary = sender.send([post("a", 1), post("a", 2)])
    assert seen == [b'{"n": 1}', b'{"n": 2}']
    assert summary.answers == {"none": 2}
    entries = read_manifest(tmp_path / "m")
    assert [(entry.status, entry.answered_at) for entry in entries] == [(None, None)] * 2
    assert all(entry.indeterminate and "connection reset" in entry.error for entry in entries)


def test_posts_leave_at_the_rate_asked_for(tmp_path: Path) -> None:
    sender = WebhookSender(url="", manifest=tmp_path / "m", connect=answering(401))
    sender.send([post(None, number) for number in range(11)], rate=200)
    sent = sorted(entry.sent_at for entry in read_manifest(tmp_path / "m"))
    assert sent[-1] - sent[0] >= 0.045


def test_the_caller_hears_of_every_answer(tmp_path: Path) -> None:
    heard: list[SentPost] = []
    sender = WebhookSender(url="", manifest=tmp_path / "m", connect=answering(503), on_post=heard.append)
    sender.send([post("a", 1)])
    assert [(entry.status, entry.indeterminate) for entry in heard] == [(503, True)]


def test_a_manifest_keeps_every_byte_and_forgives_a_cut_last_line(tmp_path: Path) -> None:
    entry = SentPost(
        run="r", seq=1, tenant="acme", kind="k", subject=None, body=b"\xff{", expected_status=400, sent_at=1.5
    )
    with Manifest(tmp_path / "m") as manifest:
        manifest.append(entry)
    with (tmp_path / "m").open("a") as file:
        file.write('{"run": "r", "se')
    assert read_manifest(tmp_path / "m") == [entry]
