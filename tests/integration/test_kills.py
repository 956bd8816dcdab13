"""kill -9 of producer, ingest, Kafka and PostgreSQL at random moments: accepted means kept, once."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from airflow_provider_atlan_meta.sandbox.isolation import Database, Isolation, Topics
from airflow_provider_atlan_meta.sandbox.lifecycle import Sandbox
from airflow_provider_atlan_meta.sandbox.oracle import Verdict, judge
from airflow_provider_atlan_meta.sandbox.stored_rows import ChangeLog, read_stored
from airflow_provider_atlan_meta.testing.manifest import SentPost, read_manifest
from airflow_provider_atlan_meta.testing.sender import WebhookSender
from airflow_provider_atlan_meta.testing.webhooks import WebhookTenant, plan_webhooks

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

RATE = 20.0
# sent in spells until every strike was struck: how long the servers need to start is not what is tested
SPELL, MOST_POSTS = 50, 4000
BETWEEN_STRIKES = 80
KILLS_EACH = 2
LEASE_SECONDS = 4
SEED_VARIABLE = "ATLAN_META_KILL_SEED"


@pytest.fixture
def seed() -> int:
    """Printed, so that a failure can be repeated."""
    number = int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().randrange(1 << 32))
    print(f"{SEED_VARIABLE}={number}")
    return number


@pytest.fixture
def changes(isolation: Isolation, database: Database) -> Iterator[ChangeLog]:
    log = ChangeLog(database.dsn(database.admin), f"kills_{database.name}")
    log.listen()
    yield log
    log.drop()


def test_nothing_is_lost_or_doubled_when_everything_is_killed_twice(
    sandbox: Sandbox,
    database: Database,
    topics: Topics,
    changes: ChangeLog,
    service: Callable[..., Any],
    seed: int,
    tmp_path: Path,
) -> None:
    environ = {**topics.environ, **database.environ, "AIRFLOW__ATLAN_META__LEASE_SECONDS": str(LEASE_SECONDS)}
    producer, ingest = service("producer", environ), service("ingest", environ)
    producer.start()
    ingest.start()
    tenants = [WebhookTenant(t.id, t.montecarlo_webhook_secret) for t in sandbox.home.tenants]
    plan = plan_webhooks(seed=seed, count=MOST_POSTS, tenants=tenants)
    strikes: dict[str, Callable[[], None]] = {
        "producer": lambda: (producer.kill(), producer.start()),
        "ingest": lambda: (ingest.kill(), ingest.start(ready=False)),
        "kafka": lambda: (sandbox.kill("kafka"), sandbox.start("kafka")),
        "postgres": lambda: (sandbox.kill("postgres"), sandbox.start("postgres")),
    }
    with _Striker(random.Random(seed), strikes) as strikers:
        sender = WebhookSender(
            url=producer.url, manifest=tmp_path / "manifest.jsonl", run="kills", on_post=strikers.answered
        )
        for start in range(0, MOST_POSTS, SPELL):
            sender.send(plan[start : start + SPELL], rate=RATE)
            if not strikers.is_alive():
                break

    verdict = _judged_at_rest(database, changes, [t.id for t in tenants], tmp_path / "manifest.jsonl")
    assert strikers.failure is None
    assert sorted(strikers.done) == sorted(list(strikes) * KILLS_EACH)
    assert verdict.findings == []
    assert (verdict.lost, verdict.duplicated) == (0, 0)
    assert verdict.accepted >= strikers.needed


class _Striker(threading.Thread):
    """Kills and starts again, one after the other, each after a random number of accepted posts and a moment more.

    :ivar needed: posts that have to be accepted until the last strike.
    """

    def __init__(self, rng: random.Random, strikes: dict[str, Callable[[], Any]]) -> None:
        super().__init__(name="striker", daemon=True)
        order = list(strikes) * KILLS_EACH
        rng.shuffle(order)
        self._plan = [(rng.randrange(1, BETWEEN_STRIKES), rng.uniform(0, 0.5), name) for name in order]
        self._strikes = strikes
        self._accepted = threading.Semaphore(0)
        self._over = threading.Event()
        self.needed = sum(posts for posts, _, _ in self._plan)
        self.done: list[str] = []
        self.failure: BaseException | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self.join()

    def answered(self, post: SentPost) -> None:
        if post.accepted:
            self._accepted.release()

    def run(self) -> None:
        try:
            for posts, moment, name in self._plan:
                for _ in range(posts):
                    while not self._accepted.acquire(timeout=0.1):
                        if self._over.is_set():
                            return
                self._over.wait(moment)
                self._strikes[name]()
                self.done.append(name)
        except BaseException as error:
            self.failure = error


def _judged_at_rest(database: Database, changes: ChangeLog, tenants: list[str], manifest: Path) -> Verdict:
    """The verdict once nothing moves any more, or the last one before the deadline."""
    posts = read_manifest(manifest)
    deadline = time.monotonic() + 60
    while True:
        stored = read_stored(database.dsn(database.reader), tenants, messages=changes.read())
        verdict = judge(posts, stored)
        if verdict.ok or time.monotonic() > deadline:
            return verdict
        time.sleep(0.5)
