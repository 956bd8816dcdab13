"""Subscriptions as people write them: a YAML file, checked whole, every problem with its line.

Secrets never stand in such a file: a destination names the id of a connection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow_provider_atlan_meta.config.written_files import SECRET, choice, holds_secret, read_written, told
from airflow_provider_atlan_meta.config.yaml_document import YamlDocument, read_yaml
from airflow_provider_atlan_meta.core import conditions
from airflow_provider_atlan_meta.core.changes import COLUMNS
from airflow_provider_atlan_meta.core.connection import is_secret_name
from airflow_provider_atlan_meta.core.errors import FileError, PatternError
from airflow_provider_atlan_meta.core.patterns import Pattern, compile_pattern
from airflow_provider_atlan_meta.core.routing import (
    EVERY_TENANT,
    DestinationSpec,
    DestinationType,
    Subscription,
)
from airflow_provider_atlan_meta.core.tenancy import is_tenant

DestinationTypes = Mapping[str, DestinationType]

_KEYS = ("name", "tenant", "match", "destination", "enabled")
_REQUIRED = ("name", "tenant", "match", "destination")
# no dot: a delivery's id and the name are put together with one
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_CONN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")
_MISSING = object()


def read_subscriptions(path: Path, *, destinations: DestinationTypes) -> tuple[Subscription, ...]:
    """:raises FileError: with every problem and its line. :raises ConfigurationError: the file cannot be read."""
    content = read_written(path, begins="subscriptions")
    return parse_subscriptions(content, file=str(path), destinations=destinations)


def parse_subscriptions(
    content: bytes, *, file: str, destinations: DestinationTypes
) -> tuple[Subscription, ...]:
    """The file's subscriptions in its order; patterns written out, columns and kinds checked.

    :param file: how errors name it.
    :param destinations: the types there are.
    :raises FileError: with every problem and its line; nothing of the file is used then.
    """
    document = read_yaml(content, file=file)
    reader = _Reader(document, destinations)
    subscriptions = reader.subscriptions()
    if reader.problems:
        raise FileError(file, reader.problems)
    return tuple(subscriptions)


class _Reader:
    """Of one file; what is wrong goes to ``problems``, and reading goes on."""

    def __init__(self, document: YamlDocument, destinations: DestinationTypes) -> None:
        self.problems: list[tuple[int, str]] = []
        self._document = document
        self._destinations = destinations
        self._names: dict[str, int] = {}

    def subscriptions(self) -> list[Subscription]:
        value = self._document.value
        if not isinstance(value, dict) or not isinstance(value.get("subscriptions"), list):
            self._refuse(
                (),
                "a file is a mapping with a list under subscriptions:; to have none, write subscriptions: []",
            )
            return []
        self._check_keys(value, (), ("subscriptions",), "the file")
        entries = value["subscriptions"]
        found = [self._subscription(entry, ("subscriptions", number)) for number, entry in enumerate(entries)]
        return [one for one in found if one is not None]

    def _subscription(self, entry: Any, path: conditions.Path) -> Subscription | None:
        if not isinstance(entry, dict):
            self._refuse(path, f"a subscription is a mapping with {', '.join(_REQUIRED)}; not {told(entry)}")
            return None
        self._check_keys(entry, path, _KEYS, "a subscription")
        before = len(self.problems)
        for key in _REQUIRED:
            if key not in entry:
                self._refuse(path, f"{key} is missing{_WHAT.get(key, '')}")
        name = self._name(entry.get("name", _MISSING), (*path, "name"))
        tenant = self._tenant(entry.get("tenant", _MISSING), (*path, "tenant"))
        match = self._match(entry.get("match", _MISSING), (*path, "match"))
        destination = self._destination(entry.get("destination", _MISSING), (*path, "destination"))
        enabled = entry.get("enabled", True)
        if not isinstance(enabled, bool):
            self._refuse((*path, "enabled"), f"enabled is true or false, not {told(enabled)}")
        if len(self.problems) > before or destination is None:
            return None
        return Subscription(
            name=name, tenant=tenant, match=match, destination=destination, enabled=bool(enabled)
        )

    def _name(self, name: Any, path: conditions.Path) -> str:
        if name is _MISSING:
            return ""
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            self._refuse(
                path,
                f"name {told(name)} is not 1 to 63 of a-z, 0-9, - and _, beginning with a letter or digit",
            )
            return ""
        line = self._document.line(path)
        if name in self._names:
            self._refuse(
                path, f"name {name!r} is taken already on line {self._names[name]}; each needs its own"
            )
        self._names.setdefault(name, line)
        return name

    def _tenant(self, tenant: Any, path: conditions.Path) -> str:
        if isinstance(tenant, str) and (tenant == EVERY_TENANT or is_tenant(tenant)):
            return tenant
        if tenant is not _MISSING:
            self._refuse(
                path,
                f'tenant {told(tenant)} is neither a tenant, [a-z][a-z0-9]{{1,30}}, nor "*" for all of them',
            )
        return ""

    def _match(self, match: Any, path: conditions.Path) -> Pattern:
        if match is not _MISSING:
            try:
                return Pattern(compile_pattern(match, columns=COLUMNS).source)
            except PatternError as error:
                for place, text in error.problems:
                    self._refuse((*path, *place), text, named=(path[-1], *place))
        return Pattern({})

    # destinations

    def _destination(self, value: Any, path: conditions.Path) -> DestinationSpec | None:
        if value is _MISSING:
            return None
        if not isinstance(value, dict):
            self._refuse(path, f"a destination is a mapping with type and conn_id; not {told(value)}")
            return None
        kind = value.get("type")
        known = self._destinations.get(kind) if isinstance(kind, str) else None
        if known is None:
            place = (*path, "type") if "type" in value else path
            types = sorted(self._destinations)
            self._refuse(place, f"no destination of type {told(kind)}; {choice(kind, types)}")
            return None
        names = ("type", "conn_id", *known.required, *known.optional)
        self._check_keys(value, path, names, f"a destination of type {kind}")
        options = {name: option for name, option in value.items() if name not in ("type", "conn_id")}
        self._check_options(options, path, known)
        conn_id = self._conn_id(value.get("conn_id", known.conn_id), path)
        return DestinationSpec(type=str(kind), conn_id=conn_id, options=options)

    def _check_options(
        self, options: Mapping[str, Any], path: conditions.Path, known: DestinationType
    ) -> None:
        before = len(self.problems)
        for name in known.required:
            if name not in options:
                self._refuse(path, f"{name} is missing")
        for name, option in options.items():
            if holds_secret(option):
                self._refuse((*path, name), f"{name} holds a secret; {_IN_CONNECTION}")
        if len(self.problems) == before:
            for name, text in known.check(options):
                self._refuse((*path, name), f"{name}: {text}")

    def _conn_id(self, conn_id: Any, path: conditions.Path) -> str:
        if isinstance(conn_id, str) and _CONN_ID.fullmatch(conn_id) and not SECRET.search(conn_id):
            return conn_id
        if conn_id == "":
            self._refuse(
                path, "conn_id is missing: the id of the connection that says where to and holds the secrets"
            )
        else:
            self._refuse(
                (*path, "conn_id"),
                f"conn_id is the id of a connection, 1 to 200 letters, digits and _.-; {_IN_CONNECTION}",
            )
        return ""

    # problems

    def _check_keys(
        self, value: Mapping[str, Any], path: conditions.Path, known: Sequence[str], what: str
    ) -> None:
        for key in value:
            if key in known:
                continue
            if "destination" in path and (is_secret_name(key) or key.lower() in _ADDRESSES):
                text = f"{told(key)} does not stand here; {_IN_CONNECTION}"
            else:
                text = f"no key {told(key)} in {what}; {choice(key, known)}"
            self._refuse((*path, key), text)

    def _refuse(self, path: conditions.Path, text: str, named: conditions.Path = ()) -> None:
        spelled = ".".join(str(step) for step in named)
        self.problems.append((self._document.line(path), f"{spelled}: {text}" if named else text))


_ADDRESSES = ("url", "uri", "host", "address", "endpoint", "webhook", "webhook_url")
_IN_CONNECTION = "addresses and secrets stand in a connection, the file names its conn_id"
_WHAT = {
    "tenant": ': a tenant\'s name, or "*" for all',
    "match": ": which changes; {} is every change of the tenant",
    "destination": ": where to; a mapping with type and conn_id",
}
