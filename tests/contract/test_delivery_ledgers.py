"""The fake ledger of deliveries and the real one keep one contract, and end alike whatever they are told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from random import Random
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from contract.delivery_ledger import (
    LEASE_SECONDS,
    SINK,
    DeliveryBench,
    DeliveryLedgerContract,
    Owner,
    Stored,
    change,
)

from airflow_provider_atlan_meta.clients.postgres import PostgresConfig
from airflow_provider_atlan_meta.clients.postgres_deliveries import PostgresDeliveries
from airflow_provider_atlan_meta.clients.postgres_ledger import PostgresLedger
from airflow_provider_atlan_meta.core.deliveries import DeliveryEntry, LaneEntry, LaneKey, Subject
from airflow_provider_atlan_meta.core.errors import TransientError
from airflow_provider_atlan_meta.core.ports import LeaseOwner, LogIdentity
from airflow_provider_atlan_meta.core.rows import DeadLetter
from airflow_provider_atlan_meta.sandbox.isolation import Database
from airflow_provider_atlan_meta.testing.memory_database import MemoryDatabase
from airflow_provider_atlan_meta.testing.memory_deliveries import MemoryDeliveries
from airflow_provider_atlan_meta.testing.memory_ledger import MemoryLedger
from airflow_provider_atlan_meta.testing.memory_store import Answer

_partitions = count(0, 4)


def new_log() -> LogIdentity:
    first = next(_partitions)
    return LogIdentity(
        cluster_id="bench",
        topic=f"t-{uuid4()}",
        topic_id=str(uuid4()),
        partitions=tuple(range(first, first + 4)),
    )


class MemoryBench:
    def __init__(self) -> None:
        self.log = new_log()
        self.database = MemoryDatabase()

    def ledgers(self, owner: LeaseOwner) -> tuple[MemoryLedger, MemoryDeliveries]:
        leases = MemoryLedger(self.database, owner, sink=SINK, lease_seconds=LEASE_SECONDS)
        return leases, MemoryDeliveries(self.database, lease_seconds=LEASE_SECONDS)

    def pass_time(self, seconds: float) -> None:
        self.database.clock.advance(seconds)

    def delivery(self, delivery_id: UUID) -> Stored | None:
        stored = self.database.deliveries.deliveries.get(delivery_id)
        if stored is None:
            return None
        entry = stored.entry
        return Stored(
            *(entry.state, entry.attempts, stored.claimed_at is not None, entry.status, entry.detail),
            *(entry.external_id, entry.change, stored.scan_at is not None, entry.folded),
            stored.settled_at is not None,
        )

    def dead_letters(self) -> dict[tuple[int, int], DeadLetter]:
        letters = self.database.tables.dead_letters
        return {(key[2], offset): letter for (key, offset), letter in letters.items() if key[3] == SINK}

    def change_subscriptions(self) -> None:
        self.database.deliveries.version += 1

    def put_incident(self, subject: Subject, title: str) -> int:
        return self._put(subject, {"title": title})

    def put_entity(self, subject: Subject, name: str) -> int:
        return self._put(subject, {"name": name})

    def _put(self, subject: Subject, columns: dict[str, Any]) -> int:
        rows = self.database.deliveries.rows
        revision = rows[subject][0] + 1 if subject in rows else 1
        rows[subject] = revision, json.dumps(columns).encode()
        return revision


class TestMemoryDeliveries(DeliveryLedgerContract):
    @pytest.fixture
    def bench(self) -> DeliveryBench:
        return MemoryBench()

    @pytest.mark.parametrize(
        ("answer", "has_effect"), [(Answer.NEVER, False), (Answer.LOST, True), (Answer.LATE, True)]
    )
    def test_a_call_may_have_effect_without_an_answer(self, answer: Answer, has_effect: bool) -> None:
        bench = MemoryBench()
        owner = Owner(bench, "acme")
        assert isinstance(owner.ledger, MemoryDeliveries)
        said = owner.say(end=12)
        owner.ledger.answer_next(answer)

        with pytest.raises(TransientError):
            owner.ledger.write(owner.log, [said])
        bench.database.run_late()

        assert owner.cursor() == (12 if has_effect else 0)
        assert owner.ledger.write(owner.log, [said]) == frozenset()
        assert owner.cursor() == 12

    def test_nothing_is_told_while_the_database_is_away(self) -> None:
        bench = MemoryBench()
        owner = Owner(bench, "acme")
        bench.database.is_up = False

        for call in (owner.begin, owner.due, owner.scans, owner.write, lambda: owner.claim(owner.entry())):
            with pytest.raises(TransientError):
                call()


class PostgresBench:
    """The same database as a superuser sees it. Ledgers have a connection each."""

    def __init__(self, database: Database) -> None:
        self.log = new_log()
        self._config = PostgresConfig.from_connection(database.consumer)
        self._admin = psycopg.connect(database.dsn(database.admin), autocommit=True)
        self._made: list[PostgresDeliveries] = []

    def ledgers(self, owner: LeaseOwner) -> tuple[PostgresLedger, PostgresDeliveries]:
        ledger = PostgresDeliveries(self._config, sink=SINK, owner=owner, lease_seconds=LEASE_SECONDS)
        self._made.append(ledger)
        return PostgresLedger(ledger.session, owner, sink=SINK, lease_seconds=LEASE_SECONDS), ledger

    def rows(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        cursor = self._admin.execute(query.encode(), arguments)
        return cursor.fetchall() if cursor.description else []

    def pass_time(self, seconds: float) -> None:
        """As if it had passed: the database's clock cannot be set, what it is compared with can."""
        for table, columns in {
            "ingest_offset": ("expires_at", "moved_at"),
            "delivery": ("claimed_at", "scan_at", "at", "settled_at"),
            "delivery_lane": ("due_at", "unsure_at", "moved_at"),
        }.items():
            moved = ", ".join(f"{column} = {column} - make_interval(secs => %(by)s)" for column in columns)
            self._admin.execute(f"update meta.{table} set {moved}".encode(), {"by": seconds})

    def delivery(self, delivery_id: UUID) -> Stored | None:
        rows = self.rows(
            "select state, attempts, claimed_at is not null, status, coalesce(detail, ''), coalesce(external_id, ''),"
            " coalesce(change::text, ''), scan_at is not null, folded, settled_at is not null"
            " from meta.delivery where delivery_id = %s",
            delivery_id,
        )
        return Stored(*rows[0])._replace(change=rows[0][6].encode()) if rows else None

    def dead_letters(self) -> dict[tuple[int, int], DeadLetter]:
        rows = self.rows(
            'select partition, "offset", tenant_id, key, headers, value, stage, reason, fingerprint'
            " from meta.dead_letter where topic = %s and sink = %s",
            *(self.log.topic, SINK),
        )
        return {
            (row[0], row[1]): DeadLetter(
                *row[1:4],
                tuple((name, value and value.encode("latin-1")) for name, value in row[4]),
                *row[5:],
            )
            for row in rows
        }

    def change_subscriptions(self) -> None:
        self.rows(
            "insert into meta.subscription (name, tenant_id, match, destination) values (%s, '*', '{}', '{}')",
            str(uuid4()),
        )

    def put_incident(self, subject: Subject, title: str) -> int:
        return self._put(
            "insert into meta.incident (tenant_id, incident_id, title) values (%s, %s, %s)"
            " on conflict (tenant_id, incident_id) do update set title = excluded.title returning revision",
            *(subject.tenant_id, subject.id, title),
        )

    def put_entity(self, subject: Subject, name: str) -> int:
        return self._put(
            "insert into meta.entity (tenant_id, entity_id, qualified_name, type_name, name, platform, position,"
            " content_hash) values (%s, %s, 'q', 'table', %s, 'p', %s, 1) returning revision",
            *(subject.tenant_id, subject.id, name, uuid4()),
        )

    def _put(self, query: str, tenant: str, *arguments: Any) -> int:
        self.rows("select set_config('meta.tenants', %s, false)", tenant)
        ((revision,),) = self.rows(query, tenant, *arguments)
        return int(revision)

    def cut(self) -> None:
        """Ends every connection of the ledgers."""
        self.rows("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'meta_consumer'")

    def close(self) -> None:
        for ledger in self._made:
            ledger.close()
        self._admin.close()


@pytest.mark.integration
class TestPostgresDeliveries(DeliveryLedgerContract):
    @pytest.fixture
    def bench(self, database: Database) -> Iterator[DeliveryBench]:
        bench = PostgresBench(database)
        yield bench
        bench.close()

    def test_a_connection_that_broke_is_made_anew(self, bench: PostgresBench) -> None:
        owner = Owner(bench, "acme")
        said = owner.say(end=12)
        bench.cut()

        with pytest.raises(TransientError):
            owner.ledger.write(owner.log, [said])

        assert owner.ledger.write(owner.log, [said]) == frozenset()
        assert owner.cursor() == 12


# ---- the two, told the same ----------------------------------------------------------------------------------------

_STATES = ("claimed", "parked", "parked", "delivered", "folded", "rejected")


class Story:
    """Random calls of two owners who rob each other, told to both ledgers; times are multiples of 100 s."""

    def __init__(self, random: Random, benches: list[Any]) -> None:
        self._random = random
        self._benches = benches
        self._owners = [[Owner(bench, "acme") for bench in benches]]
        self._ids = [UUID(int=random.getrandbits(128)) for _ in range(24)]
        self._keys = [
            LaneKey(subscription, part, "acme", "incident", f"inc-{number}")
            for subscription, part in (("slack", ""), ("slack", "thread"), ("hook", ""))
            for number in range(2)
        ]

    def entry(self) -> DeliveryEntry:
        pick = self._random
        number = pick.randrange(len(self._ids))
        state: Any = pick.choice(_STATES)
        return DeliveryEntry(
            key=self._keys[number % len(self._keys)],
            delivery_id=self._ids[number],
            change_id=str(self._ids[number]) if pick.random() < 0.8 else "",
            revision=number + 1,
            state=state,
            attempts=pick.randrange(4),
            status=pick.choice((None, 200, 503)),
            detail=pick.choice(("", "why")),
            change=pick.choice((b"", change(number + 1))),
            scan_seconds=pick.choice((None, None, 100.0)),
            folded=pick.choice((0, 0, 1)),
            claim_open=pick.random() < 0.5,
            external_id=pick.choice(("", "C1:17", "C1:18")),
        )

    def lane(self) -> LaneEntry:
        pick = self._random
        return LaneEntry(
            key=pick.choice(self._keys),
            seen=pick.randrange(30),
            external_id=pick.choice(("", "C1:1", "C1:2")),
            is_parked=pick.random() < 0.5,
            parks=pick.randrange(3),
            due_seconds=pick.choice((None, 0.0, 100.0, 300.0)),
            unsure_seconds=pick.choice((None, 0.0, 200.0)),
            last=pick.choice((b"", change(pick.randrange(30)))),
        )

    def several(self, make: Any) -> list[Any]:
        return [make() for _ in range(self._random.randrange(4))]

    def step(self) -> None:
        """One call; both answer alike."""
        owners = self._random.choice(self._owners[-2:])
        told = ("write", "write", "write", "again", "claim", "late", "begin")
        what = self._random.choice((*told, "time", "rob"))
        if what in told:
            getattr(self, f"_{what}")(owners)
        elif what == "time":
            self._pass_time(100)
        else:
            self._pass_time(LEASE_SECONDS + 1)
            self._pass_time(100 - LEASE_SECONDS - 1)
            self._owners.append([Owner(bench, "acme") for bench in self._benches])

    def _pass_time(self, seconds: float) -> None:
        for bench in self._benches:
            bench.pass_time(seconds)

    def _write(self, owners: list[Owner]) -> None:
        pick = self._random
        told = [*self.several(self.entry), *self.several(self.lane)]
        fields: dict[str, Any] = {"end": pick.randrange(50), "reach": pick.choice((None, pick.randrange(50)))}
        seen = tuple((self._keys[index].subject, pick.randrange(30)) for index in (0, 1))
        self.alike([o.ledger.write(o.log, [o.say(*told, seen=seen, **fields)]) for o in owners])

    def _again(self, owners: list[Owner]) -> None:
        """A write that comes late, or once more, or too early."""
        number, told = self._random.randrange(-1, 3), self.lane()
        self.alike([o.ledger.write(o.log, [o.say(told, number=o.number - number)]) for o in owners])
        for one in owners:
            one.number -= number if number <= 0 else 1

    def _claim(self, owners: list[Owner]) -> None:
        claims = self.several(self.entry)
        self.alike([o.claim(*claims) for o in owners])

    def _late(self, owners: list[Owner]) -> None:
        late = [one._replace(state="delivered") for one in self.several(self.entry)]
        late = list({one.delivery_id: one for one in late}.values())
        for one in owners:
            one.ledger.write_late(one.log, [(one.lease.partition, entry) for entry in late])

    def _begin(self, owners: list[Owner]) -> None:
        reach = self._random.randrange(50)
        begun = [o.begin(reach=reach) for o in owners]
        self.alike([(len(one.lost), list(one.reached.values())) for one in begun])

    def compare(self) -> None:
        owners = self._owners[-1]
        self.alike([_rounded(o.begin("inc-0", "inc-1", with_last=True).lanes) for o in owners])
        self.alike([o.begin("inc-0", "inc-1").seen for o in owners])
        self.alike([o.cursor() for o in owners])
        # what was made due in one write is due at one moment in the fake, and in a row in PostgreSQL
        self.alike(
            [
                {one.row.key: (_row(one.row), one.deliveries, one.has_more) for one in o.due(deliveries=3)}
                for o in owners
            ]
        )
        self.alike([sorted((_row(one.row), one.delivery) for one in o.scans()) for o in owners])
        self.alike([[bench.delivery(one) for one in self._ids] for bench in self._benches])

    @staticmethod
    def alike(answers: list[Any]) -> None:
        assert answers[0] == answers[1]


def _row(row: Any) -> tuple[Any, ...]:
    claim = row.claim and (row.claim.delivery_id, row.claim.attempt, round(row.claim.age_seconds / 100))
    return (
        *(row.key, row.seen, row.external_id, row.is_parked, row.parks, row.last, claim),
        *(None if age is None else round(age / 100) for age in (row.unsure_seconds, row.due_seconds)),
    )


def _rounded(lanes: Any) -> dict[LaneKey, tuple[Any, ...]]:
    return {key: _row(row) for key, row in lanes.items()}


@pytest.mark.integration
@pytest.mark.parametrize("seed", range(8))
def test_both_ledgers_end_alike_whatever_they_are_told(database: Database, seed: int) -> None:
    real = PostgresBench(database)
    real.rows("truncate meta.delivery, meta.delivery_lane, meta.change_seen")
    fake = MemoryBench()
    fake.log = real.log
    story = Story(Random(seed), [fake, real])
    try:
        for _ in range(60):
            story.step()
            story.compare()
    finally:
        real.close()
