"""B8: the history of entities into a real Cassandra, against the driver's own ways of writing many rows."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from cassandra.cluster import Session
from cassandra.concurrent import execute_concurrent_with_args
from cassandra.query import UNSET_VALUE, BatchStatement

from airflow_provider_atlan_meta.clients.cassandra import CassandraConfig, CassandraSession
from airflow_provider_atlan_meta.clients.cassandra_sinks import CassandraHistorySink
from airflow_provider_atlan_meta.config.connections import CASSANDRA, Connections
from airflow_provider_atlan_meta.core.enrich import enrich
from airflow_provider_atlan_meta.core.rows import EventRow
from airflow_provider_atlan_meta.sandbox.lifecycle import Sandbox
from benchmarks import corpus, stage
from benchmarks.measure import Cost, cost_of, median_ratio, rates, take_turns
from benchmarks.results import Row, row

ID = "B8"
OF_CONCURRENT = 1.2
# batch_size_warn_threshold as Cassandra ships it
_WARNS = 5 * 1024
_SHAPE = corpus.Shape("1.1 KB", 1, 1)
# Few enough that an entity is told of more than once within a batch, as in a backlog that is caught up with;
# and as many as in the other benchmarks, where batches are small.
_HOT, _WIDE = 500, 5_000
_BATCH = 1_000
# rows of those that write one after the other
_FEW = 300
_PEERS = {
    "conc50": "execute_concurrent_with_args, 50 at once",
    "conc100": "execute_concurrent_with_args, 100 at once",
    "sync": "session.execute, prepared, one by one",
    "hook": "CassandraHook, one by one",
}
_TICKS = os.sysconf("SC_CLK_TCK")
_INSERT = (
    "insert into {keyspace}.event_by_entity (tenant_id, entity_id, month, event_key,"
    " event_id, source, type, subject, occurred_at, received_at, payload)"
    " values ({marks}) using timestamp {last}"
)
_Values = tuple[Any, ...]


def run(rounds: int, quick: bool) -> list[Row]:
    count = 2_000 if quick else 10_000
    hot, wide = (
        [
            list(map(enrich, corpus.records(count, shape=_SHAPE, known=known, seed=seed)))
            for seed in range(rounds)
        ]
        for known in (_HOT, _WIDE)
    )
    with stage.servers(["cassandra"]) as sandbox, _Stage(sandbox) as made:
        # driver and node warm up
        take_turns(made.contenders([hot[0][:_BATCH]], few=50), 1)
        costs = take_turns(made.contenders(hot, few=_FEW), rounds)
        few = ("ours", "conc50")
        costs_wide = take_turns({name: made.contenders(wide, few=_FEW)[name] for name in few}, rounds)
        made.check_equal()
        above = sum(made.batches_above(_WARNS, part) for part in (*hot, *wide))
    return [
        *_rows(f"{_HOT} incidents", costs, hot, target=OF_CONCURRENT),
        *_rows(f"{_WIDE:,} incidents", costs_wide, wide, target=None),
        row(
            ID,
            "batches above Cassandra's warning of 5 KB",
            ours=above,
            peer=None,
            unit="batches",
            ratio=above,
            target=0,
            at_most=True,
            rounds=rounds,
        ),
    ]


class _Stage:
    """A keyspace per contender, gone afterwards."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._variables = sandbox.variables()
        self._pid = sandbox.pid("cassandra")
        info = Connections(environ=self._variables).get(CASSANDRA)
        self._config, run = CassandraConfig.from_connection(info), uuid4().hex[:8]
        names = ("ours", "conc50", "conc100", "sync")
        self._configs = {
            name: dataclasses.replace(self._config, keyspace=f"bench_{name}_{run}") for name in names
        }
        self._sink = CassandraHistorySink(self._configs["ours"])
        self._sessions = {name: CassandraSession(one) for name, one in self._configs.items()}
        self._hook: Any = None

    def __enter__(self) -> _Stage:
        # Airflow's hook connects to the keyspace that the connection names
        with CassandraSession(self._config) as own:
            own.describe()
        for session in self._sessions.values():
            session.describe()
        return self

    def __exit__(self, *_: object) -> None:
        self._sink.close()
        if self._hook is not None:
            self._hook.shutdown_cluster()
        for name, session in self._sessions.items():
            session.session.execute(f"drop keyspace {self._configs[name].keyspace}", timeout=60)
            session.close()

    def contenders(
        self, parts: Sequence[Sequence[EventRow]], *, few: int
    ) -> Mapping[str, Callable[[], Cost]]:
        """Name -> writes its next part.

        :param few: rows of those that write one after the other.
        """
        turns: dict[str, Iterator[Sequence[EventRow]]] = {}

        def contender(
            name: str, write: Callable[[Any], None], rows: Callable[[Any], Any]
        ) -> Callable[[], Cost]:
            turns[name] = iter(parts)

            def turn() -> Cost:
                given = rows(next(turns[name]))
                return self._cost(lambda: write(given))

            return turn

        return {
            "ours": contender("ours", self._ours, lambda events: events),
            "conc50": contender("conc50", lambda given: self._concurrent("conc50", given, 50), _values),
            "conc100": contender("conc100", lambda given: self._concurrent("conc100", given, 100), _values),
            "sync": contender("sync", self._one_by_one, lambda events: _values(events)[:few]),
            "hook": contender("hook", self._by_hook, lambda events: _values(events)[:few]),
        }

    def _ours(self, events: Sequence[EventRow]) -> None:
        for start in range(0, len(events), _BATCH):
            self._sink.append(events[start : start + _BATCH])

    def _concurrent(self, name: str, values: Sequence[_Values], concurrency: int) -> None:
        session = self._sessions[name].session
        statement = session.prepare(self._insert(name, "?"))
        execute_concurrent_with_args(session, statement, values, concurrency=concurrency)

    def _one_by_one(self, values: Sequence[_Values]) -> None:
        session = self._sessions["sync"].session
        statement = session.prepare(self._insert("sync", "?"))
        for one in values:
            session.execute(statement, one)

    def _by_hook(self, values: Sequence[_Values]) -> None:
        session = self._session_of_hook()
        text = self._insert("sync", "%s")
        for one in values:
            # it has no word for "unset"
            session.execute(text, [None if value is UNSET_VALUE else value for value in one])

    def _session_of_hook(self) -> Session:
        if self._hook is None:
            from airflow.providers.apache.cassandra.hooks.cassandra import CassandraHook

            os.environ.update(self._variables)
            self._hook = CassandraHook(CASSANDRA)
        return self._hook.get_conn()

    def _insert(self, name: str, mark: str) -> str:
        marks = ", ".join([mark] * 11)
        return _INSERT.format(keyspace=self._configs[name].keyspace, marks=marks, last=mark)

    def _cost(self, work: Callable[[], object]) -> Cost:
        before = _cpu_seconds(self._pid)
        cost = cost_of(work)
        return dataclasses.replace(cost, server=_cpu_seconds(self._pid) - before)

    def check_equal(self) -> None:
        """:raises RuntimeError: the contenders left different rows behind."""
        found = {name: self._stored(name) for name in ("ours", "conc50")}
        if not found["ours"] or len(set(map(frozenset, found.values()))) != 1:
            raise RuntimeError(f"different rows: { {name: len(rows) for name, rows in found.items()} }")

    def _stored(self, name: str) -> set[tuple[Any, ...]]:
        return set(
            map(
                tuple,
                self._sessions[name].rows(
                    "select tenant_id, entity_id, month, event_key, event_id, source, type, subject, occurred_at,"
                    " received_at, payload, writetime(payload) from {keyspace}.event_by_entity"
                ),
            )
        )

    def batches_above(self, limit: int, events: Sequence[EventRow]) -> int:
        """By the bytes of their values, counted apart from the sink's own count."""
        large = 0
        for start in range(0, len(events), _BATCH):
            for statement in self._sink.batches(events[start : start + _BATCH]):
                if isinstance(statement, BatchStatement):
                    packed = statement._statements_and_parameters  # noqa: SLF001 - the driver has no public way
                    values = [value for _, _, row in packed for value in row]
                    large += sum(len(value) for value in values if isinstance(value, bytes)) > limit
        return large


def _values(events: Sequence[EventRow]) -> list[_Values]:
    """The rows as one would write them by hand."""
    made = []
    for event in events:
        received_ms = event.received_at // 1000
        stamp = event.event_key
        year_month = _month(received_ms)
        for entity in {one.entity_id for one in event.entities}:
            made.append(
                (
                    *(event.tenant_id, UUID(bytes=entity), year_month, stamp, UUID(bytes=event.event_id)),
                    *(event.source, event.type, event.subject),
                    UNSET_VALUE if event.occurred_at is None else event.occurred_at // 1000,
                    *(received_ms, event.payload.decode(), received_ms * 1000),
                )
            )
    return made


def _month(milliseconds: int) -> int:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.year * 100 + moment.month


def _cpu_seconds(pid: int) -> float:
    """All threads of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _rows(
    what: str,
    costs: Mapping[str, Sequence[Cost]],
    parts: Sequence[Sequence[EventRow]],
    *,
    target: float | None,
) -> list[Row]:
    # an event names as many entities as chance has it: times are per row of their own round
    counts = [len(_values(part)) for part in parts]
    mine = rates(costs["ours"], round(sum(counts) / len(counts)))
    ours = [cost.wall / count for cost, count in zip(costs["ours"], counts, strict=True)]
    made = []
    for name, peer in _PEERS.items():
        if name not in costs:
            continue
        many = counts if name.startswith("conc") else [min(_FEW, count) for count in counts]
        theirs = rates(costs[name], round(sum(many) / len(many)))
        per_row = [cost.wall / count for cost, count in zip(costs[name], many, strict=True)]
        made.append(
            row(
                ID,
                f"history rows of {_SHAPE.name} into Cassandra, {what} / {peer}",
                ours=mine.per_second,
                peer=theirs.per_second,
                unit="rows/s",
                ratio=median_ratio(per_row, ours),
                target=target if name == "conc50" else None,
                rounds=len(parts),
                rows=sum(counts),
                client_us=mine.client_us,
                peer_client_us=theirs.client_us,
                server_us=mine.server_us,
                peer_server_us=theirs.server_us,
                load=os.getloadavg()[0],
            )
        )
    return made
