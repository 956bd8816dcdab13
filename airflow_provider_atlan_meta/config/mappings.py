"""Mappings as people write them: a YAML file with a list of warehouses, checked whole, every problem with its line."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from airflow_provider_atlan_meta.config.written_files import choice, holds_secret, read_written, told
from airflow_provider_atlan_meta.config.yaml_document import YamlDocument, read_yaml
from airflow_provider_atlan_meta.core.conditions import Path as Place
from airflow_provider_atlan_meta.core.errors import FileError
from airflow_provider_atlan_meta.core.mapping import CASES, DIALECTS, VALUES, WarehouseMapping
from airflow_provider_atlan_meta.core.montecarlo import NAME as PROVISIONAL
from airflow_provider_atlan_meta.core.templates import TemplateError
from airflow_provider_atlan_meta.core.tenancy import is_tenant

_KEYS = (
    *("name", "tenant", "warehouse", "account", "groups", "platform", "dialect", "naming", "case"),
    *VALUES,
)
_REQUIRED = {
    "name": "",
    "tenant": ": whose tables",
    "platform": ": what the warehouse is, such as snowflake",
}
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_PLATFORM = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_VALUE = re.compile(r"[^\s{}/@]{1,200}")
_MAX_TEXT = 1024


def read_mappings(path: Path) -> tuple[WarehouseMapping, ...]:
    """:raises FileError: with every problem and its line. :raises ConfigurationError: the file cannot be read."""
    return parse_mappings(read_written(path, begins="warehouses"), file=str(path))


def parse_mappings(content: bytes, *, file: str) -> tuple[WarehouseMapping, ...]:
    """The file's mappings in its order.

    :param file: how errors name it.
    :raises FileError: with every problem and its line; nothing of the file is used then.
    """
    reader = _Reader(read_yaml(content, file=file))
    mappings = reader.mappings()
    if reader.problems:
        raise FileError(file, reader.problems)
    return tuple(mappings)


class _Reader:
    """Of one file; what is wrong goes to ``problems``, and reading goes on."""

    def __init__(self, document: YamlDocument) -> None:
        self.problems: list[tuple[int, str]] = []
        self._document = document
        # what only one mapping may say -> the line that said it
        self._said: dict[tuple[str, ...], int] = {}
        self._checks: dict[str, Callable[[Any, Place], Any]] = {
            "name": self._name,
            "tenant": self._tenant,
            "warehouse": self._uuid,
            "account": self._uuid,
            "groups": self._groups,
            "platform": self._platform,
            "dialect": lambda value, path: self._one_of(value, path, DIALECTS),
            "naming": self._naming,
            "case": lambda value, path: self._one_of(value, path, CASES),
            **dict.fromkeys(VALUES, self._value),
        }

    def mappings(self) -> list[WarehouseMapping]:
        value = self._document.value
        if not isinstance(value, dict) or not isinstance(value.get("warehouses"), list):
            self._refuse(
                (), "a file is a mapping with a list under warehouses:; to have none, warehouses: []"
            )
            return []
        self._check_keys(value, (), ("warehouses",), "the file")
        entries = enumerate(value["warehouses"])
        found = [self._mapping(entry, ("warehouses", number)) for number, entry in entries]
        return [one for one in found if one is not None]

    def _mapping(self, entry: Any, path: Place) -> WarehouseMapping | None:
        if not isinstance(entry, dict):
            self._refuse(path, f"a warehouse is a mapping with {', '.join(_REQUIRED)}; not {told(entry)}")
            return None
        before = len(self.problems)
        self._check_keys(entry, path, _KEYS, "a warehouse")
        for key, why in _REQUIRED.items():
            if key not in entry:
                self._refuse(path, f"{key} is missing{why}")
        checks = self._checks.items()
        fields = {key: check(entry[key], (*path, key)) for key, check in checks if key in entry}
        self._check_found_by(entry, path)
        if len(self.problems) > before:
            return None
        if fields.get("account"):
            fields.setdefault("groups", ("*",))
        values = tuple((name, fields.pop(name)) for name in VALUES if name in fields)
        one = WarehouseMapping(**fields, values=values)
        self._check_alone(one, path)
        self._check_naming(one, path)
        return one

    def _check_found_by(self, entry: dict[str, Any], path: Place) -> None:
        if not entry.get("warehouse") and not entry.get("account"):
            self._refuse(
                path,
                "neither warehouse nor account: give the UUID of Monte Carlo's warehouse (the API names tables "
                "by it), its account (webhooks name theirs, with groups), or both",
            )
        if "groups" in entry and "account" not in entry:
            self._refuse((*path, "groups"), "groups are those of an account: give account, too")

    def _check_alone(self, one: WarehouseMapping, path: Place) -> None:
        self._only(("name", one.name), (*path, "name"), f"name {one.name!r}")
        if one.warehouse:
            said = ("warehouse", one.tenant, one.warehouse)
            self._only(said, (*path, "warehouse"), f"warehouse {one.warehouse} of {one.tenant}")
        for number, group in enumerate(one.groups):
            key = ("group", one.tenant, one.account, group)
            what = f"group {group!r} of account {one.account} of {one.tenant}"
            self._only(key, (*path, "groups", number), what)

    def _only(self, said: tuple[str, ...], path: Place, what: str) -> None:
        if said in self._said:
            self._refuse(path, f"{what} is on line {self._said[said]} already; each stands once")
        self._said.setdefault(said, self._document.line(path))

    def _check_naming(self, one: WarehouseMapping, path: Place) -> None:
        place = (*path, "naming")
        try:
            _ = one.compiled
        except TemplateError as error:
            self._refuse(place, f"naming: {error}")
            return
        if one.dialect == "atlan" and one.naming and not one.naming.startswith("default/"):
            self._refuse(
                place,
                "naming: Atlan's qualified names begin with default/{platform}/{epoch}/; copy them from the "
                "connection's own",
            )

    # one key each

    def _text(self, value: Any, path: Place, form: re.Pattern[str], what: str) -> str:
        if isinstance(value, str) and form.fullmatch(value):
            return value
        self._refuse(path, f"{path[-1]} {told(value)} is not {what}")
        return ""

    def _name(self, value: Any, path: Place) -> str:
        return self._text(
            value, path, _NAME, "1 to 63 of a-z, 0-9, - and _, beginning with a letter or digit"
        )

    def _tenant(self, value: Any, path: Place) -> str:
        if isinstance(value, str) and is_tenant(value):
            return value
        self._refuse(path, f"tenant {told(value)} is not a tenant's name, [a-z][a-z0-9]{{1,30}}")
        return ""

    def _uuid(self, value: Any, path: Place) -> str:
        return self._text(value, path, _UUID, "a UUID, as Monte Carlo's getWarehouses tells it").lower()

    def _groups(self, value: Any, path: Place) -> tuple[str, ...]:
        if not isinstance(value, list) or not value:
            self._refuse(path, f"groups is a list of patterns such as analytics:*, not {told(value)}")
            return ()
        for number, one in enumerate(value):
            if not isinstance(one, str) or len(one) > _MAX_TEXT:
                self._refuse(
                    (*path, number),
                    f"a group is a text such as analytics:sales or analytics:*, not {told(one)}",
                )
        return tuple(map(str, value))

    def _platform(self, value: Any, path: Place) -> str:
        platform = self._text(value, path, _PLATFORM, "a word of a-z, 0-9, - and _, such as snowflake")
        if platform == PROVISIONAL:
            self._refuse(
                path, f"platform {PROVISIONAL} is that of tables nobody has mapped; name the warehouse's"
            )
        return platform

    def _one_of(self, value: Any, path: Place, known: Sequence[str]) -> str:
        if value in known:
            return str(value)
        self._refuse(path, f"no {path[-1]} {told(value)}; {choice(value, known)}")
        return ""

    def _naming(self, value: Any, path: Place) -> str:
        if isinstance(value, str) and value and len(value) <= _MAX_TEXT and not holds_secret(value):
            return value
        self._refuse(
            path, f"naming is a template such as {{database}}.{{schema}}.{{table}}@prod, not {told(value)}"
        )
        return ""

    def _value(self, value: Any, path: Place) -> str:
        # an epoch is written as a number
        value = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        return self._text(value, path, _VALUE, "a word without spaces, braces, / and @")

    # problems

    def _check_keys(self, value: dict[str, Any], path: Place, known: Sequence[str], what: str) -> None:
        for key in value:
            if key not in known:
                self._refuse((*path, key), f"no key {told(key)} in {what}; {choice(key, known)}")

    def _refuse(self, path: Place, text: str) -> None:
        self.problems.append((self._document.line(path), text))
