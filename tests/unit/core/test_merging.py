"""What a merge guarantees, whatever the order and the batch size."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from airflow_provider_atlan_meta.core.merging import BatchPlan, IncidentState, plan_batch, plan_replay
from airflow_provider_atlan_meta.core.rows import (
    INCIDENT_FIELDS,
    OPENED_AT,
    SEVERITY,
    STATUS,
    TITLE,
    EntityRow,
    EventRow,
    Statement,
)

KEY = ("acme", "inc-1")
FIELDS = st.sampled_from([STATUS, SEVERITY, TITLE, OPENED_AT])
STATEMENTS = st.dictionaries(FIELDS, st.one_of(st.none(), st.integers(0, 2)), min_size=1, max_size=4).map(
    lambda said: states(said)
)


def states(said: dict[int, Any]) -> Statement:
    return tuple(said.get(index, UNSET) for index in range(len(INCIDENT_FIELDS)))


A, B = states({STATUS: "A"}), states({STATUS: "B"})


def event(
    offset: int,
    statement: Statement | None = A,
    *,
    event_id: int | None = None,
    incident: str = "inc-1",
    entities: tuple[EntityRow, ...] = (),
) -> EventRow:
    said = None if statement is None else ("montecarlo", *statement[1:])
    name = offset if event_id is None else event_id
    return EventRow(
        offset=offset,
        event_key=offset.to_bytes(16, "big"),
        tenant_id="acme",
        event_id=name.to_bytes(16, "big"),
        source="montecarlo",
        type="open",
        subject=incident,
        occurred_at=None,
        received_at=offset * 1000,
        payload=b"{}",
        statement=said,
        entities=entities,
    )


def entity(name: str, content_hash: int = 1) -> EntityRow:
    return EntityRow(
        "acme", name.encode().ljust(16, b"\0"), name, "table", name, "montecarlo", None, None, content_hash
    )


def fold(statements: list[tuple[int, Statement]]) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    state = IncidentState()
    for position, statement in statements:
        state.merge(statement, position)
    return state.values, state.positions


@given(st.lists(STATEMENTS, min_size=1, max_size=6), st.randoms())
def test_every_order_of_records_with_fixed_positions_ends_in_the_same_row(
    statements: list[Statement], random: Any
) -> None:
    in_order = list(enumerate(statements))
    shuffled = in_order[:]
    random.shuffle(shuffled)

    assert fold(in_order) == fold(shuffled)


EVENTS = st.lists(
    st.tuples(st.sampled_from(["inc-1", "inc-2", "inc-3"]), STATEMENTS, st.integers(0, 5)),
    min_size=1,
    max_size=40,
)


@given(EVENTS)
def test_batches_of_1_7_and_5000_make_the_same_changes(described: list[tuple[str, Statement, int]]) -> None:
    events = [event(n, said, event_id=name, incident=i) for n, (i, said, name) in enumerate(described)]

    assert changes_in_batches(events, 1) == changes_in_batches(events, 7) == changes_in_batches(events, 5000)


def changes_in_batches(events: list[EventRow], size: int) -> tuple[Any, ...]:
    """Per incident: every change in order, the final bookkeeping, and which events were duplicates."""
    stored: dict[tuple[str, str], IncidentState] = {}
    changes: dict[str, list[Any]] = {}
    duplicates = []
    for start in range(0, len(events), size):
        plan = plan_batch(events[start : start + size], read(stored))
        duplicates += [(e.offset, d) for e, d in plan.events if d]
        for wave in (*plan.waves, plan.quiet):
            for row in wave:
                stored[(row.tenant_id, row.incident_id)] = IncidentState(*row[2:])
                if wave is not plan.quiet:
                    changes.setdefault(row.incident_id, []).append((row.revision, row.values))
    bookkeeping = {key: (s.values, s.positions, s.log_position, s.last_event_id) for key, s in stored.items()}
    return changes, bookkeeping, duplicates


def read(stored: dict[tuple[str, str], IncidentState]) -> dict[tuple[str, str], IncidentState]:
    return {
        key: IncidentState(s.values, s.positions, s.log_position, s.last_event_id, s.unconfirmed, s.revision)
        for key, s in stored.items()
    }


def test_an_absent_field_says_nothing_and_null_clears() -> None:
    plan = plan_batch(
        [event(0, states({STATUS: "A", SEVERITY: "SEV-1"})), event(1, states({STATUS: None}))], {}
    )

    last = plan.waves[1][0].values

    assert (last[STATUS], last[SEVERITY]) == (None, "SEV-1")


def test_the_same_webhook_twice_in_a_row_is_a_duplicate_and_changes_nothing() -> None:
    plan = plan_batch([event(0, event_id=7), event(1, event_id=7)], {})

    assert [duplicate for _, duplicate in plan.events] == [None, (7).to_bytes(16, "big")]
    assert plan.changes == 1
    assert plan.quiet == []


def test_a_webhook_that_comes_back_after_another_one_is_no_duplicate() -> None:
    plan = plan_batch([event(0, A, event_id=1), event(1, B, event_id=2), event(2, A, event_id=1)], {})

    assert plan.duplicates == 0
    assert [wave[0].values[STATUS] for wave in plan.waves] == ["A", "B", "A"]


def test_what_changes_nothing_effective_is_noted_without_a_revision() -> None:
    plan = plan_batch([event(0), event(1)], {})

    assert [row.revision for row in plan.quiet] == [1]
    assert plan.quiet[0].log_position == 1


def test_an_event_without_an_incident_is_stored_and_touches_nothing_else() -> None:
    plan = plan_batch([event(0, None)], {})

    assert (len(plan.events), plan.changes, plan.quiet) == (1, 0, [])


def test_a_row_that_was_deleted_goes_on_from_its_tombstone() -> None:
    buried = {KEY: IncidentState(revision=4)}

    plan = plan_batch([event(9)], buried)

    assert plan.waves[0][0].revision == 5


def test_opened_at_is_the_oldest_record_s() -> None:
    state = IncidentState()
    state.merge(states({OPENED_AT: 20}), 2)

    state.merge(states({OPENED_AT: 10}), 1)

    assert state.values[OPENED_AT] == 10


def test_links_are_the_net_difference_over_the_batch() -> None:
    ids = INCIDENT_FIELDS.index("entity_ids")
    orders, users = entity("orders"), entity("users")

    plan = plan_batch(
        [
            event(0, states({ids: (orders.entity_id,)}), entities=(orders,)),
            event(1, states({ids: (users.entity_id,)}), entities=(users,)),
            event(2, states({ids: (orders.entity_id,)}), entities=(orders,)),
        ],
        {},
    )

    assert [(link.entity_id, link.dropped) for link in plan.links] == [(orders.entity_id, False)]


def test_an_entity_said_twice_alike_is_staged_once_and_said_differently_in_two_waves() -> None:
    plan = plan_batch(
        [event(n, entities=(entity("orders", content),)) for n, content in enumerate((1, 1, 2))],
        {},
    )

    assert [[row.content_hash for row, _ in wave] for wave in plan.entity_waves] == [[1], [2]]


def replayed(events: list[EventRow], state: IncidentState, *, reapply: bool) -> BatchPlan:
    known = {e.event_key: False for e in events}
    return plan_replay(events, {KEY: state}, known, reapply=reapply)


def stored_state(events: list[EventRow]) -> IncidentState:
    plan = plan_batch(events, {})
    rows = [row for wave in (*plan.waves, plan.quiet) for row in wave]
    return IncidentState(*rows[-1][2:])


def test_verifying_what_is_stored_plans_nothing() -> None:
    events = [event(0), event(1, B), event(2)]

    assert replayed(events, stored_state(events), reapply=False).is_empty


def test_reapplying_what_is_stored_plans_no_write() -> None:
    events = [event(0), event(1, B), event(2)]

    plan = replayed(events, stored_state(events), reapply=True)

    assert (plan.events, plan.waves, plan.quiet) == ([], [], [])


def test_reapplying_puts_a_field_back_that_was_changed_by_hand() -> None:
    events = [event(0), event(1, B)]
    state = stored_state(events)
    state.values = (*state.values[:STATUS], "by hand", *state.values[STATUS + 1 :])

    plan = replayed(events, state, reapply=True)

    assert [row.values[STATUS] for row in plan.waves[0]] == ["B"]
