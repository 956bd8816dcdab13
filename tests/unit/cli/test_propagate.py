"""`atlan-meta propagate`: what it asks for, what it prints, how it exits."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_atlan_meta.cli import DONE, SOME_REJECTED, WRONG_USAGE, main
from airflow_provider_atlan_meta.config.connections import KAFKA, POSTGRES_CONSUMER
from airflow_provider_atlan_meta.pipeline.outcomes import PartitionRange, PropagateOutcome
from airflow_provider_atlan_meta.services import consumer

TOPIC = "meta.changes.v1"
PART = PartitionRange(topic=TOPIC, partition=1, start=4, end=9, records=5, deliveries={"delivered": 5})


class Engine:
    """Stands for the consumption engine."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}
        self.answer = PropagateOutcome(topic=TOPIC, records=5, deliveries={"delivered": 5}, ranges=(PART,))

    def __call__(self, **asked: Any) -> PropagateOutcome:
        self.asked = asked
        asked["report"](PART)
        return self.answer


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    fake = Engine()
    monkeypatch.setattr(consumer, "propagate_once", fake)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path_factory.mktemp("home")))
    for conn_id in (KAFKA, POSTGRES_CONSUMER, "hooks"):
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps({"conn_type": "any"}))
    return fake


def test_it_hands_limits_and_connections_on(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["propagate", "--max-records", "7", "--dry-run", "--runner", "local"]) == DONE

    request = engine.asked["request"]
    assert (request.topic, request.max_records, request.dry_run) == (TOPIC, 7, True)
    assert engine.asked["postgres"].conn_id == POSTGRES_CONSUMER
    assert engine.asked["connections"]("hooks").conn_id == "hooks"
    assert engine.asked["owner"].label.startswith("propagate ")
    assert "meta.changes.v1/1 [4, 9) 5 changes, deliveries: 5 delivered" in capsys.readouterr().err


def test_stdout_is_one_json_document(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["propagate", "--json"]) == DONE

    assert json.loads(capsys.readouterr().out) == engine.answer.to_dict() | {
        "ranges": [json.loads(json.dumps(engine.answer.to_dict()["ranges"][0]))]
    }


def test_what_is_told_to_people_names_lag_owners_and_what_waits(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.answer = PropagateOutcome(
        topic=TOPIC,
        deliveries={"parked": 2},
        owned_by={0: "consumer a:1", 3: "consumer a:1"},
        lag=4,
        parked_lanes=2,
    )
    assert main(["propagate"]) == DONE

    told, owned = capsys.readouterr().out.splitlines()
    assert told == (
        "read 0 changes of meta.changes.v1 (deliveries: 2 parked), 4 left, 2 lanes wait for another try"
    )
    assert owned == "owned by consumer a:1: partitions [0, 3]"


def test_some_rejected_is_exit_code_3(engine: Engine) -> None:
    engine.answer = PropagateOutcome(topic=TOPIC, records=1, deliveries={"rejected": 1}, rejected=1)

    assert main(["propagate"]) == SOME_REJECTED


def test_there_is_no_fallback_for_the_consumers_connection(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(f"AIRFLOW_CONN_{POSTGRES_CONSUMER.upper()}")

    assert main(["propagate"]) == WRONG_USAGE
    assert POSTGRES_CONSUMER in capsys.readouterr().err
