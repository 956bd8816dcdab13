"""A destination over HTTP with the recorder as its other side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from airflow_provider_atlan_meta.core.sending import Destination
from airflow_provider_atlan_meta.testing.recorder import Recorder
from airflow_provider_atlan_meta.testing.scripts import Script
from airflow_provider_atlan_meta.testing.slack_api import SlackApi

T = TypeVar("T")


class HttpBench:
    """:ivar service: the recorder's."""

    service: str

    def __init__(self, url: str, recorder: Recorder) -> None:
        self.options: dict[str, Any] = {}
        self.url, self.recorder = url, recorder
        recorder.forget(None)
        recorder.scripts.clear()
        recorder.slack = SlackApi()

    def open(self) -> Destination:
        raise NotImplementedError

    def script(self, **fields: Any) -> None:
        self.recorder.scripts.append(Script(service=self.service, **fields))

    def answer_next(self, status: int, *, retry_after: str | None = None) -> None:
        # the recorder's scripts know seconds only
        seconds = float(retry_after) if retry_after and retry_after.isdigit() else None
        self.script(mode="status", status=status, retry_after=seconds)

    def lose_next_answer(self) -> None:
        self.script(mode="cut")

    def run(self, work: Callable[[Any], Awaitable[T]]) -> T:
        async def inside() -> T:
            async with self.open() as destination:
                return await work(destination)

        return asyncio.run(inside())

    def calls(self) -> int:
        return len(self.entries())

    def entries(self) -> list[dict[str, Any]]:
        return self.recorder.recorded(self.service)
