"""A failure names the server, its log and the cure."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_atlan_meta.sandbox.diagnosis import describe_failure
from airflow_provider_atlan_meta.sandbox.home import Home


@pytest.mark.parametrize(
    ("line", "cure"),
    [
        ("bind: Address already in use", "run the same command again"),
        ("write: No space left on device", "free some space"),
        ("java.lang.OutOfMemoryError: Java heap space", "start fewer members"),
        ("java.lang.NoClassDefFoundError: com/datadoghq/sketch", "a jar is damaged"),
        ("java.lang.UnsupportedClassVersionError: kafka/Kafka", "17 or newer"),
        ("something nobody has seen before", "down --purge"),
    ],
)
def test_a_failure_names_the_server_its_log_its_last_words_and_the_cure(
    tmp_path: Path, line: str, cure: str
) -> None:
    home = Home(tmp_path)
    home.log("kafka").write_text(f"starting\n{line}\n")
    said = describe_failure("kafka", "it ended while starting", home)
    assert said.startswith("kafka: it ended while starting")
    assert str(home.log("kafka")) in said
    assert line in said
    assert cure in said


def test_a_server_without_a_log_still_gets_words(tmp_path: Path) -> None:
    assert "kafka: no Java" in describe_failure("kafka", "no Java", Home(tmp_path))
