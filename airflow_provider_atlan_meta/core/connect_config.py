"""A connector's configuration as Kafka Connect's REST API takes and echoes it: secrets, differences, offsets.

Connect answers with whatever it was given, passwords included. So none may be given: a secret is a reference such as
``${file:/etc/connect/meta.properties:password}``, which only the worker resolves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from airflow_provider_atlan_meta.core.errors import ConfigurationError

MASK = "***"
_REFERENCE = re.compile(r"\$\{[A-Za-z0-9_.-]+:[^{}]+\}")
_SECRET_NAME = re.compile(
    r"password|passphrase|secret|token|credential|jaas|user\.info|private[._-]?key|(?:api|access)[._-]?key|keystore\.key$",
    re.IGNORECASE,
)
# Names with such a word that say where or how, not what.
_NO_SECRET = re.compile(r"(?:class|url|uri|path|location|file|provider|name|field|ms|source)$", re.IGNORECASE)
_QUOTED = re.compile(r"((?:password|secret|token)\w*\s*=\s*)(\"[^\"]*\"|'[^']*')", re.IGNORECASE)
_USER_INFO = re.compile(r"(://[^/\s:@]+:)([^/\s@]+)(@)")


class Difference(NamedTuple):
    """One key that is not as wanted; None: it is not there. Values are masked."""

    name: str
    before: str | None
    after: str | None


def refuse_inline_secrets(config: Mapping[str, str]) -> None:
    """:raises ConfigurationError: a secret stands in the configuration itself; the text names the keys only."""
    inline = [name for name, value in config.items() if masked_value(name, str(value)) != str(value)]
    if inline:
        raise ConfigurationError(
            f"{', '.join(sorted(inline))}: Kafka Connect shows a connector's configuration to everybody who may read "
            "it; put the secret into a file on the worker and write ${file:/path/to/file:key} instead"
        )


def masked(config: Mapping[str, Any]) -> dict[str, str]:
    """The configuration without its secrets; references are none."""
    return {name: masked_value(name, str(value)) for name, value in config.items()}


def masked_value(name: str, value: str) -> str:
    """The value without what is secret in it."""
    if _SECRET_NAME.search(name) and not _NO_SECRET.search(name):
        if "jaas" in name.lower():
            return _QUOTED.sub(lambda part: part[1] + _hidden(part[2]), value)
        return _hidden(value)
    return _USER_INFO.sub(lambda part: f"{part[1]}{_hidden(part[2])}{part[3]}", value)


def masked_text(text: str) -> str:
    """A message or trace of the worker without the secrets it may repeat."""
    text = _QUOTED.sub(lambda part: part[1] + _hidden(part[2]), text)
    text = re.sub(
        r"((?:password|secret|token)\w*[=:]\s*)([^\s,;'\"&})]+)", rf"\1{MASK}", text, flags=re.IGNORECASE
    )
    return _USER_INFO.sub(lambda part: f"{part[1]}{MASK}{part[3]}", text)


def _hidden(value: str) -> str:
    bare = value.strip("\"' ")
    return value if not bare or bare == MASK or _REFERENCE.fullmatch(bare) else MASK


def differences(current: Mapping[str, Any] | None, wanted: Mapping[str, str]) -> tuple[Difference, ...]:
    """What applying ``wanted`` changes, by name; ``name`` itself, which Connect adds, is none."""
    old = masked({name: value for name, value in (current or {}).items() if name != "name"})
    new = masked({name: value for name, value in wanted.items() if name != "name"})
    return tuple(
        Difference(name, old.get(name), new.get(name))
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    )


class SourceOffset(NamedTuple):
    """Where a connector stands in one partition of its source."""

    partition: Mapping[str, Any]
    offset: Mapping[str, Any] | None


def check_offsets(offsets: Sequence[SourceOffset], current: Iterable[SourceOffset]) -> None:
    """A connector takes a partition or key it does not know without a word, and nothing happens.

    :raises ConfigurationError: an offset does not have the shape of those the connector has now.
    """
    known = list(current)
    if not known:
        raise ConfigurationError(
            "the connector has no offset yet, so there is none to change; start it first"
        )
    if not offsets:
        raise ConfigurationError("no offset is given; nothing was changed")
    for given in offsets:
        of_partition = [now.offset or {} for now in known if dict(now.partition) == dict(given.partition)]
        if not of_partition:
            raise ConfigurationError(
                f"the connector has no partition {dict(given.partition)}; it has "
                f"{[dict(now.partition) for now in known]}. Nothing was changed"
            )
        wrong = _wrong_keys(given.offset or {}, of_partition[0])
        if wrong or not given.offset:
            raise ConfigurationError(
                f"an offset of {dict(given.partition)} has {sorted(of_partition[0])}, each of the type it has now; "
                f"wrong are {wrong or 'all: it is empty'}. Nothing was changed"
            )


def _wrong_keys(given: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return sorted(
        name for name, value in given.items() if name not in now or type(value) is not type(now[name])
    )
