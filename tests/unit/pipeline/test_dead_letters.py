"""Dead letters reach their topic with their origin and original bytes, at least once."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from airflow_provider_atlan_meta.core.errors import TransientError
from airflow_provider_atlan_meta.core.ports import OutboundRecord
from airflow_provider_atlan_meta.pipeline.dead_letters import publish_dead_letters
from airflow_provider_atlan_meta.pipeline.ingest import DrainLimits
from airflow_provider_atlan_meta.testing.memory import MemoryLane, MemoryStore
from airflow_provider_atlan_meta.testing.records import webhook_record

TOPIC = "meta.dead-letter.v1"


class Sender:
    """Keeps what it is sent; raises the next of ``failures`` after it took the records."""

    def __init__(self, *failures: TransientError) -> None:
        self.calls: list[list[OutboundRecord]] = []
        self._failures = list(failures)

    def send(self, records: Sequence[OutboundRecord]) -> None:
        self.calls.append(list(records))
        if self._failures:
            raise self._failures.pop(0)


def lane_with(letters: int) -> MemoryLane:
    lane = MemoryLane()
    for n in range(letters):
        broken = webhook_record("inc-1")._replace(
            value=b"%d{" % n, headers=(("received_at", b"1"), ("none", None))
        )
        lane.topic.append(0, broken)
    lane.ingest().drain(DrainLimits())
    return lane


def test_a_letter_carries_the_original_and_why_it_is_there() -> None:
    lane, sender = lane_with(1), Sender()

    assert publish_dead_letters(MemoryStore(lane.database), sender, TOPIC) == 1

    ((record,),) = sender.calls
    (letter,) = lane.database.tables.dead_letters.values()
    assert (record.topic, record.key, record.value) == (TOPIC, b"acme|inc-1", b"0{")
    assert record.headers[:2] == [("received_at", b"1"), ("none", None)]
    assert dict(record.headers[2:]) == {
        "dlq_reason": letter.reason.encode(),
        "dlq_fingerprint": letter.fingerprint.encode(),
        "dlq_stage": b"decode",
        "dlq_topic": b"meta.events.v1",
        "dlq_partition": b"0",
        "dlq_offset": b"0",
        "dlq_sink": b"postgres",
        "dlq_at": b"1970-01-01T00:00:00",
    }


def test_all_that_wait_are_sent_once_in_order() -> None:
    lane, sender = lane_with(250), Sender()

    assert publish_dead_letters(MemoryStore(lane.database), sender, TOPIC) == 250
    assert publish_dead_letters(MemoryStore(lane.database), sender, TOPIC) == 0

    assert [len(call) for call in sender.calls] == [100, 100, 50]
    assert [record.value for call in sender.calls for record in call] == [b"%d{" % n for n in range(250)]


def test_what_was_not_acknowledged_is_sent_again() -> None:
    lane, sender = lane_with(2), Sender(TransientError("no answer"))
    with pytest.raises(TransientError):
        publish_dead_letters(MemoryStore(lane.database), sender, TOPIC)

    assert publish_dead_letters(MemoryStore(lane.database), sender, TOPIC) == 2

    assert sender.calls[0] == sender.calls[1]
