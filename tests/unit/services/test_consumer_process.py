"""`serve consumer` as a process: what it says of its work, where, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from airflow_provider_atlan_meta.config.connections import KAFKA, POSTGRES_CONSUMER, Connections
from airflow_provider_atlan_meta.config.settings import Settings
from airflow_provider_atlan_meta.core.deliveries import DeliveryEntry, DeliveryState, LaneKey
from airflow_provider_atlan_meta.core.errors import ConfigurationError, TransientError
from airflow_provider_atlan_meta.pipeline.change_intake import Gate
from airflow_provider_atlan_meta.pipeline.outcomes import PartitionRange
from airflow_provider_atlan_meta.services import consumer_process
from airflow_provider_atlan_meta.services.consumer_process import run_consumer

TOPIC = "meta.changes.v1"
PART = PartitionRange(
    topic=TOPIC,
    partition=3,
    start=10,
    end=17,
    records=7,
    rejected=1,
    deliveries={"delivered": 2, "parked": 1},
)
TOKEN = "xoxb-hunter2-hunter2"


def entry(state: DeliveryState, subscription: str = "ops") -> DeliveryEntry:
    return DeliveryEntry(
        LaneKey(subscription, "", "acme", "incident", "inc-1"),
        UUID(int=7),
        "00000000-0000-0000-0000-000000000001",
        4,
        state,
        attempts=1,
        status=204,
        detail=f"said {TOKEN}",
    )


class Service:
    """Stands for ``ConsumerService``: works through a script, then waits to be told to stop by a signal."""

    script: Callable[[Service], None] = lambda _: None
    is_ready = True
    owned = (0, 3)
    open_breakers: tuple[str, ...] = ()

    def __init__(self, **given: Any) -> None:
        self.given = given
        self.listener = given["listener"]
        self.is_stopped = False

    def destination_type(self, subscription: str) -> str:
        return {"ops": "slack"}.get(subscription, "webhook")

    def run(self) -> None:
        type(self).script(self)
        os.kill(os.getpid(), signal.SIGTERM)
        assert self.is_stopped

    def stop(self) -> None:
        self.is_stopped = True


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, lines: Callable[..., Any], capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., list[dict[str, Any]]]]:
    """``run(script, **settings)``: the lines of its log."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    kafka = {"conn_type": "kafka", "extra": {"bootstrap.servers": "127.0.0.1:1"}}
    postgres = {"conn_type": "postgres", "host": "127.0.0.1", "password": "hunter3-hunter3"}
    slack = {"conn_type": "slack", "password": TOKEN}
    known = {KAFKA: kafka, POSTGRES_CONSUMER: postgres, "slack_of_ops": slack}
    environ = {f"AIRFLOW_CONN_{name.upper()}": json.dumps(fields) for name, fields in known.items()}
    environ |= {"AIRFLOW_CONFIG": os.devnull, "AIRFLOW__ATLAN_META__CONSUMER_METRICS_PORT": port}
    monkeypatch.setattr(consumer_process, "ConsumerService", Service)
    lines()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def run(script: Callable[[Service], None], **settings: str) -> list[dict[str, Any]]:
        monkeypatch.setattr(Service, "script", script)
        settings_environ = {f"AIRFLOW__ATLAN_META__{key.upper()}": value for key, value in settings.items()}
        given = Settings(environ | settings_environ)
        assert run_consumer(given, Connections(given, environ)) == 0
        return [json.loads(line) for line in capfd.readouterr().err.splitlines()]

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def get(service: Service, path: str) -> str:
    port = service.given["settings"].integer("consumer_metrics_port")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return str(answer.read().decode())


def test_a_write_is_one_line_and_a_delivery_one_at_debug_only(run: Callable[..., Any]) -> None:
    other = replace(PART, partition=4, start=0, end=1, records=1, deliveries={"delivered": 1})

    def script(service: Service) -> None:
        service.listener.written((PART, other))
        service.listener.delivered(entry("delivered"))

    quiet, loud = run(script), run(script, log_level="DEBUG")

    assert [line["event"] for line in quiet] == ["started", "batch written", "stopped"]
    batch = quiet[1]
    assert (batch["ranges"], batch["changes"]) == ({"3": [10, 17], "4": [0, 1]}, 8)
    assert batch["deliveries"] == {"delivered": 3, "parked": 1}
    (delivery,) = [line for line in loud if line["event"] == "delivery written"]
    assert delivery["change_id"] == "00000000-0000-0000-0000-000000000001"
    assert delivery["delivery_id"] == str(UUID(int=7))
    assert (delivery["tenant"], delivery["id"], delivery["revision"]) == ("acme", "inc-1", 4)
    assert (delivery["subscription"], delivery["outcome"], delivery["status"]) == ("ops", "delivered", 204)


def test_secrets_of_receivers_are_masked_from_their_first_use_on(run: Callable[..., Any]) -> None:
    def script(service: Service) -> None:
        assert service.given["connections"]("slack_of_ops").password == TOKEN
        service.listener.delivered(entry("rejected"))

    written = run(script, log_level="DEBUG")

    assert TOKEN not in json.dumps(written)
    assert "said ***" in [line.get("detail") for line in written]


def test_what_it_did_is_counted_by_type_of_destination_and_state(run: Callable[..., Any]) -> None:
    pages: list[str] = []

    def script(service: Service) -> None:
        service.listener.batch(PART)
        for state in ("delivered", "delivered", "parked", "claimed"):
            service.listener.delivered(entry(state))
        service.listener.delivered(entry("delivered", "hooks"))
        service.listener.gated(Gate(superseded=3, skipped=2))
        service.given["on_trouble"](TransientError("away"), 1.0)
        pages.append(get(service, "/metrics"))

    run(script)

    (page,) = pages
    for line in (
        "atlan_meta_consumer_changes_total 7.0",
        "atlan_meta_consumer_dead_letters_total 1.0",
        "atlan_meta_consumer_batches_total 1.0",
        'atlan_meta_consumer_deliveries_total{state="delivered",type="slack"} 2.0',
        'atlan_meta_consumer_deliveries_total{state="parked",type="slack"} 1.0',
        'atlan_meta_consumer_deliveries_total{state="delivered",type="webhook"} 1.0',
        "atlan_meta_consumer_superseded_total 3.0",
        "atlan_meta_consumer_skipped_revisions_total 2.0",
        "atlan_meta_consumer_restarts_total 1.0",
        "atlan_meta_consumer_owned_partitions 2.0",
    ):
        assert f"\n{line}\n" in page
    assert 'state="claimed"' not in page


def test_a_breaker_is_1_while_it_is_open_and_0_afterwards(run: Callable[..., Any]) -> None:
    pages: list[str] = []

    def script(service: Service) -> None:
        for now_open in (("slack_of_ops",), ()):
            service.open_breakers = now_open
            pages.append(get(service, "/metrics"))

    run(script)

    for page, value in zip(pages, ("1.0", "0.0"), strict=True):
        assert f'atlan_meta_consumer_breaker_open{{conn_id="slack_of_ops"}} {value}\n' in page


def test_readyz_is_the_services_own_word(run: Callable[..., Any]) -> None:
    def script(service: Service) -> None:
        assert get(service, "/readyz") == "ready\n"
        service.is_ready = False
        with pytest.raises(urllib.error.HTTPError, match="503"):
            get(service, "/readyz")
        assert get(service, "/healthz") == "alive\n"

    run(script)


def test_a_port_that_is_taken_names_the_setting(run: Callable[..., Any]) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ConfigurationError, match="consumer_metrics_port"),
    ):
        run(lambda _: None, consumer_metrics_port=str(taken.getsockname()[1]))
