"""Wakes a DAG when a topic has grown."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airflow_provider_atlan_meta.config.connections import KAFKA

if TYPE_CHECKING:
    from airflow_provider_atlan_meta.clients.kafka_admin import EndOffsets
    from airflow_provider_atlan_meta.core.connection import ConnectionInfo
    from airflow_provider_atlan_meta.core.polling import OffsetRange

_Result = TypeVar("_Result")


class KafkaOffsetRangeTrigger(BaseEventTrigger):
    """Looks at a topic's end offsets (read_committed); joins no group, downloads no record, commits nothing.

    Its event ``{"topic", "ranges": [{"partition", "start", "end"}]}`` is a wake-up, not a work list: whoever
    is woken reads the ledger and the end offsets itself. Nothing of a message reaches Airflow's database. It
    never ends and never raises: an unknown topic or a broker that is away is logged and looked at again after
    1, 2, 4 ... 60 seconds. The blocking look has its own thread: any number of watchers share one event loop.

    :param topic: the topic to watch.
    :param watch_id: unique per set of DAGs: Airflow runs equal triggers once, for one asset only.
    :param poll_seconds: how often to look.
    :param min_interval_seconds: the least time between two events.
    :param backoff_max_seconds: the longest wait after failures.
    """

    def __init__(
        self,
        *,
        topic: str,
        kafka_conn_id: str = KAFKA,
        watch_id: str = "",
        poll_seconds: float = 0.25,
        min_interval_seconds: float = 1.0,
        backoff_max_seconds: float = 60.0,
        **_ignored: Any,
    ) -> None:
        # arguments that are not ours come from rows that another version wrote
        super().__init__()  # type: ignore[no-untyped-call]
        self.topic = topic
        self.kafka_conn_id = kafka_conn_id
        self.watch_id = watch_id
        self.poll_seconds = poll_seconds
        self.min_interval_seconds = min_interval_seconds
        self.backoff_max_seconds = backoff_max_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Connection ids, never values: Airflow stores this."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "topic": self.topic,
                "kafka_conn_id": self.kafka_conn_id,
                "watch_id": self.watch_id,
                "poll_seconds": self.poll_seconds,
                "min_interval_seconds": self.min_interval_seconds,
                "backoff_max_seconds": self.backoff_max_seconds,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        from airflow_provider_atlan_meta.core.polling import OffsetWatch, WatchPolicy

        watch = OffsetWatch(
            WatchPolicy(
                poll_seconds=self.poll_seconds,
                min_interval_seconds=self.min_interval_seconds,
                backoff_max_seconds=self.backoff_max_seconds,
            )
        )
        thread = _OwnThread(f"offsets-{self.topic}")
        reader: EndOffsets | None = None
        try:
            while True:
                try:
                    reader = reader or await self._open_reader(thread)
                    outcome = watch.on_ends(await thread.call(reader.read), now=time.monotonic())
                except Exception as error:  # a watcher that dies is restarted at once, for ever, by Airflow
                    thread.close_later(reader)
                    reader = None
                    outcome = watch.on_error(jitter=random.random())  # noqa: S311 - spreads watchers, hides nothing
                    self._log_failure(error, outcome.wait_seconds)
                if outcome.moved:
                    yield _event(self.topic, outcome.moved)
                await asyncio.sleep(outcome.wait_seconds)
        finally:
            thread.close_later(reader)
            thread.end()

    async def _open_reader(self, thread: _OwnThread) -> EndOffsets:
        from airflow_provider_atlan_meta.hooks.connections import aconnection_info

        info = await aconnection_info(self.kafka_conn_id)
        return await thread.call(lambda: _end_offsets(info, self.topic))

    def _log_failure(self, error: Exception, wait_seconds: float) -> None:
        from airflow_provider_atlan_meta.core.messages import describe_error

        self.log.warning(
            "cannot see the end of topic %s, looking again in %.0f s: %s",
            self.topic,
            wait_seconds,
            describe_error(error),
        )


def _end_offsets(info: ConnectionInfo, topic: str) -> EndOffsets:
    """In the thread, imports too: loading a client library holds an event loop for too long."""
    from airflow_provider_atlan_meta.clients.kafka import KafkaConfig
    from airflow_provider_atlan_meta.clients.kafka_admin import EndOffsets

    return EndOffsets(KafkaConfig.from_connection(info), topic)


def _event(topic: str, moved: tuple[OffsetRange, ...]) -> TriggerEvent:
    payload = {"topic": topic, "ranges": [asdict(one) for one in moved]}
    return TriggerEvent(payload)  # type: ignore[no-untyped-call]


class _OwnThread:
    """One thread per watcher. ``sync_to_async`` would put all watchers of a triggerer behind one another."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def call(self, function: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function)

    def close_later(self, reader: EndOffsets | None) -> None:
        """Closing a client joins its threads: never on the event loop."""
        if reader is not None:
            self._pool.submit(reader.close)

    def end(self) -> None:
        self._pool.shutdown(wait=False)
