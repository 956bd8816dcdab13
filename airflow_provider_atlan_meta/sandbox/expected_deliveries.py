"""Which deliveries must be there, worked out a second time: from changes as they were told and what was asked for.

Nothing of ``core`` or ``pipeline`` is used, so that a mistake there cannot hide here. Of the rule language only that is
understood which the demo's subscriptions use: texts that a column, the kind or the op may hold.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID

import yaml

EVERY_TENANT = "*"
WEBHOOK, SLACK = "webhook", "slack"
# Slack's second part: the history of an incident, in the thread of its message.
MAIN, THREAD = "", "thread"
_IN_THREAD = ("updated", "deleted")


@dataclass(frozen=True, kw_only=True)
class Told:
    """One change as its message says it.

    :param row: the effective columns as they are, or of a deleted row as they were; empty: a deletion told again.
    """

    change_id: str
    kind: str
    op: str
    tenant: str
    id: str
    revision: int
    row: Mapping[str, Any]

    @classmethod
    def parse(cls, value: bytes) -> Told:
        change = json.loads(value)
        return cls(
            change_id=change["change_id"],
            kind=change["kind"],
            op=change["op"],
            tenant=change["tenant_id"],
            id=change["id"],
            revision=change["revision"],
            row=change["after"] or change["before"] or {},
        )


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One subscription in force.

    :param match: field -> the values it may have.
    """

    name: str
    tenant: str
    match: Mapping[str, Sequence[Any]]
    destination: str
    channel: str = ""

    def wants(self, told: Told) -> bool:
        fields = {**told.row, "kind": told.kind, "op": told.op}
        return self.tenant in (EVERY_TENANT, told.tenant) and all(
            fields.get(name) in values for name, values in self.match.items()
        )


def read_asked(text: str) -> tuple[Asked, ...]:
    """Of a file of subscriptions.

    :raises ValueError: a pattern with more in it than texts.
    """
    entries = yaml.safe_load(text)["subscriptions"]
    return tuple([_asked(entry) for entry in entries if entry.get("enabled", True)])


def _asked(entry: Mapping[str, Any]) -> Asked:
    match = {name: value if isinstance(value, list) else [value] for name, value in entry["match"].items()}
    for name, values in match.items():
        if not all(isinstance(value, str) for value in values):
            raise ValueError(f"subscription {entry['name']}: {name} is more than this reader understands")
    return Asked(
        name=entry["name"],
        tenant=entry["tenant"],
        match=match,
        destination=entry["destination"]["type"],
        channel=entry["destination"].get("channel", ""),
    )


class Lane(NamedTuple):
    """One row on its way to one part of one subscription."""

    subscription: str
    part: str
    tenant: str
    kind: str
    id: str


@dataclass(frozen=True)
class Expected:
    """One delivery. :param id: what it is sent under, the same at every try."""

    id: str
    asked: Asked
    part: str
    told: Told

    @property
    def lane(self) -> Lane:
        told = self.told
        return Lane(self.asked.name, self.part, told.tenant, told.kind, told.id)


def expected_deliveries(changes: Iterable[Told], asked: Sequence[Asked]) -> dict[str, Expected]:
    """By id, each lane's in the order of its revisions. A change told twice is one change."""
    once = {(told.kind, told.tenant, told.id, told.revision): told for told in changes}
    ordered = sorted(once.values(), key=lambda told: (told.tenant, told.kind, told.id, told.revision))
    found = [
        Expected(delivery_id_of(told.change_id, one.name, part), one, part, told)
        for told in ordered
        for one in asked
        if one.wants(told)
        for part in _parts(one, told)
    ]
    return {expected.id: expected for expected in found}


def _parts(asked: Asked, told: Told) -> Iterator[str]:
    yield MAIN
    if asked.destination == SLACK and told.op in _IN_THREAD:
        yield THREAD


def delivery_id_of(change_id: str, subscription: str, part: str = MAIN) -> str:
    return str(_hash128(change_id, f"{subscription}.{part}" if part else subscription))


def change_id_of(told: Told, incarnation: int = 1) -> str:
    """What the change's own id has to be."""
    return str(_hash128(told.tenant, told.kind, told.id, str(incarnation), str(told.revision)))


def _hash128(*parts: str) -> UUID:
    digest = sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(4, "big") + encoded)
    return UUID(bytes=digest.digest()[:16])
