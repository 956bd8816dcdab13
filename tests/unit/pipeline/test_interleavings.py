"""Several owners over one topic, in every order of their steps: the rows end as those of a single clean run.

Every call of a port is a step. A schedule decides who takes the next one, and how it goes: as asked, without an
answer (before or after its effect, or with the effect at any later time), or never, because its process is dead. Owners
are bounded runs and services; leases run out at any moment, which is all a pause is. Written down once more as a model
that is searched exhaustively, this holds for every interleaving of two owners; here it is held for the product's code.

Planted mistakes must make it fail, or it would prove nothing.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_atlan_meta.core.errors import LeaseLostError, TransientError
from airflow_provider_atlan_meta.core.merging import BatchPlan
from airflow_provider_atlan_meta.core.ports import Commit, EventStore
from airflow_provider_atlan_meta.core.rows import DeadLetter
from airflow_provider_atlan_meta.pipeline.ingest import DrainLimits, Ingest, IngestPolicy
from airflow_provider_atlan_meta.testing.memory import (
    Answer,
    MemoryDatabase,
    MemoryLane,
    MemoryLog,
    MemoryStore,
)
from airflow_provider_atlan_meta.testing.memory_database import Tables, write_rows
from airflow_provider_atlan_meta.testing.records import webhook_record
from tests.unit.pipeline.stepped_process import Process

SMALL_BATCHES = IngestPolicy(batch_records=2)
MAX_OWNERS = 4
MAX_TURNS = 6


class Stepped:
    """A port whose every call is a step; some calls find their server away."""

    def __init__(self, process: Process, port: Any) -> None:
        self._process = process
        self._port = port

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._port, name)

        def step(*args: Any, **kwargs: Any) -> Any:
            how = self._process.wait(name)
            if name == "apply":
                self._port.answer_next(ANSWERS[how % len(ANSWERS)])
            elif how % 12 == 11:
                raise TransientError("the server is away")
            return call(*args, **kwargs)

        return step


# Mostly as asked: schedules in which nobody gets anywhere say little.
ANSWERS = (*(Answer.NORMAL,) * 6, Answer.NEVER, Answer.LOST, Answer.LATE)


# ---- what is watched -------------------------------------------------------------------------------------------------


class WatchedDatabase(MemoryDatabase):
    """Counts how often each record was applied, and that only the lease's holder moves a cursor."""

    def __init__(self, lane: MemoryLane) -> None:
        super().__init__(lane.clock)
        self.applied: Counter[tuple[int, int]] = Counter()
        self.refuses = lambda event: event.subject == "poison"

    def apply_batch(
        self,
        plan: BatchPlan,
        commit: Commit | None,
        dead_letters: Sequence[DeadLetter] = (),
        *,
        held: bool = False,
    ) -> None:
        super().apply_batch(plan, commit, dead_letters, held=held)
        self.count(plan, commit, dead_letters)

    def count(self, plan: BatchPlan, commit: Commit | None, dead_letters: Sequence[DeadLetter]) -> None:
        assert commit is not None
        self.applied.update((commit.partition, event.offset) for event, _ in plan.events)
        self.applied.update((commit.partition, letter.offset) for letter in dead_letters)

    def move_cursor(self, commit: Commit) -> None:
        row = self.ledger[commit[:4]]
        assert commit.epoch == row.epoch, "a cursor was moved by somebody who does not hold its lease"
        assert commit.end >= row.next_offset, "a cursor moved backwards"
        super().move_cursor(commit)


def two_partitions() -> MemoryLane:
    """Duplicates, A-B-A, a record that is none, one the store refuses, and transaction markers."""
    lane = MemoryLane(partitions=2)
    for status in ("a", "b", "b"):
        lane.publish(0, "inc-1", alert_feedback=status)
    lane.topic.append(0, webhook_record()._replace(value=b"{"))
    lane.publish(0, "inc-1", alert_feedback="a")
    lane.topic.commit(0)
    lane.publish(1, "inc-2", alert_feedback="a")
    lane.publish(1, "poison")
    lane.publish(1, "inc-2", alert_feedback="b")
    lane.publish(1, "inc-3")
    return lane


RECORDS = {(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (1, 0), (1, 1), (1, 2), (1, 3)}
ENDS = {0: 6, 1: 4}


def comparable(tables: Tables) -> dict[str, Any]:
    """The rows, without what legitimately depends on which partition was first."""
    changes: dict[tuple[str, str], list[Any]] = {}
    for change in tables.changes:
        changes.setdefault((change.kind, change.id), []).append((change.revision, change.values))
    return {
        "events": tables.events,
        "incidents": tables.incidents,
        "entities": {key: (entity.row, entity.revision) for key, entity in tables.entities.items()},
        "links": tables.links,
        "dead letters": tables.dead_letters,
        "changes": changes,
    }


def clean_run() -> dict[str, Any]:
    lane = two_partitions()
    lane.database = WatchedDatabase(lane)
    lane.ingest(policy=SMALL_BATCHES).drain(DrainLimits())
    return comparable(lane.database.tables)


CLEAN = clean_run()


# ---- the play --------------------------------------------------------------------------------------------------------

MakeStore = Callable[[MemoryDatabase, Process], EventStore]


class Play:
    """One schedule, played to its end. Its bytes decide; what they leave open ends in good order."""

    def __init__(
        self,
        schedule: bytes,
        *,
        database: type[WatchedDatabase] = WatchedDatabase,
        store: MakeStore = lambda database, _: MemoryStore(database),
    ) -> None:
        self._bytes: Iterator[int] = iter(schedule)
        self._lane = two_partitions()
        self.database = database(self._lane)
        self._lane.database = self.database
        self._make_store = store
        self._processes: list[Process] = []

    def run(self) -> None:
        try:
            self._play()
        finally:
            for process in self._processes:
                process.kill()
        self.database.run_late()
        self._lane.clock.advance(31)
        self._lane.ingest(policy=SMALL_BATCHES).drain(DrainLimits())
        self.database.run_late()
        self._check()

    def _play(self) -> None:
        self._start(0)
        for byte in self._bytes:
            alive = [process for process in self._processes if not process.is_done]
            choice = byte % 16
            if choice == 15:
                self._lane.clock.advance(31)
            elif choice == 14:
                self.database.run_late()
            elif choice == 13 and alive:
                alive[next(self._bytes, 0) % len(alive)].kill()
            elif choice >= 11 or not alive:
                self._start(byte // 16)
            else:
                alive[choice % len(alive)].go(byte // 16)

    def _start(self, kind: int) -> None:
        if len(self._processes) < MAX_OWNERS:
            self._processes.append(Process(self._service if kind % 3 == 0 else self._bounded_run))

    def _bounded_run(self, process: Process) -> None:
        self._engine(process).drain(DrainLimits())

    def _service(self, process: Process) -> None:
        turns = iter(range(MAX_TURNS))
        self._engine(process).follow(lambda: next(turns, None) is None)

    def _engine(self, process: Process) -> Ingest:
        owner = self._lane.owner()
        return Ingest(
            log=Stepped(process, MemoryLog(self._lane.topic, clock=self._lane.clock)),
            ledger=Stepped(process, self._lane.ledger(owner)),
            store=Stepped(process, self._make_store(self.database, process)),
            owner=owner,
            policy=SMALL_BATCHES,
            clock=self._lane.clock,
        )

    def _check(self) -> None:
        assert self._lane.cursors() == ENDS, "a record was never read"
        applied = self.database.applied
        assert {record for record, times in applied.items() if times > 1} == set(), "applied twice"
        assert set(applied) == RECORDS, "skipped"
        assert comparable(self.database.tables) == CLEAN


SCHEDULES = st.binary(min_size=20, max_size=160)


@settings(max_examples=150, deadline=None)
@given(SCHEDULES)
def test_however_owners_are_paused_cut_off_and_killed_the_rows_are_those_of_one_clean_run(
    schedule: bytes,
) -> None:
    Play(schedule).run()


# ---- the same, should somebody repeat an unanswered batch ------------------------------------------------------------


class RepeatingStore(MemoryStore):
    """Sends a batch once more under the same lease when there is no answer. Only the offset makes that harmless."""

    def apply(
        self,
        plan: BatchPlan,
        *,
        commit: Commit | None,
        dead_letters: Sequence[DeadLetter] = (),
        held: bool = False,
    ) -> None:
        try:
            super().apply(plan, commit=commit, dead_letters=dead_letters, held=held)
        except LeaseLostError:
            raise
        except TransientError:
            super().apply(plan, commit=commit, dead_letters=dead_letters, held=held)


@settings(max_examples=60, deadline=None)
@given(SCHEDULES)
def test_repeating_an_unanswered_batch_doubles_nothing(schedule: bytes) -> None:
    Play(schedule, store=lambda database, _: RepeatingStore(database)).run()


# ---- planted mistakes ------------------------------------------------------------------------------------------------


class EpochIgnored(WatchedDatabase):
    def check_lease(self, commit: Commit) -> None:
        if self.ledger[commit[:4]].next_offset != commit.start:
            raise LeaseLostError("offset")


class OffsetIgnored(WatchedDatabase):
    def check_lease(self, commit: Commit) -> None:
        if self.ledger[commit[:4]].epoch != commit.epoch:
            raise LeaseLostError("epoch")


class NothingCompared(WatchedDatabase):
    def check_lease(self, commit: Commit) -> None:
        return


class DeadLettersDropped(WatchedDatabase):
    def apply_batch(
        self,
        plan: BatchPlan,
        commit: Commit | None,
        dead_letters: Sequence[DeadLetter] = (),
        *,
        held: bool = False,
    ) -> None:
        super().apply_batch(plan, commit, (), held=held)


class TwoTransactions(MemoryStore):
    """Cursor and rows in two statements, between which the process may be stopped or killed."""

    def __init__(self, database: WatchedDatabase, process: Process, *, cursor_first: bool) -> None:
        super().__init__(database)
        self._watched = database
        self._process = process
        self._cursor_first = cursor_first

    def apply(
        self,
        plan: BatchPlan,
        *,
        commit: Commit | None,
        dead_letters: Sequence[DeadLetter] = (),
        held: bool = False,
    ) -> None:
        assert commit is not None
        self._watched.check_lease(commit)
        statements: list[Callable[[], None]] = [
            lambda: self._watched.move_cursor(commit),
            lambda: self._write(plan, commit, dead_letters),
        ]
        for statement in statements if self._cursor_first else reversed(statements):
            self._process.wait("statement")
            statement()

    def _write(self, plan: BatchPlan, commit: Commit, dead_letters: Sequence[DeadLetter]) -> None:
        write_rows(self._watched.tables, plan)
        self._watched.count(plan, commit, dead_letters)


def two_transactions(*, cursor_first: bool) -> MakeStore:
    def make(database: MemoryDatabase, process: Process) -> EventStore:
        assert isinstance(database, WatchedDatabase)
        return TwoTransactions(database, process, cursor_first=cursor_first)

    return make


@pytest.mark.parametrize(
    "mistake",
    [
        pytest.param({"database": EpochIgnored}, id="epoch ignored"),
        pytest.param(
            {"database": OffsetIgnored, "store": lambda database, _: RepeatingStore(database)},
            id="offset ignored by a repeating client",
        ),
        pytest.param({"database": NothingCompared}, id="nothing compared"),
        pytest.param({"database": DeadLettersDropped}, id="dead letters dropped"),
        pytest.param({"store": two_transactions(cursor_first=True)}, id="cursor committed before the rows"),
        pytest.param({"store": two_transactions(cursor_first=False)}, id="rows committed before the cursor"),
    ],
)
def test_a_planted_mistake_is_found(mistake: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        play_many(300, **mistake)


def play_many(times: int, **rules: Any) -> None:
    chance = random.Random(20261124)
    for _ in range(times):
        Play(chance.randbytes(120), **rules).run()


def test_the_same_schedules_find_nothing_in_what_is_built() -> None:
    play_many(100)
