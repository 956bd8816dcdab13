"""The consumer service on real servers: a changed row is told once, in order, and what cannot be told waits."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from integration.last_hop import (
    CHAT,
    HOOK,
    LastHop,
    first_calls,
    last_hop,
    status_of,
    subscriptions_to,
    webhook_connection,
)
from integration.waiting import wait_until

from airflow_provider_atlan_meta.clients.kafka import KafkaConfig
from airflow_provider_atlan_meta.clients.kafka_consumer import KafkaLog
from airflow_provider_atlan_meta.config.connections import KAFKA, Connections
from airflow_provider_atlan_meta.config.settings import Settings
from airflow_provider_atlan_meta.sandbox.expected_deliveries import delivery_id_of
from airflow_provider_atlan_meta.sandbox.isolation import Isolation
from airflow_provider_atlan_meta.sandbox.lifecycle import Sandbox
from airflow_provider_atlan_meta.sandbox.received_calls import webhook_calls

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

Services = Callable[..., Any]


@pytest.fixture(scope="module")
def hop(
    servers: Sandbox, isolation: Isolation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LastHop]:
    """Each test has incidents of its own, and leaves nobody consuming."""
    with last_hop(servers, isolation, tmp_path_factory.mktemp("hop")) as made:
        yield made


@pytest.fixture
def consuming(hop: LastHop, service: Callable[..., Any]) -> Iterator[Services]:
    """Makes consumers, not started yet, and lets those that still run release their leases at the end."""
    made: list[Any] = []

    def make(**environ: str) -> Any:
        made.append(service("consumer", {**hop.environ, **environ}))
        return made[-1]

    yield make
    for one in made:
        if one.process is not None and one.process.poll() is None:
            assert one.terminate() == 0


def shown(hop: LastHop, incident: str) -> list[str]:
    """Every text the incident's message has had."""
    messages = [message for message in hop.messages() if not message.thread_ts]
    return [one.text for message in messages for one in message.shown if incident in one.text]


def test_a_changed_row_is_one_signed_call_each_and_one_message_that_follows_it(
    hop: LastHop, consuming: Services
) -> None:
    consuming().start()
    for status in ("ACKNOWLEDGED", "WORK_IN_PROGRESS", "FIXED"):
        hop.put("inc-1", status)

    hop.await_delivered(changes=3)

    ids = [call.id for call in hop.webhooks()]
    assert ids == [delivery_id_of(told.change_id, HOOK) for told in hop.changes.read()]
    assert [problem for call in hop.webhooks() for problem in call.problems] == []
    assert hop.told("inc-1") == ["ACKNOWLEDGED", "WORK_IN_PROGRESS", "FIXED"]
    message, *answers = hop.messages()
    assert len(message.shown) == 3
    assert [one.thread_ts for one in answers] == [message.ts] * 2


def test_what_was_sent_can_be_read_as_receipts(hop: LastHop, consuming: Services) -> None:
    consuming().start()
    hop.put("inc-receipt", "FIXED")
    wait_until(lambda: hop.told("inc-receipt") and shown(hop, "inc-receipt"), 60, "delivered")

    def receipts() -> dict[str, Any]:
        _, found = hop.cli("deliveries", "--incident", "inc-receipt", "--tenant", "acme")
        return {one["subscription"]: one for one in found}

    wait_until(
        lambda: (
            {name: one["state"] for name, one in receipts().items()} == {HOOK: "delivered", CHAT: "delivered"}
        ),
        30,
        "receipts",
    )
    (call,) = [call for call in hop.webhooks() if call.event["subject"] == "inc-receipt"]
    (message,) = [one for one in hop.messages() if "inc-receipt" in one.shown[0].text]
    assert (receipts()[HOOK]["delivery_id"], receipts()[HOOK]["status"]) == (call.id, 204)
    assert receipts()[CHAT]["external_id"] == f"{hop.channel}/{message.ts}"


def test_a_service_that_is_told_to_stop_loses_nothing_and_another_goes_on_at_once(
    hop: LastHop, consuming: Services
) -> None:
    """The lease is never waited for, and nothing is sent again."""
    first, second = consuming(), consuming()
    first.start()
    rows = [f"inc-stop-{number}" for number in range(40)]
    for row in rows:
        hop.put(row, "A")
    wait_until(lambda: hop.told(rows[0]), 60, "the first calls")

    assert first.terminate() == 0

    assert hop.owners() == set()
    for row in rows:
        hop.put(row, "B")
    second.start()
    wait_until(lambda: len(hop.owners()) == 1, 20, "a new owner")
    wait_until(lambda: not hop.verdict().lost and hop.told(rows[-1])[-1:] == ["B"], 90, "delivered")
    assert hop.verdict().findings == []
    assert not hop.unfinished()


def test_beside_a_service_with_nothing_to_do_a_bounded_run_ends_well_and_says_who_owns_the_partitions(
    hop: LastHop, consuming: Services
) -> None:
    """The last offset of a partition is a transaction's marker: the service's cursor gets behind it, too."""
    consuming(AIRFLOW__ATLAN_META__LEASE_SECONDS="6").start()
    hop.put("inc-quiet", "A")
    wait_until(lambda: hop.told("inc-quiet"), 60, "the call")
    kafka = Connections(Settings(hop.environ), hop.environ).get(KAFKA)
    log = KafkaLog(KafkaConfig.from_connection(kafka), hop.capture.topic, to_end=True)
    ends = {partition: end for partition, (_, end) in log.bounds(range(4)).items()}
    log.close()
    cursors = "select partition, next_offset from meta.ingest_offset where sink = 'consumer'"

    wait_until(lambda: dict(hop.rows(cursors)) == ends, 20, "the cursors at the log's ends")

    code, outcome = hop.cli("propagate")
    assert (code, outcome["lag"], len(outcome["owned_by"])) == (0, 0, 4)


def test_the_death_of_an_owner_hands_its_partitions_to_the_one_that_waits(
    hop: LastHop, consuming: Services
) -> None:
    lease = {"AIRFLOW__ATLAN_META__LEASE_SECONDS": "6"}
    first, second = consuming(**lease), consuming(**lease)
    first.start()
    second.start()
    hop.put("inc-dead", "A")
    wait_until(lambda: hop.told("inc-dead") == ["A"], 60, "the first call")
    (owner,) = hop.owners()
    assert str(owner).endswith(f":{first.pid}")

    first.kill()

    hop.put("inc-dead", "B")
    wait_until(lambda: hop.told("inc-dead")[-1:] == ["B"], 60, "the second owner's call")
    assert hop.told("inc-dead") in (["A", "B"], ["A", "A", "B"])


def test_what_an_endpoint_misses_waits_for_it_in_order_while_others_are_told(
    hop: LastHop, consuming: Services
) -> None:
    away = consuming()  # never started: nobody listens at its port
    hop.subscribe(subscriptions_to(hop.channel, "away"))
    consuming(AIRFLOW_CONN_AWAY=webhook_connection(away.url, "webhook/away", hop.secret)).start()
    for status in ("A", "B", "C"):
        hop.put("inc-away", status)

    def states() -> list[str]:
        _, found = hop.cli("deliveries", "--incident", "inc-away", "--subscription", HOOK, "--tenant", "acme")
        return [one["state"] for one in found]

    wait_until(lambda: states() == ["parked"] * 3, 60, "parked")
    wait_until(lambda: len(shown(hop, "inc-away")) == 3, 60, "Slack is told all the same")
    with ReceiverAt(away.port):
        wait_until(lambda: states() == ["delivered"] * 3, 60, "drained")
        calls = httpx.get(f"{away.url}/_recorded", params={"service": "webhook"}).json()
    assert list(map(status_of, first_calls(webhook_calls(calls, hop.secret)))) == ["A", "B", "C"]


class ReceiverAt:
    """A receiver that comes up late."""

    def __init__(self, port: int) -> None:
        argv = [sys.executable, "-m", "airflow_provider_atlan_meta.testing.recorder", "--port", str(port)]
        self._process = subprocess.Popen(argv)

    def __enter__(self) -> None:
        return

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.wait(20)


def test_an_endpoint_that_is_gone_for_good_disables_its_subscription_and_says_so(
    hop: LastHop, consuming: Services
) -> None:
    hop.subscribe(subscriptions_to(hop.channel))
    consuming().start()
    hop.script("webhook", "status", status=410)
    hop.put("inc-gone", "A")

    def listed() -> dict[str, Any]:
        return {one["name"]: one for one in hop.cli("subscription", "list")[1]}

    wait_until(lambda: listed()[HOOK]["state"] == "disabled", 60, "disabled")

    assert "410" in listed()[HOOK]["reason"]
    assert listed()[CHAT]["state"] == "enabled"
    assert hop.rows("select count(*) from meta.audit where object = 'hook' and action like '%disable%'") == [
        (1,)
    ]
    hop.put("inc-gone", "B")
    wait_until(lambda: len(shown(hop, "inc-gone")) == 2, 60, "Slack is told all the same")
    assert hop.told("inc-gone") == []
