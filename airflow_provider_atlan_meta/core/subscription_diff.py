"""What applying a file would do to the subscriptions that are stored. The file is all there is to be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_atlan_meta.core.changes import ABSENT
from airflow_provider_atlan_meta.core.conditions import shown
from airflow_provider_atlan_meta.core.errors import PatternError
from airflow_provider_atlan_meta.core.patterns import alike
from airflow_provider_atlan_meta.core.routing import Subscription


@dataclass(frozen=True, slots=True)
class FieldChange:
    """:ivar path: ``match.severity``, ``destination.channel``.
    :ivar before: ``ABSENT`` where the field was not there; ``after`` likewise.
    """

    path: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.path}: {_said(self.before)} -> {_said(self.after)}"

    def to_dict(self) -> dict[str, Any]:
        """JSON values; a side that is not there is left out."""
        sides = {"before": self.before, "after": self.after}
        return {"path": self.path, **{side: value for side, value in sides.items() if value is not ABSENT}}


@dataclass(frozen=True, slots=True)
class ChangedSubscription:
    before: Subscription
    after: Subscription
    fields: tuple[FieldChange, ...]


@dataclass(frozen=True, slots=True)
class SubscriptionDiff:
    """Each part in the order of names. ``str()`` is for people, ``to_dict()`` for machines."""

    added: tuple[Subscription, ...]
    changed: tuple[ChangedSubscription, ...]
    removed: tuple[Subscription, ...]
    unchanged: tuple[Subscription, ...]

    @property
    def is_empty(self) -> bool:
        return not (self.added or self.changed or self.removed)

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        return diff_lines(
            added=[_named(one) for one in self.added],
            changed=[(one.after.name, one.fields) for one in self.changed],
            removed=[_named(one) for one in self.removed],
            unchanged=len(self.unchanged),
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "added": [{"name": one.name, **described(one)} for one in self.added],
            "changed": [
                {"name": one.after.name, "fields": [field.to_dict() for field in one.fields]}
                for one in self.changed
            ],
            "removed": [one.name for one in self.removed],
            "unchanged": [one.name for one in self.unchanged],
        }


def _named(subscription: Subscription) -> str:
    return f"{subscription.name} ({subscription.tenant} to {subscription.destination.type})"


def diff_lines(
    *,
    added: Sequence[str],
    changed: Sequence[tuple[str, Sequence[FieldChange]]],
    removed: Sequence[str],
    unchanged: int,
) -> Iterator[str]:
    """For people: what a file that is all there is to be would do."""
    for name in added:
        yield f"+ {name}"
    for name, fields in changed:
        yield f"~ {name}"
        yield from (f"    {field}" for field in fields)
    for name in removed:
        yield f"- {name}"
    if not (added or changed or removed):
        yield f"nothing to do: {unchanged} unchanged"


def diff_subscriptions(stored: Iterable[Subscription], wanted: Iterable[Subscription]) -> SubscriptionDiff:
    """By name; what a pattern says counts, not how it is written. Revisions are no part of it."""
    old = {one.name: one for one in stored}
    new = {one.name: one for one in wanted}
    both = [
        ChangedSubscription(
            old[name], new[name], tuple(field_changes("", described(old[name]), described(new[name])))
        )
        for name in sorted(old.keys() & new.keys())
    ]
    return SubscriptionDiff(
        added=tuple(new[name] for name in sorted(new.keys() - old.keys())),
        changed=tuple(one for one in both if one.fields),
        removed=tuple(old[name] for name in sorted(old.keys() - new.keys())),
        unchanged=tuple(one.after for one in both if not one.fields),
    )


def described(subscription: Subscription) -> dict[str, Any]:
    """All that a subscription says, as JSON values in the shape of the file."""
    destination = subscription.destination
    return {
        "tenant": subscription.tenant,
        "enabled": subscription.enabled,
        "match": _written_out(subscription),
        "destination": {"type": destination.type, "conn_id": destination.conn_id, **destination.options},
    }


def _written_out(subscription: Subscription) -> Mapping[str, Any]:
    try:
        return subscription.match.compiled.source
    except PatternError:
        # stored by another version of the language: still to be compared, and replaced
        return subscription.match.source


def field_changes(path: str, before: Any, after: Any) -> Iterator[FieldChange]:
    """What differs between two JSON values, down to where mappings end. :param path: of both."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in dict.fromkeys((*before, *after)):
            inner = f"{path}.{name}" if path else name
            yield from field_changes(inner, before.get(name, ABSENT), after.get(name, ABSENT))
    elif before is ABSENT or after is ABSENT or not alike(before, after):
        yield FieldChange(path, before, after)


def _said(value: Any) -> str:
    return "nothing" if value is ABSENT else shown(value)
