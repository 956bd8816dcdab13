"""What a task was given, as values: templates render to text, and a form is not the only way in.

Checked when the task runs, never at parse: a wrong value fails one run instead of hiding the DAG.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from airflow_provider_atlan_meta.core.errors import ConfigurationError


def one_of(name: str, value: object, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ConfigurationError(f"{name} = {value!r}; it may be {', '.join(allowed)}")


def names(name: str, value: object) -> list[str]:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")]
    if isinstance(value, (list, tuple)) and value:
        return [str(part) for part in value]
    raise ConfigurationError(f"{name} = {value!r}; give at least one name")


def positive(name: str, value: object) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = 0
    if number < 1:
        raise ConfigurationError(f"{name} = {value!r}; it must be a whole number of at least 1")
    return number


def moment(name: str, value: object) -> datetime | None:
    """ISO 8601 with a zone; None where nothing was given."""
    if value in (None, "", "None"):
        return None
    try:
        given = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        given = None
    if given is None or given.tzinfo is None:
        raise ConfigurationError(f"{name} = {value!r}; write it as 2026-11-24T10:00:00Z")
    return given


def flag(name: str, value: object) -> bool:
    known = {"true": True, "false": False}
    text = str(value).lower()
    if text not in known:
        raise ConfigurationError(f"{name} = {value!r}; it must be true or false")
    return known[text]
