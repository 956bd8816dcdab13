"""What is below production is said in so many words."""

from __future__ import annotations

import pytest

from airflow_provider_atlan_meta.clients.kafka_health import TopicHealth


@pytest.mark.parametrize(
    ("replication", "min_insync", "words"),
    [
        (3, 2, []),
        (3, None, []),
        (1, 2, ["replication factor 1"]),
        (3, 1, ["min.insync.replicas 1"]),
        (1, 1, ["replication factor 1", "min.insync.replicas 1"]),
    ],
)
def test_a_topic_below_production_values_says_which(
    replication: int, min_insync: int | None, words: list[str]
) -> None:
    health = TopicHealth(topic="t", partitions=12, replication=replication, min_insync=min_insync)
    warnings = health.warnings()
    assert len(warnings) == len(words)
    assert all(word in warning for word, warning in zip(words, warnings, strict=True))
