"""Two services and three bounded runs at once, one of them stopped at the worst moments: nobody is told twice."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from integration.last_hop import SHORT_LEASE_SECONDS, LastHop, applied_states, first_calls
from integration.rows_by_hand import put_titled, row_session
from integration.waiting import wait_until

from airflow_provider_atlan_meta.config.connections import KAFKA, POSTGRES_CONSUMER, Connections
from airflow_provider_atlan_meta.config.settings import Settings
from airflow_provider_atlan_meta.core.errors import TransientError
from airflow_provider_atlan_meta.core.ports import LeaseOwner
from airflow_provider_atlan_meta.services.consumer import PropagateOutcome, PropagateRequest, propagate_once

pytestmark = [pytest.mark.integration, pytest.mark.timeout(420)]

RUNS = 3
LOAD_SECONDS, RATE, ROWS = 20, 20.0, 40
SEED_VARIABLE = "ATLAN_META_TOGETHER_SEED"


class Runs:
    """``RUNS`` at a time, each as ``PropagateOperator`` makes it, the next one when it has ended."""

    def __init__(self, hop: LastHop) -> None:
        settings = Settings(hop.environ)
        self._connections = Connections(settings, hop.environ).get
        self._request = PropagateRequest.from_settings(settings)
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(RUNS)]
        self.outcomes: list[PropagateOutcome] = []
        self.retried: list[TransientError] = []
        self.failures: list[BaseException] = []

    def __enter__(self) -> Runs:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        while not self._over.wait(0.5):
            try:
                self.outcomes.append(self._once(f"atlan_meta_propagate/run-{number}/propagate"))
            except TransientError as error:
                self.retried.append(error)
            except BaseException as error:
                self.failures.append(error)
                return

    def _once(self, task: str) -> PropagateOutcome:
        return propagate_once(
            kafka=self._connections(KAFKA),
            postgres=self._connections(POSTGRES_CONSUMER),
            connections=self._connections,
            request=self._request,
            owner=LeaseOwner(id=uuid4(), label=f"{task}#1", task=task),
        )


# ---- stopping an owner exactly there ---------------------------------------------------------------------------------


def await_services(hop: LastHop) -> None:
    """Until they own every partition, which they keep: bounded runs take what is free, for a moment."""
    owned = (
        "select bool_and(owner_label like 'consumer %' and expires_at > now()) from meta.ingest_offset"
        " where sink = 'consumer'"
    )
    wait_until(lambda: hop.rows(owned) == [(True,)], 60, "the services own every partition")


def stop_process(label: str) -> int:
    """Of a service's label, which ends in its process id."""
    owner = int(label.rpartition(":")[2])
    os.kill(owner, signal.SIGSTOP)
    return owner


# Claims alone wait for it: whatever else is written goes on.
CLAIMS_WAIT = """
  create function public.wait_for_test() returns trigger language plpgsql as $$
  begin perform pg_advisory_xact_lock_shared(1); return new; end $$;
  create trigger wait_for_test before insert on meta.delivery
    for each row when (new.state = 'claimed') execute function public.wait_for_test()"""
AT_THE_CLAIM = "select pg_advisory_xact_lock(1)"
AT_THE_ANNOUNCEMENT = "lock table meta.subscription_version in access exclusive mode"


@contextlib.contextmanager
def held_up(hop: LastHop, lock: str, function: str) -> Iterator[Callable[[], list[Any]]]:
    """Nobody gets through ``function``, which waits for ``lock``, within the block; tells which owners wait there."""
    waits = (
        "select distinct owner_label from pg_stat_activity join meta.ingest_offset"
        " on application_name = 'atlan-meta ' || owner where datname = current_database()"
        f" and wait_event_type = 'Lock' and query like '%meta.{function}(%'"
    )
    with psycopg.connect(hop.store.dsn(hop.store.admin)) as connection:
        connection.execute(lock.encode())
        yield lambda: hop.rows(waits)


def stop_before_the_claim(hop: LastHop, incident: str) -> int:
    """It has read the change, and its announcement comes through when it has stopped."""
    with held_up(hop, AT_THE_ANNOUNCEMENT, "begin_deliveries") as who_waits:
        hop.put(incident, "A")
        wait_until(who_waits, 20, "the owner announces what it is about to send", every=0.02)
        return stop_process(*who_waits()[0])


def stop_between_claim_and_call(hop: LastHop, incident: str) -> int:
    """Its claim comes through when it has stopped."""
    hop.session.execute(CLAIMS_WAIT)
    with held_up(hop, AT_THE_CLAIM, "claim_deliveries") as who_waits:
        hop.put(incident, "A")
        wait_until(who_waits, 20, "the owner claims", every=0.02)
        owner = stop_process(*who_waits()[0])
    wait_until(lambda: claimed(hop, incident), 20, "the claim is committed")
    return owner


def stop_after_the_call(hop: LastHop, incident: str) -> int:
    """Its calls are under way: the post takes effect soon, the webhook long after others have gone on."""
    hop.script("slack", "delay", path="chat.postMessage", seconds=2)
    hop.script("webhook", "delay", seconds=SHORT_LEASE_SECONDS * 3)
    hop.put(incident, "A")
    wait_until(lambda: len(under_way(hop, incident)) == 2, 20, "the calls are under way", every=0.02)
    ((label,),) = hop.rows(
        "select owner_label from meta.ingest_offset o join meta.delivery_lane l using (partition)"
        f" where sink = 'consumer' and l.id = '{incident}' and l.subscription = 'chat' and l.part = ''"
    )
    return stop_process(label)


def claimed(hop: LastHop, incident: str) -> bool:
    query = "select id from meta.delivery where state = 'claimed' and claimed_at is not null"
    return (incident,) in hop.rows(query)


def under_way(hop: LastHop, incident: str) -> list[Any]:
    return [
        call
        for call in hop.recorded()
        if incident in str(call["body"]) and call["status"] is None and call["applied_at"] is None
    ]


STOPS = {
    "before the claim": stop_before_the_claim,
    "between claim and call": stop_between_claim_and_call,
    "after the call": stop_after_the_call,
}


def stopped_until_others_went_on(
    hop: LastHop, stop: Callable[[LastHop, str], int], incident: str
) -> tuple[list[str], list[str]]:
    """What the webhook had been told of the incident when the owner stopped, and when it went on."""
    await_services(hop)
    owner = stop(hop, incident)
    try:
        before = hop.told(incident)
        hop.put(incident, "B")
        wait_until(lambda: "B" in hop.told(incident), 60, "others went on")
        after = hop.told(incident)
    finally:
        os.kill(owner, signal.SIGCONT)
    return before, after


class Load(threading.Thread):
    """Changes rows at random."""

    def __init__(self, hop: LastHop, rng: random.Random) -> None:
        super().__init__(name="load", daemon=True)
        self._hop, self._rng = hop, rng

    def run(self) -> None:
        with row_session(self._hop.store) as session:
            begun = time.monotonic()
            for number in range(int(LOAD_SECONDS * RATE)):
                put_titled(session, f"inc-{self._rng.randrange(ROWS):03}", f"S{number}")
                time.sleep(max(0.0, begun + number / RATE - time.monotonic()))


def test_many_owners_one_of_them_stopped_at_each_step_tell_everybody_once(
    hop: LastHop, service: Callable[..., Any]
) -> None:
    seed = int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().randrange(1 << 32))
    print(f"{SEED_VARIABLE}={seed}")
    services = [service("consumer", hop.environ) for _ in range(2)]
    for one in services:
        one.start()
    with Runs(hop) as runs:
        for number, (step, stop) in enumerate(STOPS.items()):
            before, after = stopped_until_others_went_on(hop, stop, f"stopped-{number}")
            print(f"stopped {step}: the webhook had been told {before}, then {after}")
        load = Load(hop, random.Random(seed))
        load.start()
        load.join()
        wait_until(lambda: not hop.unfinished(), 180, "claims are settled, closing sends made", every=0.5)
    final = {
        row: (revision, status)
        for row, revision, status in hop.rows("select incident_id, revision, status from meta.incident")
    }

    verdict, calls = hop.verdict_of_firsts(), hop.webhooks()
    print(
        f"{len(calls)} webhook calls, {len(calls) - len(first_calls(calls))} of them repeats;"
        f" {len(hop.messages())} Slack messages, folded {verdict.folded};"
        f" {len(runs.outcomes)} runs ended, {len(runs.retried)} are to be tried again"
    )
    assert runs.failures == []
    assert any(outcome.owned_by for outcome in runs.outcomes)
    assert verdict.findings == []
    # in the order of what arrived, what was late included: the closing send puts it right
    assert told_late(hop)
    assert applied_states(calls) == final
    assert [one.terminate() for one in services] == [0, 0]


def told_late(hop: LastHop) -> bool:
    """Whether the webhook got something older after something newer."""
    told = hop.told("stopped-2")
    return "A" in told[told.index("B") :]
