from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from airflow.triggers.base import TriggerEvent

from airflow_provider_atlan_meta.clients import kafka_admin
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import ConfigurationError, TerminalError
from airflow_provider_atlan_meta.hooks import connections
from airflow_provider_atlan_meta.triggers.kafka_offset_range import KafkaOffsetRangeTrigger

KAFKA = ConnectionInfo(conn_id="k", conn_type="kafka", extra={"bootstrap.servers": "127.0.0.1:9"})
FAST: dict[str, Any] = {"poll_seconds": 0.001, "min_interval_seconds": 0.001, "backoff_max_seconds": 0.001}


class FakeEnds:
    """Answers from a script; the last answer repeats."""

    def __init__(
        self, *script: dict[int, int] | Exception, on_read: Callable[[], object] = lambda: None
    ) -> None:
        self.script = list(script)
        self.on_read = on_read
        self.threads: set[str] = set()
        self.closed = 0

    def read(self) -> dict[int, int]:
        self.threads.add(threading.current_thread().name)
        self.on_read()
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeEnds], None]:
    async def aconnection_info(conn_id: str) -> ConnectionInfo:
        return KAFKA

    monkeypatch.setattr(connections, "aconnection_info", aconnection_info)
    return lambda ends: monkeypatch.setattr(kafka_admin, "EndOffsets", lambda _config, _topic: ends)


async def events_of(trigger: KafkaOffsetRangeTrigger, count: int) -> list[Any]:
    events = []
    stream = trigger.run()
    async for event in stream:
        assert isinstance(event, TriggerEvent)
        events.append(event.payload)
        if len(events) == count:
            break
    await stream.aclose()  # type: ignore[attr-defined]
    return events


def first_events(count: int, **kwargs: Any) -> list[Any]:
    trigger = KafkaOffsetRangeTrigger(topic="t", **{**FAST, **kwargs})
    return asyncio.run(asyncio.wait_for(events_of(trigger, count), 10))


def test_it_tells_at_its_start_and_when_the_topic_has_grown(use: Callable[[FakeEnds], None]) -> None:
    use(FakeEnds({0: 5, 1: 7}, {0: 5, 1: 7}, {0: 6, 1: 9}))

    assert first_events(2) == [
        {
            "topic": "t",
            "ranges": [{"partition": 0, "start": 5, "end": 5}, {"partition": 1, "start": 7, "end": 7}],
        },
        {
            "topic": "t",
            "ranges": [{"partition": 0, "start": 5, "end": 6}, {"partition": 1, "start": 7, "end": 9}],
        },
    ]


def test_it_survives_an_unknown_topic_and_anything_else(use: Callable[[FakeEnds], None]) -> None:
    ends = FakeEnds(TerminalError("no such topic"), ValueError("surprise"), {0: 1})
    use(ends)

    assert first_events(1)[0]["ranges"] == [{"partition": 0, "start": 1, "end": 1}]
    assert ends.closed >= 2  # after each failure


def test_it_survives_a_connection_that_is_not_there_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[str] = []

    async def aconnection_info(conn_id: str) -> ConnectionInfo:
        tries.append(conn_id)
        if len(tries) < 3:
            raise ConfigurationError("unknown connection")
        return KAFKA

    monkeypatch.setattr(connections, "aconnection_info", aconnection_info)
    monkeypatch.setattr(kafka_admin, "EndOffsets", lambda _config, _topic: FakeEnds({0: 1}))

    assert len(first_events(1)) == 1


def test_ten_watchers_on_one_loop_look_at_the_same_time(use: Callable[[FakeEnds], None]) -> None:
    """Each look waits for nine others: with a shared thread no look would ever end."""
    together = threading.Barrier(10, timeout=10)
    use(FakeEnds({0: 1}, on_read=together.wait))

    async def ten() -> list[list[Any]]:
        triggers = [KafkaOffsetRangeTrigger(topic="t", watch_id=str(n), **FAST) for n in range(10)]
        return await asyncio.wait_for(asyncio.gather(*(events_of(t, 1) for t in triggers)), 20)

    assert [len(events) for events in asyncio.run(ten())] == [1] * 10


def test_a_look_never_runs_on_the_event_loop_and_a_hanging_one_blocks_nobody(
    use: Callable[[FakeEnds], None],
) -> None:
    hangs, release = threading.Event(), threading.Event()

    def look() -> None:
        hangs.set()
        release.wait(10)

    ends = FakeEnds({0: 1}, on_read=look)
    use(ends)

    async def cancelled_while_it_hangs() -> None:
        task = asyncio.create_task(events_of(KafkaOffsetRangeTrigger(topic="t", **FAST), 1))
        await asyncio.to_thread(hangs.wait, 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(cancelled_while_it_hangs(), 5))
    release.set()

    assert all(name.startswith("offsets-t") for name in ends.threads)


def test_it_is_stored_without_secrets_and_comes_back_as_it_was() -> None:
    trigger = KafkaOffsetRangeTrigger(topic="t", kafka_conn_id="k", watch_id="acme_t_watch")
    path, kwargs = trigger.serialize()

    assert path == "airflow_provider_atlan_meta.triggers.kafka_offset_range.KafkaOffsetRangeTrigger"
    assert kwargs["kafka_conn_id"] == "k"
    assert KafkaOffsetRangeTrigger(**kwargs).serialize() == (path, kwargs)


def test_a_row_of_another_version_still_runs() -> None:
    trigger = KafkaOffsetRangeTrigger(topic="t", a_word_of_tomorrow=1)

    assert "a_word_of_tomorrow" not in trigger.serialize()[1]
