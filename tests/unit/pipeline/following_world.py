"""Workers that follow PostgreSQL into one store, in any order of their steps.

The store executes a request when the schedule says so: at once, after its sender gave up, or after its sender is dead.
Without compare-and-set the last executed request wins, however old its row is.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from airflow_provider_atlan_meta.core.errors import TransientError
from airflow_provider_atlan_meta.core.ports import LeaseOwner
from airflow_provider_atlan_meta.core.projection import CLAIM_SECONDS, UNKNOWN_SECONDS, ProjectionLedger
from airflow_provider_atlan_meta.core.rows import INCIDENT_FIELDS, IncidentRow
from airflow_provider_atlan_meta.core.stores import INCIDENT, Landed, Landing, RowRef, StateRow
from airflow_provider_atlan_meta.pipeline.follow import Follow, FollowLimits, FollowPolicy
from airflow_provider_atlan_meta.testing.memory_database import MemoryDatabase
from airflow_provider_atlan_meta.testing.memory_ledger import MemoryLedger
from airflow_provider_atlan_meta.testing.memory_projection import MemoryProjection, state_row
from tests.unit.pipeline.stepped_process import Process

SINK = "atlas"
REFS = [RowRef("acme", INCIDENT, f"inc-{number}") for number in range(3)]
POLICY = FollowPolicy(batch_rows=2, page_rows=2)
MakeFollow = Callable[..., Follow]


class Request(NamedTuple):
    """Sent, not executed. :ivar deadline: what is bounded happens before."""

    row: StateRow
    deadline: float


class Worker:
    """One process. :ivar claimed_at: of the batch it works on."""

    def __init__(self, world: World, number: int) -> None:
        self._world = world
        self.claimed_at = world.database.clock()
        self.process = Process(self._work)
        self._number = number

    def _work(self, process: Process) -> None:
        world = self._world
        owner = LeaseOwner(id=UUID(int=self._number + 1), label=f"worker {self._number}")
        follow = world.make(
            sink=Door(world, self, process),
            projection=Stepped(world, self, process, world.ledger()),
            leases=Stepped(world, self, process, MemoryLedger(world.database, owner, sink=SINK)),
            owner=owner,
            policy=POLICY,
            clock=world.database.clock,
        )
        for _ in range(3):
            follow.drain(FollowLimits())

    @property
    def may_vanish(self) -> bool:
        """Whether nothing it sent can come later than others have to expect."""
        return self._world.has_echo or self._world.database.clock() - self.claimed_at < CLAIM_SECONDS - 60


class Stepped:
    """A port whose every call is a step; sometimes PostgreSQL is away."""

    def __init__(self, world: World, worker: Worker, process: Process, port: Any) -> None:
        self._world, self._worker, self._process, self._port = world, worker, process, port

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._port, name)

        def step(*args: Any, **kwargs: Any) -> Any:
            how = self._process.wait(name)
            if how % 16 == 15 and self._worker.may_vanish:
                raise TransientError("PostgreSQL is away")
            if name == "claim":
                self._worker.claimed_at = self._world.database.clock()
            return call(*args, **kwargs)

        return step


class Door:
    """The store, as one worker sees it."""

    name = SINK

    def __init__(self, world: World, worker: Worker, process: Process) -> None:
        self._world, self._worker, self._process = world, worker, process

    def write(self, rows: Sequence[StateRow]) -> list[Landed]:
        how = self._process.wait("send")
        if how % 10 == 9:
            raise TransientError("the store is away")
        requests = [self._world.send(row) for row in rows]
        how = self._process.wait("answer")
        return [self._answer(request, how // (3 * n + 1)) for n, request in enumerate(requests)]

    def _answer(self, request: Request, how: int) -> Landed:
        world, row = self._world, request.row
        landing = (*(Landing.DONE,) * 5, Landing.UNKNOWN, Landing.UNKNOWN, Landing.LATER)[how % 8]
        if landing is Landing.DONE:
            world.execute(request)
        elif landing is Landing.LATER:
            world.flying = [one for one in world.flying if one is not request]
        return Landed(row.ref, row.revision, landing)

    def close(self) -> None:
        return


class World:
    """:ivar has_echo: every effect comes back, and one that is older than PostgreSQL's row marks it. With it, nothing
    is bounded; without it, what was sent happens within a minute or never, and nobody vanishes with an old claim.
    :ivar loses_echoes: they do not come, although nothing is bounded.
    """

    def __init__(
        self,
        seed: int,
        *,
        has_echo: bool,
        loses_echoes: bool = False,
        make: MakeFollow = Follow,
        ledger: Callable[[MemoryDatabase], ProjectionLedger] = lambda database: MemoryProjection(
            database, sink=SINK
        ),
    ) -> None:
        self.random = random.Random(seed)
        self.has_echo = has_echo
        self._loses_echoes = loses_echoes
        self.make = make
        self.database = MemoryDatabase()
        self.rows: dict[RowRef, StateRow] = {}
        self.flying: list[Request] = []
        self._make_ledger = ledger
        self._made = 0

    def ledger(self) -> ProjectionLedger:
        return self._make_ledger(self.database)

    # ---- what happens --------------------------------------------------------------------------------------------

    def send(self, row: StateRow) -> Request:
        request = Request(row, self.database.clock() + UNKNOWN_SECONDS)
        self.flying.append(request)
        return request

    def execute(self, request: Request) -> None:
        """Once; the sender need not know."""
        if not any(one is request for one in self.flying):
            return
        self.flying = [one for one in self.flying if one is not request]
        ref = request.row.ref
        self.rows[ref] = request.row
        is_old = request.row.revision < state_row(self.database, ref).revision
        if self.has_echo and is_old and not self._loses_echoes:
            MemoryProjection(self.database, sink=SINK).mark_dirty([ref])

    def commit(self) -> None:
        """Somebody writes a row: three titles, so that what was comes again; sometimes it is deleted."""
        ref = self.random.choice(REFS)
        key, tables = (ref.tenant_id, ref.id), self.database.tables
        if key not in tables.incidents:
            values = tuple("new" if name == "title" else None for name in INCIDENT_FIELDS)
            revision = tables.tombstones.get(key, 0) + 1
            tables.incidents[key] = IncidentRow(*key, values, (), -1, None, False, revision)
        elif self.random.random() < 0.1:
            self.database.delete_incident(key)
        else:
            title = self.random.choice("abc")
            if tables.incidents[key].values[2] != title:
                self.database.edit_incident(key, title=title)

    def pass_time(self, seconds: float) -> None:
        clock = self.database.clock
        if not self.has_echo:
            ripe = [one for one in self.flying if one.deadline < clock() + seconds]
            self.random.shuffle(ripe)
            for request in ripe:
                self.execute(request)
        clock.advance(seconds)

    # ---- a story, and its end ------------------------------------------------------------------------------------

    def tell(self, steps: int = 120) -> None:
        workers, active = [self._new_worker(), self._new_worker()], 0
        for _ in range(steps):
            if self.random.random() < 0.06:
                # the other one stands where it is, for as long as it takes
                active = 1 - active
            pick = self.random.random()
            if pick < 0.12:
                self.commit()
            elif pick < 0.2 and self.flying:
                self.execute(self.random.choice(self.flying))
            elif pick < 0.25:
                self.pass_time(self.random.choice((5.0, 20.0, 80.0)))
            elif pick < 0.27 and self._killable(workers):
                self.random.choice(self._killable(workers)).process.kill()
            else:
                if workers[active].process.is_done:
                    workers[active] = self._new_worker()
                workers[active].process.go(self.random.randrange(1 << 16))
        for worker in workers:
            while not worker.process.is_done:
                worker.process.go()
        self._come_to_rest()

    def wrong(self) -> list[tuple[RowRef, Any, Any]]:
        """Rows of which the store has something else than PostgreSQL."""
        found = []
        for ref in REFS:
            row, stored = state_row(self.database, ref), self.rows.get(ref)
            if (stored.values if stored else None) != row.values:
                found.append((ref, stored, row))
        return found

    def _killable(self, workers: Sequence[Worker]) -> list[Worker]:
        return [w for w in workers if not w.process.is_done and w.may_vanish]

    def _new_worker(self) -> Worker:
        self._made += 1
        return Worker(self, self._made)

    def _come_to_rest(self) -> None:
        for request in list(self.flying):
            self.execute(request)
        for _ in range(6):
            self.pass_time(400.0)
            worker = self._new_worker()
            while not worker.process.is_done:
                worker.process.go()


def stories(seeds: range, **how: Any) -> Iterator[World]:
    for seed in seeds:
        world = World(seed, **how)
        world.tell()
        yield world
