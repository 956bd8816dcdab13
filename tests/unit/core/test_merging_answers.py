"""What the source's API says and what webhooks say, in one row: whatever the order and the batch size.

The findings are those of the model of duplicates and enrichment: an answer as new as the last one counts, only an
answer confirms, and a webhook that comes late turns nothing back.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET
from msgspec.structs import replace

from airflow_provider_atlan_meta.core.merging import BatchPlan, IncidentState, plan_batch, plan_replay
from airflow_provider_atlan_meta.core.rows import (
    ENTITY_IDS,
    INCIDENT_FIELDS,
    OPENED_AT,
    OWNER,
    PRIORITY,
    SEVERITY,
    STATUS,
    TITLE,
    UPDATED_AT,
    Answer,
    EntityRow,
    EventRow,
    Statement,
)

KEY = ("acme", "inc-1")
SAID_BY_WEBHOOKS = (STATUS, SEVERITY, TITLE, OPENED_AT, ENTITY_IDS)
VALUES = st.one_of(st.none(), st.integers(0, 2))
WEBHOOKS = st.dictionaries(st.sampled_from(SAID_BY_WEBHOOKS[:-1]), VALUES, min_size=1)
Current = dict[tuple[str, str], IncidentState]


def states(said: dict[int, Any]) -> Statement:
    return tuple(said.get(index, UNSET) for index in range(len(INCIDENT_FIELDS)))


def webhook(offset: int, status: Any = UNSET, *, name: int | None = None, **said: Any) -> EventRow:
    fields = {STATUS: status, **{INCIDENT_FIELDS.index(field): value for field, value in said.items()}}
    return event(offset, states(fields), name=name)


def alert(offset: int, status: Any, *, updated: int, seen: int, **said: Any) -> EventRow:
    fields = {STATUS: status, UPDATED_AT: updated, **{INCIDENT_FIELDS.index(f): v for f, v in said.items()}}
    return event(offset, states(fields), seen=seen)


def event(offset: int, statement: Statement, *, name: int | None = None, seen: int | None = None) -> EventRow:
    event_id = (offset + 1000 if name is None else name).to_bytes(16, "big")
    return EventRow(
        offset=offset, event_key=offset.to_bytes(16, "big"), tenant_id="acme", event_id=event_id,
        source="montecarlo", type="t", subject="inc-1", occurred_at=None, received_at=offset * 1000, payload=b"{}",
        statement=statement, entities=(), seen=seen,
    )  # fmt: skip


def write(
    state: IncidentState | None, events: Sequence[EventRow], **plan: Any
) -> tuple[IncidentState, BatchPlan]:
    """The incident behind one more batch."""
    current: Current = {}
    if state is not None:
        current[KEY] = read(state)
    planned = plan_batch(events, current, **plan)
    rows = [row for wave in planned.waves for row in wave] + planned.quiet
    return IncidentState(*rows[-1][2:]) if rows else state or IncidentState(), planned


def read(s: IncidentState) -> IncidentState:
    return IncidentState(s.values, s.positions, s.log_position, s.last_event_id, s.unconfirmed, s.revision)


def row_of(events: Sequence[EventRow]) -> IncidentState:
    state: IncidentState | None = None
    for one in events:
        state, _ = write(state, [one])
    assert state is not None
    return state


def statuses(plan: BatchPlan) -> list[Any]:
    return [row.values[STATUS] for wave in plan.waves for row in wave]


# ---- every order, every batch size -----------------------------------------------------------------------------------


@st.composite
def logs(draw: st.DrawFn) -> list[EventRow]:
    """Webhooks, and answers of an API that never goes back: what was asked later is as new at least."""
    steps = draw(
        st.lists(st.tuples(st.booleans(), st.integers(0, 1), st.integers(0, 3)), min_size=1, max_size=8)
    )
    contents = [draw(st.fixed_dictionaries(dict.fromkeys(SAID_BY_WEBHOOKS[:-1], VALUES))) for _ in range(9)]
    versions = accumulate(newer for _, newer, _ in steps)
    events, seen = [], -1
    for offset, ((is_answer, _, lag), version) in enumerate(zip(steps, versions, strict=True)):
        if is_answer:
            seen = max(seen, offset - 1 - lag)
            said = contents[version] | {
                UPDATED_AT: version,
                PRIORITY: version,
                ENTITY_IDS: (bytes([version]),),
            }
            events.append(event(offset, states(said), seen=seen))
        else:
            ids = {ENTITY_IDS: (bytes([100 + offset]),)} if lag == 0 else {}
            events.append(event(offset, states(draw(WEBHOOKS) | ids)))
    return events


@given(logs(), st.randoms())
def test_every_order_of_records_with_fixed_positions_ends_in_the_same_row(
    events: list[EventRow], random: Any
) -> None:
    """A row that is confirmed is the same in every order. One that is not has the same mark in every order, and
    differs only in what webhooks behind the answer said, which the next answer decides."""
    shuffled = events[:]
    random.shuffle(shuffled)

    one, other = row_of(events), row_of(shuffled)

    assert (one.log_position, one.last_event_id) == (other.log_position, other.last_event_id)
    assert (one.unconfirmed, one.values[UPDATED_AT]) == (other.unconfirmed, other.values[UPDATED_AT])
    seen = max([e.seen for e in events if e.seen is not None], default=None)
    open_fields = {
        index
        for e in events
        if e.seen is None and seen is not None and e.offset > seen and e.statement is not None
        for index, value in enumerate(e.statement)
        if value is not UNSET and index not in (OPENED_AT, ENTITY_IDS)
    }
    assert one.unconfirmed or not open_fields
    for index in set(range(len(INCIDENT_FIELDS))) - open_fields:
        assert (one.values[index], one.positions[index]) == (other.values[index], other.positions[index]), (
            index
        )


@given(logs(), st.randoms())
def test_the_next_answer_makes_every_order_the_same_row(events: list[EventRow], random: Any) -> None:
    shuffled = events[:]
    random.shuffle(shuffled)
    end = len(events)
    said = dict.fromkeys(SAID_BY_WEBHOOKS, 7) | {UPDATED_AT: 9, PRIORITY: 9, ENTITY_IDS: ()}
    last = event(end, states(said), seen=end - 1)

    one, other = row_of([*events, last]), row_of([*shuffled, last])

    assert (one.values, one.positions, one.unconfirmed) == (other.values, other.positions, False)


@given(logs())
def test_batches_of_1_7_and_5000_make_the_same_changes(events: list[EventRow]) -> None:
    assert in_batches(events, 1) == in_batches(events, 7) == in_batches(events, 5000)


def in_batches(events: list[EventRow], size: int) -> tuple[Any, ...]:
    state: IncidentState | None = None
    changes = []
    for start in range(0, len(events), size):
        state, plan = write(state, events[start : start + size])
        changes += [(row.revision, row.values) for wave in plan.waves for row in wave]
    assert state is not None
    return changes, state.positions, state.log_position, state.last_event_id, state.unconfirmed


# ---- the findings of the model ---------------------------------------------------------------------------------------


def test_an_answer_as_new_as_the_last_one_counts() -> None:
    """A resent webhook set the row back while nothing was told yet; the API has nothing newer to say."""
    first = [webhook(0, "B"), webhook(1, "A"), alert(2, "B", updated=2, seen=0)]
    unsettled = row_of(first)

    settled = row_of([*first, alert(3, "B", updated=2, seen=1)])

    assert (unsettled.values[STATUS], unsettled.unconfirmed) == ("A", True)
    assert (settled.values[STATUS], settled.unconfirmed) == ("B", False)


def test_an_answer_older_than_the_last_one_changes_nothing_and_confirms_nothing() -> None:
    told = [webhook(0, "A"), alert(1, "B", updated=2, seen=0), webhook(2, "C")]

    state = row_of([*told, alert(3, "A", updated=1, seen=2)])

    assert (state.values[STATUS], state.values[UPDATED_AT], state.unconfirmed) == ("B", 2, True)


def test_an_older_answer_that_saw_more_does_not_stand_against_a_newer_one() -> None:
    """A read that was behind: asked later, it knew less."""
    state = row_of([webhook(0, "A"), alert(1, "A", updated=1, seen=0), alert(2, "B", updated=2, seen=-1)])

    assert (state.values[STATUS], state.values[UPDATED_AT], state.unconfirmed) == ("B", 2, False)


def test_the_mark_is_cleared_by_an_answer_that_saw_the_newest_webhook_and_by_nothing_else() -> None:
    told = [webhook(0, "A"), alert(1, "A", updated=1, seen=0)]
    woken = row_of([*told, webhook(2, "B")])
    too_early = row_of([*told, webhook(2, "B"), alert(3, "A", updated=1, seen=0)])
    confirmed = row_of([*told, webhook(2, "B"), alert(3, "B", updated=2, seen=2)])

    assert not row_of(told).unconfirmed
    assert woken.unconfirmed
    assert too_early.unconfirmed
    assert (confirmed.values[STATUS], confirmed.unconfirmed) == ("B", False)


def test_a_webhook_of_an_incident_the_api_has_told_of_turns_nothing_back() -> None:
    """B, A sent again, B: three changes in which nothing happened."""
    told = row_of([webhook(0, "A", name=1), webhook(1, "B", name=2), alert(2, "B", updated=2, seen=1)])

    woken, plan = write(told, [webhook(3, "A", name=1)])

    assert (statuses(plan), woken.values[STATUS], woken.revision) == ([], "B", told.revision)
    assert (woken.log_position, woken.last_event_id, woken.unconfirmed) == (3, (1).to_bytes(16, "big"), True)


def test_the_same_webhook_twice_wakes_nobody() -> None:
    told = row_of([webhook(0, "A", name=1), alert(1, "A", updated=1, seen=0)])

    state, plan = write(told, [webhook(2, "A", name=1)])

    assert (plan.duplicates, state.unconfirmed, state.log_position) == (1, False, 0)


# ---- what an answer may overwrite ------------------------------------------------------------------------------------


def test_what_a_webhook_said_after_the_api_was_asked_stays_until_the_next_answer() -> None:
    state = row_of(
        [webhook(0, "A", title="old"), webhook(1, "B"), alert(2, "A", updated=1, seen=0, title="new")]
    )

    assert (state.values[STATUS], state.values[TITLE], state.unconfirmed) == ("B", "new", True)


def test_when_an_incident_began_and_its_tables_are_for_the_api_to_say() -> None:
    said = webhook(0, opened_at=50, entity_ids=(b"w",))
    later = webhook(2, opened_at=60, entity_ids=(b"w",))

    state = row_of([said, alert(1, None, updated=9, seen=-1, opened_at=7, entity_ids=(b"a",)), later])

    assert (state.values[OPENED_AT], state.values[ENTITY_IDS]) == (7, (b"a",))


def test_an_incident_that_no_webhook_told_of_begins_with_an_answer() -> None:
    state, plan = write(None, [alert(4, "A", updated=1, seen=-1)])

    assert (plan.changes, state.revision, state.log_position, state.unconfirmed) == (1, 1, -1, False)


# ---- asked while a batch is written ----------------------------------------------------------------------------------


def answer(status: Any, updated: int, **said: Any) -> Answer:
    table = EntityRow("acme", b"t" * 16, "t", "table", "t", "montecarlo", None, None, 1)
    statement = alert(0, status, updated=updated, seen=0, **said).statement
    return Answer(statement or (), (table,))


def test_an_answer_is_one_change_with_its_webhook() -> None:
    state, plan = write(None, [webhook(5, "A", title="a")], answers={KEY: answer("B", 2)})

    assert (statuses(plan), state.values[TITLE], state.unconfirmed) == (["B"], "a", False)
    assert [[entity.name for entity, _ in wave] for wave in plan.entity_waves] == [["t"]]


def test_an_answer_is_as_good_as_its_record_behind_the_webhook() -> None:
    state, _ = write(None, [webhook(5, "A")], answers={KEY: answer("B", 2)})
    record = row_of([webhook(5, "A"), alert(6, "B", updated=2, seen=5)])

    assert (state.values, state.unconfirmed) == (record.values, record.unconfirmed)
    for later in (webhook(7, "A"), alert(8, "C", updated=3, seen=5)):
        after, other = row_of_from(state, later), row_of_from(record, later)
        assert (after.values, after.unconfirmed) == (other.values, other.unconfirmed)


def row_of_from(state: IncidentState, later: EventRow) -> IncidentState:
    return write(state, [later])[0]


def test_a_webhook_of_a_told_incident_changes_what_the_api_answers() -> None:
    told = row_of([webhook(0, "A"), alert(1, "A", updated=1, seen=0)])

    state, plan = write(told, [webhook(2, "B")], answers={KEY: answer("C", 2)})

    assert (statuses(plan), state.revision, state.unconfirmed) == (["C"], told.revision + 1, False)


def test_an_answer_without_news_for_a_webhook_that_came_late_changes_and_confirms() -> None:
    told = row_of([webhook(0, "A"), alert(1, "B", updated=2, seen=0)])

    state, plan = write(told, [webhook(2, "A", name=7)], answers={KEY: answer("B", 2)})

    assert (statuses(plan), state.unconfirmed, state.log_position) == ([], False, 2)


def test_several_webhooks_of_a_batch_are_one_step_to_what_the_api_says_now() -> None:
    state, plan = write(
        None, [webhook(0, "A"), webhook(1, "B"), webhook(2, "A")], answers={KEY: answer("C", 3)}
    )

    assert (statuses(plan), state.unconfirmed) == (["C"], False)


def test_without_an_answer_a_webhook_is_believed_in_what_is_news() -> None:
    """In other words than the API's it would also call the incident otherwise, and back again with the next answer."""
    told = row_of([alert(1, "A", updated=1, seen=-1, title="the API's", owner="dana")])

    state, plan = write(told, [webhook(2, "B", title="the webhook's", owner="kim")], answers={KEY: None})

    assert statuses(plan) == ["B"]
    assert (state.values[TITLE], state.values[OWNER], state.unconfirmed) == ("the API's", "kim", True)
    assert row_of_from(state, alert(3, "B", updated=2, seen=2, owner="lee")).values[OWNER] == "lee"


def test_without_an_answer_an_untold_incident_goes_on_as_without_an_api() -> None:
    asked, _ = write(None, [webhook(0, "A", title="t")], answers={KEY: None})

    assert asked.values == row_of([webhook(0, "A", title="t")]).values


# ---- again -----------------------------------------------------------------------------------------------------------


@given(logs())
def test_replaying_what_is_stored_writes_nothing(events: list[EventRow]) -> None:
    state = row_of(events)
    known = {e.event_key: False for e in events}

    assert plan_replay(events, {KEY: read(state)}, known, reapply=False).is_empty
    plan = plan_replay(events, {KEY: read(state)}, known, reapply=True)
    assert (plan.waves, plan.quiet) == ([], [])


def mapped(one: EventRow, *ids: bytes) -> EventRow:
    statement = one.statement or ()
    return replace(one, statement=(*statement[:ENTITY_IDS], ids, *statement[ENTITY_IDS + 1 :]))


def reapplied(state: IncidentState, *events: EventRow) -> BatchPlan:
    return plan_replay(events, {KEY: read(state)}, {e.event_key: False for e in events}, reapply=True)


def test_tables_that_are_mapped_otherwise_are_derived_again_from_the_record_that_said_them() -> None:
    told, again = webhook(0, "A", entity_ids=(b"p",)), alert(1, "A", updated=1, seen=0, entity_ids=(b"p",))
    state = row_of([told, again])

    plan = reapplied(state, mapped(told, b"m"), mapped(again, b"m"))

    assert [row.values[ENTITY_IDS] for wave in plan.waves for row in wave] == [(b"m",)]
    assert reapplied(IncidentState(*plan.waves[0][0][2:]), mapped(told, b"m"), mapped(again, b"m")).is_empty


def test_tables_of_an_answer_without_a_record_are_derived_again_from_its_webhook() -> None:
    told = webhook(0, "A", entity_ids=(b"p",))
    state, _ = write(None, [told], answers={KEY: answer("B", 2, entity_ids=(b"p",))})
    fuller, _ = write(None, [told], answers={KEY: answer("B", 2, entity_ids=(b"p", b"q"))})

    assert [row.values[STATUS:] for wave in reapplied(state, mapped(told, b"m")).waves for row in wave] == [
        ("B", *state.values[OWNER:ENTITY_IDS], (b"m",))
    ]
    assert reapplied(fuller, mapped(told, b"m")).is_empty
