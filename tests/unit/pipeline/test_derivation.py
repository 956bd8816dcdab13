"""What a batch is derived under is what is stored: nobody's mapping comes between."""

from __future__ import annotations

import pytest

from airflow_provider_atlan_meta.core.errors import TransientError
from airflow_provider_atlan_meta.core.mapping import Mappings, WarehouseMapping
from airflow_provider_atlan_meta.core.ports import Lease
from airflow_provider_atlan_meta.core.templates import Case
from airflow_provider_atlan_meta.pipeline.batches import BatchWriter, Written
from airflow_provider_atlan_meta.pipeline.derivation import Derivation
from airflow_provider_atlan_meta.pipeline.replay import Replayed, ReplayWriter
from airflow_provider_atlan_meta.testing.memory import MemoryLane, MemoryStore
from airflow_provider_atlan_meta.testing.memory_mappings import MemoryMappings
from airflow_provider_atlan_meta.testing.records import ACCOUNT

INC_1 = ("acme", "inc-1")
PROVISIONAL = f"mc:{ACCOUNT}:analytics:sales.orders"


def rule(case: Case = "keep") -> WarehouseMapping:
    return WarehouseMapping(
        name="snow",
        tenant="acme",
        account=ACCOUNT,
        groups=("*",),
        platform="snowflake",
        case=case,
        values=(("cluster", "prod"),),
    )


class World:
    """A live lane and a replay over one database and its mappings."""

    def __init__(self) -> None:
        self.lane = MemoryLane()
        self.mappings = MemoryMappings()
        self.loads = 0
        self.lease: Lease = (
            self.lane.ledger(self.lane.owner()).take(self.lane.topic.identity, {0: 0}, 1).leases[0]
        )
        live, again = MemoryStore(self.lane.database), MemoryStore(self.lane.database)
        derivation = Derivation(live, self.load)
        self._writer = BatchWriter(
            live, sink="postgres", lease_seconds=30.0, decode=derivation.derive, refresh=derivation.refresh
        )
        replaying = Derivation(again, self.load)
        self._replay = ReplayWriter(again, decode=replaying.derive, refresh=replaying.refresh)

    def load(self) -> Mappings:
        self.loads += 1
        return self.mappings.load().mappings

    def apply(self, *wanted: WarehouseMapping) -> None:
        self.lane.database.mapping_revision = self.mappings.apply(wanted, actor="dana").version

    def publish(self, status: str = "a") -> None:
        self.lane.publish(0, "inc-1", alert_feedback=status)

    def write(self) -> Written:
        topic = self.lane.topic
        written = self._writer.write(
            topic.identity, self.lease, topic.read(0, self.lease.next_offset), topic.bounds(0)[1]
        )
        self.lease = written.lease
        return written

    def reapply(self) -> Replayed:
        return self._replay.write(self.lane.topic.read(0, 0), reapply=True)

    @property
    def names(self) -> list[str]:
        """Of the incident's tables."""
        tables = self.lane.database.tables
        named = {stored.row.entity_id: stored.row.qualified_name for stored in tables.entities.values()}
        return [named[entity_id] for entity_id in tables.incidents[INC_1].values[-1]]


@pytest.fixture
def world() -> World:
    return World()


def test_tables_are_called_as_the_stored_mapping_says_and_it_is_read_once(world: World) -> None:
    world.apply(rule())
    for status in ("a", "b"):
        world.publish(status)
        world.write()

    assert world.names == ["analytics.sales.orders@prod"]
    assert world.loads == 1


def test_a_batch_that_was_derived_under_another_mapping_is_derived_again(world: World) -> None:
    world.publish("a")
    world.write()
    assert world.names == [PROVISIONAL]
    world.apply(rule())
    world.publish("b")

    written = world.write()

    assert (written.events, written.changes) == (1, 1)
    assert world.names == ["analytics.sales.orders@prod"]
    assert world.lane.cursors()[0] == 2


def test_reapplying_a_new_mapping_moves_the_incident_once_and_leaves_the_events_alone(world: World) -> None:
    world.publish()
    world.write()
    events = dict(world.lane.database.tables.events)
    world.apply(rule())

    assert world.reapply().changes == 1

    assert world.names == ["analytics.sales.orders@prod"]
    assert world.lane.database.tables.events == events
    before = repr(world.lane.database.tables)
    assert world.reapply().changes == 0
    assert repr(world.lane.database.tables) == before
    world.apply(rule(case="upper"))
    assert world.reapply().changes == 1
    assert world.names == ["ANALYTICS.SALES.ORDERS@prod"]


def test_who_keeps_changing_the_mappings_stops_the_batch_and_nothing_is_written(world: World) -> None:
    world.publish()
    world.lane.database.mapping_revision = 99

    with pytest.raises(TransientError, match="keeps changing the mappings; nothing of the batch was written"):
        world.write()
    with pytest.raises(TransientError, match="keeps changing the mappings"):
        world.reapply()

    assert world.lane.cursors()[0] == 0
    assert not world.lane.database.tables.events


def test_mappings_that_cannot_be_read_stop_the_batch_and_nothing_is_written(world: World) -> None:
    world.publish()
    world.mappings.is_down = True

    with pytest.raises(TransientError, match="cannot be reached"):
        world.write()

    assert world.lane.cursors()[0] == 0
    world.mappings.is_down = False
    assert world.write().events == 1
