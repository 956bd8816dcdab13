"""Events of one partition, in log order, merged into the incidents they speak of.

Rules: fields are tri-state and carry their position (the offset of the record that said them), so a late record
changes only what nothing newer has said. A webhook equal to its incident's previous one changes nothing. The n-th
*effective* change of a row goes into wave n; what changes nothing effective rides on the next wave or is noted
quietly. So neither the batch size nor a replay changes the sequence of changes.

A record of the source's API carries its own time, ``updated_at``, and what it had ``seen``: the incident's newest
webhook when the API was asked. It speaks for every webhook up to there, so that offset is the position of all it says.
It applies when it is no older than the last one that did, leaves what a later webhook said, and alone clears
``unconfirmed``. Once it has told of an incident, a webhook only wakes: the next answer says what happened, and a
webhook that comes late or again turns nothing back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec import UNSET

from airflow_provider_atlan_meta.core.rows import (
    ENTITY_IDS,
    INCIDENT_FIELDS,
    OPENED_AT,
    OWNER,
    RESOLVED_AT,
    SEVERITY,
    STATUS,
    UPDATED_AT,
    Answer,
    EntityRow,
    EventRow,
    IncidentRow,
    Link,
    Statement,
)

_NOTHING_SAID: tuple[Any, ...] = (*(None,) * (len(INCIDENT_FIELDS) - 1), ())
_NO_POSITIONS = (-1,) * len(INCIDENT_FIELDS)
# what a webhook has to say that is new; the rest describes the incident, in other words than the API
_NEWS = frozenset({STATUS, SEVERITY, OWNER, RESOLVED_AT})
_NO_NEWS = frozenset({OPENED_AT, ENTITY_IDS})

IncidentKey = tuple[str, str]
_NO_ANSWERS: Mapping[IncidentKey, Answer | None] = {}
_NOT_ASKED = Answer((), ())


class IncidentState:
    """An incident while a batch is planned; mutable, owned by one plan."""

    __slots__ = ("last_event_id", "log_position", "noted", "positions", "revision", "unconfirmed", "values")

    def __init__(
        self,
        values: tuple[Any, ...] = _NOTHING_SAID,
        positions: tuple[int, ...] = (),
        log_position: int = -1,
        last_event_id: bytes | None = None,
        unconfirmed: bool = False,
        revision: int = 0,
    ) -> None:
        self.values = values
        self.positions = positions or _NO_POSITIONS
        self.log_position = log_position
        self.last_event_id = last_event_id
        self.unconfirmed = unconfirmed
        self.revision = revision
        # True: bookkeeping moved since the last effective change
        self.noted = False

    def merge(self, statement: Statement, position: int, *, again: bool = False) -> bool:
        """Takes what nothing newer has said; True when an effective column changed.

        Commutative: whatever the order of the records, each field ends with the newest record that states it
        (``opened_at``: with the oldest).

        :param again: the record was applied before; its own position does not stand against it (reapply).
        """
        values: list[Any] | None = None
        positions: list[int] | None = None
        for index, value in enumerate(statement):
            if value is UNSET:
                continue
            said = self.positions[index]
            newer = _is_newer(index, position, said)
            if not newer and not (again and position == said):
                continue
            if newer:
                if positions is None:
                    positions = list(self.positions)
                positions[index] = position
            if self.values[index] != value:
                if values is None:
                    values = list(self.values)
                values[index] = value
        if positions is not None:
            self.positions = tuple(positions)
            self.noted = True
        if values is None:
            return False
        self.values = tuple(values)
        return True

    @property
    def is_told(self) -> bool:
        """Whether the source's API has spoken of it."""
        return self.values[UPDATED_AT] is not None

    def take_answer(self, statement: Statement, seen: int, position: int) -> bool:
        """Takes what the API says; True when an effective column changed.

        Commutative for an API that never goes back: the newest answer stands, whatever the order. What a webhook
        behind ``seen`` said stays until the next answer, but neither when an incident began nor which tables it is
        about is a matter of news.

        :param position: where the record stands: its tables are derived again after a change of mapping.
        """
        told = self.values[UPDATED_AT]
        if told is not None and statement[UPDATED_AT] < told:
            return False
        # what an earlier answer said never stands against one that is no older
        reach = max(seen, self.positions[UPDATED_AT])
        if told == statement[UPDATED_AT]:
            position = max(position, self.positions[ENTITY_IDS])
        values, positions = list(self.values), list(self.positions)
        for index, value in enumerate(statement):
            if value is not UNSET and (positions[index] <= reach or index in _NO_NEWS):
                values[index] = value
                positions[index] = position if index == ENTITY_IDS else reach
        confirms = self.unconfirmed and self.log_position <= seen
        if confirms:
            self.unconfirmed = False
        if confirms or tuple(positions) != self.positions:
            self.positions = tuple(positions)
            self.noted = True
        if tuple(values) == self.values:
            return False
        self.values = tuple(values)
        return True

    def said_again(self, statement: Statement, position: int) -> Statement:
        """What of a stored webhook may be derived again: once the API has told, only what the webhook still says."""
        if not self.is_told:
            return statement
        said = {index for index, at in enumerate(self.positions) if at == position}
        if position <= self.positions[UPDATED_AT]:
            # the API's answer stands at the webhook it followed; only the tables have no other record, and a webhook
            # may name fewer of them
            named = statement[ENTITY_IDS]
            said &= (
                {ENTITY_IDS} if named is not UNSET and len(named) >= len(self.values[ENTITY_IDS]) else set()
            )
        return _only(said, statement)

    def row(self, key: IncidentKey) -> IncidentRow:
        return IncidentRow(
            key[0],
            key[1],
            self.values,
            self.positions,
            self.log_position,
            self.last_event_id,
            self.unconfirmed,
            self.revision,
        )


def _is_newer(index: int, position: int, said: int) -> bool:
    if index == OPENED_AT:
        return said < 0 or position < said
    return position > said


@dataclass(slots=True)
class BatchPlan:
    """What one transaction writes.

    :ivar waves: ``waves[n]`` holds the n-th effective change of each incident, ordered by key.
    :ivar quiet: incidents whose bookkeeping alone moved.
    """

    events: list[tuple[EventRow, bytes | None]] = field(default_factory=list)
    waves: list[list[IncidentRow]] = field(default_factory=list)
    quiet: list[IncidentRow] = field(default_factory=list)
    entity_waves: list[list[tuple[EntityRow, bytes]]] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    duplicates: int = 0

    @property
    def changes(self) -> int:
        return sum(map(len, self.waves))

    @property
    def is_empty(self) -> bool:
        return not (self.events or self.waves or self.quiet or self.entity_waves or self.links)


def incident_keys(events: Iterable[EventRow]) -> list[IncidentKey]:
    """The incidents these events speak of, in the order locks are taken."""
    return sorted({(event.tenant_id, event.subject) for event in events if event.statement is not None})


def plan_batch(
    events: Iterable[EventRow],
    current: Mapping[IncidentKey, IncidentState],
    answers: Mapping[IncidentKey, Answer | None] = _NO_ANSWERS,
) -> BatchPlan:
    """Plans the live lane: records no transaction has seen yet, in offset order.

    :param current: the incidents as read, without a lock; consumed by the plan.
    :param answers: incidents the source's API was asked about behind the last of these events, with what it said;
        None: no answer, then a webhook is believed although the API has told of its incident before.
    """
    planner = _Planner(current, answers)
    for event in events:
        planner.add(event)
    return planner.finish()


def plan_replay(
    events: Iterable[EventRow],
    current: Mapping[IncidentKey, IncidentState],
    known: Mapping[bytes, bool],
    *,
    reapply: bool,
) -> BatchPlan:
    """Plans records that were most likely stored before.

    :param known: event_key of those that are stored -> whether they are stored as duplicates.
    :param reapply: derive the known ones again and write what differs; else only the unknown ones are written.
    """
    planner = _Planner(current)
    for event in events:
        duplicate = known.get(event.event_key)
        if duplicate is None:
            planner.add(event)
        elif reapply and not duplicate:
            planner.add_again(event)
    return planner.finish()


class _Planner:
    def __init__(
        self,
        current: Mapping[IncidentKey, IncidentState],
        answers: Mapping[IncidentKey, Answer | None] = _NO_ANSWERS,
    ) -> None:
        self._current = dict(current)
        self._answers = answers
        self._plan = BatchPlan()
        self._touched: dict[IncidentKey, IncidentState] = {}
        self._changes: dict[IncidentKey, int] = {}
        self._entities_before: dict[IncidentKey, tuple[bytes, ...]] = {}
        self._entity_hash: dict[bytes, int] = {}
        self._entity_changes: dict[bytes, int] = {}

    def add(self, event: EventRow) -> None:
        duplicate_of: bytes | None = None
        if event.statement is not None:
            key = (event.tenant_id, event.subject)
            state = self._current.get(key)
            if state is None:
                state = self._current[key] = IncidentState()
            if event.offset > state.log_position and state.last_event_id == event.event_id:
                duplicate_of = event.event_id
                self._plan.duplicates += 1
            else:
                self._apply(event, event.statement, key, state)
        self._plan.events.append((event, duplicate_of))

    def add_again(self, event: EventRow) -> None:
        """A stored record, derived once more: nothing that is already so is written."""
        if event.statement is None:
            return
        key = (event.tenant_id, event.subject)
        state = self._current.get(key)
        if state is None:
            state = self._current[key] = IncidentState()
        before = state.values
        if event.seen is not None:
            changed = state.take_answer(event.statement, event.seen, event.offset)
        else:
            said = state.said_again(event.statement, event.offset)
            changed = state.merge(said, event.offset, again=True)
            state.unconfirmed = state.unconfirmed or changed
        if changed:
            self._changed(key, state, before)
        self._touched[key] = state
        self._stage_entities(event.entities, event.event_key)

    def _apply(self, event: EventRow, statement: Statement, key: IncidentKey, state: IncidentState) -> None:
        before, offset = state.values, event.offset
        if event.seen is not None:
            changed = state.take_answer(statement, event.seen, offset)
        else:
            if before[UPDATED_AT] is None:
                changed = state.merge(statement, offset)
            else:
                # asked and not answered: what the webhook says is better than nothing
                unanswered = self._answers.get(key, _NOT_ASKED) is None
                changed = unanswered and state.merge(_only(_NEWS, statement), offset)
            if offset > state.log_position:
                state.log_position = offset
                state.last_event_id = event.event_id
                state.noted = True
                # one that comes late is no news to an answer that had seen it
                if offset > state.positions[UPDATED_AT]:
                    state.unconfirmed = True
            answer = self._answers.get(key)
            if answer is not None:
                state.take_answer(answer.statement, offset, offset)
                changed = state.values != before
                self._stage_entities(answer.entities, event.event_key)
        if changed:
            self._changed(key, state, before)
        self._touched[key] = state
        self._stage_entities(event.entities, event.event_key)

    def _changed(self, key: IncidentKey, state: IncidentState, before: tuple[Any, ...]) -> None:
        state.revision += 1
        state.noted = False
        nth = self._changes[key] = self._changes.get(key, 0) + 1
        if nth > len(self._plan.waves):
            self._plan.waves.append([])
        self._plan.waves[nth - 1].append(state.row(key))
        if before[ENTITY_IDS] != state.values[ENTITY_IDS]:
            self._entities_before.setdefault(key, before[ENTITY_IDS])

    def _stage_entities(self, entities: tuple[EntityRow, ...], event_key: bytes) -> None:
        for entity in entities:
            if self._entity_hash.get(entity.entity_id) == entity.content_hash:
                continue
            self._entity_hash[entity.entity_id] = entity.content_hash
            nth = self._entity_changes[entity.entity_id] = self._entity_changes.get(entity.entity_id, 0) + 1
            if nth > len(self._plan.entity_waves):
                self._plan.entity_waves.append([])
            self._plan.entity_waves[nth - 1].append((entity, event_key))

    def finish(self) -> BatchPlan:
        plan = self._plan
        for wave in plan.waves:
            wave.sort()
        for entity_wave in plan.entity_waves:
            entity_wave.sort(key=lambda staged: (staged[0].tenant_id, staged[0].entity_id))
        plan.quiet = [
            state.row(key) for key, state in sorted(self._touched.items(), key=_by_key) if state.noted
        ]
        for key, before in sorted(self._entities_before.items()):
            # net over the batch: an entity dropped and added again must not end dropped
            after = self._current[key].values[ENTITY_IDS]
            plan.links += [Link(key[0], entity, key[1], True) for entity in before if entity not in after]
            plan.links += [Link(key[0], entity, key[1], False) for entity in after if entity not in before]
        return plan


def _only(fields: Collection[int], statement: Statement) -> Statement:
    return tuple([value if index in fields else UNSET for index, value in enumerate(statement)])


def _by_key(item: tuple[IncidentKey, IncidentState]) -> IncidentKey:
    return item[0]
