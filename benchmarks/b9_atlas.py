"""B9: many events of few entities into a catalog: calls, entities a second, and the real Apache Atlas.

The stub answers every call after 20 ms. Ours is what a follower does: what changed since the last look, each entity
once, in bulks, and nothing where the content stayed. The peers are the loops one would write with a client: a POST for
every event, and bulks of 100 events as they come.
"""

from __future__ import annotations

import dataclasses
import json
import random
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any
from uuid import UUID, uuid4

import httpx

from airflow_provider_atlan_meta.clients.atlas import AtlasClient
from airflow_provider_atlan_meta.clients.atlas_config import AtlasConfig
from airflow_provider_atlan_meta.clients.atlas_entities import AtlasSink
from airflow_provider_atlan_meta.config.connections import ATLAS, Connections
from airflow_provider_atlan_meta.core import atlas_dialects
from airflow_provider_atlan_meta.core.atlas import bulk_body
from airflow_provider_atlan_meta.core.projection import Candidate, Standing, triage
from airflow_provider_atlan_meta.core.stores import ENTITY, Landing, RowRef, StateRow
from benchmarks import stage
from benchmarks.results import Row, row

ID = "B9"
FEWER_CALLS, OF_STUB, OF_ATLAS = 100.0, 5_000.0, 150.0
EVENTS, HOT, QUICK_EVENTS = 50_000, 5_000, 10_000
# events between two looks of the follower, and rows of one call of its sink
_WINDOW, _BATCH = 5_000, 200
_STUB_SECONDS = 0.02
_ATLAS_ENTITIES, _QUICK_ATLAS_ENTITIES, _FEW = 2_000, 600, 60
_SAID = ("bronze", "silver", "gold")


class _Stub(httpx.BaseTransport):
    """A catalog that takes everything, 20 ms after it was asked. :ivar calls: how often."""

    def __init__(self) -> None:
        self.calls = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        time.sleep(_STUB_SECONDS)
        sent = json.loads(request.content)["entities"]
        return httpx.Response(200, json={"guidAssignments": {one["guid"]: "g" for one in sent}})


def run(rounds: int, quick: bool) -> list[Row]:
    events = _events(QUICK_EVENTS if quick else EVENTS)
    made = [_stub_round(events) for _ in range(min(rounds, 3))]
    ours, batches, single, repeated = made[0]["calls"]
    entities = _QUICK_ATLAS_ENTITIES if quick else _ATLAS_ENTITIES
    with stage.servers(["atlas"]) as sandbox:
        config = AtlasConfig.from_connection(Connections(environ=sandbox.environ()).get(ATLAS))
        real = [_atlas_round(config, entities) for _ in range(rounds)]
    what = f"{len(events):,} events of {HOT:,} entities"
    per_second = median(one["ours"] for one in made)
    mine, peer = (median(one[name] for one in real) for name in ("ours", "single"))
    return [
        row(
            ID,
            f"{what}, calls / a POST per event",
            ours=ours,
            peer=single,
            unit="calls",
            ratio=single / ours,
            target=FEWER_CALLS,
            window=_WINDOW,
        ),
        row(
            ID,
            f"{what}, calls / bulks of 100 events",
            ours=ours,
            peer=batches,
            unit="calls",
            ratio=batches / ours,
        ),
        row(
            ID,
            "calls for entities that did not change",
            ours=repeated,
            peer=None,
            unit="calls",
            ratio=repeated,
            target=0,
            at_most=True,
        ),
        row(
            ID,
            f"{what} into a stub of 20 ms / bulks of 100 events",
            ours=per_second,
            peer=median(one["batches"] for one in made),
            unit="events/s",
            ratio=per_second / OF_STUB,
            target=1.0,
        ),
        row(
            ID,
            "new entities into Apache Atlas 2.1 / a POST each",
            ours=mine,
            peer=peer,
            unit="entities/s",
            ratio=mine / OF_ATLAS,
            target=1.0,
            of_peer=mine / peer,
            rounds=rounds,
            entities=entities,
        ),
    ]


def _events(count: int) -> list[StateRow]:
    """Rows as events leave them: all entities alike, a third of the events says nothing new."""
    chance = random.Random(9)
    refs = [RowRef("acme", ENTITY, str(UUID(int=number))) for number in range(HOT)]
    revisions: dict[RowRef, tuple[int, str]] = {}
    events = []
    for _ in range(count):
        ref = chance.choice(refs)
        revision, said = revisions.get(ref, (0, ""))
        fresh = chance.choice(_SAID)
        revisions[ref] = (revision + (fresh != said), fresh)
        events.append(_row(ref, *revisions[ref]))
    return events


def _row(ref: RowRef, revision: int, said: str) -> StateRow:
    values = {
        "qualified_name": f"analytics.sales.{ref.id}@prod",
        "type_name": "table",
        "name": f"{ref.id} {said}",
        "platform": "snowflake",
        "database_name": "analytics",
        "schema_name": "sales",
    }
    return StateRow(ref, revision, values, hash(values["name"]))


def _stub_round(events: Sequence[StateRow]) -> dict[str, Any]:
    dialect = dataclasses.replace(atlas_dialects.ATLAS, types={})
    config = AtlasConfig(conn_id="stub", hosts=("http://stub",), dialect=dialect)
    stub, peers = _Stub(), _Stub()
    with AtlasClient(config, stub) as client, AtlasClient(config, peers) as theirs:
        sink = AtlasSink(client, read_rows=lambda _: [])
        standings: dict[RowRef, Standing] = {}
        ours = _timed(lambda: _follow(sink, standings, events))
        calls = stub.calls
        _follow(sink, standings, events)
        batches = _timed(lambda: _bulks(theirs, sink, events))
    return {
        "calls": (calls, peers.calls, len(events), stub.calls - calls),
        "ours": len(events) / ours,
        "batches": len(events) / batches,
    }


def _follow(sink: AtlasSink, standings: dict[RowRef, Standing], events: Sequence[StateRow]) -> None:
    """As the follower does it, with standings in memory."""
    for start in range(0, len(events), _WINDOW):
        dirty = {event.ref: event for event in events[start : start + _WINDOW]}
        known = [Candidate(event, standings.get(ref, Standing())) for ref, event in dirty.items()]
        told = [candidate.row for candidate in triage(known).write]
        for at in range(0, len(told), _BATCH):
            batch = told[at : at + _BATCH]
            if any(landed.landing is not Landing.DONE for landed in sink.write(batch)):
                raise RuntimeError("the stub takes everything, and something did not land")
            standings |= {one.ref: Standing(one.revision, one.content_hash, 1) for one in batch}


def _bulks(client: AtlasClient, sink: AtlasSink, events: Sequence[StateRow]) -> None:
    for start in range(0, len(events), 100):
        # one of each within a request: two of a name would be two entities
        rows = {event.ref: event for event in events[start : start + 100]}
        _post(client, sink, list(rows.values()))


def _atlas_round(config: AtlasConfig, count: int) -> dict[str, float]:
    """Entities that are not there yet, a tenant for each round."""
    tenant = f"bench{uuid4().hex[:8]}"
    refs = [RowRef(tenant, ENTITY, str(uuid4())) for _ in range(count + _FEW)]
    rows = [_row(ref, 1, "gold") for ref in refs]
    with AtlasClient(config) as client:
        sink = AtlasSink(client, read_rows=lambda _: [])
        client.ensure_types()
        single = _timed(lambda: [_post(client, sink, [one]) for one in rows[count:]])
        ours = _timed(lambda: _write_all(sink, rows[:count]))
        found = _stored(sink, rows)
    if found != len(rows):
        raise RuntimeError(f"Atlas has {found} of {len(rows)} entities")
    return {"ours": count / ours, "single": _FEW / single}


def _stored(sink: AtlasSink, rows: Sequence[StateRow]) -> int:
    """How many of them the catalog has."""
    by_ref = {row.ref: row for row in rows}
    reader = AtlasSink(sink.client, read_rows=lambda refs: [by_ref[ref] for ref in refs])
    return len(reader.read_revisions(list(by_ref)))


def _write_all(sink: AtlasSink, rows: Sequence[StateRow]) -> None:
    left = list(rows)
    while left:
        landed = [
            one for start in range(0, len(left), _BATCH) for one in sink.write(left[start : start + _BATCH])
        ]
        done = {one.ref for one in landed if one.landing is Landing.DONE}
        left = [row for row in left if row.ref not in done]


def _post(client: AtlasClient, sink: AtlasSink, rows: Sequence[StateRow]) -> None:
    body = bulk_body(list(sink.entities(rows).values()), client.config.dialect)
    if client.send("POST", "/entity/bulk", body=body).verdict is not None:
        raise RuntimeError("the catalog refused")


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
