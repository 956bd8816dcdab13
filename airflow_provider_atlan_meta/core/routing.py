"""Who hears of a change: subscriptions, looked up by tenant, kind, op and what one column must hold, then asked.

The index only leaves out subscriptions that cannot match; whoever is left is asked by its whole pattern. A change is
asked about by the subscriptions of its own tenant and of ``*``, never by those of another.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from airflow_provider_atlan_meta.core.changes import ABSENT, OPS, ChangeEvent
from airflow_provider_atlan_meta.core.conditions import Where
from airflow_provider_atlan_meta.core.errors import ConfigurationError, PatternError
from airflow_provider_atlan_meta.core.leaves import Key, LeafTest, Row, row_of
from airflow_provider_atlan_meta.core.patterns import LeafExplanation, Pattern, explain
from airflow_provider_atlan_meta.core.tenancy import is_tenant

EVERY_TENANT = "*"
_ROW = "row."


@dataclass(frozen=True, kw_only=True)
class DestinationSpec:
    """Where deliveries go: a type of destination, the connection that holds its secrets, and its own options."""

    type: str
    conn_id: str
    options: Mapping[str, Any] = field(default_factory=dict)


def _no_problems(_: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    return ()


@dataclass(frozen=True, kw_only=True)
class DestinationType:
    """What a subscription may say of a destination of this type.

    :ivar conn_id: where none is named; empty: one has to be named.
    :ivar check: options -> problems: the option's name and what is wrong with it.
    """

    conn_id: str = ""
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    check: Callable[[Mapping[str, Any]], Iterable[tuple[str, str]]] = _no_problems


@dataclass(frozen=True, kw_only=True)
class Subscription:
    """Which changes of which tenant (``*``: all) go where.

    :ivar name: part of every delivery's id: a new name is a new subscription, which has been sent nothing.
    :ivar revision: counts what was applied; no part of what the subscription says.
    """

    name: str
    tenant: str
    match: Pattern
    destination: DestinationSpec
    enabled: bool = True
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Explanation:
    """Whether a subscription hears of a change, and why: ``leaves`` in the order they were written."""

    subscription: str
    outcome: Literal["match", "no match", "disabled"]
    leaves: tuple[LeafExplanation, ...]

    @property
    def matched(self) -> bool:
        return self.outcome == "match"


class _Entry(NamedTuple):
    """A subscription in the index. ``test``: what is left to ask of what the index has led to."""

    position: int
    subscription: Subscription
    test: LeafTest | None


_HOLDS: Mapping[Where, Callable[[str, str], bool]] = {
    "prefix": str.startswith,
    "suffix": str.endswith,
    "within": str.__contains__,
    "folded": lambda value, text: value.casefold() == text,
}


@dataclass(slots=True)
class _Column:
    """Subscriptions by what their pattern needs of a column: a text, or a part of one."""

    by_text: dict[str, list[_Entry]] = field(default_factory=dict)
    by_part: dict[Where, list[tuple[str, _Entry]]] = field(default_factory=dict)

    def candidates(self, value: str) -> Sequence[_Entry]:
        found = self.by_text.get(value, ())
        if not self.by_part:
            return found
        led_to = list(found)
        for where, pairs in self.by_part.items():
            holds = _HOLDS[where]
            led_to += [entry for text, entry in pairs if holds(value, text)]
        return led_to

    def entries(self) -> Iterator[_Entry]:
        for entries in self.by_text.values():
            yield from entries
        for pairs in self.by_part.values():
            yield from (entry for _, entry in pairs)


@dataclass(slots=True)
class _Bucket:
    """What a change of one tenant, kind and op can match."""

    unkeyed: list[_Entry] = field(default_factory=list)
    columns: dict[str, _Column] = field(default_factory=dict)


_Placed = tuple[int, Subscription]
_Buckets = dict[str, dict[str, _Bucket]]
OnAbsent = Callable[[Subscription], None]

# Kinds that no pattern names; a kind is never empty.
_OTHER = ""
_NO_BUCKET = _Bucket()


class Router:
    """Immutable: other subscriptions are another router. Answers keep the order the subscriptions were given in.

    :raises ConfigurationError: a pattern that does not compile, a name given twice, a tenant of no tenant's form.
    """

    def __init__(self, subscriptions: Iterable[Subscription]) -> None:
        self.subscriptions = tuple(subscriptions)
        _check(self.subscriptions)
        by_tenant: dict[str, list[_Placed]] = defaultdict(list)
        for position, one in enumerate(self.subscriptions):
            if one.enabled:
                by_tenant[one.tenant].append((position, one))
        every = by_tenant.pop(EVERY_TENANT, [])
        self._every = _buckets(every)
        self._tenants = {tenant: _buckets([*own, *every]) for tenant, own in by_tenant.items()}

    def route(self, change: ChangeEvent, *, on_absent: OnAbsent | None = None) -> tuple[Subscription, ...]:
        """Who hears of it. A thin change has to be ``completed`` first, else rules about columns cannot hold.

        :param on_absent: called for each that does not match because what it asks about is not there.
        """
        kinds = self._tenants.get(change.tenant_id, self._every)
        bucket = (kinds.get(change.kind) or kinds[_OTHER]).get(change.op, _NO_BUCKET)
        row = change.after if change.after is not None else row_of(change)
        hits: list[_Entry] = []
        _ask(bucket.unkeyed, change, row, hits, on_absent)
        for name, column in bucket.columns.items():
            value = row.get(name, ABSENT)
            if type(value) is str:
                _ask(column.candidates(value), change, row, hits, on_absent)
            elif type(value) is list:
                found = [entry for one in value if type(one) is str for entry in column.candidates(one)]
                _ask(_once(found), change, row, hits, on_absent)
            elif value is ABSENT and on_absent is not None:
                for entry in _once(column.entries()):
                    on_absent(entry.subscription)
        if len(hits) > 1:
            hits.sort(key=_position)
        return tuple([entry.subscription for entry in hits])

    def explain(self, change: ChangeEvent) -> tuple[Explanation, ...]:
        """Every subscription of the change's tenant and of ``*``, those it does not reach included, and why."""
        return tuple(
            Explanation(one.name, _outcome(one, change), explain(one.match, change))
            for one in self.subscriptions
            if one.tenant in (change.tenant_id, EVERY_TENANT)
        )


def _outcome(subscription: Subscription, change: ChangeEvent) -> Literal["match", "no match", "disabled"]:
    if not subscription.enabled:
        return "disabled"
    return "match" if subscription.match.matches(change) else "no match"


def _ask(
    entries: Iterable[_Entry], change: ChangeEvent, row: Row, hits: list[_Entry], on_absent: OnAbsent | None
) -> None:
    for entry in entries:
        test = entry.test
        answer = True if test is None else test(change, row)
        if answer:
            hits.append(entry)
        elif answer is None and on_absent is not None:
            on_absent(entry.subscription)


def _once(entries: Iterable[_Entry]) -> Iterable[_Entry]:
    return {entry.position: entry for entry in entries}.values()


def _position(entry: _Entry) -> int:
    return entry.position


# ---- building the index --------------------------------------------------------------------------------------------


def _check(subscriptions: tuple[Subscription, ...]) -> None:
    names: set[str] = set()
    for one in subscriptions:
        if one.name in names:
            raise ConfigurationError(
                f"two subscriptions are named {one.name!r}; a name is one subscription's own"
            )
        names.add(one.name)
        if one.tenant != EVERY_TENANT and not is_tenant(one.tenant):
            raise ConfigurationError(
                f"subscription {one.name!r}: tenant {one.tenant[:40]!r} is neither a tenant's name nor {EVERY_TENANT!r}"
            )
        try:
            _ = one.match.compiled
        except PatternError as error:
            raise ConfigurationError(f"subscription {one.name!r}: {error}") from error


def _buckets(subscriptions: Sequence[_Placed]) -> _Buckets:
    keys = {position: tuple(one.match.compiled.keys()) for position, one in subscriptions}
    shared = Counter(pair for found in keys.values() for key in found for pair in _pairs(key))
    kinds = {text for found in keys.values() for key in found if key.place == "kind" for text in key.texts}
    buckets: _Buckets = {kind: {op: _Bucket() for op in OPS} for kind in (*kinds, _OTHER)}
    for position, one in subscriptions:
        found = keys[position]
        best = _best(found, shared)
        looked_up = ("kind", "op", best.place) if best else ("kind", "op")
        entry = _Entry(position, one, one.match.compiled.test_without(looked_up))
        for kind, by_op in buckets.items():
            for op, bucket in by_op.items():
                if _fits(found, "kind", kind) and _fits(found, "op", op):
                    _add(bucket, entry, best)
    return buckets


def _best(keys: Iterable[Key], shared: Counter[tuple[str, str]]) -> Key | None:
    """The key that leads to the fewest others; whole texts before parts of them."""
    return min(
        (key for key in keys if key.place.startswith(_ROW)),
        key=lambda key: (key.where != "is", sum(shared[pair] for pair in _pairs(key))),
        default=None,
    )


def _pairs(key: Key) -> Iterable[tuple[str, str]]:
    return ((key.place, text) for text in key.texts)


def _fits(keys: Iterable[Key], place: str, word: str) -> bool:
    return all(word in key.texts for key in keys if key.place == place)


def _add(bucket: _Bucket, entry: _Entry, key: Key | None) -> None:
    if key is None:
        bucket.unkeyed.append(entry)
        return
    column = bucket.columns.setdefault(key.place.removeprefix(_ROW), _Column())
    for text in key.texts:
        if key.where == "is":
            column.by_text.setdefault(text, []).append(entry)
        else:
            column.by_part.setdefault(key.where, []).append((text, entry))
