"""A ``Publisher`` in memory that can be told to wait or to fail."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from zlib import crc32

from airflow_provider_atlan_meta.core.errors import AtlanMetaError
from airflow_provider_atlan_meta.core.ports import OutboundRecord, RecordPosition

_PARTITIONS = 12


class MemoryPublisher:
    """Keeps what it is given, in order, per topic and partition.

    ``hold()`` lets publications wait until ``release()``; ``failure`` makes the next ones fail with it.
    """

    def __init__(self) -> None:
        self.failure: AtlanMetaError | None = None
        self._log: dict[str, list[list[OutboundRecord]]] = {}
        self._open = asyncio.Event()
        self._open.set()
        self._held = 0
        self._arrival = asyncio.Event()

    def hold(self) -> None:
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    async def holds(self, count: int) -> None:
        """Returns once ``count`` publications wait for ``release()``."""
        while self._held < count:
            self._arrival.clear()
            await self._arrival.wait()

    def records(self, topic: str) -> list[OutboundRecord]:
        """All records of a topic, partition by partition, in order."""
        return [record for partition in self._log.get(topic, []) for record in partition]

    async def publish(self, records: Sequence[OutboundRecord]) -> list[RecordPosition]:
        if self.failure is not None:
            raise self.failure
        positions = [self._append(record) for record in records]
        self._held += 1
        self._arrival.set()
        await self._open.wait()
        self._held -= 1
        return positions

    def _append(self, record: OutboundRecord) -> RecordPosition:
        partitions = self._log.setdefault(record.topic, [[] for _ in range(_PARTITIONS)])
        partition = crc32(record.key or b"") % _PARTITIONS
        partitions[partition].append(record)
        return RecordPosition(partition, len(partitions[partition]) - 1)
